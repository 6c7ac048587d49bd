//! SwissSign against the simulator.

use std::sync::Arc;

use bytes::Bytes;
use chancery::api::IssuerSpec;
use chancery::ca::kind::AccountSettings;
use chancery::pki::{Certificate, parse_pem};
use chancery::simulator::swisssign::{
    Action, Client, Operation, Product, Site, SiteSettings, Step,
};
use chancery::simulator::{Fault, KeyAlgorithm, Kind, Settings, Simulator};
use http::Request;
use serde_json::json;

use crate::authority::Bend;
use crate::rules::{Row, now};
use crate::wire::{Routed, Trouble, Wire};

const USER: &str = "MPKI0000001.AutoRAO";
const API_KEY: &str = "Xq7pK2mW9vB4nT6rY8sD1fG3hJ5kL0zC";
const CLIENT: &str = "cli-00000000-0000-4000-8000-000000000001";
const PRODUCT: &str = "pma-00000000-0000-4000-8000-000000000001";

pub(crate) struct SwissSign {
    site: Site,
    wire: Arc<Wire>,
}

impl Row for SwissSign {
    const RENEWS_TOKENS: bool = true;

    fn start() -> Self {
        let simulator = Simulator::new(Settings { clock: Arc::new(now), key_pool: None });
        let site = simulator.swisssign("demo").unwrap();
        let product = Product { id: Some(PRODUCT.to_owned()), ..Product::default() };
        let settings = SiteSettings {
            accounts: [(USER.to_owned(), API_KEY.to_owned())].into(),
            key_algorithm: KeyAlgorithm::Ecdsa,
            clients: vec![Client {
                id: Some(CLIENT.to_owned()),
                name: "Demo Client".to_owned(),
                products: vec![product],
                ..Client::default()
            }],
            states: Some(vec![Step::waiting("NEW"), Step::waiting("ISSUED")]),
            ..SiteSettings::default()
        };
        site.configure(settings).unwrap();
        let refusal = json!({
            "uuid": "0f0e0d0c-0b0a-4908-8706-050403020100",
            "errorCode": "<011.350.0226>",
            "errorMessages": ["Because it is so"],
        });
        let is_submit = |request: &Request<Bytes>| request.uri().path().contains("/v2/issue");
        let far = Arc::new(Routed(simulator.router()));
        let wire = Wire::new(far, is_submit, (400, refusal.to_string()), Self::secrets());
        Self { site, wire }
    }

    fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    fn field() -> Option<&'static str> {
        Some("swissSign")
    }

    fn settings(&self) -> Box<dyn AccountSettings> {
        let spec = json!({ "swissSign": {
            "url": "https://ca.example/swisssign/demo",
            "credentialsSecretRef": { "name": "swisssign" },
            "client": { "id": CLIENT },
            "product": { "id": PRODUCT },
            "acceptTermsAndConditions": true,
        } });
        let spec: IssuerSpec = serde_json::from_value(spec).unwrap();
        Box::new(spec.swiss_sign.unwrap())
    }

    fn secret() -> Vec<(&'static str, String)> {
        vec![("username", USER.to_owned()), ("apiKey", API_KEY.to_owned())]
    }

    fn made(&self) -> usize {
        usize::try_from(self.site.references().total).unwrap()
    }

    fn finish(&self) {
        for order in self.site.orders().unwrap() {
            self.site.act(&order.uuid, &Action::Advance).unwrap();
        }
    }

    fn bend(&self, bend: Bend) {
        let kind = match bend {
            Bend::WrongKey => Kind::WrongKey,
            Bend::WrongOrder => Kind::WrongChainOrder,
        };
        self.site.inject(Fault::next(Operation::Issue, kind)).unwrap();
    }

    fn anchors(&self) -> Vec<Certificate> {
        parse_pem(self.site.issuers().unwrap().root_pem.as_bytes()).unwrap()
    }

    fn secrets() -> Vec<String> {
        vec![API_KEY.to_owned()]
    }

    /// 400 is answered at any point.
    fn proves_refusal(trouble: Trouble) -> bool {
        trouble != Trouble::Echo
    }
}
