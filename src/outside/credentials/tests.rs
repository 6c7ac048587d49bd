use std::collections::BTreeMap;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::*;

/// In every secret of these tests; no text may hold it.
const CANARY: &str = "canary-7f3a";

type Entries = BTreeMap<&'static str, Vec<u8>>;

fn entries<const N: usize>(entries: [(&'static str, &[u8]); N]) -> Entries {
    entries.into_iter().map(|(key, value)| (key, value.to_vec())).collect()
}

fn read(kind: Kind, entries: &Entries) -> Result<Credentials, Error> {
    kind.read("shop/ca", |key| entries.get(key).map(Vec::as_slice))
}

struct Pki {
    root: String,
    intermediate: String,
    leaf: String,
    key: String,
}

fn pki() -> Pki {
    let ca = |name: &str| {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        (params, KeyPair::generate().unwrap())
    };
    let (root_params, root_key) = ca("Root");
    let root = root_params.self_signed(&root_key).unwrap();
    let (params, key) = ca("Intermediate");
    let intermediate = params.signed_by(&key, &Issuer::new(root_params, root_key)).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "client");
    let leaf = params.signed_by(&key, &issuer).unwrap();
    Pki {
        root: root.pem(),
        intermediate: intermediate.pem(),
        leaf: leaf.pem(),
        key: key.serialize_pem(),
    }
}

fn samples() -> Vec<(Kind, Entries)> {
    let secret = format!("{CANARY}:&+ %").into_bytes();
    let token = CANARY.as_bytes();
    let pki = pki();
    let pair = [("tls.crt", pki.leaf.as_bytes()), ("tls.key", pki.key.as_bytes())];
    let basic = |password: &'static str| {
        (Kind::Basic { password }, entries([("username", b"jdoe"), (password, &secret)]))
    };
    vec![
        basic("password"),
        basic("apiKey"),
        (Kind::ApiKey, entries([("apiKey", token)])),
        (Kind::Bearer, entries([("token", token)])),
        (Kind::ClientCredentials, entries([("clientId", b"jdoe"), ("clientSecret", &secret)])),
        (Kind::ClientCertificate, entries(pair)),
    ]
}

#[test]
fn each_kind_is_read_from_the_keys_it_names() {
    for (kind, entries) in samples() {
        let credentials = read(kind, &entries).unwrap();
        let is_of_its_kind = match kind {
            Kind::ApiKey => matches!(credentials, Credentials::ApiKey(_)),
            Kind::Basic { .. } => matches!(credentials, Credentials::Basic(_)),
            Kind::Bearer => matches!(credentials, Credentials::Bearer(_)),
            Kind::ClientCertificate => matches!(credentials, Credentials::ClientCertificate(_)),
            Kind::ClientCredentials => matches!(credentials, Credentials::ClientCredentials(_)),
        };
        assert!(is_of_its_kind, "{kind:?}: {credentials:?}");
        let name = match kind {
            Kind::ApiKey | Kind::Bearer => None,
            Kind::Basic { .. } | Kind::ClientCredentials => Some("jdoe"),
            Kind::ClientCertificate => Some("CN=client"),
        };
        assert_eq!(credentials.name(), name, "{kind:?}");
        assert_eq!(entries.keys().count(), kind.keys().len());
    }
}

#[test]
fn a_key_that_is_missing_is_named() {
    for (kind, entries) in samples() {
        for key in kind.keys() {
            let mut entries = entries.clone();
            entries.remove(key);
            let error = read(kind, &entries).unwrap_err();
            assert_eq!(error.disposition, Disposition::BlameCredentials);
            assert_eq!(error.reason, Reason::CredentialsUnusable);
            let text = if key.starts_with("tls.") { "" } else { " with UTF-8 text" };
            let expected = format!("Secret shop/ca has no key {key}{text}: add it");
            assert_eq!(error.message, expected);
        }
    }
}

#[test]
fn a_line_end_is_no_part_of_a_secret() {
    for ending in ["\n", "\r\n"] {
        let token = format!("{CANARY}{ending}");
        let entries = entries([("token", token.as_bytes())]);
        let Ok(Credentials::Bearer(token)) = read(Kind::Bearer, &entries) else {
            unreachable!("a token");
        };
        assert_eq!(token.bearer().unwrap(), format!("Bearer {CANARY}").as_str());
    }
}

#[test]
fn what_cannot_be_used_is_named_and_not_quoted() {
    let good = pki();
    let other = pki();
    let encrypted = good.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let two = format!("{}{}", good.key, other.key);
    let pair = |certificate: &str, key: &str| {
        entries([("tls.crt", certificate.as_bytes()), ("tls.key", key.as_bytes())])
    };
    let lines = format!("{CANARY}\n{CANARY}");
    let certificate = Kind::ClientCertificate;
    let cases = [
        (Kind::Bearer, entries([("token", b" ")]), "key token of Secret shop/ca is empty"),
        (
            Kind::ApiKey,
            entries([("apiKey", lines.as_bytes())]),
            "key apiKey of Secret shop/ca holds characters that no HTTP header can carry",
        ),
        (Kind::Bearer, entries([("token", b"\xff\xfe")]), "has no key token with UTF-8 text"),
        (
            Kind::ClientCredentials,
            entries([("clientId", b"jdoe"), ("clientSecret", b"")]),
            "key clientSecret of Secret shop/ca is empty",
        ),
        (
            certificate,
            pair(&good.leaf, &other.key),
            "key tls.key of Secret shop/ca cannot be used for TLS: it is not the key of a certificate in tls.crt; replace one of them",
        ),
        (
            certificate,
            pair(&good.leaf, &encrypted),
            "cannot be used for TLS: the private key is encrypted; store it without a passphrase",
        ),
        (
            certificate,
            pair(&good.leaf, &two),
            "cannot be used for TLS: there are 2 private keys in the PEM text, and one is expected",
        ),
        (
            certificate,
            pair(&good.leaf, CANARY),
            "key tls.key of Secret shop/ca cannot be used for TLS: there is no private key in the PEM text",
        ),
        (
            certificate,
            pair(CANARY, &good.key),
            "key tls.crt of Secret shop/ca holds no certificate",
        ),
        (
            certificate,
            pair(&good.leaf[..good.leaf.len() / 2], &good.key),
            "key tls.crt of Secret shop/ca cannot be used for TLS: block 1 of the PEM text is truncated",
        ),
    ];
    for (kind, entries, says) in cases {
        let error = read(kind, &entries).unwrap_err();
        assert!(error.message.contains(says), "{says}: {error}");
        assert_eq!(error.disposition, Disposition::BlameCredentials, "{says}");
        let body: String = good.key.lines().skip(1).take(1).collect();
        assert!(![CANARY, body.as_str()].iter().any(|it| error.message.contains(it)), "{error}");
    }
}

#[test]
fn no_secret_is_printed_or_repeated() {
    for (kind, entries) in samples() {
        let credentials = read(kind, &entries).unwrap();
        let shown = format!("{credentials:?} {credentials:#?}");
        let secret =
            String::from_utf8(entries[kind.keys()[kind.keys().len() - 1]].clone()).unwrap();
        let secret = secret.lines().max_by_key(|line| line.len()).unwrap();
        assert!(!shown.contains(secret) && !shown.contains(CANARY), "{kind:?}: {shown}");
        let sent: Vec<String> = match &credentials {
            Credentials::ApiKey(token) | Credentials::Bearer(token) => {
                assert!(token.header().unwrap().is_sensitive());
                let bearer = token.bearer().unwrap();
                assert!(bearer.is_sensitive());
                vec![secret.to_owned(), bearer.to_str().unwrap().to_owned()]
            }
            Credentials::Basic(basic) => {
                let header = basic.header().unwrap();
                assert!(header.is_sensitive());
                vec![secret.to_owned(), header.to_str().unwrap().to_owned()]
            }
            Credentials::ClientCertificate(_) => Vec::new(),
            Credentials::ClientCredentials(client) => {
                vec![secret.to_owned(), client.form().to_string()]
            }
        };
        for text in sent {
            let scrubbed = credentials.scrub(&format!("before {text} after"));
            assert!(scrubbed.starts_with("before ") && scrubbed.ends_with(" after"), "{scrubbed}");
            assert!(scrubbed.contains("[…]") && !scrubbed.contains(CANARY), "{scrubbed}");
        }
    }
}

#[test]
fn the_form_that_asks_for_a_token_is_that_of_rfc_6749() {
    let entries = entries([("clientId", b"house one"), ("clientSecret", b"a&b=c")]);
    let Ok(Credentials::ClientCredentials(client)) = read(Kind::ClientCredentials, &entries) else {
        unreachable!("a client");
    };
    assert_eq!(
        client.form().as_str(),
        "grant_type=client_credentials&client_id=house+one&client_secret=a%26b%3Dc"
    );
}

#[test]
fn a_chain_begins_with_the_certificate_of_the_key_in_whatever_order_it_comes() {
    let pki = pki();
    let (root, intermediate, leaf) = (&pki.root, &pki.intermediate, &pki.leaf);
    for order in
        [[leaf, intermediate, root], [root, intermediate, leaf], [intermediate, root, leaf]]
    {
        let certificates: String = order.into_iter().map(String::as_str).collect();
        let pair = entries([("tls.crt", certificates.as_bytes()), ("tls.key", pki.key.as_bytes())]);
        let credentials = read(Kind::ClientCertificate, &pair).unwrap();
        let identity = credentials.client_certificate().unwrap();
        let subjects: Vec<&str> = identity.chain().iter().map(pki::Certificate::subject).collect();
        assert_eq!(subjects, ["CN=client", "CN=Intermediate", "CN=Root"]);
        let pem = identity.to_pem();
        assert_eq!(pem.matches("-----BEGIN PRIVATE KEY-----").count(), 1);
        assert_eq!(pem.matches("-----BEGIN CERTIFICATE-----").count(), 3);
    }
}

#[test]
fn an_identity_is_the_same_while_its_chain_is() {
    let identity = |pki: &Pki| {
        let key = PrivateKey::from_pem(pki.key.as_bytes()).unwrap();
        ClientCertificate::new(pki::parse_pem(pki.leaf.as_bytes()).unwrap(), key).unwrap()
    };
    let (one, other) = (pki(), pki());
    assert_eq!(identity(&one), identity(&one));
    assert_ne!(identity(&one), identity(&other));
}
