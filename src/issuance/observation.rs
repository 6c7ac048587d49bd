//! What is known at one moment, as plain values, and how each outcome changes it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::allow::{Allowed, Overrides};
use super::certificate::key::{BroughtCsr, CsrReference, Key};
use super::certificate::purchase::{Products, Purchase};
use super::certificate::renewal::RenewBefore;
use super::certificate::requested::{Requested, noted_nonce};
use super::certificate::template_keys::TemplateKeys;
use super::order::record::{Record, RecordRead};
use super::order::seen::{OrderSeen, Prepared, Sent, Sought};
use super::previous::{Previous, credentials_refused};
use super::quota::{QuotaSeen, Withheld};
use super::trouble::Trouble;
use crate::api::{
    AttemptInputs, CertificateRequestStatus, IssuerStatus, RotationPolicy, TrustAnchors,
};
use crate::ca::{Blocks, Capabilities, Lookup, Progress};
use crate::outside::credentials::Credentials;
use crate::outside::opt_in::OptIn;
use crate::pki::{Certificate, KeyKind, Names, PrivateKey};

/// Everything [`super::decide`] looks at.
#[derive(Clone, Debug)]
pub struct Observation {
    /// The wall clock, read once per run.
    pub now: Timestamp,
    /// What is wanted.
    pub request: Request,
    /// Whether the issuer takes requests.
    pub issuer: IssuerState,
    /// What the issuer stands for, ready or not, as far as its last check has told.
    pub stands_for: StandsFor,
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
    /// What words for products stand for at the CA, as far as it was asked in this run.
    pub products: Products,
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
    /// The pair that is there was obtained elsewhere, and taken over in this run.
    pub adopted: bool,
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
    /// What the issuer says of whom it serves.
    pub allowed: Allowed,
    /// The keys that `secretTemplate` may carry.
    pub template_keys: TemplateKeys,
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
    /// What is no name in it, with its field: a version before this one, or a hole in admission, let it
    /// pass.
    pub misread: Option<String>,
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
    /// What makes it somebody else, or something else, at the CA.
    pub overrides: Overrides,
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
        self.credentials.is_some() && credentials_refused(status).is_some()
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
    /// It is a ClusterIssuer, and this installation serves none.
    NotServed,
    /// It cannot take requests now, for this reason.
    NotReady(String),
    /// It takes requests.
    Ready {
        /// Its uid with the generation of its spec: another issuer of the same name is another.
        version: String,
        /// The account in one line.
        account: Option<String>,
        /// The trust anchors of its bundle.
        anchors: Option<TrustAnchors>,
    },
}

/// What an issuer stands for at its CA.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StandsFor {
    /// The account in one line.
    pub account: Option<String>,
    /// Id of the product that is ordered where a request names none.
    pub product: Option<String>,
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
    /// Its owners, each as kind with group, and name.
    pub owners: Vec<String>,
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
    /// They are those of a bundle: all of them go into `ca.crt`.
    pub is_bundle: bool,
    /// The anchor to take where chains to several verify, by subject or SHA-256 fingerprint.
    pub preferred_root: Option<String>,
    /// The roots the CA serves go into `ca.crt` too.
    pub add_served_roots: bool,
    /// The request's own credentials.
    pub credentials: Option<Credentials>,
    /// Where those may be sent.
    pub opt_in: Option<OptIn>,
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
    /// What it was asked for, in ids.
    pub purchase: Purchase,
}

/// What an effect came to.
#[derive(Debug)]
pub enum Outcome {
    /// The target was read.
    TargetRead(Read<Target>),
    /// The account was opened.
    Opened(Account),
    /// The CA was asked what words for products stand for.
    Resolved(Products),
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
        /// The pair was obtained elsewhere.
        adopted: bool,
    },
    /// The target was changed by somebody else in between.
    Conflict,
    /// The record was read.
    RecordRead(RecordRead),
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
            stands_for: StandsFor::default(),
            rival: None,
            previous,
            cached,
            target: None,
            account: None,
            products: Products::default(),
            csr: None,
            obtained: None,
            served: None,
            submitted: false,
            delivered: None,
            renewed: false,
            adopted: false,
            conflicts: 0,
            trouble: None,
            abandoned: false,
            repaired: None,
            order: OrderSeen::default(),
            quota: QuotaSeen::default(),
            allowed: Allowed::default(),
            template_keys: TemplateKeys::default(),
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
            .with(Requested::RENEW, request.renew.as_deref().map(noted_nonce))
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
            (None, IssuerState::Missing | IssuerState::NotServed | IssuerState::NotReady(_)) => {
                None
            }
        };
        // With credentials of its own the request has an account of its own, known once it is opened.
        let is_known = request.credentials.is_none() || self.account.is_some();
        match account.filter(|_| is_known) {
            Some(account) => wanted.with(Requested::ACCOUNT, Some(account)),
            None => wanted,
        }
    }

    /// What an attempt would be made with now.
    #[must_use]
    pub fn attempt(&self) -> AttemptInputs {
        let issuer_version = match &self.issuer {
            IssuerState::Ready { version, .. } => version.clone(),
            IssuerState::Missing | IssuerState::NotServed | IssuerState::NotReady(_) => {
                String::new()
            }
        };
        AttemptInputs {
            generation: self.request.generation,
            issuer_version,
            renew: self.request.renew.as_deref().map(noted_nonce),
            credentials_resource_version: self.request.credentials_version.clone(),
            csr_resource_version: self.request.csr.as_ref().and_then(|csr| csr.version.clone()),
        }
    }

    /// The observation after an effect: what a second read would show.
    #[must_use]
    pub fn after(mut self, outcome: Outcome) -> Self {
        match outcome {
            Outcome::TargetRead(target) => self.target = Some(target),
            Outcome::Opened(account) => {
                // The status may still speak of the user before.
                self.order.proven &=
                    self.order.found_at.is_empty() || self.order.is_proven_at(&account.name);
                self.account = Some(account);
            }
            Outcome::Resolved(products) => self.products = products,
            Outcome::CsrRead(csr) => self.csr = Some(csr),
            Outcome::Issued(obtained) => {
                self.submitted = true;
                self.obtained = Some(obtained);
            }
            Outcome::Served(certificates) => self.served = Some(certificates),
            Outcome::Delivered { target, added_roots, renewed, adopted } => {
                self.adopted = adopted;
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
            Outcome::RecordRead(read) => {
                let hinted = self.previous.order.as_ref().map(|hint| hint.reference.as_str());
                self.order.read(read, hinted);
            }
            Outcome::Prepared(prepared) => self.order.prepared = Some(prepared),
            Outcome::Claimed(record) => self.order = self.order.claimed(record),
            Outcome::Marked(record) => self.order.record = Some(RecordRead::Present(record)),
            Outcome::RecordConflict => self.order.lost_to_another(),
            Outcome::Announced(status) => self.announced(&status),
            Outcome::Searched(answer, sought) => {
                self.order.searched(answer);
                self.order.sought = sought;
            }
            Outcome::SearchedBefore(answer) => self.order.before = Some(answer),
            Outcome::Ordered(progress) => self.order.taken(progress),
            Outcome::NotOrdered(sent, trouble) => self.order.not_taken_for(sent, trouble),
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

    /// The status was written before the submit, and says what it says now.
    fn announced(&mut self, status: &CertificateRequestStatus) {
        let told = Previous::from(status);
        self.order.announced();
        self.previous.order = told.order;
        self.previous.orders = told.orders;
        self.previous.wait = told.wait;
        self.previous.said = told.said;
    }
}
