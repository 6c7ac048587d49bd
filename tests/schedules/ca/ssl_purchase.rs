//! The SSL purchase API of a reseller, where a renewal and a reissue go by the id of the order before.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use chancery::simulator::ssl_purchase::{
    Action, Deed, Operation, Plan, Purchase, Record, ReferenceFilter, Reseller, Site, SiteSettings,
    Validation,
};
use chancery::simulator::{Fault, KeyAlgorithm, Kind as FaultKind, Simulator};
use http::{Method, Request};
use serde_json::{Value, json};

use super::{Bought, Ca, Fate, Fickle, Life, float};
use crate::plan::Setting;

const SITE: &str = "reseller";
/// The accounts there.
const ACCOUNTS: [&str; 2] = ["RS-0001", "RS-0002"];
/// What is sold.
const PLANS: [&str; 2] =
    ["00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"];

/// One site of it.
pub struct SslPurchase {
    site: Site,
    /// What was bought, by order and place: each where it was seen first.
    seen: Mutex<Vec<(String, usize)>>,
    is_renewable: bool,
}

impl SslPurchase {
    /// A site of this setting.
    pub fn new(simulator: &Simulator, setting: &Setting) -> Self {
        let site = simulator.ssl_purchase(SITE).expect("a name");
        site.configure(settings(setting)).expect("settings that make sense");
        // Made here, because later it would be left to a thread that may block.
        site.issuers().expect("authorities");
        Self { site, seen: Mutex::default(), is_renewable: setting.is_renewable }
    }

    fn change(&self, change: impl FnOnce(&mut SiteSettings)) {
        let mut settings = self.site.settings();
        change(&mut settings);
        self.site.configure(settings).expect("settings that make sense");
    }
}

impl Ca for SslPurchase {
    fn root(&self) -> String {
        self.site.issuers().expect("authorities").root_pem
    }

    fn bought(&self) -> Vec<Bought> {
        let records = self.site.orders().expect("orders");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new: Vec<_> = records
            .iter()
            .flat_map(|record| record.purchases.iter().enumerate().map(move |it| (record, it)))
            .filter(|(record, (place, _))| !seen.contains(&(record.id.clone(), *place)))
            .collect();
        new.sort_by_key(|(_, (_, purchase))| purchase.on);
        seen.extend(new.iter().map(|(record, (place, _))| (record.id.clone(), *place)));
        let find = |id: &str| records.iter().find(|record| record.id == id);
        seen.iter()
            .filter_map(|(id, place)| {
                let record = find(id)?;
                Some(bought(record, *place, record.purchases.get(*place)?))
            })
            .collect()
    }

    fn field(&self) -> &'static str {
        "sslPurchase"
    }

    fn url(&self, host: &str) -> String {
        format!("https://{host}/ssl-purchase/{SITE}")
    }

    fn block(&self, window: u64) -> Value {
        json!({
            "url": self.url("ra.example"),
            "credentialsSecretRef": {"name": "api-key"},
            "reseller": ACCOUNTS[0],
            "plan": {"id": PLANS[0]},
            "dcvType": "DNS",
            "allowEcdsa": true,
            "reissuePolicy": if self.is_renewable { "Never" } else { "Always" },
            "settleWindow": format!("{window}s"),
        })
    }

    fn credentials(&self, account: usize) -> Value {
        json!({"username": ACCOUNTS[account], "apiKey": "changeme"})
    }

    fn product_id(&self, number: usize) -> &'static str {
        PLANS[number]
    }

    fn product(&self, number: usize) -> Value {
        json!({"plan": {"id": PLANS[number], "name": null}})
    }

    fn no_product(&self) -> Value {
        json!({"plan": {"name": "None", "id": null}})
    }

    fn what(&self, request: &Request<Bytes>) -> String {
        let path = request.uri().path().rsplit_once("/ssl-certificate").map(|(_, path)| path);
        let what = match path {
            None => "token".to_owned(),
            Some("" | "/") if request.method() == Method::POST => "issue".to_owned(),
            Some("" | "/") => "orders".to_owned(),
            Some("-plan") => "plans".to_owned(),
            Some(path) => match path.trim_start_matches('/').split_once('/') {
                None if request.method() == Method::DELETE => "delete".to_owned(),
                None => "order/id".to_owned(),
                Some((_, verb @ ("renew" | "reissue"))) => format!("issue/id/{verb}"),
                Some((_, what)) => format!("order/id/{what}"),
            },
        };
        format!("ca {what}")
    }

    fn submitted(&self, body: &[u8]) -> Option<String> {
        let order: Value = serde_json::from_slice(body).unwrap_or_default();
        order["client_reference"].as_str().map(str::to_owned)
    }

    fn cloned(&self, body: &[u8], reference: &str, csr: &str, _: &str) -> Value {
        let mut body: Value = serde_json::from_slice(body).expect("an order is JSON");
        body["csr"] = csr.into();
        body["client_reference"] = reference.into();
        body
    }

    fn becomes(&self, how: Fickle) {
        self.change(|settings| match how {
            Fickle::Blind(is_so) => settings.list_forgets = is_so,
            Fickle::Lag(seconds) => settings.list_lag_seconds = float(seconds),
            // A plan for one name has that name.
            Fickle::DropsName(_) => {}
        });
    }

    fn doubles(&self) {
        self.change(|settings| settings.duplicate_next = true);
    }

    fn renames_product(&self) {
        self.change(|settings| "Renamed".clone_into(&mut settings.plans[0].name));
    }

    fn takes_another_key(&self) {
        let fault = Fault { operation: Operation::Create, times: 1, kind: FaultKind::WrongKey };
        self.site.inject(fault).expect("a fault of certificates");
    }

    fn befall(&self, id: &str, fate: Fate) {
        let action = match fate {
            Fate::Forgotten => Action::Forget,
            Fate::Rejected => Action::Set { state: "rejected".to_owned() },
        };
        let _ = self.site.act(id, &action);
    }
}

fn bought(record: &Record, place: usize, purchase: &Purchase) -> Bought {
    let issued = record.certificates.iter().rfind(|one| one.purchase == place);
    // What was said of the order was said of what was worked on.
    let is_last = place + 1 == record.purchases.len();
    let has_failed = matches!(record.state.as_str(), "failed" | "rejected" | "deleted");
    let own_name = purchase.submitted_reference.clone();
    Bought {
        id: record.id.clone(),
        reference: own_name.filter(|_| purchase.deed == Deed::Create),
        on: purchase.on,
        product: purchase.plan.clone(),
        spki_sha256: purchase.spki_sha256.clone(),
        requested_names: purchase.requested_names.clone(),
        certificate: issued.map(|one| Life { begins: one.not_before, ends: one.not_after }),
        follows: purchase.deed != Deed::Create,
        is_over: record.is_forgotten || issued.is_none() && is_last && has_failed,
    }
}

fn settings(setting: &Setting) -> SiteSettings {
    let plan = |number: usize, name: &str| Plan {
        id: Some(PLANS[number].to_owned()),
        name: name.to_owned(),
        renew_days_before_expiration: if setting.is_renewable { 20_000 } else { 30 },
        ..Plan::default()
    };
    SiteSettings {
        resellers: ACCOUNTS.map(|name| (name.to_owned(), Reseller::default())).into(),
        plans: vec![plan(0, "The Plan"), plan(1, "Another")],
        key_algorithm: KeyAlgorithm::Ecdsa,
        validation: Validation::Nothing,
        pending_seconds: float(setting.pending),
        list_omits: if setting.drops_tags {
            ["client_reference", "csr"].map(str::to_owned).into()
        } else {
            Default::default()
        },
        reference_filter: if setting.ignores_tags {
            ReferenceFilter::Ignored
        } else {
            ReferenceFilter::Exact
        },
        list_lag_seconds: float(setting.lag),
        list_omits_pending: setting.omits_open_orders,
        ..SiteSettings::default()
    }
}
