//! The SSL purchase API against the simulator, by HTTP Basic and with tokens.

use std::sync::Arc;

use bytes::Bytes;
use chancery::api::IssuerSpec;
use chancery::ca::kind::AccountSettings;
use chancery::pki::{Certificate, parse_pem};
use chancery::simulator::ssl_purchase::{
    Action, Operation, Plan, Reseller, Site, SiteSettings, Step, Validation,
};
use chancery::simulator::{Fault, KeyAlgorithm, Kind, Settings, Simulator};
use http::Request;
use serde_json::json;

use crate::authority::Bend;
use crate::rules::{Row, now};
use crate::wire::{Routed, Trouble, Wire};

const RESELLER: &str = "rp-4711";
const API_KEY: &str = "canary-reseller-key-4711";
const CLIENT: &str = "canary-client";
const CLIENT_SECRET: &str = "canary-client-secret-4712";
const PLAN: &str = "11111111-2222-4333-8444-555555555555";

pub(crate) struct SslPurchase<const TOKENS: bool> {
    site: Site,
    wire: Arc<Wire>,
}

impl<const TOKENS: bool> Row for SslPurchase<TOKENS> {
    const RENEWS_TOKENS: bool = TOKENS;

    fn start() -> Self {
        let simulator = Simulator::new(Settings { clock: Arc::new(now), key_pool: None });
        let site = simulator.ssl_purchase("demo").unwrap();
        let reseller = Reseller {
            api_key: API_KEY.to_owned(),
            client_id: CLIENT.to_owned(),
            client_secret: CLIENT_SECRET.to_owned(),
            credit: None,
        };
        let settings = SiteSettings {
            resellers: [(RESELLER.to_owned(), reseller)].into(),
            key_algorithm: KeyAlgorithm::Ecdsa,
            // Renewable at once.
            plans: vec![Plan {
                id: Some(PLAN.to_owned()),
                renew_days_before_expiration: 3650,
                ..Plan::default()
            }],
            states: Some(vec![Step::waiting("pending"), Step::waiting("active")]),
            validation: Validation::Nothing,
            ..SiteSettings::default()
        };
        site.configure(settings).unwrap();
        let refusal = json!({ "success": false, "error": {
            "code": "request_validation_failed",
            "message": { "plan": [{ "message": "Because it is so", "code": "invalid_choice" }] },
        } });
        let is_submit = |request: &Request<Bytes>| {
            let path = request.uri().path();
            let buys = ["/ssl-certificate", "/renew", "/reissue"];
            request.method() == "POST" && buys.iter().any(|end| path.ends_with(end))
        };
        let far = Arc::new(Routed(simulator.router()));
        let wire = Wire::new(far, is_submit, (422, refusal.to_string()), Self::secrets());
        Self { site, wire }
    }

    fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    fn field() -> Option<&'static str> {
        Some("sslPurchase")
    }

    fn settings(&self) -> Box<dyn AccountSettings> {
        let authentication = if TOKENS {
            json!({ "oidc": { "tokenUrl": "https://login.example/ssl-purchase/demo/token" } })
        } else {
            json!({ "basic": {} })
        };
        let spec = json!({ "sslPurchase": {
            "url": "https://ca.example/ssl-purchase/demo/",
            "credentialsSecretRef": { "name": "reseller" },
            "reseller": RESELLER,
            "authentication": authentication,
            "plan": { "id": PLAN },
            "dcvType": "DNS",
            "reissuePolicy": "Always",
        } });
        let spec: IssuerSpec = serde_json::from_value(spec).unwrap();
        Box::new(spec.ssl_purchase.unwrap())
    }

    fn secret() -> Vec<(&'static str, String)> {
        if TOKENS {
            vec![("clientId", CLIENT.to_owned()), ("clientSecret", CLIENT_SECRET.to_owned())]
        } else {
            vec![("username", RESELLER.to_owned()), ("apiKey", API_KEY.to_owned())]
        }
    }

    fn made(&self) -> usize {
        self.site.orders().unwrap().iter().map(|order| order.purchases.len()).sum()
    }

    fn finish(&self) {
        for order in self.site.orders().unwrap() {
            // What is reissued is there already.
            drop(self.site.act(&order.id, &Action::Advance));
        }
    }

    fn bend(&self, bend: Bend) {
        let kind = match bend {
            Bend::WrongKey => Kind::WrongKey,
            Bend::WrongOrder => Kind::WrongChainOrder,
        };
        for operation in [Operation::Create, Operation::Renew, Operation::Reissue] {
            self.site.inject(Fault::next(operation, kind.clone())).unwrap();
        }
    }

    fn anchors(&self) -> Vec<Certificate> {
        parse_pem(self.site.issuers().unwrap().root_pem.as_bytes()).unwrap()
    }

    fn secrets() -> Vec<String> {
        use base64::Engine as _;
        let header = format!("{RESELLER}:{API_KEY}");
        let header = base64::engine::general_purpose::STANDARD.encode(header);
        vec![API_KEY.to_owned(), header, CLIENT_SECRET.to_owned()]
    }

    fn proves_refusal(trouble: Trouble) -> bool {
        trouble == Trouble::Unauthorized
    }

    fn withdrawn(&self) -> Option<Vec<String>> {
        let orders = self.site.orders().unwrap().into_iter();
        Some(orders.filter(|order| order.deleted_on.is_some()).map(|order| order.id).collect())
    }

    fn revoked(&self) -> Option<Vec<String>> {
        let orders = self.site.orders().unwrap().into_iter();
        let ended = orders.filter(|order| order.deleted_on.is_some());
        Some(ended.flat_map(|order| order.certificates).map(|one| plain(&one.serial)).collect())
    }
}

/// As certificates of ours write it: in upper case, without octets of nothing.
fn plain(serial: &str) -> String {
    serial.trim_start_matches("00").to_uppercase()
}
