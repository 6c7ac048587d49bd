//! What must never be: counted from what the CA and the API server hold, by nothing that the
//! operator's own code says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine as _;
use chancery::api::annotation;
use chancery::pki::{self, Certificate, PrivateKey};
use jiff::Timestamp;
use serde_json::Value;

use crate::api::{ApiServer, Kind};
use crate::ca::Bought;
use crate::plan::{Limits, Setting};
use crate::world::{GREEDY, NAMESPACE, condition, message, name as name_of, namespace_of, reason};

/// Something that must never be.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Finding {
    /// An order that was made before.
    Duplicate(String),
    /// An order that nobody asked for.
    Unasked(String),
    /// An order whose private key nobody has.
    LostKey(String),
    /// A Secret that was given what does not belong there.
    WrongDelivery(String),
    /// What waits for nobody and does not go on.
    Stuck(String),
    /// More at the CA than the limits of the issuer allow.
    OverLimit(String),
    /// Something that is told or noted and is not so.
    Untrue(String),
}

impl Finding {
    /// All kinds.
    pub const KINDS: [&str; 7] = [
        "duplicate_orders",
        "lost_keys",
        "over_limits",
        "stuck",
        "unasked_orders",
        "untrue_statements",
        "wrong_deliveries",
    ];

    /// Its kind, as it is counted.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Duplicate(_) => "duplicate_orders",
            Self::Unasked(_) => "unasked_orders",
            Self::LostKey(_) => "lost_keys",
            Self::WrongDelivery(_) => "wrong_deliveries",
            Self::Stuck(_) => "stuck",
            Self::OverLimit(_) => "over_limits",
            Self::Untrue(_) => "untrue_statements",
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
    /// The product that a person chose last, by request.
    products: BTreeMap<String, String>,
    /// Names of orders by the SHA-256 of their public keys, as records had them first.
    names: BTreeMap<String, String>,
    /// Public key of the leaf by what is in a Secret.
    leaves: HashMap<String, Option<String>>,
    /// The certificate by what is in a Secret.
    certificates: HashMap<String, Option<Certificate>>,
    orders_seen: usize,
    /// The same, those of another cluster aside.
    ours_seen: usize,
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
    /// All requests name the Secret of the first.
    shares_target: bool,
    /// How often each request has asked for something else, and when its names last changed.
    wishes: BTreeMap<String, u64>,
    edited_at: BTreeMap<String, Timestamp>,
    /// With which wish each reference was first seen.
    wished_with: BTreeMap<String, u64>,
    /// Requests that are suspended, each with the order that was announced before.
    suspended: BTreeMap<String, Option<String>>,
    /// References of orders that a person gave up.
    given_up: BTreeSet<String>,
    /// Public keys of orders that another cluster made.
    clones: BTreeSet<String>,
    /// By request, public keys whose private keys somebody took out of its record.
    destroyed: BTreeMap<String, BTreeSet<String>>,
    /// Which process has read which record since.
    has_read: BTreeSet<(usize, String)>,
    /// The process that has submitted last.
    submitter: Option<usize>,
    /// Public keys that were ordered before anybody could know that their private keys are gone.
    unknowingly: BTreeSet<String>,
    /// Public keys whose certificates were of no use any more, when they were given up.
    superseded: BTreeSet<String>,
    /// Records that somebody put back, by uid: what they note is of another time.
    restored: BTreeSet<String>,
    /// Public keys that were ordered.
    ordered: BTreeSet<String>,
    /// Somebody is at work on a record, and not done.
    pub is_tampering: bool,
    /// Requests whose statuses somebody else has written.
    liars: BTreeSet<String>,
    /// How often another process began to act.
    hand_overs: u64,
    /// Who reserved last at each issuer, and how often that was another process than before.
    reserved_by: BTreeMap<String, String>,
    other_by: u64,
    /// A request has said that a run for it panicked.
    pub has_told_of_panic: bool,
    /// What the logs of purchases have told: event, reference, and id or serial number.
    told: BTreeSet<(String, String, String)>,
    findings: BTreeSet<Finding>,
}

impl Ledger {
    /// With nothing in it yet, where the issuer has these limits.
    pub fn new(setting: &Setting) -> Self {
        // Clocks are wrong by minutes, so that nobody knows of which day an order is.
        let days = if setting.is_near_midnight { 2 } else { 1 };
        let shares_target = setting.shares_target;
        Self { limits: setting.limits, days, shares_target, ..Self::default() }
    }

    /// The name that a request asks for.
    pub fn wanted(&mut self, request: &str, number: usize) -> String {
        let first = || format!("{request}-{number}.example.ch");
        let first_order = u64::from(number == 0 || !self.shares_target);
        self.may_order.entry(request.to_owned()).or_insert(first_order);
        self.wanted.entry(request.to_owned()).or_insert_with(first).clone()
    }

    /// A person has changed the names.
    pub fn edited(&mut self, request: &str, dns_name: String, now: Timestamp) {
        self.wanted.insert(request.to_owned(), dns_name);
        self.edited_at.insert(request.to_owned(), now);
        self.wished(request);
    }

    /// A person asks for something else than before.
    pub fn wished(&mut self, request: &str) {
        *self.wishes.entry(request.to_owned()).or_default() += 1;
        *self.may_order.entry(request.to_owned()).or_default() += 1;
    }

    /// A person gives an order up: what it comes to is of no use any more.
    pub fn released(&mut self, request: &str, reference: String) {
        self.given_up.insert(reference);
        self.wished(request);
    }

    /// A request is suspended, with this order announced; or it is not any more.
    pub fn suspended(&mut self, request: &str, announced: Option<Option<&str>>) {
        match announced {
            Some(order) => {
                self.suspended.insert(request.to_owned(), order.map(str::to_owned));
            }
            None => drop(self.suspended.remove(request)),
        }
    }

    /// Another cluster makes an order for this public key.
    pub fn cloned(&mut self, spki_sha256: String) {
        self.clones.insert(spki_sha256);
    }

    /// Somebody has changed a record. What an order has lost that is made already, or by whoever has
    /// read the record before, nobody can help.
    pub fn tampered(&mut self, request: &str, before: &Value, after: Option<&Value>) {
        let kept = after.map(|after| self.keys_in(after)).unwrap_or_default();
        if after.is_some_and(|after| after["metadata"]["uid"] != before["metadata"]["uid"]) {
            self.restored
                .extend(after.and_then(|one| one["metadata"]["uid"].as_str()).map(str::to_owned));
        }
        let gone: BTreeSet<String> = self.keys_in(before).difference(&kept).cloned().collect();
        self.unknowingly.extend(gone.intersection(&self.ordered).cloned());
        self.destroyed.entry(request.to_owned()).or_default().extend(gone);
        self.has_read.retain(|(_, read)| read != request);
    }

    /// A process has read a Secret.
    pub fn has_read(&mut self, process: usize, secret: &str) {
        if let Some(request) = secret.strip_suffix(".order") {
            self.has_read.insert((process, request.to_owned()));
        }
    }

    /// A process submits an order.
    pub fn submitted(&mut self, process: usize) {
        self.submitter = Some(process);
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

    /// Somebody writes a lie into the status of a request.
    pub fn lies(&mut self, request: &str) {
        self.liars.insert(request.to_owned());
    }

    /// Whether somebody has.
    pub fn has_lied(&self, request: &str) -> bool {
        self.liars.contains(request)
    }

    /// Another process acts now.
    pub fn handed_over(&mut self) {
        self.hand_overs += 1;
    }

    /// Sees who reserves: without the lease several do, by turns.
    pub fn reserves(&mut self, issuer: &str, by: &str) {
        let before = self.reserved_by.insert(issuer.to_owned(), by.to_owned());
        self.other_by += u64::from(before.is_some_and(|before| before != by));
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

    /// A process has written a line into the log of purchases.
    pub fn told(&mut self, line: &str) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let (event, what) = match line["event"].as_str() {
            Some("submitted" | "found") => ("bought".to_owned(), text("id")),
            Some("issued") => ("issued".to_owned(), text("serial")),
            _ => (text("event"), String::new()),
        };
        self.told.insert((event, text("reference"), what));
    }

    fn has_told(&self, event: &str, reference: &str, what: &str) -> bool {
        self.told.contains(&(event.to_owned(), reference.to_owned(), what.to_owned()))
    }

    /// The orders of ours that the logs of purchases do not tell of, and that nobody is asked about.
    pub fn untold(&self, api: &ApiServer, orders: &[Bought]) -> Vec<String> {
        let has_told_of = |order: &Bought| {
            reference(order).is_none_or(|reference| {
                self.has_told("bought", reference, &order.id)
                    || self.has_told("unknown", reference, "")
            })
        };
        // Of what the CA doubles by itself, one is bought.
        let is_double = |order: &&Bought| {
            let is_twin =
                |other: &&Bought| reference(other) == reference(order) && other.on == order.on;
            self.doublings > 0 && orders.iter().filter(is_twin).any(has_told_of)
        };
        // Somebody edited the record before a process read of the order in it.
        let is_asked_about = |order: &&Bought| {
            let request = self.request_of(order).unwrap_or_default();
            let request = api.object(Kind::CertificateRequest, namespace_of(&request), &request);
            let reason = request.and_then(|request| reason(request, "Stalled"));
            reason.is_some_and(|reason| reason.starts_with("OrderRecord"))
        };
        let is_untold = |order: &&Bought| {
            !self.clones.contains(&order.spki_sha256)
                && !has_told_of(order)
                && !is_double(order)
                && !is_asked_about(order)
        };
        let name = |order: &Bought| reference(order).unwrap_or_default().to_owned();
        orders.iter().filter(is_untold).map(name).collect()
    }

    pub fn findings(&self) -> Vec<Finding> {
        self.findings.iter().cloned().collect()
    }

    pub fn add(&mut self, finding: Finding) {
        self.findings.insert(finding);
    }

    /// Looks at everything. `unseen` is for how many seconds an order may be unknown to whoever looks
    /// for it.
    pub fn look(&mut self, api: &ApiServer, orders: &[Bought], now: Timestamp, unseen: u64) {
        for request in api.objects(Kind::CertificateRequest) {
            let metadata = &request["metadata"];
            if let (Some(uid), Some(name)) = (metadata["uid"].as_str(), metadata["name"].as_str())
                && !self.uids.contains_key(uid)
            {
                self.uids.insert(uid.to_owned(), name.to_owned());
            }
        }
        for request in api.objects(Kind::CertificateRequest) {
            let name = request["metadata"]["name"].as_str().unwrap_or_default();
            if let Some(reference) = request["status"]["order"]["reference"].as_str() {
                self.note_wish(name, reference);
            }
        }
        let panicked = |request| reason(request, "Stalled") == Some("RunPanicked");
        self.has_told_of_panic |= api.objects(Kind::CertificateRequest).any(panicked);
        self.look_at_anothers(api);
        self.look_at_words(api, orders);
        self.look_at_ready(api);
        if !self.is_tampering {
            self.look_at_records(api, orders);
        }
        self.look_at_products(api, orders);
        self.look_at_targets(api, orders, now);
        self.look_at_purchases(api);
        if !self.is_tampering {
            self.look_at_keys(api, orders);
        }
        self.look_at_clones(orders, unseen);
        let ours = |order: &&Bought| !self.clones.contains(&order.spki_sha256);
        let ours: Vec<&Bought> = orders.iter().filter(ours).collect();
        self.look_at_orders(&ours, now);
        self.look_at_limits(api, &ours);
        self.ordered.extend(orders.iter().map(|order| order.spki_sha256.clone()));
        self.orders_seen = orders.len();
    }

    /// What is stored of orders was told before.
    fn look_at_purchases(&mut self, api: &ApiServer) {
        let mut untold = Vec::new();
        for request in api.objects(Kind::CertificateRequest) {
            let name = request["metadata"]["name"].as_str().unwrap_or_default();
            let order = &request["status"]["order"];
            if let (Some(reference), Some(id)) = (order["reference"].as_str(), order["id"].as_str())
                && !self.has_told("bought", reference, id)
                && !self.liars.contains(name)
            {
                untold.push(format!("{name}: nothing tells that {reference} was bought"));
            }
        }
        for name in self.targets.keys().cloned().collect::<Vec<_>>() {
            let target = api.object(Kind::Secret, namespace_of(&name), &format!("{name}-tls"));
            let Some(target) = target else { continue };
            let noted = &target["metadata"]["annotations"][annotation::ORDER_REFERENCE];
            let Some(reference) = noted.as_str() else { continue };
            let Some(leaf) = self.certificate(&target["data"]["tls.crt"]) else { continue };
            let is_whole = self.targets.get(&name).is_some_and(|(version, _)| {
                target["metadata"]["resourceVersion"] == version.as_str()
            });
            if is_whole && !self.has_told("issued", reference, leaf.serial_number()) {
                untold.push(format!("{name}: nothing tells that {reference} was issued"));
            }
        }
        self.findings.extend(untold.into_iter().map(Finding::Untrue));
    }

    fn look_at_anothers(&mut self, api: &ApiServer) {
        for anothers in &self.anothers {
            let metadata = &anothers["metadata"];
            let name = metadata["name"].as_str().unwrap_or_default();
            let is_changed =
                api.object(Kind::Secret, namespace_of(name), name).is_some_and(|now| {
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

    fn note_wish(&mut self, request: &str, reference: &str) {
        // What a status says of another's order is no wish.
        if self.request_named(reference).is_some_and(|named| named != request) {
            return;
        }
        let wish = self.wishes.get(request).copied().unwrap_or_default();
        self.wished_with.entry(reference.to_owned()).or_insert(wish);
    }

    /// What a person is told has to be true.
    fn look_at_words(&mut self, api: &ApiServer, orders: &[Bought]) {
        for request in api.objects(Kind::CertificateRequest) {
            let followed = orders.iter().find(|it| request["status"]["order"]["id"] == *it.id);
            if followed.is_some_and(|order| self.clones.contains(&order.spki_sha256)) {
                let text = format!("{}: another's order is followed", request["metadata"]["name"]);
                self.findings.insert(Finding::Untrue(text));
            }
            if reason(request, "Issuing") != Some("OrderRecordLost") {
                continue;
            }
            let name = request["metadata"]["name"].as_str().unwrap_or_default();
            let record = api.object(Kind::Secret, namespace_of(name), &format!("{name}.order"));
            let stored = record.and_then(|record| {
                record["metadata"]["annotations"][annotation::ORDER_REFERENCE].as_str()
            });
            if stored.is_some() && stored == request["status"]["order"]["reference"].as_str() {
                let text = format!("{name}: its record is called lost, and it is there");
                self.findings.insert(Finding::Untrue(text));
            }
        }
    }

    /// What is Ready has what it says, and what is asked for.
    fn look_at_ready(&mut self, api: &ApiServer) {
        let is_ready = |request: &&Value| condition(request, "Ready") == Some("True");
        for request in api.objects(Kind::CertificateRequest).filter(is_ready) {
            let (spec, status) = (&request["spec"], &request["status"]);
            let secret = spec["secretName"].as_str().unwrap_or_default();
            let target = api.object(Kind::Secret, namespace_of(secret), secret);
            let entry = target.map(|target| target["data"]["tls.crt"].clone()).unwrap_or_default();
            let Some(leaf) = self.certificate(&entry) else { continue };
            let noted = &status["certificate"];
            if noted["fingerprintSha256"] != leaf.fingerprint_sha256() {
                // Another was put there since, or is just being told of.
                continue;
            }
            let name = request["metadata"]["name"].as_str().unwrap_or_default();
            let real: Vec<Value> = leaf.dns_names().iter().map(|one| one.clone().into()).collect();
            let mut untrue = |what: String| {
                self.findings.insert(Finding::Untrue(format!("{name}: {what}")));
            };
            if noted["dnsNames"] != Value::from(real.clone()) {
                untrue(format!("noted {}, and the certificate has {real:?}", noted["dnsNames"]));
            }
            let told = message(request, "Ready").unwrap_or_default();
            let told = told.split(" from ").next().unwrap_or_default();
            let first = told.split(" and ").next().unwrap_or_default();
            if told != leaf.subject() && !real.iter().any(|one| one == first) {
                untrue(format!("told {told:?}, and the certificate has {real:?}"));
            }
            let is_current = status["observedGeneration"] == request["metadata"]["generation"];
            let asked = spec["dnsNames"].as_array().cloned().unwrap_or_default();
            let lacks = asked.iter().find(|one| !real.contains(one));
            if let Some(lacks) = lacks.filter(|_| is_current && !self.meddled.contains(name)) {
                let text = format!("{name}: Ready without {lacks}, which is asked for");
                self.findings.insert(Finding::Untrue(text));
            }
        }
    }

    /// A new order is for the product that its record names.
    fn look_at_products(&mut self, api: &ApiServer, orders: &[Bought]) {
        for order in &orders[self.orders_seen.min(orders.len())..] {
            let Some(request) = self.request_of(order) else { continue };
            let record =
                api.object(Kind::Secret, namespace_of(&request), &format!("{request}.order"));
            let text = record.and_then(|record| record["data"]["next.json"].as_str());
            let json = base64::engine::general_purpose::STANDARD.decode(text.unwrap_or_default());
            let stored: Value =
                serde_json::from_slice(&json.unwrap_or_default()).unwrap_or_default();
            let is_it = stored["reference"].as_str() == reference(order)
                && !self.clones.contains(&order.spki_sha256);
            let parameters = &stored["parameters"];
            let product = parameters["product"].as_str().or_else(|| parameters["plan"].as_str());
            let product = product.unwrap_or_default();
            if is_it && product != order.product {
                let text = format!("{request}: {} was ordered, and not {product}", order.product);
                self.findings.insert(Finding::Untrue(text));
            }
        }
    }

    /// An order that is noted to have come to nothing has.
    fn look_at_records(&mut self, api: &ApiServer, orders: &[Bought]) {
        for record in api.objects(Kind::Secret) {
            let noted = &record["metadata"]["annotations"];
            let Some(stored) = noted[annotation::ORDER_REFERENCE].as_str() else { continue };
            let is_restored =
                record["metadata"]["uid"].as_str().is_some_and(|uid| self.restored.contains(uid));
            if is_restored
                || !matches!(
                    noted[annotation::ORDER_STATE].as_str(),
                    Some("refused" | "failed" | "rejected")
                )
            {
                continue;
            }
            let is_it = |order: &&Bought| {
                reference(order) == Some(stored) && !self.clones.contains(&order.spki_sha256)
            };
            let mut found = orders.iter().filter(is_it);
            // Where the CA has made two, one may have come to nothing.
            if let (Some(order), None) = (found.next(), found.next())
                && !order.is_over
            {
                let text = format!("{stored} is noted to have come to nothing, and has not");
                self.findings.insert(Finding::Untrue(text));
            }
        }
    }

    /// Nothing is ordered that another cluster has ordered before.
    fn look_at_clones(&mut self, orders: &[Bought], unseen: u64) {
        let unseen = jiff::SignedDuration::from_secs(i64::try_from(unseen).unwrap_or(i64::MAX));
        for clone in orders.iter().filter(|order| self.clones.contains(&order.spki_sha256)) {
            let first = orders
                .iter()
                .filter(|order| reference(order) == reference(clone))
                .find(|order| !self.clones.contains(&order.spki_sha256));
            // Another cluster with the same objects would have followed the same order too.
            let first = first.filter(|order| !order.follows);
            if first.is_some_and(|order| order.on > clone.on + unseen) {
                let name = reference(clone).unwrap_or_default();
                let text = format!("{name} was ordered, and another cluster had ordered it");
                self.findings.insert(Finding::Duplicate(text));
            }
        }
    }

    fn look_at_targets(&mut self, api: &ApiServer, orders: &[Bought], now: Timestamp) {
        let is_served = |name: &&String| !self.shares_target || **name == name_of(0);
        let names: Vec<String> = self.wanted.keys().filter(is_served).cloned().collect();
        for name in names {
            let Some(target) =
                api.object(Kind::Secret, namespace_of(&name), &format!("{name}-tls"))
            else {
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
            let is_older = before.as_ref().is_some_and(|(_, before)| place < *before);
            if before.is_some_and(|(_, before)| {
                self.is_worse(&name, &orders[before], &orders[place], now)
            }) && !self.meddled.contains(&name)
            {
                self.findings
                    .insert(wrong("a certificate that fits gives way to one that does not"));
            }
            if is_older && !self.meddled.contains(&name) {
                self.findings.insert(wrong("an older certificate replaces a newer one"));
            }
            self.meddled.remove(&name);
            self.delivered.insert(leaf);
            self.targets.insert(name, (version.to_owned(), place));
        }
    }

    /// What fits and is valid gives way to what does not fit, though for long nobody has asked for
    /// anything else.
    fn is_worse(&self, name: &str, before: &Bought, after: &Bought, now: Timestamp) -> bool {
        const LONG: jiff::SignedDuration = jiff::SignedDuration::from_secs(200);
        let wanted =
            self.wanted.get(name).map(|wanted| format!("dns:{wanted}")).unwrap_or_default();
        let is_valid = before.certificate.as_ref().is_some_and(|one| one.ends > now);
        let edited_at = self.edited_at.get(name);
        is_valid
            && before.requested_names.contains(&wanted)
            && !after.requested_names.contains(&wanted)
            && edited_at.is_none_or(|at| now.duration_since(*at) > LONG)
    }

    /// A person has chosen a product for a request.
    pub fn chose(&mut self, name: &str, product: &str) {
        self.products.insert(name.to_owned(), product.to_owned());
    }

    /// Notes which name each record has for which key.
    pub fn note_names(&mut self, api: &ApiServer) {
        for record in api.objects(Kind::Secret) {
            let noted = &record["metadata"]["annotations"][annotation::ORDER_REFERENCE];
            let is_record = record["metadata"]["labels"][annotation::ORDER_LABEL] == "true";
            if let Some(reference) = noted.as_str().filter(|_| is_record)
                && let Some(key) = self.key(&record["data"]["next.key"])
            {
                self.names.entry(key).or_insert_with(|| reference.to_owned());
            }
        }
    }

    /// What was bought without a name has that of its record: a renewal goes by the id of the order
    /// before.
    pub fn named(&self, mut orders: Vec<Bought>) -> Vec<Bought> {
        for order in orders.iter_mut().filter(|order| order.reference.is_none()) {
            order.reference = self.names.get(&order.spki_sha256).cloned();
        }
        orders
    }

    fn keys_in(&mut self, secret: &Value) -> BTreeSet<String> {
        let data = secret["data"].as_object().into_iter().flatten();
        data.filter_map(|(_, value)| self.key(value)).collect()
    }

    fn look_at_keys(&mut self, api: &ApiServer, orders: &[Bought]) {
        let mut held = BTreeSet::new();
        for secret in api.objects(Kind::Secret) {
            let namespace = secret["metadata"]["namespace"].as_str().unwrap_or_default();
            let namespace = [NAMESPACE, GREEDY].into_iter().find(|one| *one == namespace);
            let Some(namespace) = namespace else { continue };
            held.extend(self.keys_in(secret).into_iter().map(|key| (namespace, key)));
        }
        for (place, order) in orders.iter().enumerate() {
            let key = &order.spki_sha256;
            let request = self.request_of(order);
            if place >= self.orders_seen
                && let Some(request) = &request
                && self.destroyed.get(request).is_some_and(|destroyed| destroyed.contains(key))
                && !self
                    .submitter
                    .is_some_and(|one| self.has_read.contains(&(one, request.clone())))
            {
                self.unknowingly.insert(key.clone());
            }
            let namespace = namespace_of(request.as_deref().unwrap_or_default());
            let is_kept = held.contains(&(namespace, key.clone())) || self.delivered.contains(key);
            let is_given_up = reference(order).is_some_and(|one| self.given_up.contains(one));
            let is_anothers = self.clones.contains(key);
            let is_excused = self.unknowingly.contains(key) || self.superseded.contains(key);
            if is_kept || order.is_over || is_given_up || is_anothers || is_excused {
                continue;
            }
            let later: Vec<&Bought> =
                orders[place + 1..].iter().filter(|one| self.request_of(one) == request).collect();
            let wanted = request.as_ref().and_then(|request| self.wanted.get(request));
            let is_wanted = wanted
                .is_some_and(|wanted| order.requested_names.contains(&format!("dns:{wanted}")));
            // What was issued after a person asked for other names is of no use, or for another
            // product, and a newer
            // certificate takes the place of an older one.
            let product = request.as_ref().and_then(|request| self.products.get(request));
            let is_another_product = product.is_some_and(|product| *product != order.product);
            let is_superseded = (!is_wanted || is_another_product) && order.certificate.is_some()
                || later.iter().any(|one| self.delivered.contains(&one.spki_sha256));
            if is_superseded {
                self.superseded.insert(key.clone());
            } else {
                let name = request.unwrap_or_default();
                let when = if place < self.orders_seen { "later" } else { "at once" };
                let finding = format!("{name}: order {} has no key, {when}", place + 1);
                self.findings.insert(Finding::LostKey(finding));
            }
        }
    }

    fn look_at_orders(&mut self, orders: &[&Bought], now: Timestamp) {
        if orders.len() == self.ours_seen {
            return;
        }
        let seen = std::mem::replace(&mut self.ours_seen, orders.len());
        for order in &orders[seen..] {
            let (Some(request), Some(reference)) = (self.request_of(order), reference(order))
            else {
                continue;
            };
            self.note_wish(&request, reference);
            let announced = self.suspended.get(&request);
            if announced.is_some_and(|announced| announced.as_deref() != Some(reference)) {
                let text = format!("{request}: {reference} was ordered while it was suspended");
                self.findings.insert(Finding::Duplicate(text));
            }
        }
        let mut by_request: BTreeMap<String, BTreeMap<&str, Vec<&Bought>>> = BTreeMap::new();
        let mut doublings = self.doublings;
        for order in orders.iter().copied() {
            let request = self.request_of(order).unwrap_or_default();
            let reference = reference(order).unwrap_or_default();
            by_request.entry(request).or_default().entry(reference).or_default().push(order);
        }
        for (request, references) in by_request {
            for (reference, same) in &references {
                for pair in same.windows(2) {
                    // Made of one submit by the CA itself.
                    if doublings > 0 && pair[0].on == pair[1].on {
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
                self.findings.insert(Finding::Unasked(text));
            }
            let wishes: BTreeSet<_> =
                references.keys().map(|one| self.wished_with.get(*one)).collect();
            if made > wishes.len() + expiring {
                let text = format!("{request}: {made} orders for {} wishes", wishes.len());
                self.findings.insert(Finding::Duplicate(text));
            }
        }
    }

    /// What the CA makes two of is ordered once.
    fn look_at_limits(&mut self, api: &ApiServer, orders: &[&Bought]) {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        // Two of one submit are one.
        let mut submits = BTreeSet::new();
        let orders: Vec<&Bought> = orders
            .iter()
            .filter(|order| submits.insert((reference(order), order.on)))
            .copied()
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
        let mut by_namespace: BTreeMap<_, usize> = BTreeMap::new();
        for order in &orders {
            let request = self.request_of(order);
            let namespace = namespace_of(request.as_deref().unwrap_or_default());
            *by_namespace.entry(namespace).or_default() += 1;
            *by_request.entry(request).or_default() += 1;
        }
        let share = self.limits.orders_per_namespace_per_day * self.days;
        if share > 0 {
            // What a process had not told when another took over is held against nobody.
            let untold = self.limits.block() * self.hand_overs.max(self.other_by);
            let most = by_namespace.into_values().max().unwrap_or_default();
            look("orders of one namespace", share + untold, most);
        }
        let most = by_request.into_values().max().unwrap_or_default();
        look("orders for one request", self.limits.orders_per_request_per_day, most);
        // Those of requests that are gone are not counted, nor those that were given up.
        let uids: BTreeSet<String> = api
            .objects(Kind::CertificateRequest)
            .filter_map(|request| Some(request["metadata"]["uid"].as_str()?.to_owned()))
            .collect();
        let is_open = |order: &&&Bought| {
            !order.is_over
                && order.certificate.is_none()
                && !reference(order).is_some_and(|one| self.given_up.contains(one))
                && reference(order).and_then(uid_in).is_some_and(|uid| uids.contains(uid))
                // Whoever writes another order into its status has its own not counted.
                && !self.request_of(order).is_some_and(|one| self.liars.contains(&one))
        };
        look("open orders", self.limits.open_orders, orders.iter().filter(is_open).count());
        self.findings.extend(over);
    }

    /// Whether the day's orders are spent, or those of a namespace, where so many may be lost, and a
    /// share is kept for certificates that end today.
    pub fn is_spent(&self, orders: &[Bought], of: Option<&str>, lost: u64) -> bool {
        let is_of = |order: &&Bought| {
            let request = self.request_of(order).unwrap_or_default();
            of.is_none_or(|namespace| namespace_of(&request) == namespace)
        };
        let made = u64::try_from(orders.iter().filter(is_of).count()).unwrap_or(u64::MAX);
        let (limit, kept) = match of {
            Some(_) => (self.limits.orders_per_namespace_per_day, 0),
            None => (self.limits.orders_per_day, (self.limits.orders_per_day / 10).max(1)),
        };
        made + lost + kept >= limit
    }

    /// Whether what was delivered is what a request asks for now.
    pub fn is_served(&mut self, api: &ApiServer, orders: &[Bought], name: &str) -> bool {
        let Some(target) = api.object(Kind::Secret, namespace_of(name), &format!("{name}-tls"))
        else {
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

    /// The request that an order is for.
    pub fn request_of(&self, order: &Bought) -> Option<String> {
        self.request_named(reference(order)?)
    }

    /// The request that an order of this reference is for.
    pub fn request_named(&self, reference: &str) -> Option<String> {
        self.uids.get(uid_in(reference)?).cloned()
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
    fn certificate(&mut self, entry: &Value) -> Option<Certificate> {
        let text = entry.as_str()?;
        let read = || {
            let pem = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
            pki::parse_pem(&pem).ok()?.first().cloned()
        };
        self.certificates.entry(text.to_owned()).or_insert_with(read).clone()
    }

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

fn reference(order: &Bought) -> Option<&str> {
    order.reference.as_deref()
}

/// uid of the request that an order of this reference is for.
fn uid_in(reference: &str) -> Option<&str> {
    Some(reference.strip_prefix("chancery-")?.rsplit_once('-')?.0)
}

/// Half of its life is over: it may be renewed.
fn is_ending(order: &Bought, now: Timestamp) -> bool {
    order.certificate.as_ref().is_some_and(|certificate| {
        let life = certificate.ends.duration_since(certificate.begins);
        now.duration_since(certificate.begins) * 2 > life
    })
}
