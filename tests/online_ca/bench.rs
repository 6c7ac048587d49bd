//! A simulator with one quick site, keys that are made once, and a clock that tests move.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chancery::api::{self, BasicSplit, IssuerSpec};
use chancery::ca::kind::Opening;
use chancery::ca::registry;
use chancery::ca::{CertificateAuthority, Order, Permit, Submitted};
use chancery::outside::credentials::{Basic, Credentials};
use chancery::outside::transport::Transport;
use chancery::pki::{Certificate, KeyKind, Names, PrivateKey, csr, parse_pem};
use chancery::simulator::online_ca::{Flavour, Operation, Site, SiteSettings};
use chancery::simulator::{Fault, KeyAlgorithm, Kind, Settings, Simulator};
use jiff::Timestamp;

use crate::router_transport::RouterTransport;

pub(crate) const USER: &str = "testuser";
pub(crate) const PASSWORD: &str = "Tr0ub4dor&3-xyzzy";
/// The operator's own default.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// When every test begins.
const START: i64 = 1_780_000_000;

/// A clock that the simulator and the test share.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_second(self.0.load(Ordering::Relaxed)).unwrap()
    }

    pub(crate) fn set(&self, now: Timestamp) {
        self.0.store(now.as_second(), Ordering::Relaxed);
    }
}

/// A simulator with one site.
#[derive(Clone, Debug)]
pub(crate) struct Bench {
    pub(crate) simulator: Simulator,
    pub(crate) site: Site,
    pub(crate) clock: Clock,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(settings(Flavour::Contrail))
    }

    pub(crate) fn with(settings: SiteSettings) -> Self {
        let clock = Clock(Arc::new(AtomicI64::new(START)));
        let ticking = clock.clone();
        let simulator =
            Simulator::new(Settings { clock: Arc::new(move || ticking.now()), key_pool: None });
        let site = simulator.online_ca("demo").unwrap();
        site.configure(settings);
        Self { simulator, site, clock }
    }

    /// Changes one thing or another of the site.
    pub(crate) fn set(&self, change: impl FnOnce(&mut SiteSettings)) {
        let mut settings = self.site.settings();
        change(&mut settings);
        self.site.configure(settings);
    }

    pub(crate) fn fault(&self, kind: Kind) {
        self.site.inject(Fault::next(Operation::Certificate, kind)).unwrap();
    }

    /// Requests for a certificate that reached the CA.
    pub(crate) fn asked(&self) -> u64 {
        self.site.requests().total("certificate")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://ca.example/online-ca/{}/{path}", self.site.name())
    }

    pub(crate) fn spec(&self) -> api::OnlineCa {
        spec(&self.url("certificate/"), &self.url("trustroots/"))
    }

    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(RouterTransport(self.simulator.router()))
    }

    /// The client with the right credentials.
    pub(crate) fn open(&self) -> Arc<dyn CertificateAuthority> {
        open(self.spec(), Some(basic(USER, PASSWORD)), self.transport())
    }

    pub(crate) fn root(&self) -> Certificate {
        one_certificate(&self.site.issuers().unwrap().root_pem)
    }

    pub(crate) fn intermediate(&self) -> Certificate {
        one_certificate(&self.site.issuers().unwrap().intermediate_pem)
    }
}

/// A site whose authorities cost no time, with the limits the service ships with.
pub(crate) fn settings(flavour: Flavour) -> SiteSettings {
    SiteSettings {
        flavour,
        users: [(USER.to_owned(), PASSWORD.to_owned())].into(),
        key_algorithm: KeyAlgorithm::Ecdsa,
        ..SiteSettings::default()
    }
}

pub(crate) fn spec(certificate_url: &str, trust_roots_url: &str) -> api::OnlineCa {
    api::OnlineCa {
        certificate_url: certificate_url.to_owned(),
        trust_roots_url: trust_roots_url.to_owned(),
        credentials_secret_ref: None,
        key_algorithms: vec![api::KeyAlgorithm::Rsa],
        basic_split: BasicSplit::LastColon,
    }
}

/// As the operator does it: through the registry.
pub(crate) fn open(
    spec: api::OnlineCa,
    credentials: Option<Credentials>,
    transport: Arc<dyn Transport>,
) -> Arc<dyn CertificateAuthority> {
    let spec = IssuerSpec { online_ca: Some(spec), ..IssuerSpec::default() };
    registry::account(&spec).unwrap().open(opening(credentials, transport)).unwrap()
}

pub(crate) fn opening(credentials: Option<Credentials>, transport: Arc<dyn Transport>) -> Opening {
    Opening {
        credentials,
        transport,
        deadline: DEADLINE,
        clock: chancery::clock::Clock::system(),
        reader: chancery::outside::remote_text::Reader::default(),
    }
}

pub(crate) fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Basic(Basic::new(user.to_owned(), password.to_owned().into()))
}

/// One key of each kind for all tests: RSA takes its time.
pub(crate) fn key(kind: KeyKind) -> Arc<PrivateKey> {
    static RSA: OnceLock<Arc<PrivateKey>> = OnceLock::new();
    static ECDSA: OnceLock<Arc<PrivateKey>> = OnceLock::new();
    let generate = || Arc::new(PrivateKey::generate(kind).unwrap());
    match kind {
        KeyKind::Rsa2048 => Arc::clone(RSA.get_or_init(generate)),
        KeyKind::EcdsaP256 => Arc::clone(ECDSA.get_or_init(generate)),
        KeyKind::Rsa3072
        | KeyKind::Rsa4096
        | KeyKind::EcdsaP384
        | KeyKind::EcdsaP521
        | KeyKind::Ed25519 => generate(),
    }
}

pub(crate) fn csr_der(key: &PrivateKey) -> Vec<u8> {
    csr::build(key, &Names::default()).unwrap()
}

/// Submits with the shared RSA key and the issuer's credentials.
pub(crate) async fn submit(ca: &dyn CertificateAuthority) -> Submitted {
    let csr_der = csr_der(&key(KeyKind::Rsa2048));
    ca.submit(&Order::unnamed(&csr_der, &serde_json::Value::Null), Permit::Free).await
}

pub(crate) fn one_certificate(pem: &str) -> Certificate {
    let mut found = parse_pem(pem.as_bytes()).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}
