//! What must never be: counted from what the CA and the API server hold, by nothing that the
//! operator's own code says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use chancery::api::annotation;
use chancery::pki::{self, PrivateKey};
use chancery::simulator::swisssign::Record;
use jiff::Timestamp;
use serde_json::Value;

use crate::api::{ApiServer, Kind};
use crate::plan::{Limits, Setting};
use crate::world::{NAMESPACE, reason};

/// Something that must never be.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Finding {
    /// An order more than was asked for.
    Duplicate(String),
    /// An order whose private key nobody has.
    LostKey(String),
    /// A Secret that was given what does not belong there.
    WrongDelivery(String),
    /// What waits for nobody and does not go on.
    Stuck(String),
    /// More at the CA than the limits of the issuer allow.
    OverLimit(String),
}

impl Finding {
    /// All kinds.
    pub const KINDS: [&str; 5] =
        ["duplicate_orders", "lost_keys", "over_limits", "stuck", "wrong_deliveries"];

    /// Its kind, as it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Duplicate(_) => "duplicate_orders",
            Self::LostKey(_) => "lost_keys",
            Self::WrongDelivery(_) => "wrong_deliveries",
            Self::Stuck(_) => "stuck",
            Self::OverLimit(_) => "over_limits",
        }
    }
}

/// What was asked for, bought and delivered.
#[derive(Default)]
pub struct Ledger {
    limits: Limits,
    /// How many days there are in which orders are made.
    days: u64,
    /// The name each request asks for now.
    wanted: BTreeMap<String, String>,
    /// How many orders what was asked for so far may lead to.
    may_order: BTreeMap<String, u64>,
    /// Name of the request by its uid.
    uids: BTreeMap<String, String>,
    /// Public key by what is in a Secret.
    keys: HashMap<String, Option<String>>,
    /// Public key of the leaf by what is in a Secret.
    leaves: HashMap<String, Option<String>>,
    orders_seen: usize,
    /// How often the CA was told to make two orders of one.
    doublings: u64,
    /// Public keys whose certificate was delivered once.
    delivered: BTreeSet<String>,
    /// Version of each target as last seen, and which order it has.
    targets: BTreeMap<String, (String, usize)>,
    /// Targets that somebody else has changed.
    meddled: BTreeSet<String>,
    /// Secrets of somebody else, as they were made.
    anothers: Vec<Value>,
    findings: BTreeSet<Finding>,
}

impl Ledger {
    /// With nothing in it yet, where the issuer has these limits.
    pub fn new(setting: &Setting) -> Self {
        // Clocks are wrong by minutes, so that nobody knows of which day an order is.
        let days = if setting.is_near_midnight { 2 } else { 1 };
        Self { limits: setting.limits, days, ..Self::default() }
    }

    /// The name that a request asks for.
    pub fn wanted(&mut self, request: &str, number: usize) -> String {
        let first = || format!("{request}-{number}.example.ch");
        self.may_order.entry(request.to_owned()).or_insert(1);
        self.wanted.entry(request.to_owned()).or_insert_with(first).clone()
    }

    /// A person has changed the names.
    pub fn edited(&mut self, request: &str, dns_name: String) {
        self.wanted.insert(request.to_owned(), dns_name);
        self.may_order(request, 1);
    }

    /// So many further orders are asked for.
    pub fn may_order(&mut self, request: &str, more: u64) {
        *self.may_order.entry(request.to_owned()).or_default() += more;
    }

    /// Somebody else has changed the target.
    pub fn meddled(&mut self, request: &str) {
        self.meddled.insert(request.to_owned());
    }

    /// Somebody else has made this Secret.
    pub fn made_by_another(&mut self, secret: Value) {
        self.anothers.push(secret);
    }

    /// The CA was told to make two orders of one.
    pub fn doubled(&mut self) {
        self.doublings += 1;
    }

    /// The store was set back: versions mean nothing any more.
    pub fn set_back(&mut self) {
        self.meddled.extend(self.targets.keys().cloned());
        self.targets.clear();
    }

    /// Whether the certificate for this public key was delivered once.
    pub fn has_delivered(&self, spki_sha256: &str) -> bool {
        self.delivered.contains(spki_sha256)
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.findings.iter().cloned().collect()
    }

    pub fn add(&mut self, finding: Finding) {
        self.findings.insert(finding);
    }

    /// Looks at everything.
    pub fn look(&mut self, api: &ApiServer, orders: &[Record], now: Timestamp) {
        for request in api.objects(Kind::CertificateRequest) {
            let metadata = &request["metadata"];
            if let (Some(uid), Some(name)) = (metadata["uid"].as_str(), metadata["name"].as_str())
                && !self.uids.contains_key(uid)
            {
                self.uids.insert(uid.to_owned(), name.to_owned());
            }
        }
        self.look_at_anothers(api);
        self.look_at_words(api);
        self.look_at_targets(api, orders);
        self.look_at_keys(api, orders);
        self.look_at_orders(orders, now);
        self.look_at_limits(api, orders);
        self.orders_seen = orders.len();
    }

    fn look_at_anothers(&mut self, api: &ApiServer) {
        for anothers in &self.anothers {
            let metadata = &anothers["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            let is_changed = api.object(Kind::Secret, NAMESPACE, name).is_some_and(|now| {
                now["metadata"]["uid"] == metadata["uid"]
                    && (now["data"] != anothers["data"]
                        || now["metadata"]["labels"] != metadata["labels"])
            });
            if is_changed {
                let text = format!("{name}: a Secret of somebody else was overwritten");
                self.findings.insert(Finding::WrongDelivery(text));
            }
        }
    }

    /// What a person is told has to be true.
    fn look_at_words(&mut self, api: &ApiServer) {
        for request in api.objects(Kind::CertificateRequest) {
            if reason(request, "Issuing") != Some("OrderRecordLost") {
                continue;
            }
            let name = request["metadata"]["name"].as_str().unwrap_or_default();
            let record = api.object(Kind::Secret, NAMESPACE, &format!("{name}.order"));
            let stored = record.and_then(|record| {
                record["metadata"]["annotations"][annotation::ORDER_REFERENCE].as_str()
            });
            if stored.is_some() && stored == request["status"]["order"]["reference"].as_str() {
                let text = format!("{name}: its record is called lost, and it is there");
                self.findings.insert(Finding::Stuck(text));
            }
        }
    }

    fn look_at_targets(&mut self, api: &ApiServer, orders: &[Record]) {
        let names: Vec<String> = self.wanted.keys().cloned().collect();
        for name in names {
            let Some(target) = api.object(Kind::Secret, NAMESPACE, &format!("{name}-tls")) else {
                continue;
            };
            if target["metadata"]["labels"]["chancery.dev/managed"] != "true" {
                // Somebody else's.
                continue;
            }
            let version = target["metadata"]["resourceVersion"].as_str().unwrap_or_default();
            let before = self.targets.get(&name).cloned();
            if before.as_ref().is_some_and(|(seen, _)| seen == version) {
                continue;
            }
            let wrong = |what: &str| Finding::WrongDelivery(format!("{name}: {what}"));
            let key = self.key(&target["data"]["tls.key"]);
            let leaf = self.leaf(&target["data"]["tls.crt"]);
            if leaf.is_none() || key != leaf {
                self.findings.insert(wrong("key and certificate are no pair"));
                continue;
            }
            let leaf = leaf.unwrap_or_default();
            let place = orders.iter().position(|order| order.spki_sha256 == leaf);
            let Some(place) = place else {
                self.findings.insert(wrong("the certificate is of no order"));
                continue;
            };
            if self.request_of(&orders[place]).as_ref() != Some(&name) {
                self.findings.insert(wrong("the certificate was ordered for another request"));
            }
            let is_older = before.is_some_and(|(_, before)| place < before);
            if is_older && !self.meddled.contains(&name) {
                self.findings.insert(wrong("an older certificate replaces a newer one"));
            }
            self.meddled.remove(&name);
            self.delivered.insert(leaf);
            self.targets.insert(name, (version.to_owned(), place));
        }
    }

    fn look_at_keys(&mut self, api: &ApiServer, orders: &[Record]) {
        let mut held = BTreeSet::new();
        let secrets =
            api.objects(Kind::Secret).filter(|secret| secret["metadata"]["namespace"] == NAMESPACE);
        for secret in secrets {
            for value in secret["data"].as_object().into_iter().flatten().map(|(_, value)| value) {
                held.extend(self.key(value));
            }
        }
        for (place, order) in orders.iter().enumerate() {
            let key = &order.spki_sha256;
            if held.contains(key) || self.delivered.contains(key) || is_over(order) {
                continue;
            }
            let request = self.request_of(order);
            let later: Vec<&Record> =
                orders[place + 1..].iter().filter(|one| self.request_of(one) == request).collect();
            let wanted = request.as_ref().and_then(|request| self.wanted.get(request));
            let is_wanted = wanted
                .is_some_and(|wanted| order.requested_names.contains(&format!("dns:{wanted}")));
            // What was issued after a person asked for other names is of no use, and a newer
            // certificate takes the place of an older one.
            let is_superseded = !is_wanted && order.certificate.is_some()
                || later.iter().any(|one| self.delivered.contains(&one.spki_sha256));
            if !is_superseded {
                let name = request.unwrap_or_default();
                let when = if place < self.orders_seen { "later" } else { "at once" };
                let finding = format!("{name}: order {} has no key, {when}", place + 1);
                self.findings.insert(Finding::LostKey(finding));
            }
        }
    }

    fn look_at_orders(&mut self, orders: &[Record], now: Timestamp) {
        if orders.len() == self.orders_seen {
            return;
        }
        let mut by_request: BTreeMap<String, BTreeMap<&str, Vec<&Record>>> = BTreeMap::new();
        let mut doublings = self.doublings;
        for order in orders {
            let request = self.request_of(order).unwrap_or_default();
            let reference = reference(order).unwrap_or_default();
            by_request.entry(request).or_default().entry(reference).or_default().push(order);
        }
        for (request, references) in by_request {
            for (reference, same) in &references {
                for pair in same.windows(2) {
                    // Made of one submit by the CA itself.
                    if doublings > 0 && pair[0].created_on == pair[1].created_on {
                        doublings -= 1;
                    } else {
                        let text = format!("{request}: {reference} was ordered more than once");
                        self.findings.insert(Finding::Duplicate(text));
                    }
                }
            }
            let asked = self.may_order.get(&request).copied().unwrap_or_default();
            let expiring = references.values().filter(|same| is_ending(same[0], now)).count();
            let made = references.len();
            if made > usize::try_from(asked).unwrap_or_default() + expiring {
                let text = format!("{request}: {made} orders where {asked} were asked for");
                self.findings.insert(Finding::Duplicate(text));
            }
        }
    }

    /// What the CA makes two of is ordered once.
    fn look_at_limits(&mut self, api: &ApiServer, orders: &[Record]) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        // Two of one submit are one.
        let mut submits = BTreeSet::new();
        let orders: Vec<&Record> = orders
            .iter()
            .filter(|order| submits.insert((reference(order), order.created_on)))
            .collect();
        let mut over = Vec::new();
        let mut look = |what: &str, limit: u64, made: usize| {
            if limit > 0 && count(made) > limit {
                over.push(Finding::OverLimit(format!(
                    "{} {what}, and {limit} is the limit",
                    count(made)
                )));
            }
        };
        look("orders", self.limits.orders_per_day * self.days, orders.len());
        let mut by_request: BTreeMap<_, usize> = BTreeMap::new();
        for order in &orders {
            *by_request.entry(self.request_of(order)).or_default() += 1;
        }
        let most = by_request.into_values().max().unwrap_or_default();
        look("orders for one request", self.limits.orders_per_request_per_day, most);
        // Those of requests that are gone are not counted.
        let uids: BTreeSet<String> = api
            .objects(Kind::CertificateRequest)
            .filter_map(|request| Some(request["metadata"]["uid"].as_str()?.to_owned()))
            .collect();
        let is_open = |order: &&&Record| {
            !is_over(order)
                && order.certificate.is_none()
                && uid_of(order).is_some_and(|uid| uids.contains(uid))
        };
        look("open orders", self.limits.open_orders, orders.iter().filter(is_open).count());
        self.findings.extend(over);
    }

    /// Whether what was delivered is what a request asks for now.
    pub fn is_served(&mut self, api: &ApiServer, orders: &[Record], name: &str) -> bool {
        let Some(target) = api.object(Kind::Secret, NAMESPACE, &format!("{name}-tls")) else {
            return false;
        };
        let leaf = self.leaf(&target["data"]["tls.crt"]);
        let wanted = self.wanted.get(name).map(|wanted| format!("dns:{wanted}"));
        let order = orders.iter().find(|order| Some(&order.spki_sha256) == leaf.as_ref());
        match (order, wanted) {
            (Some(order), Some(wanted)) => order.requested_names.contains(&wanted),
            _ => false,
        }
    }

    fn request_of(&self, order: &Record) -> Option<String> {
        self.uids.get(uid_of(order)?).cloned()
    }

    /// SHA-256 of the public key of a private key in an entry of a Secret.
    fn key(&mut self, entry: &Value) -> Option<String> {
        let text = entry.as_str()?;
        let read = || {
            let pem = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
            let key = PrivateKey::from_pem(&pem).ok()?;
            Some(pki::sha256_hex(key.spki_der()))
        };
        self.keys.entry(text.to_owned()).or_insert_with(read).clone()
    }

    /// SHA-256 of the public key of the first certificate in an entry of a Secret.
    fn leaf(&mut self, entry: &Value) -> Option<String> {
        let text = entry.as_str()?;
        let read = || {
            let pem = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
            let chain = pki::parse_pem(&pem).ok()?;
            Some(pki::sha256_hex(chain.first()?.spki_der()))
        };
        self.leaves.entry(text.to_owned()).or_insert_with(read).clone()
    }
}

fn reference(order: &Record) -> Option<&str> {
    order.submitted_tags.iter().map(String::as_str).find(|tag| tag.starts_with("chancery-"))
}

/// uid of the request that an order was made for.
fn uid_of(order: &Record) -> Option<&str> {
    Some(reference(order)?.strip_prefix("chancery-")?.rsplit_once('-')?.0)
}

/// It ended without a certificate.
fn is_over(order: &Record) -> bool {
    order.is_forgotten || matches!(order.state.as_str(), "FAILED" | "REJECTED" | "REVOKED")
}

/// Half of its life is over: it may be renewed.
fn is_ending(order: &Record, now: Timestamp) -> bool {
    order.certificate.as_ref().is_some_and(|certificate| {
        let life = certificate.not_after.duration_since(certificate.not_before);
        now.duration_since(certificate.not_before) * 2 > life
    })
}
