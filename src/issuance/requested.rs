//! What a certificate was requested with, as kept on the Secret that holds it.

use std::collections::BTreeMap;

use serde_json::Value;

/// Inputs by name. A map and not a struct, because "not known when it was written" and "none" must
/// stay apart: a field that only one side knows is equal, so that an upgrade of Chancery re-issues
/// nothing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Requested(BTreeMap<String, Value>);

impl Requested {
    /// Subject common name.
    pub const COMMON_NAME: &'static str = "commonName";
    /// DNS names, sorted, lower case.
    pub const DNS_NAMES: &'static str = "dnsNames";
    /// Kind of key, such as `RSA 2048`.
    pub const PRIVATE_KEY: &'static str = "privateKey";
    /// Kind and name of the issuer.
    pub const ISSUER: &'static str = "issuer";
    /// Account at the CA.
    pub const ACCOUNT: &'static str = "account";
    /// Secret with the request's own credentials.
    pub const CREDENTIALS: &'static str = "credentials";
    /// What the request says to one kind of CA only.
    pub const CA_BLOCK: &'static str = "ca";
    /// Renewal nonce.
    pub const RENEW: &'static str = "renew";

    /// The same with one field set; `None` is the value "none", not "unknown".
    #[must_use]
    pub fn with(mut self, field: &str, value: Option<impl Into<Value>>) -> Self {
        self.0.insert(field.to_owned(), value.map_or(Value::Null, Into::into));
        self
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

    /// Whether any field differs that both sides know.
    #[must_use]
    pub fn differs_anywhere(&self, wanted: &Self) -> bool {
        self.0.keys().any(|field| self.differs(wanted, field))
    }

    /// Whether both sides know the field and their values are not the same.
    #[must_use]
    pub fn differs(&self, wanted: &Self, field: &str) -> bool {
        match (self.0.get(field), wanted.0.get(field)) {
            (Some(mine), Some(theirs)) => mine != theirs,
            _ => false,
        }
    }

    /// Text value of a field.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.0.get(field).and_then(Value::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_annotation_reads_back() {
        let requested = Requested::default()
            .with(Requested::DNS_NAMES, Some(vec!["a.example", "b.example"]))
            .with(Requested::RENEW, None::<&str>);
        assert_eq!(Requested::parse(&requested.to_annotation()), Some(requested));
        assert_eq!(Requested::parse("[1]"), None);
    }
}
