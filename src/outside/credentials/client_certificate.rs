//! A certificate for TLS with its private key.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

use crate::pki::{Certificate, PrivateKey};

/// What a client shows to a server that demands a certificate: the chain and its private key.
#[derive(Clone)]
pub struct ClientCertificate {
    /// The certificate of the key, then its issuers as far as they are there.
    chain: Arc<[Certificate]>,
    key: Arc<PrivateKey>,
}

/// None of the certificates is for the key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it is not the key of a certificate in tls.crt; replace one of them")]
pub struct Mismatch;

impl ClientCertificate {
    /// In whatever order the certificates come.
    ///
    /// # Errors
    /// When none is for this key.
    pub fn new(mut certificates: Vec<Certificate>, key: PrivateKey) -> Result<Self, Mismatch> {
        let is_ours = |certificate: &Certificate| certificate.spki_der() == key.spki_der();
        let leaf = certificates.iter().position(is_ours).ok_or(Mismatch)?;
        // Each certificate has to certify the one before it (RFC 5246, section 7.4.2).
        let mut chain = vec![certificates.remove(leaf)];
        while let Some(issuer) = chain.last().map(Certificate::issuer_der) {
            let next = certificates.iter().position(|other| other.subject_der() == issuer);
            let Some(next) = next else { break };
            chain.push(certificates.remove(next));
        }
        Ok(Self { chain: chain.into(), key: Arc::new(key) })
    }

    /// The certificate of the key.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// The certificate of the key, then its issuers.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// Chain and key in one text.
    pub(in crate::outside) fn to_pem(&self) -> Zeroizing<String> {
        let key = self.key.to_pkcs8_pem();
        let chain: Vec<String> = self.chain.iter().map(Certificate::to_pem).collect();
        let length = chain.iter().map(String::len).sum::<usize>() + key.expose_secret().len();
        // In place: a text that grows leaves copies of the key behind.
        let mut pem = Zeroizing::new(String::with_capacity(length));
        pem.push_str(key.expose_secret());
        pem.extend(chain);
        pem
    }
}

/// The same certificate has the same key.
impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain
    }
}

impl Eq for ClientCertificate {}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCertificate")
            .field("subject", &self.certificate().subject())
            .field("fingerprint_sha256", &self.certificate().fingerprint_sha256())
            .finish_non_exhaustive()
    }
}
