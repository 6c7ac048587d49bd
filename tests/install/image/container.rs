//! A container of an image, by runc, as a kubelet would start it from the rendered Deployment.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::layout::Layout;
use super::names::Names;
use crate::installed::Cluster;
use crate::support::operator::Operator;
use crate::support::process::Process;

/// What a kubelet gives to a pod of the Deployment.
pub(super) struct Pod {
    /// The pod's part of the Deployment.
    spec: Value,
    environment: Vec<String>,
    /// What is mounted where the account's token is expected.
    account: TempDir,
    /// What is mounted as `/etc/resolv.conf`.
    names: String,
    address: String,
}

impl Pod {
    pub(super) fn of(cluster: &Cluster, names: &Names) -> Self {
        let spec = cluster.deployment()["spec"]["template"]["spec"].clone();
        let kubeconfig = std::fs::read_to_string(cluster.account()).expect("a kubeconfig");
        let kubeconfig: Value = serde_yaml::from_str(&kubeconfig).expect("YAML");
        let server = &kubeconfig["clusters"][0]["cluster"];
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let account = tempfile::tempdir().expect("a directory");
        let give = |name: &str, content: String| {
            let path = account.path().join(name);
            std::fs::write(&path, content).expect("writes");
            allow(&path, 0o644);
        };
        give("token", text(&kubeconfig["users"][0]["user"]["token"]));
        give("namespace", "chancery".to_owned());
        let root = text(&server["certificate-authority"]);
        give("ca.crt", std::fs::read_to_string(root).expect("the cluster's root"));
        allow(account.path(), 0o755);
        let url = url::Url::parse(&text(&server["server"])).expect("an address");
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let address = port.local_addr().expect("an address").to_string();
        let mut environment = vec![
            format!("KUBERNETES_SERVICE_HOST={}", url.host_str().expect("a host")),
            format!("KUBERNETES_SERVICE_PORT={}", url.port().expect("a port")),
            // All containers of these tests share the network of this machine.
            format!("CHANCERY_HTTP_ADDRESS={address}"),
        ];
        let said = cluster.environment().into_iter();
        environment.extend(said.map(|(name, value)| format!("{name}={value}")));
        let names = format!("nameserver {}\n", names.address);
        Self { spec, environment, account, names, address }
    }

    /// What the Deployment has it do.
    pub(super) fn args(&self) -> Vec<&str> {
        let args = self.spec["containers"][0]["args"].as_array().expect("arguments");
        args.iter().map(|arg| arg.as_str().expect("a text")).collect()
    }
}

pub(super) struct Container {
    /// What is in it.
    pub(super) operator: Operator,
    name: String,
    bundle: TempDir,
    /// Its root file system.
    _tree: TempDir,
}

impl Container {
    /// Starts one. What the pod and the container may do is as the Deployment says.
    pub(super) fn start(image: &Layout, pod: &Pod, args: &[&str]) -> Self {
        let has_runc = Command::new("runc").arg("--version").output().is_ok();
        assert!(has_runc, "runc is missing: apt-get install -y runc");
        let (tree, bundle) = (image.unpacked(), tempfile::tempdir().expect("a directory"));
        let names = bundle.path().join("resolv.conf");
        std::fs::write(&names, &pod.names).expect("writes");
        allow(&names, 0o644);
        allow(tree.path(), 0o755);
        let name = bundle.path().file_name().expect("a name").to_string_lossy();
        let name = format!("chancery-{}", name.trim_start_matches('.'));
        let config = config(image, pod, args, tree.path(), &names, &name).to_string();
        std::fs::write(bundle.path().join("config.json"), config).expect("writes");
        let state = format!("--root={}", bundle.path().join("state").display());
        let bundled = format!("--bundle={}", bundle.path().display());
        let run = [&state, "run", &bundled, &name];
        let process = Process::start(bundle.path(), "runc", Path::new("runc"), run, &[]);
        let operator = Operator::at(pod.address.clone(), process);
        Self { operator, name, bundle, _tree: tree }
    }

    /// Ends it as a kubelet does.
    pub(super) fn stop(&mut self) -> Option<i32> {
        self.operator.process.signal("TERM");
        self.operator.process.wait(Duration::from_secs(60))
    }

    /// What the kernel says of the process in it.
    pub(super) fn status(&self) -> BTreeMap<String, String> {
        let state = self.runc(&["state", &self.name]);
        let state: Value = serde_json::from_slice(&state).expect("JSON");
        let status = std::fs::read_to_string(format!("/proc/{}/status", state["pid"]));
        let status = status.expect("it runs");
        let pairs = status.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
    }

    fn runc(&self, args: &[&str]) -> Vec<u8> {
        let mut runc = Command::new("runc");
        let runc = runc.arg("--root").arg(self.bundle.path().join("state"));
        runc.args(args).output().expect("runc starts").stdout
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.runc(&["delete", "--force", &self.name]);
    }
}

fn allow(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

/// What runc is told (the OCI runtime specification).
fn config(
    image: &Layout,
    pod: &Pod,
    args: &[&str],
    tree: &Path,
    names: &Path,
    name: &str,
) -> Value {
    let (of_pod, container) = (&pod.spec["securityContext"], &pod.spec["containers"][0]);
    let of_container = &container["securityContext"];
    // Only what is dropped is known here, and it is all there is.
    assert_eq!(of_container["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(of_pod["runAsNonRoot"], true);
    let none = json!([]);
    let mount = |at: &str, kind: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": kind, "options": options});
    let give = |at: &str, from: &Path| json!({"destination": at, "type": "bind", "source": from, "options": ["bind", "ro", "nosuid", "nodev", "noexec"]});
    let entrypoint = image.config["config"]["Entrypoint"].as_array().expect("a program").iter();
    let args = entrypoint.filter_map(Value::as_str).chain(args.iter().copied());
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": tree, "readonly": of_container["readOnlyRootFilesystem"]},
        "process": {
            "user": {"uid": of_pod["runAsUser"], "gid": of_pod["runAsGroup"]},
            "args": args.collect::<Vec<_>>(),
            "env": pod.environment,
            "cwd": image.config["config"]["WorkingDir"],
            "noNewPrivileges": of_container["allowPrivilegeEscalation"] == false,
            "capabilities": {
                "bounding": none, "effective": none, "permitted": none, "inheritable": none,
                "ambient": none,
            },
        },
        "mounts": [
            mount("/proc", "proc", &["nosuid", "nodev", "noexec"]),
            mount("/dev", "tmpfs", &["nosuid", "noexec", "mode=755", "size=64k"]),
            give("/etc/resolv.conf", names),
            give("/var/run/secrets/kubernetes.io/serviceaccount", pod.account.path()),
        ],
        // The network is this machine's: the API server and the CA of the tests listen to loopback.
        "linux": {
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
            "cgroupsPath": format!("/{name}"),
            "resources": {"memory": {"limit": bytes(&container["resources"]["limits"]["memory"])}},
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
        },
    })
}

/// An amount of memory, such as `256Mi`.
fn bytes(quantity: &Value) -> u64 {
    let mebibytes = quantity.as_str().and_then(|text| text.strip_suffix("Mi"));
    mebibytes.and_then(|number| number.parse::<u64>().ok()).expect("mebibytes") << 20
}
