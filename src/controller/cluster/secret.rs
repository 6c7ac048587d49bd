//! Secrets and bundles: from Kubernetes objects to plain values and back.
//!
//! Contents are read by name only; errors and messages never hold what was read.

use std::sync::Arc;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt as _;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::api::{CertificateBundle, annotation};
use crate::controller::beside::SHORT;
use crate::controller::cluster::Cluster;
use crate::issuance::{BroughtCsr, CsrReference, Delivery, Key, Read, Target, Template};
use crate::outside::credentials::{self, Credentials};
use crate::outside::opt_in::OptIn;
use crate::outside::{Disposition, Error};
use crate::pki::csr::Csr;
use crate::pki::{self, Bundle, Certificate, PrivateKey};
use crate::reason::Reason;
use crate::terminal;

/// The target as the core sees it.
pub(in crate::controller) fn target(secret: &Secret) -> Target {
    let entry =
        |key: &str| secret.data.as_ref().and_then(|data| data.get(key)).map(|value| &value.0);
    let certificates =
        |key: &str| entry(key).and_then(|pem| pki::parse_pem(pem).ok()).unwrap_or_default();
    Target {
        uid: secret.uid().unwrap_or_default(),
        resource_version: secret.resource_version().unwrap_or_default(),
        kind: secret.type_.clone().unwrap_or_else(|| "Opaque".to_owned()),
        immutable: secret.immutable.unwrap_or(false),
        owners: secret.owner_references().iter().map(owner).collect(),
        metadata: Template {
            labels: secret.labels().clone(),
            annotations: secret.annotations().clone(),
        },
        key: entry("tls.key").and_then(|pem| PrivateKey::from_pem(pem).ok()).map(Arc::new),
        chain: certificates("tls.crt"),
        anchors: certificates("ca.crt"),
    }
}

/// Such as `Certificate.cert-manager.io shop`.
fn owner(reference: &OwnerReference) -> String {
    let group = reference.api_version.split_once('/').map_or("", |(group, _)| group);
    format!("{}.{group} {}", reference.kind, reference.name)
}

/// Whether what is in it is read in no time.
pub(in crate::controller) fn is_short(secret: &Secret) -> bool {
    secret.data.iter().flatten().map(|(_, value)| value.0.len()).sum::<usize>() <= SHORT
}

/// The Secret that a first delivery creates.
pub(in crate::controller) fn created(namespace: &str, name: &str, delivery: &Delivery) -> Secret {
    let mut data = vec![
        ("ca.crt", delivery.ca_crt().into_bytes()),
        ("tls.crt", delivery.tls_crt().into_bytes()),
    ];
    if let Some(key) = delivery.key.private() {
        data.push(("tls.key", key.to_pkcs8_pem().expose_secret().as_bytes().to_vec()));
    }
    let kind = if delivery.key.private().is_some() { "kubernetes.io/tls" } else { "Opaque" };
    let mut secret = Secret {
        type_: Some(kind.to_owned()),
        data: Some(
            data.into_iter().map(|(key, value)| (key.to_owned(), ByteString(value))).collect(),
        ),
        ..Secret::default()
    };
    secret.metadata.namespace = Some(namespace.to_owned());
    secret.metadata.name = Some(name.to_owned());
    let (made, by) = annotation::MADE_BY;
    let mut labels = delivery.metadata.labels.clone();
    labels.entry(made.to_owned()).or_insert_with(|| by.to_owned());
    secret.metadata.labels = Some(labels);
    secret.metadata.annotations = Some(delivery.metadata.annotations.clone());
    secret
}

/// The merge patch of a later delivery: what is ours is set, what was ours is taken away, the rest
/// stays. It fails where uid or resourceVersion are no longer those that were read.
pub(in crate::controller) fn changed(
    uid: &str,
    resource_version: &str,
    delivery: &Delivery,
) -> serde_json::Value {
    use base64::Engine as _;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let mut labels = json!(delivery.metadata.labels);
    let mut annotations = json!(delivery.metadata.annotations);
    for key in &delivery.removed_labels {
        labels[key] = serde_json::Value::Null;
    }
    for key in &delivery.removed_annotations {
        annotations[key] = serde_json::Value::Null;
    }
    json!({
        "metadata": {
            "uid": uid,
            "resourceVersion": resource_version,
            "labels": labels,
            "annotations": annotations,
        },
        "data": {
            "ca.crt": encode(delivery.ca_crt().as_bytes()),
            "tls.crt": encode(delivery.tls_crt().as_bytes()),
            // A certificate whose key stays elsewhere has none beside it, also not an old one.
            "tls.key": delivery
                .key
                .private()
                .map(|key| encode(key.to_pkcs8_pem().expose_secret().as_bytes())),
        },
    })
}

/// Credentials from the Secret of this namespace and name, if it opted in to their use at `way`, and
/// what it opted in to.
pub(in crate::controller) async fn credentials(
    cluster: &Cluster,
    (namespace, name): (&str, &str),
    kind: credentials::Kind,
    way: &Way<'_>,
) -> Result<(Credentials, OptIn), Error> {
    let secret = match cluster.secret(namespace, name).await {
        Read::Present(secret) => secret,
        Read::Absent => {
            return Err(unusable(format!(
                "Secret {namespace}/{name} does not exist: create it with {}",
                keys(&kind.keys())
            )));
        }
        Read::Unreadable(why) => return Err(unreadable(Reason::CredentialsUnreadable, why)),
    };
    let opt_in = opted_in(&secret, namespace, name, way)?;
    let held = |key: &str| secret.data.as_ref()?.get(key).map(|value| value.0.as_slice());
    Ok((kind.read(&format!("{namespace}/{name}"), held)?, opt_in))
}

/// Where credentials are to go.
pub(in crate::controller) struct Way<'a> {
    /// All of these hosts, with their ports.
    pub(in crate::controller) hosts: &'a [String],
    /// By the roots that the issuer brings, where it brings any.
    pub(in crate::controller) bundle: Option<&'a [Certificate]>,
}

impl Way<'_> {
    /// Whether credentials that opted in to so much may go there.
    pub(in crate::controller) fn is_open_to(&self, opt_in: &OptIn) -> bool {
        let is_trusted = self.bundle.is_none_or(|bundle| !opt_in.trusted(bundle).is_empty());
        !self.hosts.is_empty() && opt_in.lacks(self.hosts).is_empty() && is_trusted
    }
}

fn keys(keys: &[&str]) -> String {
    match keys {
        [key] => format!("the key {key}"),
        keys => format!("the keys {}", keys.join(" and ")),
    }
}

/// The CSR that a request brings, with its key if that lies beside it, from a Secret that opted in.
pub(in crate::controller) async fn csr(
    cluster: &Cluster,
    namespace: &str,
    reference: &CsrReference,
) -> Result<BroughtCsr, Error> {
    let CsrReference { secret: name, entry, .. } = reference;
    let secret = match cluster.secret(namespace, name).await {
        Read::Present(secret) => secret,
        Read::Absent => {
            return Err(csr_fault(format!(
                "Secret {namespace}/{name} (spec.csrSecretRef) does not exist: create it with the CSR under the key {entry}"
            )));
        }
        Read::Unreadable(why) => return Err(unreadable(Reason::CsrUnreadable, why)),
    };
    labelled(&secret, namespace, name, "for a CSR").map_err(csr_fault)?;
    let held = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let place = |key: &str| format!("key {key} of Secret {namespace}/{name} (spec.csrSecretRef)");
    let missing = || csr_fault(format!("{} does not exist: add it", place(entry)));
    let csr = Csr::from_pem(&held(entry).ok_or_else(missing)?.0)
        .map_err(|error| csr_fault(format!("{} cannot be used: {error}", place(entry))))?;
    let asked = csr
        .asked()
        .map_err(|error| csr_fault(format!("{} cannot be used: {error}", place(entry))))?;
    let Some(pem) = held("tls.key") else {
        let key = Key::Public(csr.spki_der.into());
        return Ok(BroughtCsr { der: csr.der, key, names: csr.names, asked });
    };
    let key = PrivateKey::from_pem(&pem.0)
        .map_err(|error| csr_fault(format!("{} cannot be used: {error}", place("tls.key"))))?;
    if key.spki_der() != csr.spki_der {
        return Err(csr_fault(format!(
            "{} is not the key of the CSR beside it: replace one of them, or remove the key",
            place("tls.key")
        )));
    }
    Ok(BroughtCsr { der: csr.der, key: Key::Pair(Arc::new(key)), names: csr.names, asked })
}

/// "May create an Issuer" must not mean "may send any Secret of the namespace anywhere".
fn opted_in(secret: &Secret, namespace: &str, name: &str, way: &Way<'_>) -> Result<OptIn, Error> {
    labelled(secret, namespace, name, "as credentials").map_err(unusable)?;
    let annotated = |key| secret.annotations().get(key).map_or("", String::as_str);
    let opt_in = OptIn::read(annotated(annotation::HOSTS), annotated(annotation::ANCHORS));
    if way.is_open_to(&opt_in) {
        return Ok(opt_in);
    }
    let lacks = opt_in.lacks(way.hosts);
    let untrusted = way.bundle.filter(|bundle| opt_in.trusted(bundle).is_empty());
    let mut what = Vec::new();
    if !lacks.is_empty() || way.hosts.is_empty() {
        what.push(format!("to be sent to {}", lacks.join(" and ")));
    }
    if untrusted.is_some() {
        what.push("to servers that only the roots in spec.tls.caBundle vouch for".to_owned());
    }
    let hosts: Vec<&str> = opt_in.hosts().into_iter().chain(lacks).collect();
    let mut line = format!(
        "kubectl annotate secret -n {namespace} {name} --overwrite {}",
        terminal::word(&format!("{}={}", annotation::HOSTS, hosts.join(",")))
    );
    if let Some(bundle) = untrusted {
        let anchors = [opt_in.anchors(), fingerprints(bundle)].concat();
        line.push_str(&format!(" {}={}", annotation::ANCHORS, anchors.join(",")));
    }
    Err(unusable(format!(
        "Secret {namespace}/{name} does not allow its content {}: {line}",
        what.join(", and ")
    )))
}

/// Those of a whole bundle. Of a large one, the owner of the Secret has to choose: a condition does not
/// hold them all.
fn fingerprints(bundle: &[Certificate]) -> Vec<&str> {
    if bundle.len() > 16 {
        return vec!["SHA256-OF-THE-ROOT"];
    }
    bundle.iter().map(Certificate::fingerprint_sha256).collect()
}

fn labelled(secret: &Secret, namespace: &str, name: &str, what: &str) -> Result<(), String> {
    let label = annotation::CREDENTIALS_LABEL;
    if secret.labels().get(label).map(String::as_str) == Some("true") {
        return Ok(());
    }
    Err(format!(
        "Secret {namespace}/{name} does not allow its use {what}: kubectl label secret -n {namespace} {name} {label}=true"
    ))
}

/// The text of a bundle.
pub(in crate::controller) struct BundleText {
    /// Where it is from, for messages.
    place: String,
    pem: Vec<u8>,
}

impl BundleText {
    /// Whether it is read in no time.
    pub(in crate::controller) fn is_short(&self) -> bool {
        self.pem.len() <= SHORT
    }

    /// The anchors in it, and what is odd about it. Only where nothing is left is that an error.
    pub(in crate::controller) fn read(&self) -> Result<Bundle, Error> {
        usable(&self.place, &self.pem)
    }
}

/// The text of certificates from wherever an Issuer names them; `field` is the path for messages.
pub(in crate::controller) async fn bundle(
    cluster: &Cluster,
    namespace: &str,
    field: &str,
    bundle: &CertificateBundle,
) -> Result<BundleText, Error> {
    let (place, pem) = if let Some(pem) = &bundle.pem {
        (format!("{field}.pem"), pem.clone().into_bytes())
    } else if let Some(reference) = &bundle.secret_ref {
        let place = format!("key {} of Secret {namespace}/{}", reference.key, reference.name);
        let found = cluster.secret(namespace, &reference.name).await;
        let pem = taken(found, &place, |secret| {
            secret.data?.remove(&reference.key).map(|value| value.0)
        })?;
        (place, pem)
    } else if let Some(reference) = &bundle.config_map_ref {
        let place = format!("key {} of ConfigMap {namespace}/{}", reference.key, reference.name);
        let found = cluster.config_map(namespace, &reference.name).await;
        let pem =
            taken(found, &place, |map| map.data?.remove(&reference.key).map(String::into_bytes))?;
        (place, pem)
    } else {
        return Err(bundle_fault(format!(
            "{field} names no certificates: set pem, secretRef or configMapRef"
        )));
    };
    Ok(BundleText { place: format!("{place} ({field})"), pem })
}

fn usable(place: &str, pem: &[u8]) -> Result<Bundle, Error> {
    let mut bundle = Bundle::from_pem(pem);
    if bundle.anchors.is_empty() {
        let remarks = bundle.remarks.join("; ");
        return Err(bundle_fault(if remarks.is_empty() {
            format!("{place} holds no certificate")
        } else {
            format!("{place} holds no certificate that can be used: {remarks}")
        }));
    }
    for remark in &mut bundle.remarks {
        *remark = format!("{place}: {remark}");
    }
    Ok(bundle)
}

fn taken<T>(
    found: Read<T>,
    place: &str,
    take: impl FnOnce(T) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, Error> {
    match found {
        Read::Present(object) => {
            take(object).ok_or_else(|| bundle_fault(format!("{place} does not exist: add it")))
        }
        Read::Absent => Err(bundle_fault(format!("{place} does not exist: create it"))),
        Read::Unreadable(why) => Err(unreadable(Reason::BundleUnreadable, why)),
    }
}

fn unusable(message: String) -> Error {
    Error {
        disposition: Disposition::BlameCredentials,
        reason: Reason::CredentialsUnusable,
        message,
    }
}

/// Whoever brought the CSR must act, as for credentials; it is looked at again now and then, because
/// nobody tells of a Secret without the label.
fn csr_fault(message: String) -> Error {
    Error { disposition: Disposition::BlameCredentials, reason: Reason::CsrUnusable, message }
}

fn unreadable(reason: Reason, message: String) -> Error {
    Error { disposition: Disposition::Retry { after: None }, reason, message }
}

fn bundle_fault(message: String) -> Error {
    Error { disposition: Disposition::BlameIssuer, reason: Reason::BundleUnusable, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bundle_with_nothing_usable_is_an_error() {
        let root = rcgen::CertificateParams::default();
        let root = root.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        let good = Certificate::from_der(root.der()).unwrap().to_pem();
        let damaged = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
        let place = "spec.trust.bundle.pem (spec.trust.bundle)";
        let bundle = usable(place, format!("{damaged}{good}").as_bytes()).unwrap();
        assert_eq!(bundle.anchors.len(), 1);
        assert_eq!(
            bundle.remarks,
            [format!(
                "{place}: block 1 of the PEM text is damaged: its contents are not base64, and is left out"
            )]
        );
        let rows = [
            ("", "(spec.trust.bundle) holds no certificate"),
            (damaged, "holds no certificate that can be used: block 1 of the PEM text is damaged"),
        ];
        for (text, says) in rows {
            let error = usable(place, text.as_bytes()).unwrap_err();
            assert_eq!(error.reason, Reason::BundleUnusable);
            assert!(error.message.contains(says), "{error}");
        }
    }

    #[test]
    fn credentials_go_to_hosts_that_their_secret_lists_and_nowhere_else() {
        let hosts = |hosts: &[&str]| hosts.iter().map(|host| (*host).to_owned()).collect();
        let rows: [(&str, &str, Vec<String>, Option<&str>); 9] = [
            ("the one host", "ca.example", hosts(&["ca.example"]), None),
            ("in other letters, among others", "x, CA.example ,", hosts(&["ca.example"]), None),
            ("another", "x.example", hosts(&["ca.example"]), Some("hosts=x.example,ca.example")),
            ("nothing", "", hosts(&["ca.example"]), Some("hosts=ca.example")),
            (
                "another port",
                "ca.example",
                hosts(&["ca.example:8443"]),
                Some("hosts=ca.example,ca.example:8443"),
            ),
            ("an address", "", hosts(&["[::1]:8443"]), Some("'chancery.dev/hosts=[::1]:8443'")),
            (
                "one of two",
                "a.example,$(id)",
                hosts(&["a.example", "b.example", "c.example"]),
                Some("hosts=a.example,b.example,c.example"),
            ),
            ("an address without a host", "x.example,", hosts(&[""]), Some("hosts=x.example,")),
            ("a CA that says nothing of its hosts", "x.example", vec![], Some("hosts=x.example")),
        ];
        for (name, listed, hosts, refusal) in rows {
            let way = Way { hosts: &hosts, bundle: None };
            let mut secret = Secret::default();
            let annotations = secret.annotations_mut();
            annotations.insert(annotation::HOSTS.to_owned(), listed.to_owned());
            let unlabelled = opted_in(&secret, "shop", "ca", &way).unwrap_err();
            assert!(unlabelled.message.contains("kubectl label secret"), "{name}");
            let label = annotation::CREDENTIALS_LABEL.to_owned();
            secret.labels_mut().insert(label, "true".to_owned());
            match (opted_in(&secret, "shop", "ca", &way), refusal) {
                (Ok(_), None) => {}
                (Err(error), Some(says)) => {
                    assert!(error.message.ends_with(says), "{name}: {error}");
                }
                (answer, _) => panic!("{name}: {answer:?}"),
            }
        }
    }

    #[test]
    fn roots_of_an_issuer_count_where_the_secret_lists_them() {
        let root = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            Certificate::from_der(root.der()).unwrap()
        };
        let (first, second) = (root(), root());
        let bundle = [first.clone(), second.clone()];
        let hosts = ["ca.example".to_owned()];
        let (one, two) = (first.fingerprint_sha256(), second.fingerprint_sha256());
        let all = format!(
            "--overwrite chancery.dev/hosts=ca.example chancery.dev/trust-anchors={one},{two}"
        );
        let rows = [
            ("none is listed", "", Some(all.as_str())),
            ("another is listed", "x", Some(&all)),
            ("one of them", one, None),
            ("the other", two, None),
        ];
        for (name, listed, refusal) in rows {
            let mut secret = Secret::default();
            let label = annotation::CREDENTIALS_LABEL.to_owned();
            secret.labels_mut().insert(label, "true".to_owned());
            let annotations = secret.annotations_mut();
            annotations.insert(annotation::HOSTS.to_owned(), "ca.example".to_owned());
            annotations.insert(annotation::ANCHORS.to_owned(), listed.to_owned());
            let way = Way { hosts: &hosts, bundle: Some(&bundle) };
            let told = opted_in(&secret, "shop", "ca", &way).err();
            let ends = |says: &str| told.as_ref().is_some_and(|told| told.message.ends_with(says));
            assert!(refusal.map_or_else(|| told.is_none(), ends), "{name}: {told:?}");
            let way = Way { hosts: &hosts, bundle: None };
            assert!(opted_in(&secret, "shop", "ca", &way).is_ok(), "{name}: roots of the system");
        }
    }
}
