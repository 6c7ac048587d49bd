//! The three stacks that most TLS clients are built on, as judges of what is delivered: rustls, OpenSSL
//! and Go.
//!
//! rustls judges in this process, OpenSSL in one of its own, which takes some milliseconds. Go is asked
//! where those two disagree: its judge is built first, once, where a compiler is installed.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each user of this module takes what it needs, and some have it among others"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use chancery::pki::{Certificate, parse_pem};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// What a judge says: nothing, or why not.
pub type Verdict = Result<(), String>;

/// What is delivered, in the two texts of a Secret.
pub struct Delivered<'a> {
    pub tls_crt: &'a str,
    pub ca_crt: &'a str,
    /// The time in seconds, as clients have it.
    pub now: i64,
}

impl Delivered<'_> {
    /// Panics unless two of the judges accept it.
    pub fn accepted(&self, what: &str) {
        let (rustls, openssl) = (self.by_rustls(), self.by_openssl());
        if rustls.is_ok() && openssl.is_ok() {
            return;
        }
        let go = self.by_go();
        let accepting = [Some(&rustls), Some(&openssl), go.as_ref()].into_iter().flatten();
        let accepting = accepting.filter(|verdict| verdict.is_ok()).count();
        assert!(
            accepting >= 2,
            "{what} was delivered; rustls: {rustls:?}, OpenSSL: {openssl:?}, Go: {go:?}"
        );
    }

    fn leaf(&self) -> Certificate {
        let chain = parse_pem(self.tls_crt.as_bytes()).expect("a chain in PEM");
        chain.into_iter().next().expect("a leaf")
    }

    /// By what name a server with this certificate is called. One without is shown as a client's.
    fn name(&self) -> Option<String> {
        let leaf = self.leaf();
        let host = leaf.dns_names().first().map(|name| match name.strip_prefix("*.") {
            Some(domain) => format!("www.{domain}"),
            None => name.clone(),
        });
        host.or_else(|| leaf.ip_addresses().first().map(ToString::to_string))
    }

    pub fn by_rustls(&self) -> Verdict {
        let read = |text: &str| parse_pem(text.as_bytes()).map_err(|error| error.to_string());
        let (chain, roots) = (read(self.tls_crt)?, read(self.ca_crt)?);
        let ders = |certificates: &[Certificate]| -> Vec<CertificateDer<'static>> {
            certificates.iter().map(|one| one.der().to_vec().into()).collect()
        };
        let (chain, roots) = (ders(&chain), ders(&roots));
        let (leaf, intermediates) = chain.split_first().ok_or("no leaf")?;
        let leaf = webpki::EndEntityCert::try_from(leaf).map_err(|error| format!("{error:?}"))?;
        let anchors: Vec<_> =
            roots.iter().filter_map(|root| webpki::anchor_from_trusted_cert(root).ok()).collect();
        let name = self.name();
        let usage = match name {
            Some(_) => webpki::KeyUsage::server_auth(),
            None => webpki::KeyUsage::client_auth(),
        };
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now.unsigned_abs()));
        leaf.verify_for_usage(
            webpki::ALL_VERIFICATION_ALGS,
            &anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        )
        .map_err(|error| format!("{error:?}"))?;
        let Some(name) = name else { return Ok(()) };
        let name = ServerName::try_from(name.as_str()).map_err(|error| error.to_string())?;
        leaf.verify_is_valid_for_subject_name(&name).map_err(|error| format!("{error:?}"))
    }

    pub fn by_openssl(&self) -> Verdict {
        let files = self.files();
        let mut openssl = Command::new("openssl");
        // A pinned intermediate is an anchor too.
        openssl.args(["verify", "-partial_chain", "-attime", &self.now.to_string()]);
        openssl.args(["-purpose", if self.name().is_some() { "sslserver" } else { "sslclient" }]);
        if let Some(name) = self.name() {
            let is_address = name.parse::<std::net::IpAddr>().is_ok();
            openssl.args([if is_address { "-verify_ip" } else { "-verify_hostname" }, &name]);
        }
        openssl.args(["-no-CApath", "-CAfile", "ca.crt", "-untrusted", "tls.crt", "tls.crt"]);
        said(openssl.current_dir(files.path()))
    }

    /// `None` where there is no Go.
    pub fn by_go(&self) -> Option<Verdict> {
        static JUDGE: OnceLock<Option<PathBuf>> = OnceLock::new();
        let judge = JUDGE.get_or_init(built).as_ref()?;
        let files = self.files();
        let mut go = Command::new(judge);
        go.args(["tls.crt", "ca.crt", &self.now.to_string()]);
        go.arg(if self.name().is_some() { "server" } else { "client" });
        go.args(self.name());
        Some(said(go.current_dir(files.path())))
    }

    fn files(&self) -> tempfile::TempDir {
        let files = tempfile::tempdir().expect("a directory");
        for (name, text) in [("tls.crt", self.tls_crt), ("ca.crt", self.ca_crt)] {
            std::fs::write(files.path().join(name), text).expect("a file");
        }
        files
    }
}

fn said(judge: &mut Command) -> Verdict {
    let output = judge.output().expect("the judge is installed");
    let words = [output.stdout, output.stderr].concat();
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&words).into())
}

/// Go's judge, from `tests/support/judge`. Several processes may build it at once.
fn built() -> Option<PathBuf> {
    Command::new("go").arg("version").output().ok().filter(|output| output.status.success())?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = root.join("target/judge");
    std::fs::create_dir_all(&place).expect("a directory");
    let (own, judge) = (place.join(format!("judge-{}", std::process::id())), place.join("judge"));
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&own).arg(".").current_dir(root.join("tests/support/judge"));
    said(go.env("GOTOOLCHAIN", "local")).expect("the judge is built");
    std::fs::rename(&own, &judge).expect("the judge is in its place");
    Some(judge)
}
