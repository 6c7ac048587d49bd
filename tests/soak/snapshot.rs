//! What the CA and the API server say at one time, and what was seen over time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chancery::api::{CertificateRequest, condition};
use der::{Decode as _, Encode as _};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};
use rcgen::PublicKeyData as _;
use serde_json::Value;

use super::NAMESPACE;
use super::users::Bought;
use crate::support::simulator::SwissSign;

/// An order at the CA, by the CA's own books.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: String,
    pub state: String,
    pub created: Timestamp,
    /// Of the request, by the first of its names.
    pub request: String,
    /// Sorted.
    pub names: Vec<String>,
    /// The name that it was given by whoever submitted it.
    pub reference: Option<String>,
    /// SHA-256 of its public key.
    pub spki: String,
    pub certificate: Option<Certificate>,
}

#[derive(Clone, Debug)]
pub struct Certificate {
    pub fingerprint: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

impl Order {
    fn read(order: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let texts = |value: &Value| -> Vec<String> {
            value.as_array().into_iter().flatten().map(text).collect()
        };
        let time = |value: &Value| text(value).parse().expect("a time");
        let mut names = texts(&order["requestedNames"]);
        names = names.iter().filter_map(|name| name.strip_prefix("dns:")).map(Into::into).collect();
        names.sort();
        let first = names.iter().filter_map(|name| name.strip_suffix(".example.ch"));
        let request = first.clone().find(|name| !name.contains('-')).unwrap_or_default().to_owned();
        let certificate = &order["certificate"];
        let certificate = certificate.is_object().then(|| Certificate {
            fingerprint: text(&certificate["fingerprintSha256"]),
            not_before: time(&certificate["notBefore"]),
            not_after: time(&certificate["notAfter"]),
        });
        Self {
            id: text(&order["uuid"]),
            state: text(&order["state"]),
            created: time(&order["createdOn"]),
            request,
            names,
            reference: texts(&order["submittedTags"])
                .into_iter()
                .find(|tag| tag.starts_with("chancery-")),
            spki: text(&order["spkiSha256"]),
            certificate,
        }
    }
}

/// A certificate that is delivered, and its key.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Name of the request that it is for.
    pub request: String,
    /// SHA-256 of the leaf.
    pub fingerprint: String,
    /// The key is the leaf's.
    pub fits: bool,
    /// `tls.crt` as it is.
    pub chain: Vec<u8>,
    /// `ca.crt` as it is.
    pub anchors: Vec<u8>,
}

/// How a request stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub is_ready: bool,
    /// What a person is told.
    pub stalled: Option<String>,
    /// Reasons and messages.
    pub says: String,
}

/// All of it. The CA is asked first: what it has then must have its key somewhere.
#[derive(Default)]
pub struct Snapshot {
    pub orders: Vec<Order>,
    /// SHA-256 of the public keys of all private keys in Secrets.
    pub keys: BTreeSet<String>,
    pub delivered: Vec<Delivered>,
    pub requests: BTreeMap<String, Standing>,
}

/// A list takes no longer, or the API server is away.
const PATIENCE: Duration = Duration::from_secs(5);

impl Snapshot {
    /// `None` where the API server does not answer.
    pub async fn take(client: &Client, ra: &SwissSign<'_>) -> Option<Self> {
        let orders = ra.orders().await.iter().map(Order::read).collect();
        let lists = async {
            let all = ListParams::default();
            let secrets: Api<Secret> = Api::namespaced(client.clone(), NAMESPACE);
            let secrets = secrets.list(&all).await.ok()?.items;
            let requests: Api<CertificateRequest> = Api::namespaced(client.clone(), NAMESPACE);
            Some((secrets, requests.list(&all).await.ok()?.items))
        };
        let (secrets, requests) = tokio::time::timeout(PATIENCE, lists).await.ok()??;
        let keys = secrets.iter().flat_map(keys).collect();
        let delivered = secrets.iter().filter_map(delivered).collect();
        let requests = requests.iter().map(standing).collect();
        Some(Self { orders, keys, delivered, requests })
    }

    /// How many orders there are, by request and names.
    pub fn bought(&self) -> Bought {
        let mut bought = Bought::new();
        for order in &self.orders {
            *bought.entry((order.request.clone(), order.names.clone())).or_default() += 1;
        }
        bought
    }
}

/// What was seen over time.
#[derive(Default)]
pub struct Seen {
    /// Public keys that had their private key in some Secret.
    pub keys: BTreeSet<String>,
    /// Certificates that were delivered.
    pub delivered: BTreeSet<String>,
    /// Deliveries that were wrong, in words.
    pub wrong: BTreeSet<String>,
    /// What a person was told of, and of which requests.
    pub stalled: BTreeMap<String, BTreeSet<String>>,
}

impl Seen {
    pub fn note(&mut self, snapshot: &Snapshot) {
        self.keys.extend(snapshot.keys.iter().cloned());
        for (name, standing) in &snapshot.requests {
            if let Some(reason) = &standing.stalled {
                self.stalled.entry(reason.clone()).or_default().insert(name.clone());
            }
        }
        for delivered in &snapshot.delivered {
            self.delivered.insert(delivered.fingerprint.clone());
            if !delivered.fits {
                let Delivered { request, fingerprint, .. } = delivered;
                self.wrong.insert(format!("the key of {request} is not that of {fingerprint}"));
            }
        }
    }
}

fn keys(secret: &Secret) -> Vec<String> {
    let data = secret.data.iter().flatten();
    data.filter(|(entry, _)| entry.ends_with(".key")).filter_map(|(_, key)| spki(&key.0)).collect()
}

/// SHA-256 of the public key of a private key in PEM, by a library that the operator does not read
/// keys with.
fn spki(key: &[u8]) -> Option<String> {
    let key = rcgen::KeyPair::from_pem(std::str::from_utf8(key).ok()?).ok()?;
    Some(sha256(&key.subject_public_key_info()))
}

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn delivered(secret: &Secret) -> Option<Delivered> {
    let request = secret.metadata.name.as_deref()?.strip_suffix("-tls")?.to_owned();
    let entry = |name: &str| {
        let found = secret.data.as_ref().and_then(|data| data.get(name));
        found.map(|value| value.0.clone()).unwrap_or_default()
    };
    let chain = entry("tls.crt");
    let leaf = pem::parse(&chain).ok();
    let of_leaf = leaf.as_ref().and_then(|leaf| {
        let leaf = x509_cert::Certificate::from_der(leaf.contents()).ok()?;
        leaf.tbs_certificate().subject_public_key_info().to_der().ok()
    });
    Some(Delivered {
        request,
        fingerprint: leaf.map(|leaf| sha256(leaf.contents())).unwrap_or_default(),
        fits: of_leaf.is_some_and(|of_leaf| spki(&entry("tls.key")) == Some(sha256(&of_leaf))),
        chain,
        anchors: entry("ca.crt"),
    })
}

/// The same for all orders: without ids, references and times.
fn without_names(message: &str) -> String {
    let is_word = |word: &&str| !word.contains(|c: char| c.is_ascii_digit());
    message.split_whitespace().filter(is_word).collect::<Vec<_>>().join(" ")
}

fn standing(request: &CertificateRequest) -> (String, Standing) {
    let name = request.metadata.name.clone().unwrap_or_default();
    let status = request.status.clone().unwrap_or_default();
    let conditions = &status.conditions;
    let is_current = request.metadata.generation == Some(status.observed_generation);
    let says: Vec<String> = conditions
        .iter()
        .map(|one| format!("{}={} {}: {}", one.type_, one.status, one.reason, one.message))
        .collect();
    let standing = Standing {
        is_ready: is_current && condition::is_true(conditions, "Ready"),
        stalled: condition::find(conditions, "Stalled")
            .filter(|stalled| stalled.status == "True")
            .map(|stalled| format!("{}: {}", stalled.reason, without_names(&stalled.message))),
        says: says.join("; "),
    };
    (name, standing)
}
