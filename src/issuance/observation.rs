//! What is known at one moment, as plain values, and how each outcome changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::certificate::key::{BroughtCsr, CsrReference, Key};
use super::certificate::renewal::RenewBefore;
use super::certificate::requested::Requested;
use super::order::record::{Record, RecordRead};
use super::order::{self, OrderSeen, Prepared, Sent, Sought};
use super::quota::{QuotaSeen, Withheld};
use super::{former, issuer};
use crate::api::{
    AttemptInputs, CertificateRequestStatus, DeliveredCertificate, IssuerStatus, OrderStatus,
    RotationPolicy, Wait, condition,
};
use crate::ca::{Blocks, Capabilities, Lookup, Progress};
use crate::outside::credentials::Credentials;
use crate::outside::{Disposition, Error};
use crate::pki::{Certificate, KeyKind, Names, PrivateKey};
use crate::reason::Reason;

/// Everything [`super::decide`] looks at.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The wall clock, read once per run.
    pub now: Timestamp,
    /// What is wanted.
    pub request: Request,
    /// Whether the issuer takes requests.
    pub issuer: IssuerState,
    /// Another request for the same Secret that comes before this one.
    pub rival: Option<String>,
    /// What the last runs left in the status.
    pub previous: Previous,
    /// What the metadata watch knows of the target.
    pub cached: Option<CachedTarget>,
    /// The target, once read in this run.
    pub target: Option<Read<Target>>,
    /// The account at the CA, once opened in this run.
    pub account: Option<Account>,
    /// The CSR that the request brings, once read in this run.
    pub csr: Option<Arc<BroughtCsr>>,
    /// What the CA issued in this run, not yet delivered.
    pub obtained: Option<Obtained>,
    /// The certificates the CA serves, once asked for in this run.
    pub served: Option<Vec<Certificate>>,
    /// A submit was made in this run: there will be no second one.
    pub submitted: bool,
    /// A certificate was delivered in this run: the roots that were added by opt-in.
    pub delivered: Option<Vec<String>>,
    /// The delivered certificate is new, not the old one in better order.
    pub renewed: bool,
    /// How often a delivery lost to another writer in this run.
    pub conflicts: u8,
    /// Why this run cannot go on.
    pub trouble: Option<Trouble>,
    /// This run was given up: what it goes by has moved, and another run follows.
    pub abandoned: bool,
    /// When this process last put the target in order, and how often in a row.
    pub repaired: Option<(Timestamp, u32)>,
    /// The order of the request, at a CA where certificates are ordered.
    pub order: OrderSeen,
    /// What the limits of the issuer leave.
    pub quota: QuotaSeen,
}

/// The answer of a read: unreadable is never absent.
#[derive(Clone, Debug)]
pub enum Read<T> {
    /// There is none.
    Absent,
    /// This is it.
    Present(T),
    /// Nobody knows; the text says which read failed and how.
    Unreadable(String),
}

/// The request, in plain values.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
    /// It is being deleted.
    pub deleting: bool,
    /// Name of the target Secret.
    pub secret_name: String,
    /// Issuer in words, such as `Issuer house`.
    pub issuer: String,
    /// Names for the certificate, and what its key is for.
    pub names: Names,
    /// Lifetime to ask for.
    pub duration: Option<SignedDuration>,
    /// Where the CSR is, if the request brings its own: names and key are those in it.
    pub csr: Option<CsrReference>,
    /// Kind of key asked for, where one is.
    pub key_kind: Option<KeyKind>,
    /// Whether the key may be used again.
    pub rotation: RotationPolicy,
    /// When to renew.
    pub renew_before: RenewBefore,
    /// Labels and annotations for the target.
    pub template: Template,
    /// Nothing new may be asked of the CA.
    pub suspended: bool,
    /// Renewal nonce.
    pub renew: Option<String>,
    /// What it says to one kind of CA only.
    pub blocks: Blocks,
    /// Reference of an order that somebody gave up.
    pub release: Option<String>,
    /// Secret with the request's own credentials.
    pub credentials: Option<String>,
    /// resourceVersion of that Secret, where the watch knows it.
    pub credentials_version: Option<String>,
}

impl Request {
    /// The fields of the spec that say for whom the certificate is.
    #[must_use]
    pub fn name_fields(&self) -> Vec<&'static str> {
        let names = &self.names;
        [
            ("spec.commonName", names.common_name.is_some()),
            ("spec.subject", !names.subject.is_empty()),
            ("spec.dnsNames", !names.dns_names.is_empty()),
            ("spec.ipAddresses", !names.ip_addresses.is_empty()),
            ("spec.uris", !names.uris.is_empty()),
            ("spec.emailAddresses", !names.email_addresses.is_empty()),
        ]
        .into_iter()
        .filter_map(|(field, is_set)| is_set.then_some(field))
        .collect()
    }

    /// Whether what makes an issuer not ready is of no matter for this request: with credentials of
    /// its own it needs none of the issuer's, which the CA refused.
    #[must_use]
    pub fn needs_not(&self, status: &IssuerStatus) -> bool {
        self.credentials.is_some() && issuer::credentials_refused(status).is_some()
    }
}

/// Labels and annotations from `secretTemplate`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The issuer, as its status tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum IssuerState {
    /// There is none of that name.
    Missing,
    /// It cannot take requests now, for this reason.
    NotReady(String),
    /// It takes requests.
    Ready {
        /// Its uid with the generation of its spec: another issuer of the same name is another.
        version: String,
        /// The account in one line.
        account: Option<String>,
    },
}

/// What earlier runs wrote into the status.
#[derive(Clone, Debug, Default)]
pub struct Previous {
    /// Certificates delivered so far.
    pub revision: i64,
    /// The certificate delivered last.
    pub certificate: Option<DeliveredCertificate>,
    /// Failed attempts since the last success.
    pub failed_attempts: i32,
    /// When the last of them was.
    pub last_failure: Option<Timestamp>,
    /// When the next one is due.
    pub next_attempt: Option<Timestamp>,
    /// What the last failed attempt was made with.
    pub last_attempt: Option<AttemptInputs>,
    /// What is waited for.
    pub wait: Option<Wait>,
    /// Reason and message of the condition `Issuing`: to be said again, and not to be looked into.
    pub said: Option<(String, String)>,
    /// When the certificate will be renewed.
    pub renewal: Option<Timestamp>,
    /// The certificate was there at the last look.
    pub has_certificate: bool,
    /// The order that was open.
    pub order: Option<OrderStatus>,
    /// Number of the order made last.
    pub orders: i64,
}

impl Previous {
    /// A limit of the issuer was reached.
    #[must_use]
    pub fn waits_for_limit(&self) -> bool {
        self.wait.is_some_and(|wait| wait.on.limit().is_some())
    }
}

/// Metadata of the target from the watch.
#[derive(Clone, Debug, Default)]
pub struct CachedTarget {
    /// Its resourceVersion.
    pub resource_version: String,
    /// Labels and annotations.
    pub metadata: Template,
}

/// The target Secret.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Its type.
    pub kind: String,
    /// It says that it cannot be changed.
    pub immutable: bool,
    /// Labels and annotations.
    pub metadata: Template,
    /// The key in `tls.key`, where one can be read.
    pub key: Option<Arc<PrivateKey>>,
    /// The certificates in `tls.crt`, as they come.
    pub chain: Vec<Certificate>,
    /// The certificates in `ca.crt`.
    pub anchors: Vec<Certificate>,
}

/// The account at the CA.
#[derive(Clone, Debug)]
pub struct Account {
    /// In one line.
    pub name: String,
    /// What the CA can do.
    pub capabilities: Capabilities,
    /// Trust anchors a chain must end at.
    pub anchors: Vec<Certificate>,
    /// The roots the CA serves go into `ca.crt` too.
    pub add_served_roots: bool,
    /// The request's own credentials.
    pub credentials: Option<Credentials>,
}

/// What the CA issued, not yet verified.
#[derive(Clone, Debug)]
pub struct Obtained {
    /// The key it was requested for.
    pub key: Key,
    /// The names in the CSR, where the request brought it and the CA goes by them.
    pub csr_names: Option<Names>,
    /// The certificates as they came.
    pub candidates: Vec<Certificate>,
}

/// Why a run ends without its certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// What happens next.
    pub disposition: Disposition,
    /// One word in camel case.
    pub reason: Reason,
    /// What was tried and what came of it.
    pub message: String,
    /// Counts as a failed attempt: the next one waits longer.
    pub counts: bool,
}

/// What a request waits for, by its status.
#[must_use]
pub fn waits_for(status: &CertificateRequestStatus) -> Option<Wait> {
    status.wait.or_else(|| former::wait(status))
}

impl From<&CertificateRequestStatus> for Previous {
    fn from(status: &CertificateRequestStatus) -> Self {
        let issuing = condition::find(&status.conditions, condition::ISSUING);
        let order = status.order.clone().map(|order| OrderStatus {
            actor: order.actor.or_else(|| former::actor(&order)),
            ..order
        });
        Self {
            revision: status.revision.unwrap_or_default(),
            certificate: status.certificate.clone(),
            failed_attempts: status.failed_attempts.unwrap_or_default(),
            last_failure: status.last_failure_time.as_ref().map(|time| time.0),
            next_attempt: status.next_attempt_time.as_ref().map(|time| time.0),
            last_attempt: status.last_attempt.clone(),
            wait: waits_for(status),
            said: issuing.map(|found| (found.reason.clone(), found.message.clone())),
            renewal: status.renewal_time.as_ref().map(|time| time.0),
            has_certificate: status.renewal_time.is_some() || former::has_certificate(status),
            order,
            orders: status.orders.unwrap_or_default(),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self {
            disposition: error.disposition,
            reason: error.reason,
            message: error.message,
            counts: true,
        }
    }
}

/// What an effect came to.
#[derive(Debug)]
pub enum Outcome {
    /// The target was read.
    TargetRead(Read<Target>),
    /// The account was opened.
    Opened(Account),
    /// The CSR that the request brings was read.
    CsrRead(Arc<BroughtCsr>),
    /// The CA issued.
    Issued(Obtained),
    /// The certificates the CA serves.
    Served(Vec<Certificate>),
    /// The target was written.
    Delivered {
        /// The Secret as it is now.
        target: Target,
        /// Subjects of the roots that were added by opt-in.
        added_roots: Vec<String>,
        /// The certificate is a new one.
        renewed: bool,
    },
    /// The target was changed by somebody else in between.
    Conflict,
    /// The record was read; with uid and resourceVersion of the Secret of its name.
    RecordRead(RecordRead, Option<(String, String)>),
    /// Key, CSR and parameters of an order are made, and the CA has examined it.
    Prepared(Prepared),
    /// The record was written, and with it the claim won.
    Claimed(Box<Record>),
    /// The record was patched.
    Marked(Box<Record>),
    /// Somebody else wrote the record in between.
    RecordConflict,
    /// The status says who submits what: as it was written.
    Announced(Box<CertificateRequestStatus>),
    /// The CA was searched for the order.
    Searched(Result<Lookup, Trouble>, Sought),
    /// The CA was searched for the order before.
    SearchedBefore(Result<Lookup, Trouble>),
    /// The CA took the order.
    Ordered(Progress),
    /// The order was sent, and this came of it.
    NotOrdered(Sent, Trouble),
    /// This run may submit.
    Granted,
    /// A limit of the issuer is reached.
    Withheld(Withheld),
    /// The grant was for a day that has ended meanwhile.
    Lapsed,
    /// Nothing was done and nothing is to be told: the request has moved or is gone, or the process is
    /// ending.
    Abandoned,
    /// The effect failed.
    Failed(Trouble),
}

impl Observation {
    /// What is known when a run begins: nothing was read, opened or done yet.
    #[must_use]
    pub fn at_start(
        now: Timestamp,
        request: Request,
        issuer: IssuerState,
        previous: Previous,
        cached: Option<CachedTarget>,
    ) -> Self {
        Self {
            now,
            request,
            issuer,
            rival: None,
            previous,
            cached,
            target: None,
            account: None,
            csr: None,
            obtained: None,
            served: None,
            submitted: false,
            delivered: None,
            renewed: false,
            conflicts: 0,
            trouble: None,
            abandoned: false,
            repaired: None,
            order: OrderSeen::default(),
            quota: QuotaSeen::default(),
        }
    }

    /// What a certificate would be requested with now, as far as it is known.
    #[must_use]
    pub fn wanted(&self) -> Requested {
        let request = &self.request;
        let mut wanted = Requested::default()
            .with_names(&request.names)
            .with(Requested::DURATION, request.duration.map(|duration| duration.as_secs()))
            .with(Requested::CREDENTIALS, request.credentials.clone())
            .with(Requested::ISSUER, Some(request.issuer.clone()))
            .with(Requested::RENEW, request.renew.clone())
            .with(
                Requested::CA_BLOCK,
                Some(&request.blocks)
                    .filter(|blocks| !blocks.is_empty())
                    .and_then(|blocks| serde_json::to_value(blocks).ok()),
            );
        let csr = request.csr.as_ref();
        wanted =
            wanted.with(Requested::CSR, csr.map(|csr| format!("{}/{}", csr.secret, csr.entry)));
        if let Some(csr) = &self.csr {
            wanted = wanted.with_csr_key(csr.key.spki_der());
        }
        // The key of a CSR is what it is.
        if let Some(kind) = request.key_kind.filter(|_| csr.is_none()) {
            wanted = wanted.with(Requested::PRIVATE_KEY, Some(kind.to_string()));
        }
        let account = match (&self.account, &self.issuer) {
            // The account that was opened, which the issuer's status may not know of yet.
            (Some(opened), _) => Some(opened.name.clone()),
            (None, IssuerState::Ready { account, .. }) => account.clone(),
            (None, IssuerState::Missing | IssuerState::NotReady(_)) => None,
        };
        // With credentials of its own the request has an account of its own.
        match account.filter(|_| request.credentials.is_none()) {
            Some(account) => wanted.with(Requested::ACCOUNT, Some(account)),
            None => wanted,
        }
    }

    /// Whether what is to be done now puts in order what somebody else changed.
    #[must_use]
    pub fn is_repair(&self) -> bool {
        match super::certificate::reissue::reissue(self, &self.standing()) {
            Some(reissue) => reissue.is_repair(),
            // Nothing new is needed: the old pair is written in better order.
            None => true,
        }
    }

    /// What an attempt would be made with now.
    #[must_use]
    pub fn attempt(&self) -> AttemptInputs {
        let issuer_version = match &self.issuer {
            IssuerState::Ready { version, .. } => version.clone(),
            IssuerState::Missing | IssuerState::NotReady(_) => String::new(),
        };
        AttemptInputs {
            generation: self.request.generation,
            issuer_version,
            renew: self.request.renew.clone(),
            credentials_resource_version: self.request.credentials_version.clone(),
            csr_resource_version: self.request.csr.as_ref().and_then(|csr| csr.version.clone()),
        }
    }

    /// The record as it is now. What was learned of another order, or under another claim, says
    /// nothing of this one: somebody may have put it there, and submitted it, meanwhile.
    fn record_read(&mut self, read: RecordRead, base: Option<(String, String)>) {
        let order = &mut self.order;
        if let RecordRead::Present(record) = &read {
            let about = (record.next.order.reference.clone(), record.claim_id());
            let hinted = self.previous.order.as_ref().map(|hint| &hint.reference);
            let before = order.about.as_ref().map(|(reference, _)| reference).or(hinted);
            if before.is_some_and(|before| *before != about.0) {
                order.progress = None;
                order.submitted = None;
            }
            if order.about.as_ref().is_some_and(|before| *before != about) {
                order.lookup = None;
                order.announced = false;
            }
            order.about = Some(about);
        }
        order.record = Some(read);
        order.base = base;
    }

    /// The observation after an effect: what a second read would show.
    #[must_use]
    pub fn after(mut self, outcome: Outcome) -> Self {
        match outcome {
            Outcome::TargetRead(target) => self.target = Some(target),
            Outcome::Opened(account) => self.account = Some(account),
            Outcome::CsrRead(csr) => self.csr = Some(csr),
            Outcome::Issued(obtained) => {
                self.submitted = true;
                self.obtained = Some(obtained);
            }
            Outcome::Served(certificates) => self.served = Some(certificates),
            Outcome::Delivered { target, added_roots, renewed } => {
                self.obtained = None;
                self.target = Some(Read::Present(target));
                self.delivered = Some(added_roots);
                self.renewed = renewed;
            }
            Outcome::Conflict => {
                self.target = None;
                // What the watch knew is as old as what was read.
                self.cached = None;
                self.conflicts += 1;
            }
            Outcome::RecordRead(read, base) => self.record_read(read, base),
            Outcome::Prepared(prepared) => self.order.prepared = Some(prepared),
            Outcome::Claimed(record) => {
                self.order = OrderSeen {
                    claim: Some(record.next.order.reference.clone()),
                    about: Some((record.next.order.reference.clone(), record.claim_id())),
                    base: Some((record.uid.clone(), record.resource_version.clone())),
                    record: Some(RecordRead::Present(record)),
                    incarnation: self.order.incarnation,
                    sought: self.order.sought,
                    proven: self.order.proven,
                    conflicts: self.order.conflicts,
                    ..OrderSeen::default()
                };
            }
            Outcome::Marked(record) => {
                self.order.base = Some((record.uid.clone(), record.resource_version.clone()));
                self.order.record = Some(RecordRead::Present(record));
            }
            Outcome::RecordConflict => {
                self.order.record = None;
                self.order.base = None;
                self.order.conflicts += 1;
            }
            Outcome::Announced(status) => {
                let told = Previous::from(&*status);
                self.order.announced = true;
                self.previous.order = told.order;
                self.previous.orders = told.orders;
                self.previous.wait = told.wait;
                self.previous.said = told.said;
            }
            Outcome::Searched(answer, sought) => {
                if let Ok(Lookup::Found(found)) = &answer {
                    // Where all are for other keys, what was known of ours stands.
                    if let Some(found) = order::adopt(found) {
                        self.order.progress = Some(found.progress.clone());
                    }
                    self.order.others = order::others(found);
                }
                self.order.sought = sought;
                self.order.lookup = Some(answer);
            }
            Outcome::SearchedBefore(answer) => self.order.before = Some(answer),
            Outcome::Ordered(progress) => {
                self.order.claim = None;
                self.order.progress = Some(progress);
            }
            Outcome::NotOrdered(sent, trouble) => {
                self.order.claim = None;
                self.order.submitted = Some((sent, trouble));
            }
            Outcome::Granted => {
                self.quota.granted = true;
                self.quota.withheld = None;
            }
            Outcome::Withheld(withheld) => self.quota.withheld = Some(withheld),
            Outcome::Lapsed => self.quota.granted = false,
            Outcome::Abandoned => self.abandoned = true,
            Outcome::Failed(trouble) => self.trouble = Some(trouble),
        }
        self
    }
}
