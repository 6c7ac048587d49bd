//! Where the demo takes place: on a control plane of its own, or in a cluster that the user has.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::Failure;
use crate::support::control_plane::ControlPlane;
use crate::support::operator::{self, DEFINITIONS, Operator};
use crate::support::process::fed;
use crate::support::{program, root};

/// What the demo makes in a cluster of others bears this name, or begins with it.
const NAME: &str = "chancery-demo";

pub(crate) enum Place {
    Own(Box<ControlPlane>),
    Theirs(Theirs),
}

/// A cluster that the user has: one namespace of it, and the little that is not in a namespace.
#[derive(Clone)]
pub(crate) struct Theirs {
    dir: Arc<tempfile::TempDir>,
    /// The definitions are the demo's, and are taken away at its end.
    definitions: bool,
}

impl Place {
    pub(crate) fn own() -> Self {
        Self::Own(Box::new(ControlPlane::start_for_demo()))
    }

    /// The cluster of a context of the user's kubeconfig.
    ///
    /// # Errors
    ///
    /// There is no such context, it is not answered, the definitions of another version are there, or
    /// something bears the demo's name and is not the demo's.
    pub(crate) fn of(context: &str) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new().prefix("chancery-demo-").tempdir()?;
        let mut view = Command::new("kubectl");
        view.args(["config", "view", "--minify", "--flatten", "--raw", "-o", "json"])
            .arg(format!("--context={context}"));
        let mut config: Value = serde_json::from_str(&fed(&mut view, "")?)?;
        config["contexts"][0]["context"]["namespace"] = json!(NAME);
        write(&dir.path().join(ADMIN), &config)?;
        let mut theirs = Theirs { dir: Arc::new(dir), definitions: false };
        theirs.take_over()?;
        theirs.clean_up_when_interrupted()?;
        Ok(Self::Theirs(theirs))
    }

    /// Where logs and keys are.
    pub(crate) fn dir(&self) -> &Path {
        match self {
            Self::Own(plane) => plane.dir(),
            Self::Theirs(theirs) => theirs.dir.path(),
        }
    }

    /// Of whoever runs the demo, with the namespace of the demo as its own.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        match self {
            Self::Own(plane) => plane.kubeconfig(),
            Self::Theirs(theirs) => theirs.dir.path().join(ADMIN),
        }
    }

    /// Runs `kubectl`: what it printed, or what it complained about.
    pub(crate) fn kubectl<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<String, Failure> {
        match self {
            Self::Own(plane) => Ok(plane.kubectl(args)?),
            Self::Theirs(theirs) => theirs.kubectl(args, ""),
        }
    }

    /// Applies an example, with all that it says in the demo's namespace.
    pub(crate) fn apply(&self, yaml: &str) -> Result<String, Failure> {
        match self {
            Self::Own(plane) => Ok(plane.apply(yaml)?),
            Self::Theirs(theirs) => {
                let mut yaml = yaml.to_owned();
                for namespace in ["default", "chancery"] {
                    let from = format!("namespace: {namespace}\n");
                    yaml = yaml.replace(&from, &format!("namespace: {NAME}\n"));
                }
                for issuer in CLUSTER_ISSUERS {
                    yaml = yaml.replace(issuer, &format!("{NAME}-{issuer}"));
                }
                theirs.kubectl(["apply", "-f", "-"], &yaml)
            }
        }
    }

    /// Where the trust bundles of the examples are: the namespaces of requests and of the operator.
    pub(crate) fn namespaces(&self) -> &'static [&'static str] {
        match self {
            Self::Own(_) => &["default", "chancery"],
            Self::Theirs(_) => &[NAME],
        }
    }

    /// Puts definitions and rights into the cluster.
    pub(crate) fn install(&mut self) -> Result<(), Failure> {
        match self {
            Self::Own(plane) => operator::install(plane),
            Self::Theirs(theirs) => theirs.install()?,
        }
        Ok(())
    }

    /// Starts the operator with these rights only.
    pub(crate) fn operator(&self) -> Result<Operator, Failure> {
        match self {
            Self::Own(plane) => Ok(Operator::start(plane, &[])),
            Self::Theirs(theirs) => theirs.operator(),
        }
    }

    /// Takes away what the demo made in a cluster of others.
    pub(crate) fn clean_up(&self) -> Result<(), Failure> {
        match self {
            Self::Own(_) => Ok(()),
            Self::Theirs(theirs) => theirs.end(),
        }
    }
}

const ADMIN: &str = "kubeconfig";
/// Those of the examples: they have no namespace that would keep them from those of others.
const CLUSTER_ISSUERS: [&str; 3] = ["online-ca-for-all", "reseller-for-all", "swisssign-for-all"];
const OURS: &str =
    "certificaterequests.chancery.dev,issuers.chancery.dev,clusterissuers.chancery.dev";

impl Theirs {
    fn kubectl<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
        input: &str,
    ) -> Result<String, Failure> {
        let mut kubectl = Command::new("kubectl");
        kubectl.args(args).env("KUBECONFIG", self.dir.path().join(ADMIN)).current_dir(root());
        Ok(fed(&mut kubectl, input)?)
    }

    /// Makes sure that nobody else's is touched, and takes away what a run before left that was ended.
    fn take_over(&mut self) -> Result<(), Failure> {
        let marked = format!("{MARK}!=true");
        let watchers = format!("chancery.dev/watches,{marked}");
        let watchers = ["get", "clusterrolebinding", "-l", &watchers, "-o", "name"];
        if let Some(installed) = self.kubectl(watchers, "")?.lines().next() {
            return Err(format!(
                "Chancery is installed in this cluster ({installed}), and would act on what the demo \
                 asks for: apply deploy/examples/ instead, with your own CA"
            )
            .into());
        }
        let others = ["get", "crd", "-o", "name", "-l", &marked];
        let others = self.kubectl(others, "")?;
        let is_one = |line: &str| OURS.split(',').any(|kind| line.ends_with(&format!("/{kind}")));
        self.definitions = !others.lines().any(is_one);
        if !self.definitions && self.kubectl([&["diff"], &DEFINITIONS[..]].concat(), "").is_err() {
            return Err("the cluster has Chancery's definitions of another version, and the demo \
                        does not change them: run it in another cluster, or upgrade them first \
                        (kubectl apply -f crds/)"
                .into());
        }
        let get = ["get", "namespace", NAME, "--ignore-not-found", "-o", "json"];
        let found = self.kubectl(get, "")?;
        if found.is_empty() {
            return Ok(());
        }
        let found: Value = serde_json::from_str(&found)?;
        if found["metadata"]["labels"][MARK] != "true" {
            return Err(format!("namespace {NAME} is there and is not the demo's").into());
        }
        self.clean_up()
    }

    fn install(&self) -> Result<(), Failure> {
        if self.definitions {
            self.kubectl([&["apply"], &DEFINITIONS[..]].concat(), "")?;
            let marked = format!("{MARK}=true");
            self.kubectl([&["label", "--overwrite"], &DEFINITIONS[..], &[&marked]].concat(), "")?;
        }
        let established = ["wait", "--for=condition=Established", "--timeout=30s"];
        self.kubectl([&established[..], &DEFINITIONS].concat(), "")?;
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAME, "labels": {MARK: "true"}},
        });
        self.kubectl(["apply", "-f", "-"], &namespace.to_string())?;
        // Kustomize takes no absolute paths.
        let dir = tempfile::tempdir_in(root().join("target"))?;
        let kustomization = json!({
            "resources": ["../../deploy/overlays/chosen-namespaces", "more.yaml"],
            "namespace": NAME,
            "namePrefix": format!("{NAME}-"),
            "labels": [{"pairs": {MARK: "true"}}],
        });
        write(&dir.path().join("kustomization.yaml"), &kustomization)?;
        let account = json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "chancery", "namespace": "chancery"},
        });
        let role = "chancery-certificates";
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": role, "namespace": "chancery"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role,
            },
            "subjects": [{"kind": "ServiceAccount", "name": "chancery", "namespace": "chancery"}],
        });
        let more = format!("{account}\n---\n{binding}\n");
        std::fs::write(dir.path().join("more.yaml"), more)?;
        let at = dir.path().display().to_string();
        self.kubectl(["apply", "-k", at.as_str()], "").map(drop)
    }

    fn operator(&self) -> Result<Operator, Failure> {
        let account = format!("{NAME}-chancery");
        let token = self.kubectl(["create", "token", &account, "--duration=1h"], "")?;
        let admin = std::fs::read(self.dir.path().join(ADMIN))?;
        let mut config: Value = serde_json::from_slice(&admin)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        let path = self.dir.path().join("operator.kubeconfig");
        write(&path, &config)?;
        let env = [("CHANCERY_NAMESPACE", NAME), ("CHANCERY_WATCH_NAMESPACES", NAME)];
        let operator = Operator::spawn_as(&path, self.dir.path(), &program("chancery"), &env);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        Ok(operator)
    }

    /// Interrupted, it leaves nothing behind either.
    fn clean_up_when_interrupted(&self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let theirs = self.clone();
        std::thread::spawn(move || {
            if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                println!("\n==> Cleaning up");
                if let Err(failure) = theirs.end() {
                    println!("{failure}");
                }
                std::process::exit(130);
            }
        });
        Ok(())
    }

    /// Cleans up, and removes what is on this machine: there are credentials in it.
    fn end(&self) -> Result<(), Failure> {
        let cleaned_up = self.clean_up();
        std::fs::remove_dir_all(self.dir.path())?;
        cleaned_up
    }

    fn clean_up(&self) -> Result<(), Failure> {
        let marked = format!("{MARK}=true");
        let rights = "clusterroles,clusterrolebindings";
        self.kubectl(["delete", rights, "-l", &marked], "")?;
        let defined = self.kubectl(["get", "crd", "-o", "name"], "")?;
        let defined = defined.lines().any(|line| line.ends_with("/clusterissuers.chancery.dev"));
        if defined {
            let issuers = CLUSTER_ISSUERS.map(|issuer| format!("{NAME}-{issuer}"));
            let delete = ["delete", "clusterissuers.chancery.dev", "--ignore-not-found"];
            self.kubectl(delete.into_iter().chain(issuers.iter().map(String::as_str)), "")?;
        }
        let delete = ["delete", "namespace", NAME, "--ignore-not-found", "--timeout=120s"];
        self.kubectl(delete, "")?;
        if !self.definitions || !defined {
            return Ok(());
        }
        // With a definition goes all that it defines.
        let others = ["get", OURS, "--all-namespaces", "-o", "name"];
        let others = self.kubectl(others, "")?;
        if others.is_empty() {
            self.kubectl([&["delete"], &DEFINITIONS[..]].concat(), "")?;
        } else {
            println!("The definitions stay, because others use them by now:\n{others}");
        }
        Ok(())
    }
}

/// Label of what the demo makes.
const MARK: &str = "chancery.dev/demo";

/// For nobody else's eyes: there are credentials in it.
fn write(path: &Path, value: &Value) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::File::options();
    let file = file.create(true).write(true).truncate(true).mode(0o600).open(path);
    Ok(file?.write_all(value.to_string().as_bytes())?)
}
