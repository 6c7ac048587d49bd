//! The Online CA against the simulator, in both flavours.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::api::IssuerSpec;
use chancery::ca::kind::AccountSettings;
use chancery::outside::credentials::Credentials;
use chancery::pki::{Certificate, parse_pem};
use chancery::simulator::online_ca::{Flavour, Operation, Site, SiteSettings};
use chancery::simulator::{Fault, KeyAlgorithm, Kind, Settings, Simulator};
use http::Request;
use serde_json::json;

use crate::authority::Bend;
use crate::rules::{Row, now};
use crate::wire::{Routed, Trouble, Wire};

const USER: &str = "testuser";
const PASSWORD: &str = "Tr0ub4dor&3-xyzzy";

/// `DJANGO`: the flavour. `OWN`: the request brings the credentials, and the Issuer has none.
pub(crate) struct OnlineCa<const DJANGO: bool, const OWN: bool> {
    site: Site,
    wire: Arc<Wire>,
}

impl<const DJANGO: bool, const OWN: bool> Row for OnlineCa<DJANGO, OWN> {
    fn start() -> Self {
        let simulator = Simulator::new(Settings { clock: Arc::new(now), key_pool: None });
        let site = simulator.online_ca("demo").unwrap();
        site.configure(SiteSettings {
            flavour: if DJANGO { Flavour::Django } else { Flavour::Contrail },
            users: [(USER.to_owned(), PASSWORD.to_owned())].into(),
            key_algorithm: KeyAlgorithm::Ecdsa,
            ..SiteSettings::default()
        });
        let is_submit = |request: &Request<Bytes>| request.method() == "POST";
        let far = Arc::new(Routed(simulator.router()));
        let wire = Wire::new(far, is_submit, (400, "no such subject".to_owned()), Self::secrets());
        Self { site, wire }
    }

    fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    fn field() -> Option<&'static str> {
        Some("onlineCa")
    }

    fn settings(&self) -> Box<dyn AccountSettings> {
        let mut spec = json!({ "onlineCa": {
            "certificateUrl": "https://ca.example/online-ca/demo/certificate/",
            "trustRootsUrl": "https://ca.example/online-ca/demo/trustroots/",
            "keyAlgorithms": ["RSA"],
        } });
        if !OWN {
            spec["onlineCa"]["credentialsSecretRef"] = json!({ "name": "ca" });
        }
        let spec: IssuerSpec = serde_json::from_value(spec).unwrap();
        Box::new(spec.online_ca.unwrap())
    }

    fn secret() -> Vec<(&'static str, String)> {
        vec![("username", USER.to_owned()), ("password", PASSWORD.to_owned())]
    }

    fn own_credentials(&self) -> Option<Credentials> {
        OWN.then(|| self.read_secret())
    }

    fn made(&self) -> usize {
        self.site.issued().len()
    }

    fn bend(&self, bend: Bend) {
        let kind = match bend {
            Bend::WrongKey => Kind::WrongKey,
            Bend::WrongOrder => Kind::WrongChainOrder,
        };
        self.site.inject(Fault::next(Operation::Certificate, kind)).unwrap();
    }

    fn anchors(&self) -> Vec<Certificate> {
        parse_pem(self.site.issuers().unwrap().root_pem.as_bytes()).unwrap()
    }

    fn secrets() -> Vec<String> {
        vec![PASSWORD.to_owned(), STANDARD.encode(format!("{USER}:{PASSWORD}"))]
    }

    fn proves_refusal(_: Trouble) -> bool {
        true
    }
}
