//! Certificate authorities outside the cluster: the trait they all implement, and the errors they
//! answer with.
//!
//! A CA client translates; it never sleeps, retries, stores or decides. Each CA is one folder here,
//! and [`registry`] is the one place that knows them all.

use std::time::Duration;

use async_trait::async_trait;

use crate::pki::{Certificate, KeyKind};

pub mod credentials;
pub mod online_ca;
pub mod registry;
pub mod remote_text;
pub mod transport;

/// One account at one CA. Never sleeps, retries or stores; at most one request that makes a
/// certificate per call.
#[async_trait]
pub trait CertificateAuthority: Send + Sync {
    /// What this CA can do and accepts. Constant for the life of the value.
    fn capabilities(&self) -> &Capabilities;

    /// Whether the CA can be reached. Cheap, and authenticated where the CA has such a call.
    async fn check(&self) -> Result<AccountReport, Error>;

    /// Asks for a certificate: the request that cannot be taken back.
    async fn submit(&self, order: &Order<'_>) -> Submitted;

    /// The CA certificates that the CA itself serves, obtainable without an issuance. Material to
    /// complete a chain with, not something to trust.
    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error>;
}

/// What a check found out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountReport {
    /// Findings that hinder nothing and that somebody should know of.
    pub remarks: Vec<String>,
}

/// What a CA can do and accepts.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// What the CA is called in messages, such as `Online CA`.
    pub name: &'static str,
    /// Kinds of key the CA signs, the preferred one first.
    pub key_kinds: Vec<KeyKind>,
    /// Whether certificates carry the names that were asked for.
    pub names: bool,
    /// Whether it can be told in the CSR what the key is for.
    pub usages: bool,
    /// Whether it lets itself be asked for a lifetime.
    pub duration: bool,
    /// The field of the Issuer that would admit further kinds of key.
    pub key_kinds_field: &'static str,
}

/// What is asked of a CA.
pub struct Order<'a> {
    /// PKCS #10 request, DER.
    pub csr_der: &'a [u8],
    /// What only this kind of CA knows.
    pub parameters: &'a Parameters,
}

/// Parameters of one order that only one kind of CA knows.
#[derive(Debug)]
pub enum Parameters {
    /// For the Online CA: credentials of the request in place of those of the account.
    OnlineCa {
        /// User name and password.
        credentials: Option<credentials::Basic>,
    },
}

/// What became of a submit.
#[derive(Debug)]
pub enum Submitted {
    /// The CA issued; the certificates in the order they came, not yet verified.
    Issued(Vec<Certificate>),
    /// Provably nothing was ordered.
    Refused(Error),
    /// Nobody knows whether something was ordered.
    Unknown(Error),
}

/// What happens after an error: the only thing the rest of the system needs to know of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Disposition {
    /// It passes by itself: try again, not before `after` where the CA said so.
    Retry {
        /// The CA's own word on when to come back.
        after: Option<Duration>,
    },
    /// The credentials are at fault: whoever owns them must change them first.
    BlameCredentials,
    /// The Issuer is at fault (address, trust): it must change first.
    BlameIssuer,
    /// The CA refuses this request: it must change first.
    Reject,
    /// The answer makes no sense: a fault of the CA or of ours. Tried again, slowly.
    Internal,
}

impl Disposition {
    /// The word for metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BlameCredentials => "blame_credentials",
            Self::BlameIssuer => "blame_issuer",
            Self::Internal => "internal",
            Self::Reject => "reject",
            Self::Retry { .. } => "retry",
        }
    }
}

/// An answer of a CA, or the lack of one, in words for a condition.
///
/// The message is already bounded and scrubbed; it never holds credentials or key material.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What happens next.
    pub disposition: Disposition,
    /// One word in camel case, for the condition's reason.
    pub reason: &'static str,
    /// What was tried and what came of it.
    pub message: String,
}
