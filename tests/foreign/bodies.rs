//! Everything that reads bytes of somebody else, one function for each: what is searched for inputs by
//! `make fuzz`, and run on those that are kept by `make test`.
//!
//! They panic where something that must hold does not, and nowhere else.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chancery::api::{CertificateRequest, ClusterIssuer, Issuer, IssuerSpec};
use chancery::ca::kind::Opening;
use chancery::ca::{CertificateAuthority, Claim, OpenOrder, Order, Permit, Submitted, registry};
use chancery::clock::Clock;
use chancery::decode::Guarded;
use chancery::issuance::allow::pattern::{self, Kind};
use chancery::issuance::{RawRecord, RecordRead};
use chancery::outside::Error;
use chancery::outside::credentials::{Basic, Credentials};
use chancery::outside::remote_text;
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::pki::chain::{self, Expected};
use chancery::pki::csr::{self, Csr};
use chancery::pki::{
    Bundle, Certificate, Download, KeyKind, Names, PrivateKey, contains_private_key, parse_pem,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

/// What reads one kind of input.
pub type Body = fn(&[u8]);

/// All of them, by the names of their corpora.
pub const ALL: [(&str, Body); 11] = [
    ("allow", allow),
    ("certificate", certificate),
    ("chain", path),
    ("csr", request),
    ("download", download),
    ("key", key),
    ("object", object),
    ("online_ca", online_ca),
    ("pem", pem),
    ("pkcs7", pkcs7),
    ("swisssign", swisssign),
];

/// A pattern of `spec.allow`, and a name that it may allow: a letter for the kind of both, a line with
/// the pattern, and the name.
pub fn allow(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let Ok(rest) = std::str::from_utf8(rest) else { return };
    let (pattern, name) = rest.split_once('\n').unwrap_or((rest, ""));
    let kind = [Kind::Dns, Kind::Email, Kind::Text, Kind::Uri][usize::from(kind % 4)];
    // So long the API server takes one.
    let pattern: String = pattern.chars().take(1024).collect();
    let (written, any) = ([pattern], ["**".to_owned()]);
    if !pattern::allows(kind, &written, name) {
        return;
    }
    if name.contains('*') {
        assert!(written[0].contains("[*]"), "{written:?} stands for an asterisk: {name:?}");
    } else if !written[0].contains("[*]") {
        assert!(pattern::allows(kind, &any, name), "{written:?} allows more than all: {name:?}");
    }
}

/// Certificates in PEM, and bundles of roots.
pub fn pem(data: &[u8]) {
    let bundle = Bundle::from_pem(data);
    if let Ok(read) = parse_pem(data) {
        let again: String = read.iter().map(Certificate::to_pem).collect();
        assert_eq!(parse_pem(again.as_bytes()), Ok(read.clone()), "what is written is read back");
        assert!(bundle.anchors.len() <= read.len(), "a bundle is chosen from them");
    }
    assert!(bundle.remarks.len() <= 6, "remarks are few");
    contains_private_key(data);
    // What a condition quotes of an answer.
    if let Some(excerpt) = remote_text::excerpt(data, str::to_owned) {
        assert!(excerpt.chars().count() <= 200 && !excerpt.contains(char::is_control));
    }
}

/// One certificate in DER.
pub fn certificate(data: &[u8]) {
    let Ok(read) = Certificate::from_der(data) else { return };
    assert_eq!(read.der(), data);
    let names = Names {
        dns_names: read.dns_names().to_vec(),
        uris: read.uris().to_vec(),
        ip_addresses: read.ip_addresses().to_vec(),
        email_addresses: read.email_addresses().to_vec(),
        ..Names::default()
    };
    let _ = names.missing_from(&read);
    let expected = Expected {
        spki_der: read.spki_der(),
        names: &names,
        anchors: std::slice::from_ref(&read),
        further_intermediates: &[],
        now: read.not_before(),
    };
    if let Err(unfit) = chain::verify(std::slice::from_ref(&read), &expected) {
        assert!(unfit.to_string().len() < 100_000 + 4 * data.len());
    }
    let _ = chain::rustls_refusal(std::slice::from_ref(&read), Some(&read));
}

/// A CSR that somebody brought, in DER and in PEM.
pub fn request(data: &[u8]) {
    let (der, text) = (Csr::from_der(data), Csr::from_pem(data));
    for read in [der, text].into_iter().flatten() {
        assert_eq!(Csr::from_pem(csr::to_pem(&read.der).as_bytes()), Ok(read.clone()));
        // What is not seen is not asked about, and is ordered all the same.
        if let Ok(asked) = read.asked() {
            let (names, all) = (&read.names, &asked.names);
            assert!(names.common_name.iter().all(|name| asked.common_names.contains(name)));
            assert!(names.dns_names.iter().all(|name| all.dns_names.contains(name)));
            assert!(names.uris.iter().all(|uri| all.uris.contains(uri)));
            assert!(names.ip_addresses.iter().all(|ip| all.ip_addresses.contains(ip)));
            assert!(names.email_addresses.iter().all(|one| all.email_addresses.contains(one)));
        }
    }
}

/// Certificates to download, in PEM, DER, PKCS #7 or a ZIP archive.
pub fn download(data: &[u8]) {
    match Download::read(data) {
        Ok(Download { certificates, remarks }) => {
            assert!((1..=300).contains(&certificates.len()), "{}", certificates.len());
            assert!(remarks.len() <= 7, "{remarks:?}");
            assert!(remarks.iter().all(|remark| remark.len() < 200), "{remarks:?}");
            let again: String = certificates.iter().map(Certificate::to_pem).collect();
            assert_eq!(parse_pem(again.as_bytes()), Ok(certificates));
        }
        Err(error) => assert!(error.to_string().len() < 200, "{error}"),
    }
}

/// A private key in PEM.
pub fn key(data: &[u8]) {
    use secrecy::ExposeSecret as _;
    let Ok(read) = PrivateKey::from_pem(data) else { return };
    let again = PrivateKey::from_pem(read.to_pkcs8_pem().expose_secret().as_bytes());
    assert_eq!(again.ok().map(|again| again.spki_der().to_vec()), Some(read.spki_der().to_vec()));
}

/// A bag of certificates: two bytes make one of them, out of few names and keys, so that they stand
/// above each other in every way.
pub fn path(data: &[u8]) {
    const NAMES: usize = 8;
    static KEYS: LazyLock<Vec<KeyPair>> =
        LazyLock::new(|| (0..NAMES).map(|_| KeyPair::generate().expect("a key")).collect());
    let params = |name: usize, is_ca: bool| {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("{}", name % NAMES));
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params
    };
    // Subject, issuer, key and signer have three bits each, the rest says what is odd.
    let sign = |one: u16| -> Option<Certificate> {
        let part = |at: u32| usize::from(one >> at) % NAMES;
        let is_ca = one >> 12 & 7 != 7;
        let mut asked = params(part(0), is_ca);
        asked.serial_number = Some(u64::from(one).into());
        if one >> 15 == 1 {
            asked.is_ca = IsCa::Ca(BasicConstraints::Constrained((one >> 12 & 3) as u8));
        }
        let issuer = rcgen::Issuer::new(params(part(3), true), &KEYS[part(9)]);
        let signed = asked.signed_by(&KEYS[part(6)], &issuer).ok()?;
        Certificate::from_der(signed.der()).ok()
    };
    // Each is signed once: that is no part of what is looked at.
    thread_local! {
        static MADE: RefCell<HashMap<u16, Option<Certificate>>> = RefCell::default();
    }
    let made =
        |one: u16| MADE.with_borrow_mut(|all| all.entry(one).or_insert_with(|| sign(one)).clone());
    let pairs = data.as_chunks::<2>().0.iter().take(100);
    let mut bag: Vec<Certificate> =
        pairs.filter_map(|pair| made(u16::from_be_bytes(*pair))).collect();
    let Some(leaf) = made(0x7000) else { return };
    bag.push(leaf.clone());
    let anchors: Vec<Certificate> =
        (1..4).filter_map(|n| made(n | n << 3 | n << 6 | n << 9)).collect();
    let expected = Expected {
        spki_der: leaf.spki_der(),
        names: &Names::default(),
        anchors: &anchors,
        further_intermediates: &[],
        now: "2026-06-01T00:00:00Z".parse().expect("a time"),
    };
    match chain::verify(&bag, &expected) {
        Ok(chain) => {
            assert!(chain.intermediates.len() <= 6, "no longer than clients take");
            assert!(anchors.contains(&chain.anchor), "it ends at what is trusted");
        }
        Err(unfit) => assert!(unfit.to_string().len() < 5000, "{unfit}"),
    }
}

/// What the API server sends: requests, issuers, and the record of an order.
pub fn object(data: &[u8]) {
    match serde_json::from_slice(data) {
        Ok(Guarded::<CertificateRequest>(Ok(request))) => {
            let again = serde_json::to_vec(&request).expect("what was read can be written");
            let again = serde_json::from_slice::<CertificateRequest>(&again).expect("and read");
            assert_eq!(again, request);
        }
        Ok(Guarded(Err(unreadable))) => assert!(unreadable.reason.len() < 300, "{unreadable}"),
        Err(_) => {}
    }
    let _ = serde_json::from_slice::<Guarded<Issuer>>(data);
    let _ = serde_json::from_slice::<Guarded<ClusterIssuer>>(data);
    let _ = serde_json::from_slice::<Guarded<Secret>>(data);
    let entry = |key: &str| (key.to_owned(), data.to_vec());
    let raw = RawRecord {
        labels: [("chancery.dev/order".to_owned(), "true".to_owned())].into(),
        data: [entry("next.json"), entry("next.key")].into(),
        ..RawRecord::default()
    };
    let _ = RecordRead::parse(&raw);
}

/// What an Online CA answers: roots, and certificates.
pub fn online_ca(data: &[u8]) {
    let spec = json!({"onlineCa": {
        "certificateUrl": "https://ca.example/certificate/",
        "trustRootsUrl": "https://ca.example/trustroots/",
        "credentialsSecretRef": {"name": "credentials"},
    }});
    let ca = opened(spec, answer(data));
    RUNTIME.with(|runtime| {
        if let Err(error) = runtime.block_on(ca.check()) {
            is_short(&error);
        }
        let _ = runtime.block_on(ca.trust_anchors());
        let order = Order::unnamed(b"a CSR", &Value::Null);
        match runtime.block_on(ca.submit(&order, Permit::Free)) {
            Submitted::Accepted(progress) => assert!(progress.is_issued(), "it issues at once"),
            Submitted::Refused(error) | Submitted::Unknown(error) => is_short(&error),
        }
    });
}

/// A chain as SwissSign serves it: PKCS #7, PEM or DER, bare or in JSON.
pub fn pkcs7(data: &[u8]) {
    let ca = opened(swisssign_spec(), http::Response::new(Bytes::copy_from_slice(data)));
    polled(&*ca, 1);
}

/// Any other answer of SwissSign: clients, orders, states and errors, and what it says of an order that
/// was submitted.
pub fn swisssign(data: &[u8]) {
    let answer = answer(data);
    let status = answer.status();
    let ca = opened(swisssign_spec(), answer);
    let parameters = json!({
        "client": "cli-00000000-0000-4000-8000-000000000001",
        "product": "pma-00000000-0000-4000-8000-000000000001",
        "chosenBy": "Issuer",
        "submission": "Named",
    });
    let order = Order {
        reference: "chancery-0",
        since: Some(Timestamp::UNIX_EPOCH),
        ..Order::unnamed(&CSR, &parameters)
    };
    RUNTIME.with(|runtime| {
        if let Err(error) = runtime.block_on(ca.check()) {
            is_short(&error);
        }
        if let Err(error) = runtime.block_on(ca.find(&order)) {
            is_short(&error);
        }
        let permit = Permit::Claimed(Claim::of_a_test("chancery-0"));
        match runtime.block_on(ca.submit(&order, permit)) {
            Submitted::Refused(error) => {
                assert!(!status.is_success(), "it may have been taken: {error}");
                is_short(&error);
            }
            Submitted::Unknown(error) => is_short(&error),
            Submitted::Accepted(_) => assert!(status.is_success(), "{status}"),
        }
    });
    polled(&*ca, 2);
}

/// An order is made with it.
static CSR: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let key = PrivateKey::generate(KeyKind::EcdsaP256).expect("a key");
    csr::build(&key, &Names::default()).expect("a CSR")
});

fn is_short(error: &Error) {
    assert!(error.message.len() < 4096, "{error}");
}

/// An answer, of which the first byte says what stands above its body: the status; whether the first
/// line is that of `Retry-After`; whether it is plain text.
fn answer(data: &[u8]) -> http::Response<Bytes> {
    const STATUSES: [u16; 16] =
        [200, 201, 202, 204, 302, 307, 400, 401, 403, 404, 405, 408, 410, 429, 500, 503];
    let (first, mut body) = data.split_first().unwrap_or((&b' ', data));
    let mut answer = http::Response::builder().status(STATUSES[usize::from(first & 0x0f)]);
    if first & 0x10 != 0 {
        let end = body.iter().position(|byte| *byte == b'\n').unwrap_or(body.len());
        if let Ok(after) = http::HeaderValue::from_bytes(&body[..end]) {
            answer = answer.header(http::header::RETRY_AFTER, after);
        }
        answer = answer.header(http::header::DATE, "Thu, 28 May 2026 20:26:40 GMT");
        body = body.get(end + 1..).unwrap_or_default();
    }
    if first & 0x40 != 0 {
        answer = answer.header(http::header::CONTENT_TYPE, "text/plain");
    }
    answer.body(Bytes::copy_from_slice(body)).expect("an answer")
}

fn swisssign_spec() -> Value {
    json!({"swissSign": {
        "url": "https://ca.example/",
        "credentialsSecretRef": {"name": "credentials"},
        "client": {"name": "Demo"},
        "product": {"name": "DV"},
        "acceptTermsAndConditions": true,
    }})
}

fn polled(ca: &dyn CertificateAuthority, orders: usize) {
    let open = |number: usize| OpenOrder {
        reference: format!("chancery-{number}"),
        id: format!("ord-00000000-0000-4000-8000-00000000000{number}"),
        since: Timestamp::UNIX_EPOCH,
        replaces: None,
    };
    let orders: Vec<OpenOrder> = (0..orders).map(open).collect();
    let answers = RUNTIME.with(|runtime| runtime.block_on(ca.poll(&orders)));
    for (_, answer) in answers {
        if let Err(error) = answer {
            is_short(&error);
        }
    }
}

thread_local! {
    static RUNTIME: tokio::runtime::Runtime =
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
}

fn opened(spec: Value, answer: http::Response<Bytes>) -> Arc<dyn CertificateAuthority> {
    let spec: IssuerSpec = serde_json::from_value(spec).expect("a spec");
    let basic = Basic::new("MPKI0000001.AutoRAO".to_owned(), "0123456789abcdef".to_owned().into());
    let opening = Opening {
        credentials: Some(Credentials::Basic(basic)),
        transport: Arc::new(Same(answer)),
        deadline: Duration::from_secs(1),
        clock: Clock::new(|| Timestamp::from_second(1_780_000_000).expect("a time")),
        reader: chancery::outside::remote_text::Reader::default(),
    };
    registry::account(&spec).expect("an account").open(opening).expect("it opens")
}

/// Answers everything alike, those aside that no answer is looked at without.
struct Same(http::Response<Bytes>);

#[async_trait]
impl Transport for Same {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        let path = call.request.uri().path();
        Ok(if path.contains("/jwt/") {
            http::Response::new(Bytes::from_static(b"a.b.c"))
        } else if path.ends_with("/status")
            && self.0.status().is_success()
            && self.0.body().first() != Some(&b'"')
        {
            http::Response::new(Bytes::from_static(b"\"ISSUED\""))
        } else {
            self.0.clone()
        })
    }
}
