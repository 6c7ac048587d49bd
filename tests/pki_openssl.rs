//! What `pki` writes is read by OpenSSL, and what OpenSSL writes is read by `pki`.

#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "openssl judges by the real time, and a test that cannot go on has failed"
)]

#[path = "pki_openssl/chains.rs"]
mod chains;
#[path = "pki_openssl/downloads.rs"]
mod downloads;
#[path = "support/judges.rs"]
mod judges;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use chancery::pki::certificate::parse_pem;
use chancery::pki::chain::{self, Expected, Unfit, VerifiedChain};
use chancery::pki::key::Error as KeyError;
use chancery::pki::names::{Attribute, AttributeType, Usage};
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
        ..Names::default()
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
            KeyKind::EcdsaP521 => "ecdsa-with-SHA512",
            KeyKind::Ed25519 => "ED25519",
        };
        assert!(text.contains(&format!("Signature Algorithm: {algorithm}")));
        assert!(text.contains("Subject: CN = a.example.org"), "{text}");
        assert!(text.contains("DNS:a.example.org, DNS:*.example.org"));
    }
}

/// The subject that OpenSSL is asked to show, one attribute of each type and two of some.
const SUBJECT: [(AttributeType, &str); 21] = [
    (AttributeType::DomainComponent, "org"),
    (AttributeType::DomainComponent, "example"),
    (AttributeType::Country, "CH"),
    (AttributeType::StateOrProvince, "Zürich"),
    (AttributeType::Locality, "Winterthur"),
    (AttributeType::PostalCode, "8400"),
    (AttributeType::Street, "Weg 1"),
    (AttributeType::Organization, "Müller & Söhne"),
    (AttributeType::OrganizationIdentifier, "VATCH-CHE-123.456.789"),
    (AttributeType::OrganizationalUnit, "one"),
    (AttributeType::OrganizationalUnit, "two"),
    (AttributeType::JurisdictionCountry, "CH"),
    (AttributeType::JurisdictionStateOrProvince, "Bern"),
    (AttributeType::JurisdictionLocality, "Thun"),
    (AttributeType::BusinessCategory, "Private Organization"),
    (AttributeType::SerialNumber, "42"),
    (AttributeType::Title, "Dr"),
    (AttributeType::Surname, "Muster"),
    (AttributeType::GivenName, "Eva"),
    (AttributeType::UserId, "eva"),
    (AttributeType::EmailAddress, "eva@example.org"),
];

/// Everything that can be asked for.
fn everything() -> Names {
    use Usage as U;
    let attribute = |(kind, value): (_, &str)| Attribute { kind, value: value.to_owned() };
    Names {
        subject: SUBJECT.map(attribute).into(),
        ip_addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        uris: vec!["spiffe://example.org/shop".to_owned()],
        email_addresses: vec!["shop@example.org".to_owned()],
        usages: vec![
            U::DigitalSignature,
            U::ContentCommitment,
            U::KeyEncipherment,
            U::DataEncipherment,
            U::KeyAgreement,
            U::EncipherOnly,
            U::DecipherOnly,
            U::Any,
            U::ServerAuth,
            U::ClientAuth,
            U::CodeSigning,
            U::EmailProtection,
            U::TimeStamping,
            U::OcspSigning,
            U::IpsecEndSystem,
            U::IpsecTunnel,
            U::IpsecUser,
        ],
        ..names(Some("shop.example.org"), &["shop.example.org", "Müller.example"])
    }
}

#[test]
fn openssl_shows_every_name_and_usage_that_was_asked_for() {
    let bench = Bench::new();
    let key = PrivateKey::generate(KeyKind::Ed25519).unwrap();
    bench.write("csr.pem", csr::to_pem(&csr::build(&key, &everything()).unwrap()));
    bench.openssl("req -in csr.pem -verify -noout");
    let subject = bench.openssl_text("req -in csr.pem -noout -subject -nameopt utf8,sep_multiline");
    let shown: Vec<&str> = subject.lines().skip(1).map(str::trim).collect();
    let expected = [
        "DC=org",
        "DC=example",
        "C=CH",
        "ST=Zürich",
        "L=Winterthur",
        "postalCode=8400",
        "street=Weg 1",
        "O=Müller & Söhne",
        "organizationIdentifier=VATCH-CHE-123.456.789",
        "OU=one",
        "OU=two",
        "jurisdictionC=CH",
        "jurisdictionST=Bern",
        "jurisdictionL=Thun",
        "businessCategory=Private Organization",
        "serialNumber=42",
        "title=Dr",
        "SN=Muster",
        "GN=Eva",
        "UID=eva",
        "emailAddress=eva@example.org",
        "CN=shop.example.org",
    ];
    assert_eq!(shown, expected);
    let text = bench.openssl_text("req -in csr.pem -noout -text");
    let shown: Vec<&str> = text.lines().map(str::trim).collect();
    for expected in [
        "DNS:shop.example.org, DNS:xn--mller-kva.example, IP Address:192.0.2.1, \
         IP Address:2001:DB8:0:0:0:0:0:1, URI:spiffe://example.org/shop, email:shop@example.org",
        "X509v3 Key Usage: critical",
        "Digital Signature, Non Repudiation, Key Encipherment, Data Encipherment, Key Agreement, \
         Encipher Only, Decipher Only",
        "Any Extended Key Usage, TLS Web Server Authentication, TLS Web Client Authentication, \
         Code Signing, E-mail Protection, Time Stamping, OCSP Signing, IPSec End System, \
         IPSec Tunnel, IPSec User",
    ] {
        assert!(shown.contains(&expected), "{expected}\n{text}");
    }
    // The string types, as ASN.1.
    let parsed = bench.openssl_text("asn1parse -in csr.pem");
    for (attribute, string_type) in [
        (":countryName", "PRINTABLESTRING"),
        (":serialNumber", "PRINTABLESTRING"),
        (":domainComponent", "IA5STRING"),
        (":emailAddress", "IA5STRING"),
        (":organizationName", "UTF8STRING"),
        (":commonName", "UTF8STRING"),
    ] {
        let mut lines = parsed.lines().skip_while(|line| !line.ends_with(attribute));
        let value = lines.nth(1).unwrap();
        assert!(value.contains(string_type), "{attribute}: {value}");
    }
}

#[test]
fn requests_that_openssl_writes_are_read_with_their_names() {
    let bench = Bench::new();
    let keys = [
        ("rsa:2048", Some(KeyKind::Rsa2048)),
        ("rsa:2560", None),
        ("ec -pkeyopt ec_paramgen_curve:P-521", Some(KeyKind::EcdsaP521)),
        ("ed25519", Some(KeyKind::Ed25519)),
    ];
    for (key, kind) in keys {
        bench.openssl(&format!(
            "req -newkey {key} -nodes -keyout key.pem -out csr.pem -text -subj /O=A/CN=a.example \
             -addext subjectAltName=DNS:a.example,IP:::1,URI:urn:uuid:1,email:a@a.example"
        ));
        let read = csr::Csr::from_pem(&bench.read("csr.pem")).unwrap();
        let spki = bench.openssl("pkey -in key.pem -pubout -outform DER");
        assert_eq!(read.spki_der, spki, "{key}");
        assert_eq!(KeyKind::of_spki(&read.spki_der), kind, "{key}");
        let expected = Names {
            ip_addresses: vec!["::1".parse().unwrap()],
            uris: vec!["urn:uuid:1".to_owned()],
            email_addresses: vec!["a@a.example".to_owned()],
            ..names(Some("a.example"), &["a.example"])
        };
        assert_eq!(read.names, expected, "{key}");
    }
    bench.openssl("req -newkey rsa:2048 -sha1 -nodes -keyout key.pem -out csr.pem -subj /CN=a");
    let refused = csr::Csr::from_pem(&bench.read("csr.pem")).unwrap_err();
    assert_eq!(refused, csr::ReadError::Signature);
}

/// OpenSSL as the certificate authority, with each kind of key for itself and for the leaf.
#[test]
fn chains_that_openssl_signs_with_every_kind_of_key_are_verified_with_every_kind_of_name() {
    let bench = Bench::new();
    for kind in KeyKind::all().into_iter().filter(|kind| *kind != KeyKind::Rsa3072) {
        let root_key = PrivateKey::generate(kind).unwrap();
        bench.write("root.key", root_key.to_pkcs8_pem().expose_secret());
        bench.openssl("req -x509 -new -key root.key -days 9 -subj /CN=Root -out root.pem");
        let key = PrivateKey::generate(kind).unwrap();
        let asked = everything();
        bench.write("leaf.csr", csr::to_pem(&csr::build(&key, &asked).unwrap()));
        bench.openssl(
            "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -set_serial 2 -days 9 \
             -copy_extensions copyall -out leaf.pem",
        );
        let verify = |names: &Names| {
            let expected = Expected {
                spki_der: key.spki_der(),
                names,
                anchors: &[bench.certificate("root.pem")],
                further_intermediates: &[],
                now: Timestamp::now(),
            };
            chain::verify(&[bench.certificate("leaf.pem")], &expected)
        };
        let chain = verify(&asked).unwrap_or_else(|unfit| panic!("{kind}: {unfit}"));
        bench.write("tls.crt", chain.tls_crt());
        bench.write("ca.crt", chain.ca_crt());
        bench.openssl("verify -CAfile ca.crt tls.crt");
        let more = Names { ip_addresses: vec!["192.0.2.9".parse().unwrap()], ..asked };
        assert_eq!(
            verify(&more),
            Err(Unfit::NamesMissing(vec!["IP address 192.0.2.9".to_owned()]))
        );
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
        ("ecparam -name secp521r1 -genkey -noout -out key.pem", KeyKind::EcdsaP521),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem", KeyKind::EcdsaP256),
        ("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-521 -out key.pem", KeyKind::EcdsaP521),
        ("genpkey -algorithm ED25519 -out key.pem", KeyKind::Ed25519),
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
        ("ecparam -name secp256k1 -genkey -noout -out key.pem", KeyError::Malformed),
        ("genpkey -algorithm ED448 -out key.pem", KeyError::Malformed),
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

/// What is not supported is said so by its name, and in which certificate it stands.
#[test]
fn what_is_not_supported_is_named() {
    let bench = Bench::new();
    bench.openssl("req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=leaf");
    bench.write("leaf.ext", "subjectAltName=DNS:a.example.org");
    let rows = [
        ("ec -pkeyopt ec_paramgen_curve:brainpoolP256r1", "sha256", "ECDSA on brainpoolP256r1"),
        ("ec -pkeyopt ec_paramgen_curve:secp256k1", "sha256", "ECDSA on secp256k1"),
        ("ec -pkeyopt ec_paramgen_curve:P-256", "sha1", "ECDSA with SHA-1"),
        ("rsa:2048", "sha1", "SHA-1 with RSA"),
        ("rsa:2048", "md5", "MD5 with RSA"),
        ("rsa:1024", "sha256", "an RSA key of 1024 bits"),
        ("ed448", "sha256", "Ed448"),
    ];
    for (kind, digest, says) in rows {
        bench.openssl(&format!(
            "req -x509 -newkey {kind} -nodes -keyout root.key -out root.pem -subj /CN=Root -days 9 -addext basicConstraints=critical,CA:TRUE"
        ));
        let digest = if kind == "ed448" { String::new() } else { format!("-{digest}") };
        bench.openssl(&format!(
            "x509 -req -in leaf.csr -CA root.pem -CAkey root.key -set_serial 2 -days 9 {digest} -out leaf.pem -extfile leaf.ext"
        ));
        let key = PrivateKey::from_pem(&bench.read("leaf.key")).unwrap();
        let expected = Expected {
            spki_der: key.spki_der(),
            names: &Names::default(),
            anchors: &[bench.certificate("root.pem")],
            further_intermediates: &[],
            now: Timestamp::now(),
        };
        let unfit = chain::verify(&[bench.certificate("leaf.pem")], &expected).unwrap_err();
        let text = unfit.to_string();
        assert!(text.contains(says) && text.contains("CN=leaf (SHA-256"), "{kind}: {text}");
    }
}

#[test]
fn a_sha1_signature_is_refused() {
    let bench = Bench::new();
    bench.build_chain("sha1");
    let unfit = bench.verify_chain().unwrap_err();
    assert!(unfit.to_string().contains("is signed with SHA-1 with RSA"), "{unfit}");
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
        Ok(roots) => println!("roots {}, {}", roots.anchors.len(), roots.remarks.join("; ")),
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
    // Its outer AlgorithmIdentifier says SHA-384.
    bench.openssl(
        "req -x509 -newkey rsa:2048 -nodes -keyout odd.key -out odd.pem -subj /CN=Odd -sha256",
    );
    let mut odd = bench.certificate("odd.pem").der().to_vec();
    let sha256_with_rsa = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b";
    let outer = odd.windows(9).rposition(|window| window == sha256_with_rsa).unwrap();
    odd[outer + 8] = 0x0c;
    let odd = Certificate::from_der(&odd).unwrap().to_pem();
    bench.write("roots.pem", format!("{odd}{root}{unreadable}{root}"));
    let printed = system_roots_with(bench.path("roots.pem"));
    assert!(printed.contains("roots 1,"), "{printed}");
    let remark = "of the system trust store, CN=Odd, is left out: it names two different";
    assert!(printed.contains(remark), "{printed}");
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
