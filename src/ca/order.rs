//! What is asked of a CA: an order, what it is made from, and the right to submit it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::outside::credentials::Credentials;
use crate::pki::{Certificate, KeyKind, Names, PrivateKey};

/// What is asked of a CA.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The order's name at the CA: `chancery-<uid>-<number>`, lower case, at most 64 characters.
    /// Empty where orders have no names.
    pub reference: &'a str,
    /// Whether it is a first order, or follows one.
    pub kind: &'a OrderKind,
    /// PKCS #10 request, DER.
    pub csr_der: &'a [u8],
    /// What the CA's own [`prepare`](super::CertificateAuthority::prepare) made.
    pub parameters: &'a Value,
    /// The private key of the CSR, where the CA [needs it](super::Capabilities::needs_private_key)
    /// and it is at hand. Whoever prints it prints its kind.
    pub key: Option<&'a PrivateKey>,
    /// The request's own credentials, in place of those of the account.
    pub credentials: Option<&'a Credentials>,
    /// When the order was first prepared; nothing of it can be older at the CA.
    pub since: Option<jiff::Timestamp>,
    /// The order's id at the CA, where it is known.
    pub id: Option<&'a str>,
    /// The answer to a submit of this order may have been lost: what is not found has to be looked
    /// for in every other way too, before it counts as absent.
    pub may_exist: bool,
}

impl<'a> Order<'a> {
    /// A first order at a CA that issues at once: it has no name and leaves no trace.
    #[must_use]
    pub fn unnamed(csr_der: &'a [u8], parameters: &'a Value) -> Self {
        Self {
            reference: "",
            kind: &OrderKind::New,
            csr_der,
            parameters,
            key: None,
            credentials: None,
            since: None,
            id: None,
            may_exist: false,
        }
    }
}

/// Whether an order is the first, or follows one whose certificate is still there.
///
/// All but the first exist within one tenant only: an old key, and the id of an old order, go back to
/// whoever certified it and to nobody else.
#[derive(Clone, Debug, Default)]
pub enum OrderKind {
    /// A certificate of its own.
    #[default]
    New,
    /// The order before goes on for another term; its names stay.
    Renew(Arc<Previous>),
    /// Another certificate within the term of the order before, which may end the certificate it had.
    Reissue(Arc<Previous>),
    /// The certificate before proves who asks: the order is signed with its key.
    UpdateKey(Arc<Previous>),
}

impl OrderKind {
    /// Its word in records, logs and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Reissue(_) => "reissue",
            Self::Renew(_) => "renew",
            Self::UpdateKey(_) => "updateKey",
        }
    }

    /// From its word.
    #[must_use]
    pub fn parse(word: &str, previous: Previous) -> Option<Self> {
        let previous = Arc::new(previous);
        let kinds =
            [Self::Renew, Self::Reissue, Self::UpdateKey].map(|kind| kind(Arc::clone(&previous)));
        kinds.into_iter().find(|kind| kind.word() == word)
    }

    /// Whether it follows another order, which it is found again by.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.previous().is_some()
    }

    /// Whether it follows nothing, or the very certificate that the other does: whoever is asked for
    /// the one may make the other.
    #[must_use]
    pub fn may_replace(&self, other: &Self) -> bool {
        self.previous().is_none_or(|one| other.previous().is_some_and(|two| Arc::ptr_eq(one, two)))
    }

    /// What it follows.
    #[must_use]
    pub fn previous(&self) -> Option<&Arc<Previous>> {
        match self {
            Self::New => None,
            Self::Reissue(previous) | Self::Renew(previous) | Self::UpdateKey(previous) => {
                Some(previous)
            }
        }
    }
}

/// A certificate that the CA issued, with what is known of its order.
#[derive(Clone, Debug)]
pub struct Previous {
    /// The order's id at the CA, exactly as received, where it is known.
    pub id: Option<String>,
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key, where the CA may have it: for [`OrderKind::UpdateKey`] alone.
    pub key: Option<Arc<PrivateKey>>,
}

impl Previous {
    /// Serial number of the certificate, hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.certificate.serial_number()
    }
}

/// What is wanted, in the request's own terms; a CA translates it into its own.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Whether it is a first order, or follows one.
    pub kind: &'a OrderKind,
    /// Names for the certificate.
    pub names: &'a Names,
    /// Kind of key.
    pub key_kind: KeyKind,
    /// Lifetime asked for.
    pub duration: Option<jiff::SignedDuration>,
    /// What the request says to one kind of CA only.
    pub blocks: &'a Blocks,
    /// Somebody asked for another certificate now, such as after a key became known, and it is not only
    /// that the time has come.
    pub is_requested: bool,
}

/// What [`prepare`](super::CertificateAuthority::prepare) made of what is wanted.
#[derive(Clone, Debug)]
pub struct Preparation {
    /// The kind of order that is made. It may be another than is wanted where the CA knows better, such
    /// as that the order before can be renewed no more: then another way to follow it, or a first order.
    pub kind: OrderKind,
    /// [`Order::parameters`] in every later call.
    pub parameters: Value,
}

/// The parts of a request that are each for one kind of CA only, by their field in its spec. Nobody
/// but that CA's client knows what is in them.
#[derive(Clone, Debug, Default, Eq, PartialEq, serde::Serialize)]
#[serde(transparent)]
pub struct Blocks(BTreeMap<String, Value>);

impl Blocks {
    /// What a request says that says nothing to any kind of CA.
    #[must_use]
    pub fn none() -> &'static Self {
        static NONE: Blocks = Blocks(BTreeMap::new());
        &NONE
    }

    /// The same with one more, as JSON.
    #[must_use]
    pub fn with(mut self, field: &'static str, block: Value) -> Self {
        self.0.insert(field.to_owned(), block);
        self
    }

    /// From the JSON that they are written as; what is no object says nothing.
    #[must_use]
    pub fn parse(json: &Value) -> Self {
        Self(json.as_object().cloned().unwrap_or_default().into_iter().collect())
    }

    /// Whether the request says nothing to any kind of CA.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it says in this field; `None` where it says nothing there that could be `T`.
    #[must_use]
    pub fn read<T: DeserializeOwned>(&self, field: &str) -> Option<T> {
        serde_json::from_value(self.0.get(field)?.clone()).ok()
    }
}

/// An order to ask about; no keys in here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenOrder {
    /// Its reference.
    pub reference: String,
    /// Its id at the CA.
    pub id: String,
    /// When the order was taken.
    pub since: jiff::Timestamp,
    /// Serial number of the certificate that it follows, where that one may still be shown under its
    /// id: such an order is pending, whatever the CA calls it.
    pub replaces: Option<String>,
}

/// The right to submit one order once.
#[derive(Debug)]
pub enum Permit {
    /// The CA is free: a second certificate costs nothing.
    Free,
    /// The claim on the order was won.
    Claimed(Claim),
}

/// A claim that was won by a compare-and-swap on the order's record, in this incarnation of the
/// process, and has not been used. Not `Clone`: a submit consumes it.
#[derive(Debug)]
pub struct Claim {
    reference: String,
}

impl Claim {
    /// To be called with the answer of the API server to the write that won the claim, and nowhere
    /// else.
    pub(crate) fn won(reference: String) -> Self {
        Self { reference }
    }

    /// For tests of a CA's client, which have no record to win one on.
    #[cfg(feature = "simulator")]
    #[must_use]
    pub fn of_a_test(reference: &str) -> Self {
        Self::won(reference.to_owned())
    }

    /// The order it is for.
    #[must_use]
    pub fn reference(&self) -> &str {
        &self.reference
    }
}

/// Why a certificate is revoked, of the reasons of RFC 5280 section 5.3.1 those that a subscriber may
/// give.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RevocationReason {
    /// The names no longer belong together.
    AffiliationChanged,
    /// What it was for has ended.
    CessationOfOperation,
    /// The private key is known to others.
    KeyCompromise,
    /// Another certificate has taken its place.
    Superseded,
    /// None is given.
    Unspecified,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_debug_text_shows_a_key() {
        use secrecy::ExposeSecret as _;
        let key = Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).unwrap());
        let params = rcgen::CertificateParams::default();
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = Certificate::from_der(params.self_signed(&pair).unwrap().der()).unwrap();
        let previous = Previous { id: None, certificate, key: Some(Arc::clone(&key)) };
        let kind = OrderKind::UpdateKey(Arc::new(previous));
        let order = Order { kind: &kind, key: Some(&key), ..Order::unnamed(b"CSR", &Value::Null) };
        let pem = key.to_pkcs8_pem();
        for told in [format!("{order:?}"), format!("{order:#?}"), format!("{kind:?}")] {
            let lines = pem.expose_secret().lines().filter(|line| !line.starts_with('-'));
            for line in lines {
                assert!(!told.contains(line), "{told}");
            }
            assert!(
                told.contains("PrivateKey { kind") || told.contains("PrivateKey {\n"),
                "{told}"
            );
        }
    }

    #[test]
    fn an_order_becomes_another_that_follows_the_same_certificate_or_none() {
        let params = rcgen::CertificateParams::default();
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = Certificate::from_der(params.self_signed(&pair).unwrap().der()).unwrap();
        let previous = || {
            let certificate = certificate.clone();
            Arc::new(Previous { id: Some("1".to_owned()), certificate, key: None })
        };
        let (one, two) = (previous(), previous());
        let renew = OrderKind::Renew(Arc::clone(&one));
        assert!(OrderKind::New.may_replace(&renew));
        assert!(OrderKind::Reissue(one).may_replace(&renew));
        assert!(!OrderKind::Reissue(two).may_replace(&renew));
        assert!(!renew.may_replace(&OrderKind::New));
    }

    #[test]
    fn a_ca_reads_its_own_block_and_no_other() {
        let blocks = Blocks::none().clone().with("houseCa", json!({ "user": "jdoe" }));
        let read = |field| blocks.read::<std::collections::BTreeMap<String, String>>(field);
        assert_eq!(read("houseCa").unwrap()["user"], "jdoe");
        assert_eq!(read("otherCa"), None);
        assert_eq!(blocks.read::<u8>("houseCa"), None, "nothing that could be it");
        assert!(Blocks::none().is_empty() && !blocks.is_empty());
    }
}
