//! What `pki` writes is read by OpenSSL, and what OpenSSL writes is read by `pki`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "openssl judges by the real time, and a test that cannot go on has failed"
)]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use chancery::pki::certificate::parse_pem;
use chancery::pki::chain::{self, Expected, Unfit, VerifiedChain};
use chancery::pki::key::Error as KeyError;
use chancery::pki::{Certificate, KeyKind, Names, PrivateKey, csr};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

/// A directory in which OpenSSL runs.
struct Bench(TempDir);

impl Bench {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Runs `openssl` with the words of `arguments`, and returns what it prints.
    fn openssl(&self, arguments: &str) -> Vec<u8> {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        output.stdout
    }

    fn openssl_text(&self, arguments: &str) -> String {
        String::from_utf8(self.openssl(arguments)).unwrap()
    }

    fn certificate(&self, name: &str) -> Certificate {
        let [certificate] = <[_; 1]>::try_from(parse_pem(&self.read(name)).unwrap()).unwrap();
        certificate
    }

    /// Makes a version 1 root with serial number 0, an intermediate, and a leaf whose key is in
    /// `leaf.key`. The leaf is signed with `digest`.
    fn build_chain(&self, digest: &str) {
        self.openssl(
            "req -new -newkey rsa:2048 -nodes -keyout root.key -out root.csr -subj /CN=Root",
        );
        self.openssl(
            "x509 -req -in root.csr -signkey root.key -set_serial 0 -days 9 -out root.pem",
        );
        self.write("ca.ext", "basicConstraints=critical,CA:TRUE");
        self.openssl("req -new -newkey rsa:2048 -nodes -keyout ca.key -out ca.csr -subj /CN=Inter");
        self.openssl(
            "x509 -req -in ca.csr -CA root.pem -CAkey root.key -set_serial 1 -days 9 \
             -extfile ca.ext -out ca.pem",
        );
        self.write("leaf.ext", "subjectAltName=DNS:a.example.org");
        self.openssl(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key \
             -out leaf.csr -subj /DC=https:\\/\\/ca.example.org\\/x/O=A,B/CN=a.example.org",
        );
        self.openssl(&format!(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key \
             -set_serial 0x7ffffffffffffffffffffffffffffffffffffffffffffffffffff -days 9 \
             -{digest} -extfile leaf.ext -out leaf.pem"
        ));
    }

    fn verify_chain(&self) -> Result<VerifiedChain, Unfit> {
        let key = PrivateKey::from_pem(&self.read("leaf.key")).unwrap();
        let expected = Expected {
            spki_der: key.spki_der(),
            names: &names(Some("a.example.org"), &["a.example.org"]),
            anchors: &[self.certificate("root.pem")],
            further_intermediates: &[],
            now: Timestamp::now(),
        };
        let received = [self.certificate("ca.pem"), self.certificate("leaf.pem")];
        chain::verify(&received, &expected)
    }
}

fn names(common_name: Option<&str>, dns_names: &[&str]) -> Names {
    Names {
        common_name: common_name.map(str::to_owned),
        dns_names: dns_names.iter().map(|&name| name.to_owned()).collect(),
    }
}

#[test]
fn openssl_reads_our_keys_and_verifies_our_requests() {
    let bench = Bench::new();
    for kind in KeyKind::all() {
        let key = PrivateKey::generate(kind).unwrap();
        bench.write("key.pem", key.to_pkcs8_pem().expose_secret());
        let spki = bench.openssl("pkey -in key.pem -pubout -outform DER");
        assert_eq!(spki, key.spki_der(), "{kind}");
        bench.openssl("pkey -in key.pem -check -noout");

        let asked = names(Some("a.example.org"), &["a.example.org", "*.example.org"]);
        bench.write("csr.pem", csr::to_pem(&csr::build(&key, &asked).unwrap()));
        let text = bench.openssl_text("req -in csr.pem -verify -noout -text");
        let algorithm = match kind {
            KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => "sha256WithRSAEncryption",
            KeyKind::EcdsaP256 => "ecdsa-with-SHA256",
            KeyKind::EcdsaP384 => "ecdsa-with-SHA384",
        };
        assert!(text.contains(&format!("Signature Algorithm: {algorithm}")));
        assert!(text.contains("Subject: CN = a.example.org"), "{text}");
        assert!(text.contains("DNS:a.example.org, DNS:*.example.org"));
    }
}

#[test]
fn openssl_verifies_requests_without_subject_or_without_alternative_names() {
    let bench = Bench::new();
    let key = PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
    for asked in [names(None, &["a.example.org"]), names(Some("x"), &[])] {
        bench.write("csr.der", csr::build(&key, &asked).unwrap());
        let text = bench.openssl_text("req -inform DER -in csr.der -verify -noout -text");
        assert_eq!(text.contains("Alternative Name"), asked.common_name.is_none());
    }
}

#[test]
fn keys_in_every_form_that_openssl_writes_are_read() {
    let bench = Bench::new();
    let cases = [
        ("genrsa -traditional -out key.pem 2048", KeyKind::Rsa2048),
        ("genrsa -traditional -out key.pem 3072", KeyKind::Rsa3072),
        ("genrsa -out key.pem 2048", KeyKind::Rsa2048),
        ("ecparam -name prime256v1 -genkey -out key.pem", KeyKind::EcdsaP256),
        ("ecparam -name secp384r1 -genkey -noout -out key.pem", KeyKind::EcdsaP384),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem", KeyKind::EcdsaP256),
    ];
    for (command, kind) in cases {
        bench.openssl(command);
        let key = PrivateKey::from_pem(&bench.read("key.pem")).unwrap();
        assert_eq!(key.kind(), kind, "{command}");
        let spki = bench.openssl("pkey -in key.pem -pubout -outform DER");
        assert_eq!(spki, key.spki_der(), "{command}");
        let ours = key.to_pkcs8_pem();
        bench.write("ours.pem", ours.expose_secret());
        let ours_spki = bench.openssl("pkey -in ours.pem -pubout -outform DER");
        assert_eq!(ours_spki, spki, "{command}");
        let pkcs8 = bench.openssl("pkcs8 -topk8 -nocrypt -in key.pem");
        assert_eq!(ours.expose_secret().as_bytes(), pkcs8, "{command}");
    }
}

#[test]
fn keys_that_cannot_be_used_are_told_apart() {
    let bench = Bench::new();
    let unsupported = |found| KeyError::Unsupported { found };
    let cases = [
        ("genrsa -traditional -out key.pem 1024", unsupported("RSA keys shorter than 2048 bits")),
        ("genrsa -out key.pem 1024", unsupported("RSA keys shorter than 2048 bits")),
        ("genrsa -out key.pem 2560", unsupported("RSA keys of this size")),
        ("genrsa -aes256 -passout pass:secret -out key.pem 2048", KeyError::Encrypted),
        ("genrsa -traditional -aes256 -passout pass:secret -out key.pem 2048", KeyError::Encrypted),
        ("ecparam -name secp521r1 -genkey -noout -out key.pem", unsupported("ECDSA P-521 keys")),
        ("ecparam -name secp256k1 -genkey -noout -out key.pem", KeyError::Malformed),
        ("genpkey -algorithm ED25519 -out key.pem", unsupported("Ed25519 keys")),
    ];
    for (command, expected) in cases {
        bench.openssl(command);
        let error = PrivateKey::from_pem(&bench.read("key.pem")).unwrap_err();
        assert_eq!(error, expected, "{command}");
    }
}

#[test]
fn openssl_agrees_on_a_chain_with_a_version_1_root_whose_serial_number_is_0() {
    let bench = Bench::new();
    bench.build_chain("sha256");
    let root = bench.certificate("root.pem");
    assert!(root.is_ca() && root.is_self_issued());
    assert_eq!(root.serial_number(), "00");
    let text = bench.openssl_text("x509 -in root.pem -noout -text");
    assert!(text.contains("Version: 1"), "{text}");

    let chain = bench.verify_chain().unwrap();
    assert_eq!(chain.intermediates, [bench.certificate("ca.pem")]);
    bench.write("tls.crt", chain.tls_crt());
    bench.write("ca.crt", chain.ca_crt());
    bench.openssl("verify -CAfile ca.crt -untrusted tls.crt tls.crt");
}

#[test]
fn a_version_1_root_is_offered_for_pinning() {
    let bench = Bench::new();
    bench.build_chain("sha256");
    let key = PrivateKey::from_pem(&bench.read("leaf.key")).unwrap();
    let root = bench.certificate("root.pem");
    let received = ["leaf.pem", "ca.pem", "root.pem"].map(|name| bench.certificate(name));
    let expected = Expected {
        spki_der: key.spki_der(),
        names: &Names::default(),
        anchors: &[],
        further_intermediates: &[],
        now: Timestamp::now(),
    };
    let pin = Some(root);
    assert_eq!(chain::verify(&received, &expected), Err(Unfit::NoAnchors { pin }));
}

#[test]
fn a_sha1_signature_is_refused() {
    let bench = Bench::new();
    bench.build_chain("sha1");
    let unfit = bench.verify_chain().unwrap_err();
    assert!(unfit.to_string().contains("such as SHA-1"), "{unfit}");
}

#[test]
fn openssl_shows_a_certificate_as_we_do() {
    let bench = Bench::new();
    bench.build_chain("sha256");
    let leaf = bench.certificate("leaf.pem");
    let shown = |what: &str| {
        let arguments = format!("x509 -in leaf.pem -noout -nameopt RFC2253 {what}");
        let text = bench.openssl_text(&arguments);
        text.trim_end().split_once('=').unwrap().1.to_owned()
    };
    assert_eq!(leaf.serial_number(), shown("-serial"));
    assert_eq!(leaf.subject(), shown("-subject"));
    assert_eq!(leaf.subject(), "CN=a.example.org,O=A\\,B,DC=https://ca.example.org/x");
    assert_eq!(leaf.issuer(), shown("-issuer"));
    let fingerprint = shown("-fingerprint -sha256").replace(':', "");
    assert_eq!(leaf.fingerprint_sha256().to_uppercase(), fingerprint);
    assert_eq!(leaf.to_pem().as_bytes(), bench.read("leaf.pem"));
}

#[test]
fn files_as_openssl_writes_them_are_read() {
    let bench = Bench::new();
    bench.build_chain("sha256");
    let leaf = bench.certificate("leaf.pem");
    bench.openssl("x509 -in leaf.pem -text -out text.pem");
    assert_eq!(bench.certificate("text.pem"), leaf);
    bench.openssl("x509 -in leaf.pem -trustout -addtrust serverAuth -out trusted.pem");
    let trusted = String::from_utf8(bench.read("trusted.pem")).unwrap();
    assert!(trusted.contains("BEGIN TRUSTED CERTIFICATE"));
    assert_eq!(bench.certificate("trusted.pem"), leaf);
    bench.openssl(
        "pkcs12 -export -in leaf.pem -inkey leaf.key -certfile ca.pem -passout pass:x -out all.p12",
    );
    bench.openssl("pkcs12 -in all.p12 -passin pass:x -nodes -out all.pem");
    let expected = vec![leaf, bench.certificate("ca.pem")];
    assert_eq!(parse_pem(&bench.read("all.pem")), Ok(expected));
}

/// Runs in a process of its own, started by the tests below with `SSL_CERT_FILE` set.
#[test]
#[ignore = "started by other tests"]
fn print_the_system_roots() {
    match chancery::pki::system_roots() {
        Ok(roots) => println!("roots {}", roots.len()),
        Err(error) => println!("error {error}"),
    }
}

fn system_roots_with(file: PathBuf) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "print_the_system_roots"])
        .env("SSL_CERT_FILE", file)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn system_roots_are_taken_from_ssl_cert_file_without_those_that_are_unreadable() {
    let bench = Bench::new();
    bench.build_chain("sha256");
    let unreadable = "-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n";
    let root = String::from_utf8(bench.read("root.pem")).unwrap();
    bench.write("roots.pem", format!("{root}{unreadable}{root}"));
    let printed = system_roots_with(bench.path("roots.pem"));
    assert!(printed.contains("roots 1"), "{printed}");
}

#[test]
fn no_system_roots_is_an_error_that_names_the_file() {
    let bench = Bench::new();
    let printed = system_roots_with(bench.path("nowhere.pem"));
    assert!(printed.contains("error the system trust store"), "{printed}");
    assert!(printed.contains("nowhere.pem: No such file"), "{printed}");
    bench.write("empty.pem", "");
    let printed = system_roots_with(bench.path("empty.pem"));
    assert!(printed.contains("no readable root certificate; install"), "{printed}");
}
