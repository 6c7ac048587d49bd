//! Keys, certificates and observations for the tests of the core. Keys are on P-256 and P-384 and
//! made once, so that thousands of cases take seconds.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    SanType,
};
use secrecy::ExposeSecret as _;

use super::allow::Overrides;
use super::certificate::delivery::Delivery;
use super::decide::decide;
use super::observation::{
    Account, CachedTarget, IssuerState, Observation, Obtained, Outcome, Read, Request, Target,
    Template,
};
use super::previous::Previous;
use super::step::{Rest, Step};
use super::{Description, Purchase, RenewBefore, describe};
use crate::api::{CertificateRequestStatus, RotationPolicy};
use crate::ca::{Blocks, Capabilities};
use crate::pki::{Certificate, KeyKind, Names, PrivateKey};

/// What is bought at the account of the tests.
pub(super) fn purchase() -> Purchase {
    Purchase { account: account().name, product: None }
}

/// Reads a time as tests write it.
pub(super) fn at(text: &str) -> Timestamp {
    text.parse().expect("a time in RFC 3339")
}

/// What the clock says in the tables.
pub(super) fn now() -> Timestamp {
    at("2026-06-01T12:00:00Z")
}

pub(super) fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// A certificate authority.
pub(super) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn root(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(ca_params(name), key).expect("a root"))
    }

    fn below(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let signed = CertifiedIssuer::signed_by(ca_params(name), key, &self.0);
        Self(signed.expect("an intermediate"))
    }

    pub(super) fn certificate(&self) -> Certificate {
        Certificate::from_der(self.0.der()).expect("a certificate")
    }

    /// A cross certificate: another one for the key of `other`.
    pub(super) fn cross(&self, other: &Self, name: &str) -> Certificate {
        let key = KeyPair::from_pem(&other.0.key().serialize_pem()).expect("a key");
        let cross = ca_params(name).signed_by(&key, &self.0).expect("a certificate");
        Certificate::from_der(cross.der()).expect("a certificate")
    }

    /// A leaf for `key` that carries `names`.
    pub(super) fn leaf(
        &self,
        key: &PrivateKey,
        names: &Names,
        not_before: Timestamp,
        not_after: Timestamp,
    ) -> Certificate {
        let mut params = params(names.common_name.as_deref().unwrap_or("leaf"));
        for name in &names.dns_names {
            params
                .subject_alt_names
                .push(SanType::DnsName(name.as_str().try_into().expect("ASCII")));
        }
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(not_before);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(not_after);
        let pair = KeyPair::from_pem(key.to_pkcs8_pem().expose_secret()).expect("a key");
        let leaf = params.signed_by(&pair, &self.0).expect("a leaf");
        Certificate::from_der(leaf.der()).expect("a certificate")
    }
}

fn since_1970(at: Timestamp) -> Duration {
    Duration::from_secs(at.as_second().try_into().expect("after 1970"))
}

fn params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    params
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// A root, an intermediate below it, and a root that nobody pinned.
pub(super) struct Pki {
    pub(super) root: Ca,
    pub(super) issuing: Ca,
    pub(super) stranger: Ca,
}

pub(super) fn pki() -> &'static Pki {
    static PKI: LazyLock<Pki> = LazyLock::new(|| {
        let root = Ca::root("Root");
        let issuing = root.below("Issuing");
        Pki { root, issuing, stranger: Ca::root("Stranger") }
    });
    &PKI
}

/// The `n`-th key on P-256, always the same.
pub(super) fn key(n: usize) -> Arc<PrivateKey> {
    static KEYS: LazyLock<Vec<Arc<PrivateKey>>> = LazyLock::new(|| {
        let generate = |_| Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).expect("a key"));
        (0..32).map(generate).collect()
    });
    Arc::clone(&KEYS[n % KEYS.len()])
}

/// A key on P-384.
pub(super) fn larger_key() -> Arc<PrivateKey> {
    static KEY: LazyLock<Arc<PrivateKey>> =
        LazyLock::new(|| Arc::new(PrivateKey::generate(KeyKind::EcdsaP384).expect("a key")));
    Arc::clone(&KEY)
}

pub(super) fn names() -> Names {
    Names {
        common_name: Some("a.example.org".to_owned()),
        dns_names: vec!["a.example.org".to_owned(), "b.example.org".to_owned()],
        ..Names::default()
    }
}

/// A certificate for `key` as the CA issues it: valid for 30 days, with its intermediate.
pub(super) fn issued(key: &PrivateKey, from: Timestamp) -> Vec<Certificate> {
    let leaf = pki().issuing.leaf(key, &names(), from, from + days(30));
    vec![leaf, pki().issuing.certificate()]
}

pub(super) fn request() -> Request {
    Request {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        uid: "6f1c0a2e-7f4b-4f0e-9a54-1f5b4d1f0c11".to_owned(),
        generation: 3,
        deleting: false,
        secret_name: "web-tls".to_owned(),
        issuer: "Issuer house".to_owned(),
        names: names(),
        misread: None,
        duration: None,
        csr: None,
        key_kind: Some(KeyKind::EcdsaP256),
        rotation: RotationPolicy::Always,
        renew_before: RenewBefore::AThird,
        template: Template {
            labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]),
            annotations: BTreeMap::new(),
        },
        suspended: false,
        renew: None,
        blocks: Blocks::default(),
        overrides: Overrides::default(),
        release: None,
        credentials: None,
        credentials_version: None,
    }
}

pub(super) fn ready() -> IssuerState {
    IssuerState::Ready {
        version: "7".to_owned(),
        account: Some("https://ca.example/ as house".to_owned()),
        anchors: None,
    }
}

pub(super) fn account() -> Account {
    Account {
        name: "https://ca.example/ as house".to_owned(),
        capabilities: Capabilities {
            name: "House CA",
            key_kinds: vec![KeyKind::EcdsaP256, KeyKind::EcdsaP384],
            key_kinds_field: Some("spec.houseCa.keyAlgorithms"),
            instead_of_names: Some("spec.houseCa: {}"),
            ..Capabilities::default()
        },
        anchors: vec![pki().root.certificate()],
        is_bundle: false,
        preferred_root: None,
        add_served_roots: false,
        credentials: None,
        opt_in: None,
    }
}

/// A request that nobody has looked at.
pub(super) fn fresh() -> Observation {
    Observation::at_start(now(), request(), ready(), Previous::default(), None)
}

/// There is no target, as the read of this run showed.
pub(super) fn absent() -> Observation {
    Observation { target: Some(Read::Absent), ..fresh() }
}

/// The same with the account open: a submit is next.
pub(super) fn opened() -> Observation {
    Observation { account: Some(account()), ..absent() }
}

/// The CA has issued, and nothing is written yet.
pub(super) fn obtained() -> Observation {
    // Once, because each signature is another certificate.
    static ISSUED: LazyLock<Vec<Certificate>> = LazyLock::new(|| issued(&key(0), now()));
    let obtained = Obtained {
        key: key(0).into(),
        csr_names: None,
        candidates: ISSUED.clone(),
        purchase: purchase(),
    };
    Observation { obtained: Some(obtained), submitted: true, ..opened() }
}

/// Ten days after the delivery: the status knows, and the watch shows what was written.
pub(super) fn kept() -> Observation {
    let start = obtained();
    let Step::Deliver(delivery) = decide(&start) else { panic!("a delivery was expected") };
    let target = written(None, &delivery, 100);
    let outcome = Outcome::Delivered {
        target: target.clone(),
        added_roots: vec![],
        renewed: true,
        adopted: false,
    };
    let delivered = start.after(outcome);
    let status = describe(&delivered, &[], &Rest::Kept).status;
    Observation {
        now: now() + days(10),
        previous: previous(&status),
        cached: Some(cached(&target)),
        ..fresh()
    }
}

/// The target that [`kept`] speaks of.
pub(super) fn delivered_target() -> Target {
    let Step::Deliver(delivery) = decide(&obtained()) else { panic!("a delivery was expected") };
    written(None, &delivery, 100)
}

/// Somebody changed `what` of the target since: its resourceVersion is another, and it was read.
pub(super) fn altered(what: impl FnOnce(&mut Target)) -> Observation {
    let mut target = delivered_target();
    target.resource_version = "101".to_owned();
    what(&mut target);
    let cached = Some(cached(&target));
    Observation { cached, target: Some(Read::Present(target)), ..kept() }
}

/// The same with the account open.
pub(super) fn altered_and_opened(what: impl FnOnce(&mut Target)) -> Observation {
    Observation { account: Some(account()), ..altered(what) }
}

/// `seen` with one thing changed.
pub(super) fn with(mut seen: Observation, change: impl FnOnce(&mut Observation)) -> Observation {
    change(&mut seen);
    seen
}

/// The Secret after a delivery, as the API server would store it.
pub(super) fn written(old: Option<&Target>, delivery: &Delivery, version: u64) -> Target {
    let mut metadata = old.map(|old| old.metadata.clone()).unwrap_or_default();
    metadata.labels.extend(delivery.metadata.labels.clone());
    metadata.annotations.extend(delivery.metadata.annotations.clone());
    metadata.labels.retain(|key, _| !delivery.removed_labels.contains(key));
    metadata.annotations.retain(|key, _| !delivery.removed_annotations.contains(key));
    Target {
        uid: old.map_or_else(|| format!("uid-{version}"), |old| old.uid.clone()),
        resource_version: version.to_string(),
        kind: old.map_or_else(|| type_of(delivery).to_owned(), |old| old.kind.clone()),
        immutable: false,
        owners: vec![],
        metadata,
        key: delivery.key.private().map(Arc::clone),
        chain: delivery.chain.clone(),
        anchors: delivery.anchors.clone(),
    }
}

fn type_of(delivery: &Delivery) -> &'static str {
    if delivery.key.private().is_some() { "kubernetes.io/tls" } else { "Opaque" }
}

/// What the metadata watch shows of a target: only what carries our label.
pub(super) fn cached(target: &Target) -> CachedTarget {
    CachedTarget {
        resource_version: target.resource_version.clone(),
        metadata: target.metadata.clone(),
    }
}

/// What the next run finds in the status, through the JSON in which it is kept.
pub(super) fn previous(status: &CertificateRequestStatus) -> Previous {
    Previous::from(&stored(status))
}

/// The status as it comes back from the API server: times are cut to whole seconds.
pub(super) fn stored(status: &CertificateRequestStatus) -> CertificateRequestStatus {
    let json = serde_json::to_value(status).expect("a status is JSON");
    serde_json::from_value(json).expect("a status reads back")
}

/// The end of a run, which must be a rest.
pub(super) fn rest(seen: &Observation) -> Rest {
    let step = decide(seen);
    let Step::Rest(rest) = step else { panic!("a rest was expected, not {step:?}") };
    rest
}

/// The description of a run that has come to its rest.
pub(super) fn described(seen: &Observation) -> Description {
    describe(seen, &[], &rest(seen))
}
