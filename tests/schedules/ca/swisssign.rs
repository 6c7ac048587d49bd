//! SwissSign.

use bytes::Bytes;
use chancery::simulator::swisssign::{
    Action, Client as RaClient, Operation, Product, ProductValidity, Record, Site, SiteSettings,
    Step, ValidityType,
};
use chancery::simulator::{Fault, KeyAlgorithm, Kind as FaultKind, Simulator};
use http::Request;
use serde_json::{Value, json};

use super::{Bought, Ca, Fate, Fickle, Life, float};
use crate::plan::Setting;

/// The accounts there.
pub const ACCOUNTS: [&str; 2] = ["MPKI0000001.AutoRAO", "MPKI0000002.AutoRAO"];
const SITE: &str = "ra";
/// Its first client, and that client's products.
pub const CLIENT: &str = "cli-00000000-0000-4000-8000-000000000001";
pub const PRODUCTS: [&str; 2] =
    ["pma-00000000-0000-4000-8000-000000000001", "pma-00000000-0000-4000-8000-000000000002"];
pub const PRODUCT_NAME: &str = "The Product";

/// One site of it.
pub struct SwissSign(Site);

impl SwissSign {
    /// A site of this setting.
    pub fn new(simulator: &Simulator, setting: &Setting) -> Self {
        let site = simulator.swisssign(SITE).expect("a name");
        site.configure(settings(setting)).expect("settings that make sense");
        // Made here, because later it would be left to a thread that may block.
        site.issuers().expect("authorities");
        Self(site)
    }

    fn change(&self, change: impl FnOnce(&mut SiteSettings)) {
        let mut settings = self.0.settings();
        change(&mut settings);
        self.0.configure(settings).expect("settings that make sense");
    }
}

impl Ca for SwissSign {
    fn root(&self) -> String {
        self.0.issuers().expect("authorities").root_pem
    }

    fn bought(&self) -> Vec<Bought> {
        self.0.orders().expect("orders").iter().map(bought).collect()
    }

    fn field(&self) -> &'static str {
        "swissSign"
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}/swisssign/{SITE}")
    }

    fn block(&self, window: u64) -> Value {
        let settings = self.0.settings();
        let client = &settings.clients[0];
        json!({
            "url": self.url("ra.example"),
            "credentialsSecretRef": {"name": "api-key"},
            "client": {"name": client.name},
            "product": {"name": client.products[0].name},
            "acceptTermsAndConditions": true,
            "settleWindow": format!("{window}s"),
        })
    }

    fn credentials(&self, account: usize) -> Value {
        json!({"username": ACCOUNTS[account], "apiKey": "changeme"})
    }

    fn product_id(&self, number: usize) -> &'static str {
        PRODUCTS[number]
    }

    fn product(&self, number: usize) -> Value {
        json!({"product": {"id": PRODUCTS[number], "name": null}})
    }

    fn no_product(&self) -> Value {
        json!({"product": {"name": "None", "id": null}})
    }

    fn what(&self, request: &Request<Bytes>) -> String {
        let path = request.uri().path().rsplit_once("/v2/").map_or("", |(_, path)| path);
        format!("ca {}", path.split('/').map(short).collect::<Vec<_>>().join("/"))
    }

    fn submitted(&self, body: &[u8]) -> Option<String> {
        let order: Value = serde_json::from_slice(body).unwrap_or_default();
        order["tags"][0].as_str().map(str::to_owned)
    }

    fn cloned(&self, body: &[u8], reference: &str, csr: &str, spki: &str) -> Value {
        let mut body: Value = serde_json::from_slice(body).expect("an order is JSON");
        body["csr"] = csr.into();
        body["tags"] = json!([reference, format!("spki-{}", &spki[..16])]);
        body
    }

    fn becomes(&self, how: Fickle) {
        self.change(|settings| match how {
            Fickle::Blind(is_so) => settings.index_forgets = is_so,
            Fickle::Lag(seconds) => settings.search_lag_seconds = float(seconds),
            Fickle::DropsName(is_so) => settings.drop_sans = if is_so { vec![0] } else { vec![] },
        });
    }

    fn doubles(&self) {
        self.change(|settings| settings.duplicate_next = true);
    }

    fn renames_product(&self) {
        self.change(|settings| "Renamed".clone_into(&mut settings.clients[0].products[0].name));
    }

    fn takes_another_key(&self) {
        let fault = Fault { operation: Operation::Issue, times: 1, kind: FaultKind::WrongKey };
        self.0.inject(fault).expect("a fault of certificates");
    }

    fn befall(&self, id: &str, fate: Fate) {
        let action = match fate {
            Fate::Forgotten => Action::Forget,
            Fate::Rejected => Action::Reject { error: None },
        };
        let _ = self.0.act(id, &action);
    }
}

fn bought(record: &Record) -> Bought {
    let mut tags = record.submitted_tags.iter();
    Bought {
        id: record.uuid.clone(),
        reference: tags.find(|tag| tag.starts_with("chancery-")).cloned(),
        on: record.created_on,
        product: record.product.clone(),
        spki_sha256: record.spki_sha256.clone(),
        requested_names: record.requested_names.clone(),
        certificate: record
            .certificate
            .as_ref()
            .map(|one| Life { begins: one.not_before, ends: one.not_after }),
        follows: false,
        is_over: record.is_forgotten
            || matches!(record.state.as_str(), "FAILED" | "REJECTED" | "REVOKED"),
    }
}

/// Ids are not the same in every run.
fn short(segment: &str) -> &str {
    match segment.split_once('-') {
        Some((prefix, rest)) if rest.len() == 36 => prefix,
        Some(_) | None => segment,
    }
}

fn settings(setting: &Setting) -> SiteSettings {
    let lifetime = setting.lifetime.map(|seconds| ProductValidity {
        validity_type: ValidityType::Seconds,
        validity: u32::try_from(seconds).ok(),
        validity_options: Vec::new(),
    });
    let product = Product {
        states: Some(vec![
            Step::passing("NEW", 0.3),
            Step::passing("PENDING_AUTH", float(setting.pending)),
            Step::waiting("ISSUED"),
        ]),
        ..Product::default()
    };
    let product = Product {
        name: PRODUCT_NAME.to_owned(),
        id: Some(PRODUCTS[0].to_owned()),
        product_validity: lifetime.or_else(|| product.product_validity.clone()),
        ..product
    };
    let another =
        Product { name: "Another".to_owned(), id: Some(PRODUCTS[1].to_owned()), ..product.clone() };
    SiteSettings {
        accounts: ACCOUNTS.map(|account| (account.to_owned(), "changeme".to_owned())).into(),
        clients: vec![
            RaClient {
                id: Some(CLIENT.to_owned()),
                products: vec![product.clone(), another],
                ..RaClient::default()
            },
            RaClient {
                name: "Another Client".to_owned(),
                products: vec![Product { id: None, ..product }],
                ..RaClient::default()
            },
        ],
        key_algorithm: KeyAlgorithm::Ecdsa,
        drop_tags: setting.drops_tags,
        search_ignores_tags: setting.ignores_tags,
        search_lag_seconds: float(setting.lag),
        search_omits_open_orders: setting.omits_open_orders,
        ..SiteSettings::default()
    }
}
