//! A real kube-apiserver with etcd and the garbage and namespace controllers, on loopback ports of
//! its own.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::process::{Process, fed};
use super::root;

/// A running control plane; it ends when this is dropped.
pub struct ControlPlane {
    // Dropped in this order: the API server before its store, the directory last.
    _controllers: Option<Process>,
    api_server: Mutex<Process>,
    etcd: Mutex<Process>,
    assets: PathBuf,
    api_server_args: Vec<String>,
    etcd_args: Vec<String>,
    url: String,
    dir: TempDir,
}

const ADMIN_TOKEN: &str = "admin-of-a-test";
/// Far longer than an API server needs to start, also on a machine that builds something else.
const PATIENCE: Duration = Duration::from_secs(180);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);
/// Where our kinds and what they need are listed.
const OURS: [&str; 4] = [
    "/apis/chancery.dev/v1alpha1/certificaterequests",
    "/apis/chancery.dev/v1alpha1/clusterissuers",
    "/apis/chancery.dev/v1alpha1/issuers",
    "/api/v1/secrets",
];

impl ControlPlane {
    /// Builds what is missing (with a progress line, once), and starts everything.
    pub fn start() -> Self {
        Self::start_with(assets(&[]), true, &[])
    }

    /// The same, with more arguments for the API server.
    pub fn start_with_arguments(arguments: &[&str]) -> Self {
        Self::start_with(assets(&[]), true, arguments)
    }

    /// The same without the controllers: nothing changes but what is asked for.
    pub fn start_without_controllers() -> Self {
        Self::start_with(assets(&[]), false, &[])
    }

    /// What the demo needs, and no more: it is built sooner.
    pub fn start_for_demo() -> Self {
        Self::start_with(assets(&["demo"]), false, &[])
    }

    fn start_with(assets: PathBuf, has_controllers: bool, arguments: &[&str]) -> Self {
        let dir = tempfile::Builder::new().prefix("chancery-").tempdir().expect("a directory");
        let at = dir.path();
        prepare(at);
        let (etcd_port, port) = (free_port(), free_port());
        let etcd_url = format!("http://127.0.0.1:{etcd_port}");
        let etcd_args = etcd_args(at, &etcd_url);
        let etcd = Mutex::new(Process::start(at, "etcd", &assets.join("etcd"), &etcd_args, &[]));
        let mut api_server_args = api_server_args(at, &etcd_url, port);
        api_server_args.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let api_server = Mutex::new(start_api_server(at, &assets, &api_server_args));
        let url = format!("https://127.0.0.1:{port}");
        let kubeconfig = at.join("admin.kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_for(at, &url, ADMIN_TOKEN, "admin"))
            .expect("writes");
        janitor(at);
        let mut plane = Self {
            _controllers: None,
            api_server,
            etcd,
            assets,
            api_server_args,
            etcd_args,
            url,
            dir,
        };
        plane.wait_until_ready();
        // They wait ten seconds for an API server and then end, which nobody would notice.
        plane._controllers = has_controllers.then(|| {
            let program = plane.assets.join("kube-controller-manager");
            let args = controller_args(plane.dir(), &kubeconfig);
            Process::start(plane.dir(), "kube-controller-manager", &program, args, &[])
        });
        plane
    }

    /// Where logs, keys and the audit log are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kubeconfig of the administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir().join("admin.kubeconfig")
    }

    /// `kubectl` as the administrator, ready for arguments.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.assets.join("kubectl"));
        command.env("KUBECONFIG", self.kubeconfig()).current_dir(root());
        // Its cache of the API's resources would be shared between control planes.
        command.arg(format!("--cache-dir={}", self.dir().join("kubectl-cache").display()));
        command
    }

    /// Runs `kubectl`: what it printed, or what it complained about.
    pub fn kubectl<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Result<String, String> {
        let output = self.kubectl_command().args(args).output().expect("kubectl starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Applies one object as controllers do: what it says is so afterwards, the rest stays.
    pub fn put(&self, object: serde_json::Value) -> Result<(), String> {
        self.ask(async move |client| {
            let at = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
            let (version, kind) = (&object["apiVersion"], &object["kind"]);
            let version = version.as_str().unwrap_or_default();
            let root = if version.contains('/') { "apis" } else { "api" };
            let plural = format!("{}s", kind.as_str().unwrap_or_default().to_lowercase());
            let place = match at("namespace") {
                none if none.is_empty() => String::new(),
                namespace => format!("namespaces/{namespace}/"),
            };
            let path = format!(
                "/{root}/{version}/{place}{plural}/{}?fieldManager=test&force=true",
                at("name")
            );
            let request = http::Request::patch(path)
                .header("content-type", "application/apply-patch+yaml")
                .body(object.to_string().into_bytes())
                .expect("a request");
            client.request_text(request).await.map(drop).map_err(|error| error.to_string())
        })
    }

    /// Applies YAML as users do.
    pub fn apply(&self, yaml: &str) -> Result<String, String> {
        self.kubectl_stdin(&["apply", "-f", "-"], yaml)
    }

    /// Runs `kubectl` with something on its standard input.
    pub fn kubectl_stdin(&self, args: &[&str], input: &str) -> Result<String, String> {
        fed(self.kubectl_command().args(args), input)
    }

    /// A kubeconfig that speaks as a ServiceAccount, with a token of the real token API.
    pub fn kubeconfig_of(&self, namespace: &str, service_account: &str) -> PathBuf {
        let wanted = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(43_200), ..Default::default() },
            ..Default::default()
        };
        let (name, namespace) = (service_account.to_owned(), namespace.to_owned());
        let path = self.dir().join(format!("{namespace}-{name}.kubeconfig"));
        let answer = self.ask(async move |client| {
            let accounts: Api<ServiceAccount> = Api::namespaced(client, &namespace);
            accounts.create_token_request(&name, &PostParams::default(), &wanted).await
        });
        let status = answer.expect("a token").status.expect("a token");
        let text = kubeconfig_for(self.dir(), &self.url, &status.token, service_account);
        // Another test may be reading the one before.
        let mut fresh = tempfile::NamedTempFile::new_in(self.dir()).expect("a file");
        fresh.write_all(text.as_bytes()).expect("writes");
        fresh.persist(&path).expect("takes its place");
        path
    }

    /// Asks the API server as the administrator, from where nothing can be awaited. A tenth of what
    /// starting `kubectl` costs.
    pub fn ask<T: Send + 'static, F: Future<Output = T>>(
        &self,
        question: impl FnOnce(kube::Client) -> F + Send + 'static,
    ) -> T {
        let kubeconfig = self.kubeconfig();
        let asker = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
            runtime.block_on(async { question(client(&kubeconfig).await).await })
        });
        asker.join().expect("an answer")
    }

    /// Whether `path` is answered, and not with an error.
    fn serves(&self, path: &str) -> Result<(), String> {
        let request = http::Request::get(path).body(Vec::new()).expect("a request");
        self.ask(async move |client| match client.request_text(request).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        })
    }

    /// A client as the administrator.
    pub async fn client(&self) -> kube::Client {
        client(&self.kubeconfig()).await
    }

    /// The audit log so far: one event per line.
    pub fn audit_log(&self) -> String {
        std::fs::read_to_string(self.dir().join("audit.log")).unwrap_or_default()
    }

    /// Ends the API server as a crash would. The store stays.
    pub fn kill_api_server(&self) {
        self.end_api_server("KILL");
    }

    /// Ends the API server by a signal: `TERM`, as an upgrade would, or `KILL`. The store stays.
    pub fn end_api_server(&self, signal: &str) {
        end(&self.api_server, signal);
    }

    /// Starts the API server again, as it was, and waits until it is ready.
    pub fn restart_api_server(&self) {
        let again = start_api_server(self.dir(), &self.assets, &self.api_server_args);
        *self.api_server.lock().expect("nobody failed with it") = again;
        self.wait_until_it_serves();
    }

    /// Ends the store as a crash would. Its data stay, and so does the API server.
    pub fn kill_etcd(&self) {
        end(&self.etcd, "KILL");
    }

    /// Starts the store again on its data, and waits until the API server serves from it.
    pub fn restart_etcd(&self) {
        self.start_etcd();
        self.wait_until_it_serves();
    }

    /// Starts both again, the store first.
    pub fn restart_both(&self) {
        self.start_etcd();
        self.restart_api_server();
    }

    fn start_etcd(&self) {
        let etcd = self.assets.join("etcd");
        let again = Process::start(self.dir(), "etcd", &etcd, &self.etcd_args, &[]);
        *self.etcd.lock().expect("nobody failed with it") = again;
    }

    /// Makes a backup of the store, for which it is away for a moment.
    pub fn back_up(&self) {
        self.kill_etcd();
        self.copy_store("etcd", "etcd-backup");
        self.restart_etcd();
    }

    /// Sets the cluster back to the last [`Self::back_up`].
    pub fn set_back(&self) {
        self.kill_api_server();
        self.kill_etcd();
        self.copy_store("etcd-backup", "etcd");
        self.restart_both();
    }

    fn copy_store(&self, from: &str, to: &str) {
        let (from, to) = (self.dir().join(from), self.dir().join(to));
        let _ = std::fs::remove_dir_all(&to);
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.expect("cp starts").success(), "the store is copied");
    }

    /// Waits until it serves our kinds.
    pub fn wait_until_it_serves(&self) {
        self.wait_until_ready();
        // Ready or not, it turns lists of custom resources away while it fills its own caches.
        let until = Instant::now() + PATIENCE;
        for path in OURS {
            while let Err(error) = self.serves(path) {
                assert!(Instant::now() < until, "the API server does not serve {path}: {error}");
                std::thread::sleep(BETWEEN_LOOKS);
            }
        }
    }

    fn wait_until_ready(&self) {
        let until = Instant::now() + PATIENCE;
        let mut last = String::new();
        while Instant::now() < until {
            match self.serves("/readyz") {
                Ok(()) => return,
                Err(error) => last = error,
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        panic!(
            "the API server did not become ready: {last}\n{}\n{}",
            tail(&self.api_server.lock().expect("nobody failed with it").log()),
            tail(&self.etcd.lock().expect("nobody failed with it").log())
        );
    }
}

/// A client of whoever the kubeconfig speaks as.
pub async fn client(kubeconfig: &Path) -> kube::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("our own kubeconfig");
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a usable kubeconfig");
    config.default_retry = false;
    kube::Client::try_from(config).expect("a client")
}

/// Directory with etcd, kube-apiserver, kube-controller-manager and kubectl.
fn assets(kind: &[&str]) -> PathBuf {
    let output = Command::new(root().join("tests/controlplane/build"))
        .args(kind)
        .stderr(Stdio::inherit())
        .output()
        .expect("tests/controlplane/build starts");
    assert!(output.status.success(), "tests/controlplane/build failed: see above");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}

/// A process that is asked to end is killed after this time: an API server would wait for a minute
/// for those who watch.
const FAREWELL: Duration = Duration::from_secs(5);

fn end(process: &Mutex<Process>, signal: &str) {
    let mut process = process.lock().expect("nobody failed with it");
    process.signal(signal);
    if process.wait(FAREWELL).is_none() {
        process.signal("KILL");
        process.wait(FAREWELL).expect("it is gone");
    }
}

fn start_api_server(at: &Path, assets: &Path, args: &[String]) -> Process {
    Process::start(at, "kube-apiserver", &assets.join("kube-apiserver"), args, &[])
}

/// Below the range from which the system takes ports for connections by itself: such a one may be
/// taken between this look and its use. Each process looks elsewhere first.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(31);
    loop {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        let port = 20_000 + u16::try_from(offset).expect("below 12,000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Removes the directory when this process is gone: what is kept in a static is never dropped.
fn janitor(at: &Path) {
    let child = Command::new("sh")
        .args(["-c", "cat > /dev/null; sleep 3; rm -rf -- \"$1\"", "janitor"])
        .arg(at)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    // Its end of the pipe closes with the process.
    std::mem::forget(child);
}

/// Keys, tokens and policies.
fn prepare(at: &Path) {
    let write = |name: &str, text: &str| std::fs::write(at.join(name), text).expect("writes");
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(vec![]).expect("no names");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "control plane of a test");
    let ca_certificate = ca.self_signed(&ca_key).expect("a CA");
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let server = rcgen::CertificateParams::new(names).expect("good names");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let certificate = server.signed_by(&key, &issuer).expect("a certificate");
    write("ca.crt", &ca_certificate.pem());
    write("server.crt", &certificate.pem());
    write("server.key", &key.serialize_pem());
    // The API server reads PKCS #8 for RSA keys only.
    let accounts =
        chancery::pki::PrivateKey::generate(chancery::pki::KeyKind::Rsa2048).expect("a key");
    write("service-accounts.key", accounts.to_pkcs8_pem().expose_secret());
    write("tokens.csv", &format!("{ADMIN_TOKEN},admin,admin,system:masters\n"));
    write(
        "audit-policy.yaml",
        "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n",
    );
}

fn kubeconfig_for(at: &Path, url: &str, token: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: test\nclusters: [{{name: test, cluster: {{server: \"{url}\", certificate-authority: \"{}\"}}}}]\nusers: [{{name: {user}, user: {{token: \"{token}\"}}}}]\ncontexts: [{{name: test, context: {{cluster: test, user: {user}}}}}]\n",
        at.join("ca.crt").display()
    )
}

fn etcd_args(at: &Path, url: &str) -> Vec<String> {
    let peer = format!("http://127.0.0.1:{}", free_port());
    [
        format!("--data-dir={}", at.join("etcd").display()),
        // Nothing here outlives the test.
        "--unsafe-no-fsync".to_owned(),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--log-level=warn".to_owned(),
        // One member elects itself; the defaults make it wait for others.
        "--heartbeat-interval=20".to_owned(),
        "--election-timeout=100".to_owned(),
    ]
    .into()
}

fn api_server_args(at: &Path, etcd: &str, port: u16) -> Vec<String> {
    let file = |name: &str| at.join(name).display().to_string();
    [
        format!("--etcd-servers={etcd}"),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        format!("--cert-dir={}", file("certs")),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("service-accounts.key")),
        format!("--service-account-signing-key-file={}", file("service-accounts.key")),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
    ]
    .into()
}

fn controller_args(at: &Path, kubeconfig: &Path) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    [
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--controllers=garbage-collector-controller,namespace-controller,serviceaccount-controller"
            .to_owned(),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        format!("--cert-dir={}", at.join("certs").display()),
    ]
    .into()
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
