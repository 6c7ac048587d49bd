//! `spec.allow` of issuers: who may order what.

use std::collections::BTreeMap;

use kube::KubeSchema;
use kube::core::{Expression, Selector, SelectorExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::names::KeyUsage;

/// Who may order what of an issuer.
///
/// What is left out of a ClusterIssuer allows nothing of its kind; what is left out of an Issuer
/// allows everything. In patterns `*` stands for one or more characters within a part of a name (a
/// label of a DNS name, a segment of a URI, what is before or behind the `@`), and `**` for one or
/// more characters whatever they are. Neither stands for an asterisk: a wildcard name is allowed
/// only by a pattern that says so with `[*]`, as `[*].example.org` allows `*.example.org`.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Allow {
    /// Labels of the namespaces whose requests a ClusterIssuer serves; an empty selector, `{}`, is
    /// every namespace. An Issuer serves its own and must not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<NamespaceSelector>,
    /// Patterns of DNS names: `*.example.org` is every host one label below, `**.example.org` every
    /// host below, `[*].example.org` the wildcard name. They hold for the common name too, where it
    /// is the name of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new(r"self.all(name, name.matches('^(\\[\\*\\]\\.)?[-\\pL\\pM\\pN_*]+(\\.[-\\pL\\pM\\pN_*]+)*$'))").message("each of allow.dnsNames must be a DNS name such as shop.example.org, *.example.org (one label below), **.example.org (all below) or [*].example.org (the wildcard name)"))]
    pub dns_names: Option<Vec<String>>,
    /// IP addresses, and networks such as `192.0.2.0/24`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 2, max = 49)), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.all(network, isIP(network) || isCIDR(network))").message("each of allow.ipAddresses must be an IP address or a network such as 192.0.2.0/24"))]
    pub ip_addresses: Option<Vec<String>>,
    /// Patterns of URIs, such as `spiffe://example.org/ns/*/sa/*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 1024)), extend("x-kubernetes-list-type" = "set"))]
    pub uris: Option<Vec<String>>,
    /// Patterns of e-mail addresses, such as `*@example.org`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 254)), extend("x-kubernetes-list-type" = "set"))]
    pub email_addresses: Option<Vec<String>>,
    /// Patterns of common names. One that is the name of a server, an IP address or an e-mail
    /// address is none of these: it goes by `dnsNames`, `ipAddresses` and `emailAddresses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub common_names: Option<Vec<String>>,
    /// Patterns of the attributes of the subject, by the field of `spec.subject` of a request, such
    /// as `organizations: [Example AG]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend(
        "maxProperties" = 19,
        "additionalProperties" = {
            "type": "array",
            "maxItems": 100,
            "items": { "type": "string", "minLength": 1, "maxLength": 256 },
        },
    ))]
    #[x_kube(validation = Rule::new("self.all(field, field in ['businessCategory', 'countries', 'domainComponents', 'emailAddresses', 'givenName', 'jurisdictionCountry', 'jurisdictionLocality', 'jurisdictionProvince', 'localities', 'organizationIdentifier', 'organizationalUnits', 'organizations', 'postalCodes', 'provinces', 'serialNumber', 'streetAddresses', 'surname', 'title', 'userIds'])").message("allow.subject takes the fields of spec.subject of a request, such as organizations"))]
    pub subject: Option<BTreeMap<String, Vec<String>>>,
    /// What a request may ask that its key is for. A request that says nothing needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 19), extend("x-kubernetes-list-type" = "set"))]
    pub usages: Option<Vec<KeyUsage>>,
    /// Kinds of key. Left out of a ClusterIssuer: the kind that its CA prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub key_types: Option<Vec<KeyType>>,
    /// The longest lifetime that a request may ask for, such as `2160h`. A request that says nothing
    /// needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?$') && duration(self) >= duration('1h')").message("allow.maxDuration must be an hour or more in hours, minutes and seconds, such as 2160h"))]
    pub max_duration: Option<String>,
    /// Patterns of the products that a request may name, by id or name as it writes them. A request
    /// that names none needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub products: Option<Vec<String>>,
    /// Whether a request may bring credentials of its own, and so be another user at the CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_credentials: Option<bool>,
    /// Whether a request may name a person or a company of its own for the CA to ask, in place of
    /// those of the issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_contact: Option<bool>,
}

/// Selects namespaces by their labels, as label selectors do everywhere.
#[derive(KubeSchema, Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelector {
    /// Labels with their values, all of which a namespace must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 32, "additionalProperties" = { "type": "string", "maxLength": 63 }))]
    pub match_labels: Option<BTreeMap<String, String>>,
    /// What must hold for its labels besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub match_expressions: Option<Vec<LabelRequirement>>,
}

/// What must hold for one label.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)").message("give values for the operators In and NotIn, and none for Exists and DoesNotExist"))]
#[serde(rename_all = "camelCase")]
pub struct LabelRequirement {
    /// Key of the label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: LabelOperator,
    /// Values, for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), inner(length(max = 63)))]
    pub values: Option<Vec<String>>,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum LabelOperator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl NamespaceSelector {
    /// Whether it selects every namespace, whatever its labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let is_without_labels = self.match_labels.as_ref().is_none_or(BTreeMap::is_empty);
        is_without_labels && self.match_expressions.as_ref().is_none_or(Vec::is_empty)
    }

    /// Whether it selects a namespace with these labels.
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let equal = self.match_labels.iter().flatten();
        let equal = equal.map(|(key, value)| Expression::Equal(key.clone(), value.clone()));
        let others = self.match_expressions.iter().flatten().map(|one| {
            let values = || one.values.iter().flatten().cloned().collect();
            match one.operator {
                LabelOperator::DoesNotExist => Expression::DoesNotExist(one.key.clone()),
                LabelOperator::Exists => Expression::Exists(one.key.clone()),
                LabelOperator::In => Expression::In(one.key.clone(), values()),
                LabelOperator::NotIn => Expression::NotIn(one.key.clone(), values()),
            }
        });
        equal.chain(others).collect::<Selector>().matches(labels)
    }
}

/// A kind of key, as `status.certificate.privateKey` has it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum KeyType {
    /// RSA with 2048 bits.
    #[serde(rename = "RSA 2048")]
    Rsa2048,
    /// RSA with 3072 bits.
    #[serde(rename = "RSA 3072")]
    Rsa3072,
    /// RSA with 4096 bits.
    #[serde(rename = "RSA 4096")]
    Rsa4096,
    /// ECDSA on P-256.
    #[serde(rename = "ECDSA P-256")]
    EcdsaP256,
    /// ECDSA on P-384.
    #[serde(rename = "ECDSA P-384")]
    EcdsaP384,
    /// ECDSA on P-521.
    #[serde(rename = "ECDSA P-521")]
    EcdsaP521,
    /// Ed25519.
    Ed25519,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn namespaces_are_selected_as_everywhere() {
        let labels = BTreeMap::from([("team".to_owned(), "shop".to_owned())]);
        let cases = [
            ("everybody", json!({}), true),
            ("a label", json!({"matchLabels": {"team": "shop"}}), true),
            ("another value", json!({"matchLabels": {"team": "bank"}}), false),
            (
                "one of several",
                json!({"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "shop"]}]}),
                true,
            ),
            (
                "none of several",
                json!({"matchExpressions": [{"key": "team", "operator": "NotIn", "values": ["shop"]}]}),
                false,
            ),
            (
                "a label that is not there has none of the values",
                json!({"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["test"]}]}),
                true,
            ),
            (
                "a label that is there",
                json!({"matchExpressions": [{"key": "team", "operator": "Exists"}]}),
                true,
            ),
            (
                "all must hold",
                json!({
                    "matchLabels": {"team": "shop"},
                    "matchExpressions": [{"key": "team", "operator": "DoesNotExist"}],
                }),
                false,
            ),
        ];
        for (name, selector, expected) in cases {
            let selector: NamespaceSelector = serde_json::from_value(selector).unwrap();
            assert_eq!(selector.selects(&labels), expected, "{name}");
        }
    }
}
