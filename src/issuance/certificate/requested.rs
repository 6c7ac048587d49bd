//! What a certificate was requested with, as kept on the Secret that holds it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde_json::Value;

use crate::pki::{self, Names, names};

/// The field of a block that names a product, whatever the kind of CA.
const PRODUCT_OF_BLOCK: &str = "product";
/// The field of a block that names persons and companies, whatever the kind of CA.
const CONTACT_OF_BLOCK: &str = "contact";
/// The fields of a block that start no order where they change: the product, which is compared by its
/// id, whom the CA asks, and how it does.
const ASIDE_OF_BLOCK: [&str; 3] = [PRODUCT_OF_BLOCK, CONTACT_OF_BLOCK, "how"];

/// So long the value of `chancery.dev/renew` may be.
pub(in crate::issuance) const LONGEST_NONCE: usize = 1024;

/// Inputs by name. A map and not a struct, because "not known when it was written" and "none" must
/// stay apart: a field that only one side knows is equal, so that an upgrade of Chancery re-issues
/// nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Requested(BTreeMap<String, Value>);

impl Requested {
    /// Subject common name.
    pub const COMMON_NAME: &'static str = "commonName";
    /// DNS names, sorted, as A-labels in lower case.
    pub const DNS_NAMES: &'static str = "dnsNames";
    /// Attributes of the subject apart from the common name, in order, such as `O=Example`.
    pub const SUBJECT: &'static str = "subject";
    /// IP addresses, sorted.
    pub const IP_ADDRESSES: &'static str = "ipAddresses";
    /// URIs, sorted.
    pub const URIS: &'static str = "uris";
    /// E-mail addresses, sorted.
    pub const EMAIL_ADDRESSES: &'static str = "emailAddresses";
    /// Uses of the key, sorted.
    pub const USAGES: &'static str = "usages";
    /// Lifetime asked for, in seconds.
    pub const DURATION: &'static str = "duration";
    /// Secret with the request's own CSR, and the key in it.
    pub const CSR: &'static str = "csrSecretRef";
    /// SHA-256 of the public key in that CSR.
    const CSR_KEY: &'static str = "csrKey";
    /// resourceVersion of that Secret.
    const CSR_VERSION: &'static str = "csrVersion";
    /// Kind of key, such as `RSA 2048`.
    pub const PRIVATE_KEY: &'static str = "privateKey";
    /// Kind and name of the issuer.
    pub const ISSUER: &'static str = "issuer";
    /// Account at the CA, in one line ([`Tenant`](crate::ca::tenant::Tenant)).
    pub const ACCOUNT: &'static str = "account";
    /// Secret with the request's own credentials.
    pub const CREDENTIALS: &'static str = "credentials";
    /// What the request says to one kind of CA only.
    pub const CA_BLOCK: &'static str = "ca";
    /// Id of the product at the CA.
    pub const PRODUCT: &'static str = "product";
    /// Renewal nonce.
    pub const RENEW: &'static str = "renew";

    /// The same with one field set; `None` is the value "none", not "unknown".
    #[must_use]
    pub fn with(mut self, field: &str, value: Option<impl Into<Value>>) -> Self {
        self.0.insert(field.to_owned(), value.map_or(Value::Null, Into::into));
        self
    }

    /// The same with everything of `names` set, in a form that says the same for the same names.
    #[must_use]
    pub fn with_names(self, names: &Names) -> Self {
        let ascii =
            |name: &String| names::dns_name_to_ascii(name).unwrap_or_else(|| name.to_lowercase());
        let subject = names.subject.iter().map(|one| format!("{}={}", one.kind, one.value));
        self.with(Self::COMMON_NAME, names.common_name.clone())
            .with(Self::SUBJECT, Some(subject.collect::<Vec<_>>()))
            .with(Self::DNS_NAMES, sorted(names.dns_names.iter().map(ascii)))
            .with(Self::IP_ADDRESSES, sorted(names.ip_addresses.iter().map(|ip| ip.to_string())))
            .with(Self::URIS, sorted(names.uris.iter().cloned()))
            .with(Self::EMAIL_ADDRESSES, sorted(names.email_addresses.iter().cloned()))
            .with(Self::USAGES, sorted(names.usages.iter().map(|usage| usage.to_string())))
    }

    /// The same with the id of the product set, where it is known.
    #[must_use]
    pub fn with_product(self, product: Option<&str>) -> Self {
        match product {
            Some(product) => self.with(Self::PRODUCT, Some(product)),
            None => self,
        }
    }

    /// The same with the key of the CSR set.
    #[must_use]
    pub fn with_csr_key(self, spki_der: &[u8]) -> Self {
        self.with(Self::CSR_KEY, Some(pki::sha256_hex(spki_der)))
    }

    /// The same as far as it is known without reading the CSR.
    #[must_use]
    pub fn without_csr_key(mut self) -> Self {
        self.0.remove(Self::CSR_KEY);
        self
    }

    /// The same with the version of the CSR's Secret set, where it is known.
    #[must_use]
    pub fn with_csr_version(self, version: Option<&str>) -> Self {
        match version {
            Some(version) => self.with(Self::CSR_VERSION, Some(version)),
            None => self,
        }
    }

    /// Whether the CSR is another one, or for another key, than `wanted` says.
    #[must_use]
    pub fn has_other_csr(&self, wanted: &Self) -> bool {
        self.differs(wanted, Self::CSR) || self.differs(wanted, Self::CSR_KEY)
    }

    /// Whether the CSR's Secret is known to be another version than `version`.
    #[must_use]
    pub fn has_other_csr_version(&self, version: &str) -> bool {
        self.text(Self::CSR_VERSION).is_some_and(|known| known != version)
    }

    /// From the annotation; text that is not a JSON object tells nothing.
    #[must_use]
    pub fn parse(annotation: &str) -> Option<Self> {
        serde_json::from_str(annotation).ok().map(Self)
    }

    /// For the annotation.
    #[must_use]
    pub fn to_annotation(&self) -> String {
        let object: serde_json::Map<String, Value> = self.0.clone().into_iter().collect();
        Value::Object(object).to_string()
    }

    /// Field by field.
    #[must_use]
    pub fn into_map(self) -> BTreeMap<String, Value> {
        self.0
    }

    /// From what [`Self::into_map`] gave.
    #[must_use]
    pub fn from_map(fields: BTreeMap<String, Value>) -> Self {
        Self(fields)
    }

    /// Whether any field differs that both sides know, those aside that are only words for a tenant
    /// and a product, and the nonce.
    #[must_use]
    pub fn differs_in_itself(&self, wanted: &Self) -> bool {
        const ASIDE: [&str; 5] = [
            Requested::ACCOUNT,
            Requested::CA_BLOCK,
            Requested::ISSUER,
            Requested::PRODUCT,
            Requested::RENEW,
        ];
        let mut fields = self.0.keys().filter(|field| !ASIDE.contains(&field.as_str()));
        fields.any(|field| self.differs(wanted, field)) || self.differs_in_block(wanted)
    }

    /// Whether what the request says to one kind of CA only differs, apart from the product and from
    /// what counts from the next order on.
    #[must_use]
    pub fn differs_in_block(&self, wanted: &Self) -> bool {
        self.differs(wanted, Self::CA_BLOCK) && self.without_aside() != wanted.without_aside()
    }

    /// Whether issuer or product are named in other words.
    #[must_use]
    pub fn names_otherwise(&self, wanted: &Self) -> bool {
        let is_known = self.0.contains_key(Self::CA_BLOCK) && wanted.0.contains_key(Self::CA_BLOCK);
        self.differs(wanted, Self::ISSUER) || is_known && self.products() != wanted.products()
    }

    /// Whether the request leaves the product to its issuer.
    #[must_use]
    pub fn names_no_product(&self) -> bool {
        self.products().is_empty()
    }

    /// The same with issuer, account and product in the words of `wanted`.
    #[must_use]
    pub fn in_words_of(mut self, wanted: &Self) -> Self {
        for field in [Self::ISSUER, Self::ACCOUNT, Self::CA_BLOCK] {
            if let Some(value) = wanted.0.get(field) {
                self.0.insert(field.to_owned(), value.clone());
            }
        }
        self
    }

    /// What the request says to one kind of CA only; null where that is nothing or not known.
    #[must_use]
    pub fn block(&self) -> Value {
        self.0.get(Self::CA_BLOCK).cloned().unwrap_or_default()
    }

    /// The product that it names, by its id or else by its name.
    #[must_use]
    pub fn product_words(&self) -> Option<String> {
        let words = self.products().into_values().find(|words| !words.is_null())?;
        let word = [&words["id"], &words["name"], &words].into_iter().find_map(Value::as_str);
        Some(word.map_or_else(|| words.to_string(), str::to_owned))
    }

    /// Whether it names a person or a company for the CA to ask.
    #[must_use]
    pub fn names_contact(&self) -> bool {
        let block = self.block();
        let mut blocks = block.as_object().into_iter().flatten().map(|(_, block)| block);
        blocks.any(|block| block.get(CONTACT_OF_BLOCK).is_some_and(|contact| !contact.is_null()))
    }

    /// The lifetime that it asks for.
    #[must_use]
    pub fn duration(&self) -> Option<SignedDuration> {
        self.0.get(Self::DURATION)?.as_i64().map(SignedDuration::from_secs)
    }

    /// The products that it names, by kind of CA.
    fn products(&self) -> BTreeMap<String, Value> {
        let block = self.block();
        let named =
            block.as_object().into_iter().flatten().filter_map(|(kind, block)| {
                Some((kind.clone(), block.get(PRODUCT_OF_BLOCK)?.clone()))
            });
        named.collect()
    }

    /// What it says to one kind of CA only that starts an order where it changes.
    fn without_aside(&self) -> BTreeMap<String, Value> {
        let block = self.block();
        let rest = block.as_object().into_iter().flatten().map(|(kind, block)| {
            let mut block = block.clone();
            if let Some(block) = block.as_object_mut() {
                block.retain(|field, _| !ASIDE_OF_BLOCK.contains(&field.as_str()));
            }
            (kind.clone(), block)
        });
        rest.filter(|(_, block)| block.as_object().is_none_or(|block| !block.is_empty())).collect()
    }

    /// Whether both sides know the field and their values are not the same.
    #[must_use]
    pub fn differs(&self, wanted: &Self, field: &str) -> bool {
        match (self.0.get(field), wanted.0.get(field)) {
            (Some(mine), Some(theirs)) => mine != theirs,
            _ => false,
        }
    }

    /// The texts of a field that is a list.
    pub fn texts(&self, field: &str) -> impl Iterator<Item = &str> {
        let list = self.0.get(field).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Text value of a field.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).and_then(Value::as_str)
    }
}

/// The value of `chancery.dev/renew` as it is noted: one that is too long becomes its digest.
pub(in crate::issuance) fn noted_nonce(nonce: &str) -> String {
    if nonce.len() <= LONGEST_NONCE {
        return nonce.to_owned();
    }
    format!("sha256:{}", pki::sha256_hex(nonce.as_bytes()))
}

fn sorted(texts: impl Iterator<Item = String>) -> Option<Vec<String>> {
    let mut texts: Vec<String> = texts.collect();
    texts.sort_unstable();
    Some(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::names::{Attribute, AttributeType, Usage};

    #[test]
    fn unknown_is_equal_and_none_is_not() {
        let base = Requested::default().with(Requested::COMMON_NAME, Some("a"));
        let cases = [
            ("the same value", base.clone(), false),
            ("another value", Requested::default().with(Requested::COMMON_NAME, Some("b")), true),
            ("none", Requested::default().with(Requested::COMMON_NAME, None::<&str>), true),
            ("a version that does not know the field", Requested::default(), false),
        ];
        for (name, other, differs) in cases {
            assert_eq!(base.differs(&other, Requested::COMMON_NAME), differs, "{name}");
            assert_eq!(
                other.differs(&base, Requested::COMMON_NAME),
                differs,
                "{name}, turned round"
            );
        }
    }

    #[test]
    fn the_same_names_in_other_words_are_the_same() {
        let names = |dns: &[&str], ips: &[&str], usages: &[Usage]| Names {
            dns_names: dns.iter().map(|&name| name.to_owned()).collect(),
            ip_addresses: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            usages: usages.to_vec(),
            ..Names::default()
        };
        let (server, client) = (Usage::ServerAuth, Usage::ClientAuth);
        let one =
            names(&["Müller.example", "a.example."], &["::1", "192.0.2.1"], &[server, client]);
        let other = names(
            &["A.example", "xn--mller-kva.example"],
            &["192.0.2.1", "0:0::1"],
            &[client, server],
        );
        let requested = |names: &Names| Requested::default().with_names(names);
        assert_eq!(requested(&one), requested(&other));
        let units = |units: [&str; 2]| Names {
            subject: units
                .map(|unit| Attribute {
                    kind: AttributeType::OrganizationalUnit,
                    value: unit.to_owned(),
                })
                .into(),
            ..Names::default()
        };
        assert_eq!(
            requested(&units(["a", "b"])).0[Requested::SUBJECT],
            serde_json::json!(["OU=a", "OU=b"])
        );
        let (one, other) = (requested(&units(["a", "b"])), requested(&units(["b", "a"])));
        assert!(one.differs(&other, Requested::SUBJECT), "the order of a subject counts");
    }

    #[test]
    fn whom_a_ca_asks_and_how_starts_no_order() {
        let base = serde_json::json!({ "houseCa": { "product": { "id": "1" }, "size": 1 } });
        let with = |field: &str, value: Value| {
            let mut block = base.clone();
            block["houseCa"][field] = value;
            Requested::default().with(Requested::CA_BLOCK, Some(block))
        };
        let before = with("size", 1.into());
        let rows = [
            ("contact", serde_json::json!({ "person": { "phone": "1" } }), false, true),
            ("how", serde_json::json!({ "mail": true }), false, false),
            ("product", serde_json::json!({ "id": "2" }), false, false),
            ("size", 2.into(), true, false),
        ];
        for (field, value, differs, names_contact) in rows {
            let after = with(field, value);
            assert_eq!(before.differs_in_block(&after), differs, "{field}");
            assert_eq!(after.names_contact(), names_contact, "{field}");
        }
    }

    #[test]
    fn the_annotation_reads_back() {
        let requested = Requested::default()
            .with(Requested::DNS_NAMES, Some(vec!["a.example", "b.example"]))
            .with(Requested::RENEW, None::<&str>);
        assert_eq!(Requested::parse(&requested.to_annotation()), Some(requested));
        assert_eq!(Requested::parse("[1]"), None);
    }

    #[test]
    fn a_nonce_without_end_is_noted_by_its_digest() {
        assert_eq!(noted_nonce("2026-06-01"), "2026-06-01");
        let noted = noted_nonce(&"x".repeat(2000));
        assert!(noted.starts_with("sha256:") && noted.len() == 71, "{noted}");
    }
}
