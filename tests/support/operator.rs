//! The operator as users run it: its own process, its own ServiceAccount, the shipped RBAC.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::control_plane::ControlPlane;
use super::process::Process;
use super::program;

/// All definitions, for `kubectl`.
pub const DEFINITIONS: [&str; 6] = [
    "-f",
    "crds/certificaterequests.yaml",
    "-f",
    "crds/issuers.yaml",
    "-f",
    "crds/clusterissuers.yaml",
];

/// Puts definitions and RBAC into the cluster, as the README says.
pub fn install(plane: &ControlPlane) {
    plane.kubectl(["apply", "-k", "deploy"]).expect("kubectl apply -k deploy");
    let established = ["wait", "--for=condition=Established", "--timeout=30s"];
    let established = [&established[..], &DEFINITIONS].concat();
    plane.kubectl(established).expect("the definitions are established");
    // What is established is not served in the same moment.
    plane.wait_until_it_serves();
}

/// A running operator.
pub struct Operator {
    pub process: Process,
    address: String,
}

impl Operator {
    /// Starts it and waits until it acts: ready, and holder of the lease.
    pub fn start(plane: &ControlPlane, env: &[(&str, &str)]) -> Self {
        let operator = Self::spawn(plane, &program("chancery"), env);
        operator.wait_until_ready();
        operator.wait_until_it_acts();
        operator
    }

    /// Starts a program as the operator without waiting.
    pub fn spawn(plane: &ControlPlane, program: &Path, env: &[(&str, &str)]) -> Self {
        let kubeconfig: PathBuf = plane.kubeconfig_of("chancery", "chancery");
        Self::spawn_as(&kubeconfig, plane.dir(), program, env)
    }

    /// Starts a program as whoever `kubeconfig` speaks as, with its log in `dir`.
    pub fn spawn_as(kubeconfig: &Path, dir: &Path, program: &Path, env: &[(&str, &str)]) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a loopback port")
            .port();
        let address = format!("127.0.0.1:{port}");
        let name = format!("operator-{port}");
        let kubeconfig = kubeconfig.display().to_string();
        let mut all = vec![
            ("KUBECONFIG", kubeconfig.as_str()),
            ("CHANCERY_HTTP_ADDRESS", address.as_str()),
            // The CAs of the tests are on this machine.
            ("CHANCERY_TENANT_ISSUERS_MAY_REACH", "loopback"),
            // For documentation (RFC 5737 and RFC 3849): nobody is there.
            ("CHANCERY_CLUSTER_NETWORKS", "203.0.113.0/24,2001:db8:1::/48"),
        ];
        all.extend_from_slice(env);
        let process = Process::start(dir, &name, program, ["operator"], &all);
        Self { process, address }
    }

    /// One that was started in another way, with its own pages at `address`.
    pub fn at(address: String, process: Process) -> Self {
        Self { process, address }
    }

    /// Waits until it has seen the cluster.
    pub fn wait_until_ready(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if self.get("/readyz").is_some_and(|(status, _)| status == 200) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the operator did not become ready:\n{}", self.process.log());
    }

    /// Waits until it holds the lease. One that was killed before it leaves its own behind.
    pub fn wait_until_it_acts(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if self.acts() == Some(true) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the operator did not get the lease:\n{}", self.process.log());
    }

    /// Waits until its log says so; what it says instead is told where it never does.
    pub fn wait_until_it_says(&self, text: &str) {
        let until = Instant::now() + Duration::from_secs(60);
        while !self.process.log().contains(text) {
            assert!(Instant::now() < until, "it never said {text:?}:\n{}", self.process.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether it says that it acts, where it says anything.
    pub fn acts(&self) -> Option<bool> {
        let (_, page) = self.get("/metrics")?;
        page.lines()
            .find_map(|line| line.strip_prefix("chancery_leader "))
            .map(|value| value == "1")
    }

    /// Where its own pages are.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// One of its own pages: status and body.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
        Some((status, body))
    }
}
