//! The record of an order: what is stored before money is spent, and how it is read back.
//!
//! A record is the Secret `<request>.order`. Its data hold the order (as JSON) and its key, and the
//! same of the order before it; what changes while the order is open lies in annotations, which
//! are patched with uid and resourceVersion. One record per request *name*: a request that is
//! deleted and created again finds it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::{Deserialize, Serialize};

use crate::api::annotation;
use crate::ca::{OrderKind, Previous};
use crate::issuance::certificate::key::Key;
use crate::issuance::certificate::requested::Requested;
use crate::issuance::quota::made;
use crate::pki::csr::Csr;
use crate::pki::{self, Certificate, Names, PrivateKey};

/// The highest format that this version reads. A record with a higher one is left alone.
const FORMAT: u32 = 2;
/// That of a first order.
const FORMAT_OF_NEW: u32 = 1;

/// Name of the Secret with the record of a request.
#[must_use]
pub fn record_name(request: &str) -> String {
    format!("{request}.order")
}

/// Name of the request whose record has this name.
#[must_use]
pub fn request_of(record: &str) -> Option<&str> {
    record.strip_suffix(".order")
}

/// The record of a request's order.
#[derive(Clone, Debug)]
pub struct Record {
    /// uid of the Secret.
    pub uid: String,
    /// resourceVersion of the Secret.
    pub resource_version: String,
    /// The order made last.
    pub next: Slot,
    /// The order before it, for delivering its certificate again.
    pub issued: Option<Slot>,
    /// What is known of the order made last.
    pub mark: Mark,
}

/// One order with its key.
#[derive(Clone, Debug)]
pub struct Slot {
    /// The order.
    pub order: StoredOrder,
    /// Its private key; `None` where the request brought the CSR and kept the key.
    pub private: Option<Arc<PrivateKey>>,
    /// Whether it follows another order, and which.
    pub kind: OrderKind,
}

impl Slot {
    /// Its key; `None` where even the CSR cannot be read.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        match &self.private {
            Some(private) => Some(Key::Pair(Arc::clone(private))),
            None => {
                let csr = Csr::from_der(&self.order.csr_der()).ok()?;
                Some(Key::Public(csr.spki_der.into()))
            }
        }
    }
}

/// An order as it is stored: everything that is needed to make it again, to the byte.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredOrder {
    format: u32,
    /// Its name at the CA; made when the order starts, and never again.
    pub reference: String,
    /// The how-many-eth order of the request it is.
    pub number: i64,
    /// The account at the CA, in one line.
    pub account: String,
    /// When it was prepared.
    pub since: Timestamp,
    /// PKCS #10 request, base64 of the DER.
    csr: String,
    /// Names the certificate must carry.
    pub names: Names,
    /// What the certificate is requested with.
    pub intent: BTreeMap<String, serde_json::Value>,
    /// What the CA's client made of the request.
    pub parameters: serde_json::Value,
    /// What it follows; absent from first orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follows: Option<Follows>,
}

/// The order that one follows, as it is stored; its key, where that is needed, lies beside.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Follows {
    /// In what way, by [`OrderKind::word`].
    kind: String,
    /// Its id at the CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Serial number of its certificate, hexadecimal: for people.
    serial: String,
    /// Its certificate, base64 of the DER.
    certificate: String,
}

impl Follows {
    fn new(kind: &OrderKind) -> Option<Self> {
        let previous = kind.previous()?;
        Some(Self {
            kind: kind.word().to_owned(),
            id: previous.id.clone(),
            serial: previous.serial().to_owned(),
            certificate: base64::engine::general_purpose::STANDARD
                .encode(previous.certificate.der()),
        })
    }

    fn read(&self, key: Option<Arc<PrivateKey>>) -> Option<OrderKind> {
        let der = base64::engine::general_purpose::STANDARD.decode(&self.certificate).ok()?;
        let certificate = Certificate::from_der(&der).ok()?;
        OrderKind::parse(&self.kind, Previous { id: self.id.clone(), certificate, key })
    }
}

/// An order that is about to be stored.
#[derive(Clone, Debug)]
pub struct OrderDraft {
    /// uid and resourceVersion of the record to change; `None` creates it.
    pub base: Option<(String, String)>,
    /// The order and its key.
    pub next: Slot,
    /// The order it displaces.
    pub displaced: Option<Slot>,
    /// When orders were made for the request within the last day, this one included.
    pub made: Vec<Timestamp>,
}

/// Inputs of [`StoredOrder::new`].
#[derive(Debug)]
pub struct NewOrder<'a> {
    /// uid of the request.
    pub uid: &'a str,
    /// The how-many-eth order of the request it is.
    pub number: i64,
    /// The account at the CA.
    pub account: &'a str,
    /// Now.
    pub since: Timestamp,
    /// PKCS #10 request, DER.
    pub csr_der: &'a [u8],
    /// Names the certificate must carry.
    pub names: &'a Names,
    /// What it is requested with.
    pub intent: Requested,
    /// What the CA's client made of the request.
    pub parameters: serde_json::Value,
    /// Whether it follows another order.
    pub kind: &'a OrderKind,
}

impl StoredOrder {
    /// A new order. Its reference is its name for ever.
    #[must_use]
    pub fn new(new: NewOrder<'_>) -> Self {
        Self {
            // Whoever does not know of them would take it for a first one, and buy another.
            format: if new.kind.follows() { FORMAT } else { FORMAT_OF_NEW },
            reference: reference(new.uid, new.number),
            number: new.number,
            account: new.account.to_owned(),
            since: Timestamp::from_second(new.since.as_second()).unwrap_or(new.since),
            csr: base64::engine::general_purpose::STANDARD.encode(new.csr_der),
            names: new.names.clone(),
            intent: new.intent.into_map(),
            parameters: new.parameters,
            follows: Follows::new(new.kind),
        }
    }

    /// PKCS #10 request, DER.
    #[must_use]
    pub fn csr_der(&self) -> Vec<u8> {
        base64::engine::general_purpose::STANDARD.decode(&self.csr).unwrap_or_default()
    }

    /// What the certificate is requested with.
    #[must_use]
    pub fn requested(&self) -> Requested {
        Requested::from_map(self.intent.clone())
    }
}

/// The name of an order at the CA. Lower case, digits and hyphens, at most 64 characters.
#[must_use]
pub fn reference(uid: &str, number: i64) -> String {
    format!("chancery-{uid}-{number}")
}

/// Whether a reference names an order of the request with this uid: by its form, or because it is the
/// one that is `recorded`, as it is for a request that was deleted and made again.
#[must_use]
pub fn is_own(reference: &str, uid: &str, recorded: Option<&str>) -> bool {
    let number = reference.strip_prefix("chancery-").and_then(|rest| rest.strip_prefix(uid));
    let number = number.and_then(|rest| rest.strip_prefix('-'));
    let is_number =
        |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    !uid.is_empty() && number.is_some_and(is_number) || recorded == Some(reference)
}

/// What is known of the order made last: the annotations of the record.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Mark {
    /// How often it was claimed.
    pub attempt: i64,
    /// The incarnation of the process that has the claim.
    pub claim: String,
    /// What became of it.
    pub state: OrderState,
    /// Its id, where the CA cannot find it by its reference.
    pub id: Option<String>,
    /// When orders were made for the request within the last day, this one included.
    pub made: Vec<Timestamp>,
}

/// What became of an order, as far as the record says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum OrderState {
    /// It may be at the CA.
    #[default]
    Open,
    /// Provably nothing was ordered.
    Refused,
    /// It came to nothing.
    Failed,
    /// A person at the CA said no.
    Rejected,
    /// Its certificate was revoked.
    Revoked,
    /// The CA no longer knows it.
    Forgotten,
    /// Its certificate was not needed any more, or is no longer valid.
    Superseded,
}

impl OrderState {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Open, "open"),
        (Self::Refused, "refused"),
        (Self::Failed, "failed"),
        (Self::Rejected, "rejected"),
        (Self::Revoked, "revoked"),
        (Self::Forgotten, "forgotten"),
        (Self::Superseded, "superseded"),
    ];

    /// The word in the annotation.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("open", |(_, word)| word)
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(state, _)| *state)
    }
}

impl Record {
    /// The claim on the order made last, in one word: each that is won is another.
    #[must_use]
    pub fn claim_id(&self) -> String {
        format!("{}/{}/{}", self.next.order.reference, self.mark.attempt, self.mark.claim)
    }
}

impl Mark {
    /// When orders were made, where this one is claimed once more. One that was refused is the same
    /// order still: trying it again, as often as a CA in trouble makes that necessary, counts for
    /// nothing.
    #[must_use]
    pub fn made_again(&self, now: Timestamp) -> Vec<Timestamp> {
        match self.state {
            OrderState::Refused => self.made.clone(),
            OrderState::Open
            | OrderState::Failed
            | OrderState::Forgotten
            | OrderState::Rejected
            | OrderState::Revoked
            | OrderState::Superseded => made::noted(&self.made, now),
        }
    }

    /// The annotations; a value that is `None` is to be taken away.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<&'static str, Option<String>> {
        BTreeMap::from([
            (annotation::ORDER_ATTEMPT, Some(self.attempt.to_string())),
            (annotation::ORDER_CLAIM, Some(self.claim.clone())),
            (annotation::ORDER_STATE, Some(self.state.word().to_owned())),
            (annotation::ORDER_ID, self.id.clone()),
            (annotation::ORDERS_MADE, Some(made::written(&self.made))),
        ])
    }

    fn parse(annotations: &BTreeMap<String, String>) -> Result<Self, String> {
        let text = |key: &str| annotations.get(key).map(String::as_str);
        let wrong = |key: &str| format!("its annotation {key} was changed or removed");
        Ok(Self {
            attempt: text(annotation::ORDER_ATTEMPT)
                .and_then(|attempt| attempt.parse().ok())
                .ok_or_else(|| wrong(annotation::ORDER_ATTEMPT))?,
            claim: text(annotation::ORDER_CLAIM)
                .filter(|claim| !claim.is_empty())
                .ok_or_else(|| wrong(annotation::ORDER_CLAIM))?
                .to_owned(),
            state: text(annotation::ORDER_STATE)
                .and_then(OrderState::parse)
                .ok_or_else(|| wrong(annotation::ORDER_STATE))?,
            id: text(annotation::ORDER_ID).map(str::to_owned),
            // A record that was written before orders were counted has none.
            made: made::read(text(annotation::ORDERS_MADE).unwrap_or_default())
                .ok_or_else(|| wrong(annotation::ORDERS_MADE))?,
        })
    }
}

/// The answer of reading a record.
#[derive(Clone, Debug)]
pub enum RecordRead {
    /// There is none.
    Absent,
    /// This is it.
    Present(Box<Record>),
    /// Nobody knows; the text says which read failed and how.
    Unreadable(String),
    /// There is a Secret of that name that is no record.
    Foreign(Version),
    /// A newer version of Chancery wrote it.
    Newer(Version),
    /// It is not what was written; the text says what is wrong.
    Damaged(Version, String),
}

/// uid and resourceVersion of a Secret: the version that a write is to replace.
pub type Version = (String, String);

/// A Secret as it is read, in plain values.
#[derive(Clone, Debug, Default)]
pub struct RawRecord {
    /// uid.
    pub uid: String,
    /// resourceVersion.
    pub resource_version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Data by key.
    pub data: BTreeMap<String, Vec<u8>>,
}

/// All keys of a record's data, each with nothing in it: what a new order takes away of the last.
pub const EMPTY: [(&str, Option<String>); 5] =
    [(NEXT, None), (NEXT_KEY, None), (OLD_KEY, None), (ISSUED, None), (ISSUED_KEY, None)];

const NEXT: &str = "next.json";
const NEXT_KEY: &str = "next.key";
/// The key of the certificate that the next order follows, where that order is signed with it. One that
/// has ended is not made again, and needs it no longer.
const OLD_KEY: &str = "next.old-key";
const ISSUED: &str = "issued.json";
const ISSUED_KEY: &str = "issued.key";

impl RawRecord {
    fn version(&self) -> Version {
        (self.uid.clone(), self.resource_version.clone())
    }
}

impl RecordRead {
    /// From the Secret of the record's name.
    #[must_use]
    pub fn parse(raw: &RawRecord) -> Self {
        if raw.labels.get(annotation::ORDER_LABEL).map(String::as_str) != Some("true") {
            return Self::Foreign(raw.version());
        }
        match read(raw) {
            Ok(record) => Self::Present(Box::new(record)),
            Err(Fault::Newer) => Self::Newer(raw.version()),
            Err(Fault::Damaged(why)) => Self::Damaged(raw.version(), why),
        }
    }

    /// The version that the next write replaces, where there is a Secret of that name.
    #[must_use]
    pub fn base(&self) -> Option<Version> {
        match self {
            Self::Absent | Self::Unreadable(_) => None,
            Self::Damaged(version, _) | Self::Foreign(version) | Self::Newer(version) => {
                Some(version.clone())
            }
            Self::Present(record) => Some((record.uid.clone(), record.resource_version.clone())),
        }
    }
}

enum Fault {
    Newer,
    Damaged(String),
}

fn read(raw: &RawRecord) -> Result<Record, Fault> {
    let next = slot(raw, NEXT, NEXT_KEY, Some(OLD_KEY))?
        .ok_or_else(|| Fault::Damaged(format!("its key {NEXT} is missing")))?;
    let digest = raw.annotations.get(annotation::ORDER_DIGEST).map(String::as_str);
    if digest != Some(digest_of(&raw.data).as_str()) {
        return Err(Fault::Damaged("its data were changed since Chancery wrote them".to_owned()));
    }
    Ok(Record {
        uid: raw.uid.clone(),
        resource_version: raw.resource_version.clone(),
        next,
        issued: slot(raw, ISSUED, ISSUED_KEY, None)?,
        mark: Mark::parse(&raw.annotations).map_err(Fault::Damaged)?,
    })
}

fn slot(
    raw: &RawRecord,
    order: &str,
    key: &str,
    old_key: Option<&str>,
) -> Result<Option<Slot>, Fault> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Some(json) = raw.data.get(order) else {
        return Ok(None);
    };
    let damaged = |place: &str| Fault::Damaged(format!("its key {place} cannot be read"));
    let format: Format = serde_json::from_slice(json).map_err(|_| damaged(order))?;
    if format.format > FORMAT {
        return Err(Fault::Newer);
    }
    let stored: StoredOrder = serde_json::from_slice(json).map_err(|_| damaged(order))?;
    let private = |key: &str| {
        let read = |pem: &Vec<u8>| PrivateKey::from_pem(pem).map_err(|_| damaged(key));
        raw.data.get(key).map(read).transpose().map(|key| key.map(Arc::new))
    };
    let kind = match &stored.follows {
        None => OrderKind::New,
        Some(follows) => {
            let old_key = old_key.map(private).transpose()?.flatten();
            follows.read(old_key).ok_or_else(|| damaged(order))?
        }
    };
    Ok(Some(Slot { order: stored, private: private(key)?, kind }))
}

impl OrderDraft {
    /// The whole data of the record.
    #[must_use]
    pub fn data(&self) -> BTreeMap<&'static str, SecretSlice<u8>> {
        let mut data = BTreeMap::new();
        let (next, displaced) = (&self.next, self.displaced.as_ref());
        for (slot, order) in [(Some(next), NEXT), (displaced, ISSUED)] {
            let json = slot.map(|slot| serde_json::to_vec(&slot.order).unwrap_or_default());
            data.extend(json.map(|json| (order, json.into())));
        }
        let followed = next.kind.previous().and_then(|previous| previous.key.as_ref());
        let keys = [
            (next.private.as_ref(), NEXT_KEY),
            (followed, OLD_KEY),
            (displaced.and_then(|slot| slot.private.as_ref()), ISSUED_KEY),
        ];
        for (private, key) in keys {
            let pem = private.map(|private| private.to_pkcs8_pem());
            data.extend(pem.map(|pem| (key, pem.expose_secret().as_bytes().to_vec().into())));
        }
        data
    }

    /// The value of the annotation that shows edits by hand.
    #[must_use]
    pub fn digest(&self) -> String {
        let data = self.data();
        digest_of(&data.iter().map(|(key, value)| (*key, value.expose_secret())).collect())
    }
}

/// SHA-256 over keys and values, each with its length before it.
fn digest_of<K: AsRef<str> + Ord, V: AsRef<[u8]>>(data: &BTreeMap<K, V>) -> String {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    for (key, value) in data {
        for part in [key.as_ref().as_bytes(), value.as_ref()] {
            bytes.extend_from_slice(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
    }
    pki::sha256_hex(&bytes)
}
