//! The documents, followed to the letter: every command of a console is run and every YAML applied, in
//! their order, in a cluster in which the chart, the operator and the CAs of the simulator are real.

mod block;
mod reader;
mod shown;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use self::block::{Block, Code};
use self::reader::{APPROVALS, BEGINNINGS, Beginning, ELSEWHERE, Elsewhere, LOOKS, There};
use crate::installed::{Cluster, waiting};
use crate::support::operator::Operator;
use crate::support::{program, root};
use crate::{gitops, helm};

/// So long what is shown may take to come about.
const PATIENCE: Duration = Duration::from_secs(60);

/// One test for each document that has something to follow.
macro_rules! followed {
    ($($test:ident: $document:literal)*) => {
        const FOLLOWED: &[&str] = &[$($document),*];
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                follow($document).await;
            }
        )*
    };
}

followed! {
    the_readme_leads_from_nothing_to_a_certificate: "README.md"
    the_runbook_can_be_followed: "ORDERS.md"
    the_readme_of_the_chart_can_be_followed: "charts/chancery/README.md"
    who_may_order_what_can_be_followed: "docs/allow.md"
    what_is_said_of_argo_cd_and_flux_can_be_followed: "docs/gitops.md"
    what_is_said_of_the_image_can_be_followed: "docs/image.md"
    what_is_said_of_installing_can_be_followed: "docs/install.md"
    what_is_said_of_an_online_ca_can_be_followed: "docs/online-ca.md"
    what_is_said_of_proxies_can_be_followed: "docs/proxy.md"
    what_is_said_of_ssl_purchase_can_be_followed: "docs/ssl-purchase.md"
    what_is_said_of_swisssign_can_be_followed: "docs/swisssign.md"
    what_is_said_of_tenants_can_be_followed: "docs/tenants.md"
}

/// For those who change Chancery: what it has to be followed with is not a cluster.
const FOR_DEVELOPERS: [&str; 1] = ["CONTRIBUTING.md"];

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).expect(document)
}

fn blocks_of(document: &str) -> Vec<Block> {
    block::blocks(&read(document)).unwrap_or_else(|odd| panic!("{document}, {odd}"))
}

/// The documents of the project, by their path.
fn documents() -> Vec<String> {
    let in_folder = |folder: &str| {
        let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.into_string().expect("text"));
        names
            .filter(|name| name.ends_with(".md"))
            .map(move |name| match folder {
                "." => name,
                _ => format!("{folder}/{name}"),
            })
            .collect::<Vec<_>>()
    };
    [".", "docs", "charts/chancery"].into_iter().flat_map(in_folder).collect()
}

#[test]
fn every_document_with_something_to_follow_is_followed() {
    let documents = documents().into_iter();
    let documents = documents.filter(|document| !FOR_DEVELOPERS.contains(&document.as_str()));
    let with_blocks: BTreeSet<String> =
        documents.filter(|document| !blocks_of(document).is_empty()).collect();
    assert_eq!(with_blocks, FOLLOWED.iter().map(|&document| document.to_owned()).collect());
    for Beginning { document, section, .. } in &BEGINNINGS {
        let text = read(document);
        let is_there = text.lines().any(|line| line == *section);
        assert!(section.is_empty() || is_there, "{document} has no section {section:?}");
    }
}

#[test]
fn what_is_run_elsewhere_is_in_a_document_and_has_somebody_who_runs_it() {
    let commands: Vec<String> = FOLLOWED
        .iter()
        .flat_map(|document| blocks_of(document))
        .filter_map(|block| match block.code {
            Code::Console(commands) => Some(commands),
            Code::Yaml(_) => None,
        })
        .flatten()
        .map(|command| command.text)
        .collect();
    let tests: String = ["check", "demo", "image"]
        .into_iter()
        .map(|file| read(&format!("tests/install/{file}.rs")))
        .collect();
    let makefile = read("Makefile");
    for (begin, elsewhere) in ELSEWHERE {
        let is_used = commands.iter().any(|command| command.starts_with(begin));
        assert!(is_used, "no document has {begin:?}");
        let is_run = match elsewhere {
            Elsewhere::Test(name) => tests.contains(&format!("fn {name}(")),
            Elsewhere::Make(target) => makefile.contains(&format!("\n{target}:")),
            Elsewhere::Nobody(why) => why.split_whitespace().count() > 3,
        };
        assert!(is_run, "nobody runs {begin:?}");
    }
}

/// Follows one document from its begin to its end.
async fn follow(document: &str) {
    let mut reader: Option<Reader> = None;
    let mut section = None;
    for block in blocks_of(document) {
        if section.as_ref() != Some(&block.section) {
            let heading = block.section.as_str();
            let begins = BEGINNINGS.iter().find(|beginning| {
                let is_first = section.is_none() && beginning.section.is_empty();
                beginning.document == document && (is_first || beginning.section == heading)
            });
            if begins.is_some() || reader.is_none() {
                reader = Some(Reader::new(document, begins).await);
            }
            section = Some(block.section);
        }
        let reader = reader.as_mut().expect("there is one from the first block on");
        reader.place = format!("{document}, block at line {}", block.line);
        match block.code {
            Code::Yaml(yaml) => reader.apply(&yaml),
            Code::Console(commands) => {
                for command in commands {
                    reader.run(&command).await;
                }
            }
        }
    }
}

/// Who follows a document: in a copy of the sources, with a home of their own.
struct Reader {
    document: String,
    /// Where they are in it.
    place: String,
    /// Dropped before the cluster.
    operator: Option<(String, Operator)>,
    cluster: Cluster,
    home: TempDir,
}

impl Reader {
    async fn new(document: &str, beginning: Option<&Beginning>) -> Self {
        let cluster = Cluster::new();
        let roots = sites(&cluster).await;
        std::fs::write(cluster.plane.dir().join("roots.pem"), roots).expect("writes");
        let mut reader = Self {
            document: document.to_owned(),
            place: "before the first block".to_owned(),
            operator: None,
            home: home(&cluster),
            cluster,
        };
        let root = reader.cluster.simulator.online_ca("demo").root_pem().await;
        std::fs::write(reader.sources().join("roots.pem"), root).expect("writes");
        let there = beginning.map_or(There::Chancery, |beginning| beginning.there);
        if there != There::Nothing {
            reader.cluster.install(&[]);
            reader.follow_the_deployment();
        }
        if there == There::GitOps {
            gitops::install(&reader.cluster);
        }
        for command in beginning.map_or(&[][..], |beginning| beginning.commands) {
            let printed = reader.sh(command);
            assert!(printed.is_ok(), "{document}: {command}: {printed:?}");
        }
        reader
    }

    fn sources(&self) -> PathBuf {
        self.home.path().join("chancery")
    }

    /// What stands in documents for what every reader has another of, and what it is here.
    fn replaced(&self, text: &str) -> String {
        let simulator = self.cluster.simulator.url.strip_prefix("https://").expect("an address");
        let rows = [
            // The CAs: an Online CA of somebody's, a reseller, and SwissSign.
            ("slcs.example.org/onlineca/", format!("{simulator}/online-ca/demo/")),
            ("slcs.example.org", simulator.to_owned()),
            ("https://reseller.example/api/v1", format!("https://{simulator}/ssl-purchase/demo")),
            ("reseller.example", simulator.to_owned()),
            ("https://api.ra.swisssign.ch", format!("https://{simulator}/swisssign/demo")),
            ("api.ra.swisssign.ch", simulator.to_owned()),
            // What only the reader knows.
            ("password=…", "password=changeme".to_owned()),
            ("apiKey=…", "apiKey=changeme".to_owned()),
            ("image.digest=sha256:…", format!("image.digest=sha256:{}", "a".repeat(64))),
        ];
        rows.into_iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, &to))
    }

    /// Runs a command as written, until it prints what the document shows.
    async fn run(&mut self, command: &block::Command) {
        let text = self.replaced(&command.text);
        if ELSEWHERE.iter().any(|(begin, _)| text.starts_with(begin)) {
            return;
        }
        let place = self.place.clone();
        assert!(!text.contains('…'), "{place}: nobody can type this: {text}");
        let is_approved = |row: &&(&str, &str)| *row.0 == self.document && text.starts_with(row.1);
        if APPROVALS.iter().any(|row| is_approved(&row)) {
            self.approve().await;
        }
        let shown: Vec<String> = command.shown.iter().map(|line| self.replaced(line)).collect();
        let until = Instant::now() + PATIENCE;
        let is_look = LOOKS.iter().any(|begin| text.starts_with(begin));
        loop {
            let printed = self.sh(&text);
            let odd = match &printed {
                Ok(printed) => shown::difference(&shown, printed)
                    .map(|line| format!("shows {line:?}, and prints\n{printed}")),
                Err(failure) => Some(format!("fails: {failure}")),
            };
            let Some(odd) = odd else { break };
            assert!(is_look && Instant::now() < until, "{place}: `{text}` {odd}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        self.follow_the_deployment();
    }

    /// Runs a command in the shell: what it printed, or all that it said.
    fn sh(&self, command: &str) -> Result<String, String> {
        let bundle = self.cluster.plane.dir().join("roots.pem");
        let path = std::env::var("PATH").expect("a PATH");
        let path = format!("{}/bin:{path}", self.home.path().display());
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", command])
            .current_dir(self.sources())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.path())
            .env("KUBECONFIG", self.home.path().join("kubeconfig"))
            .env("CURL_CA_BUNDLE", bundle)
            .output()
            .expect("bash starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (printed, complaints) = (text(&output.stdout), text(&output.stderr));
        if output.status.success() { Ok(printed) } else { Err(printed + &complaints) }
    }

    /// Applies a block as what it is.
    fn apply(&self, yaml: &str) {
        let yaml = self.replaced(yaml);
        let file = self.sources().join("block.yaml");
        let is = |line: &str| yaml.lines().any(|one| one == line);
        std::fs::write(&file, &yaml).expect("writes");
        let taken = if is("kind: Kustomization") && yaml.contains("kustomize.config.k8s.io") {
            // Two directories deep, as its paths say.
            self.sh("mkdir -p a/b && mv block.yaml a/b/kustomization.yaml && kubectl apply -k a/b")
        } else if yaml.starts_with("spec:") {
            // A part of a ClusterIssuer.
            std::fs::write(self.sources().join("whole.yaml"), CLUSTER_ISSUER).expect("writes");
            self.sh("kubectl apply -f whole.yaml && kubectl patch --type=merge -f whole.yaml --patch-file block.yaml")
        } else if is("kind: Issuer") || yaml.contains("\nkind: ") {
            self.sh("kubectl apply --validate=strict -f block.yaml")
        } else {
            // Values of the chart.
            let image = format!("--set {}", helm::IMAGE);
            self.sh(&format!("helm template chancery charts/chancery -f block.yaml {image}"))
        };
        assert!(taken.is_ok(), "{}: {taken:?}\n{yaml}", self.place);
    }

    /// Has the processes that a kubelet would have: of the Deployment as it is now.
    fn follow_the_deployment(&mut self) {
        let get = ["get", "deployment", "chancery", "--namespace", "chancery"];
        let version = "-o=jsonpath={.metadata.uid}/{.metadata.generation}";
        let now = self.cluster.plane.kubectl([&get[..], &[version]].concat()).ok();
        if self.operator.as_ref().map(|(version, _)| version) == now.as_ref() {
            return;
        }
        if let Some((_, operator)) = self.operator.take() {
            assert_eq!(operator.process.stop(), Some(0), "{}", self.place);
        }
        let Some(now) = now else { return };
        self.cluster.plane.wait_until_it_serves();
        // The roots of the CAs are those of the system.
        let roots = self.cluster.plane.dir().join("roots.pem").display().to_string();
        let operator = self.cluster.pod_with(&[("SSL_CERT_FILE", &roots)]);
        self.operator = Some((now, operator));
    }

    /// Approves the one order that waits for it.
    async fn approve(&self) {
        let get = ["get", "chreq", "shop", "-o=jsonpath={.status.order.id}"];
        let id = self.cluster.plane.kubectl(get).expect("the request");
        let ra = self.cluster.simulator.swisssign("demo");
        ra.act(&id, json!({"action": "approve"})).await;
    }
}

/// What a part of its spec is merged into.
const CLUSTER_ISSUER: &str = "\
apiVersion: chancery.dev/v1alpha1
kind: ClusterIssuer
metadata: { name: of-before }
spec:
  allow: { namespaces: {} }
  onlineCa:
    certificateUrl: https://slcs.example.org/onlineca/certificate/
    trustRootsUrl: https://slcs.example.org/onlineca/trustroots/
";

/// Sets up the accounts that the documents speak of. The roots of all CAs, and of their servers.
async fn sites(cluster: &Cluster) -> String {
    let (free, paid) = (cluster.simulator.online_ca("demo"), cluster.simulator.swisssign("demo"));
    free.configure(json!({"users": {"jdoe": "changeme", "ada": "changeme"}})).await;
    let product = json!({"name": "DV SSL Silver Single-Domain", "authorization": true});
    let clients = json!([{"name": "Example AG", "products": [product]}]);
    paid.configure(json!({"clients": clients, "states": waiting()})).await;
    let resold = cluster.simulator.ssl_purchase("demo");
    resold
        .configure(json!({
            "resellers": {"rp-4711": {"apiKey": "changeme"}},
            "plans": [{"name": "Positive SSL"}],
            "states": [{"state": "pending", "seconds": 8}, {"state": "active"}],
            "validation": {"how": "after", "seconds": 8},
        }))
        .await;
    let roots = [free.root_pem().await, resold.root_pem().await, paid.root_pem().await].concat();
    cluster.simulator.tls_root().to_owned() + &roots
}

/// A home with the sources in it, and the programs that readers have.
fn home(cluster: &Cluster) -> TempDir {
    let home = tempfile::tempdir().expect("a directory");
    let link = |what: &Path, name: &str| {
        std::os::unix::fs::symlink(what, home.path().join(name)).expect("a link");
    };
    for directory in ["bin", "chancery"] {
        std::fs::create_dir(home.path().join(directory)).expect("a directory");
    }
    for entry in std::fs::read_dir(root()).expect("the sources") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("text");
        if name != "target" && !name.starts_with('.') {
            link(&entry.path(), &format!("chancery/{name}"));
        }
    }
    let kubectl = PathBuf::from(cluster.plane.kubectl_command().get_program());
    link(&kubectl, "bin/kubectl");
    link(helm::program(), "bin/helm");
    link(&program("chancery"), "bin/chancery");
    std::fs::copy(cluster.plane.kubeconfig(), home.path().join("kubeconfig")).expect("a copy");
    home
}
