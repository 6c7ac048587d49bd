//! The key of a certificate: a pair at hand, or one whose private half stays with whoever brought
//! the CSR.

use std::sync::Arc;

use crate::pki::csr::Asked;
use crate::pki::{KeyKind, Names, PrivateKey};

/// The key that a certificate is for.
#[derive(Clone, Debug)]
pub enum Key {
    /// The pair is at hand, made here or brought along with the CSR: it is delivered.
    Pair(Arc<PrivateKey>),
    /// Only the public half is, as DER of a SubjectPublicKeyInfo: nothing but certificates is
    /// delivered.
    Public(Arc<[u8]>),
}

impl Key {
    /// The public key as DER of a SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki_der(&self) -> &[u8] {
        match self {
            Self::Pair(key) => key.spki_der(),
            Self::Public(spki_der) => spki_der,
        }
    }

    /// The private half, where it is at hand.
    #[must_use]
    pub fn private(&self) -> Option<&Arc<PrivateKey>> {
        match self {
            Self::Pair(key) => Some(key),
            Self::Public(_) => None,
        }
    }

    /// Algorithm and size in words, such as `RSA 2048`.
    #[must_use]
    pub fn kind(&self) -> String {
        KeyKind::of_spki(self.spki_der())
            .map_or_else(|| "of an uncommon kind".to_owned(), |kind| kind.to_string())
    }
}

impl From<Arc<PrivateKey>> for Key {
    fn from(key: Arc<PrivateKey>) -> Self {
        Self::Pair(key)
    }
}

/// Where the request's CSR is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CsrReference {
    /// Name of the Secret.
    pub secret: String,
    /// Key in its data.
    pub entry: String,
    /// resourceVersion of the Secret, where the watch knows it.
    pub version: Option<String>,
}

/// A CSR that somebody brought.
#[derive(Clone, Debug)]
pub struct BroughtCsr {
    /// Its DER.
    pub der: Vec<u8>,
    /// The key in it, with the private half where that lay beside it.
    pub key: Key,
    /// The names in it.
    pub names: Names,
    /// All that it asks for, as a CA reads it.
    pub asked: Asked,
}
