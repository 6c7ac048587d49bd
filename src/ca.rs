//! Certificate authorities outside the cluster: the trait they all implement.
//!
//! A CA client translates; it never sleeps, retries, stores or decides. Each CA is one folder here,
//! and [`registry`] is the one place that knows them all.

use async_trait::async_trait;

use crate::outside::Error;
use crate::pki::Certificate;

mod answer;
mod capabilities;
pub mod kind;
pub mod online_ca;
mod order;
pub mod registry;
pub mod ssl_purchase;
pub mod swisssign;
pub mod tenant;

pub use self::answer::{
    Actor, Answer, Challenge, Failed, FailedKind, Found, KeyEvidence, Lookup, Phase, Progress,
    Proof, Submitted, Waiting,
};
pub use self::capabilities::{Capabilities, OrderKinds};
pub use self::order::{
    Blocks, Claim, OpenOrder, Order, OrderKind, Permit, Preparation, Previous, RevocationReason,
    Wanted,
};

/// One account at one CA. Never sleeps, retries or stores; at most one request that makes a
/// certificate per call.
///
/// A free CA that issues at once needs `submit` alone. Where an order costs money or takes its
/// time, it is named by a reference that was stored before the submit, and found again by it.
#[async_trait]
pub trait CertificateAuthority: Send + Sync {
    /// What this CA can do and accepts. Constant for the life of the value.
    fn capabilities(&self) -> &Capabilities;

    /// Whether the CA can be reached. Cheap, and authenticated where the CA has such a call.
    async fn check(&self) -> Result<AccountReport, Error>;

    /// The client that the account stands for, once the CA has told it.
    fn client(&self) -> Option<tenant::Client> {
        None
    }

    /// Id of the product that a request which says `blocks` would be ordered as; `None` where the CA
    /// has no products. Sends nothing that costs.
    async fn product(&self, blocks: &Blocks) -> Result<Option<String>, Error> {
        let _ = blocks;
        Ok(None)
    }

    /// Id of the product in what [`Self::prepare`] made.
    fn product_in(&self, parameters: &serde_json::Value) -> Option<String> {
        let _ = parameters;
        None
    }

    /// What the CA has to be told beside the CSR, for an order of what is wanted, and which kind of
    /// order that is. Both are stored where the order is, so that an order that is made again is the
    /// same to the byte. Sends nothing that costs.
    async fn prepare(&self, wanted: &Wanted<'_>) -> Result<Preparation, Error> {
        Ok(Preparation { kind: wanted.kind.clone(), parameters: serde_json::Value::Null })
    }

    /// Refuses an order before it is made; may ask the CA for a dry run that is free.
    async fn preflight(&self, order: &Order<'_>) -> Result<(), Error> {
        let _ = order;
        Ok(())
    }

    /// Asks for a certificate: the request that cannot be taken back.
    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted;

    /// Every order at the CA that carries this reference; of an order that renews another by its
    /// id, whether that one has moved on.
    async fn find(&self, order: &Order<'_>) -> Result<Lookup, Error> {
        let _ = order;
        Ok(Lookup::Unsupported)
    }

    /// How the orders stand, each with its reference; in few calls where the CA can list. An order
    /// that is missing from the answer was not asked for.
    async fn poll(&self, orders: &[OpenOrder]) -> Vec<(String, Result<Progress, Error>)> {
        let _ = orders;
        Vec::new()
    }

    /// Has the CA look again at the challenges of an order, those that were met; how the order stands
    /// then.
    async fn advance(
        &self,
        order: &OpenOrder,
        met: &[Challenge],
    ) -> Result<Answer<Progress>, Error> {
        let _ = (order, met);
        Ok(Answer::Unsupported)
    }

    /// Takes an order back that has no certificate yet.
    async fn cancel(&self, order: &OpenOrder) -> Result<Answer<()>, Error> {
        let _ = order;
        Ok(Answer::Unsupported)
    }

    /// Revokes a certificate that this CA issued. One that is revoked already is no error.
    async fn revoke(
        &self,
        certificate: &Previous,
        reason: RevocationReason,
    ) -> Result<Answer<()>, Error> {
        let _ = (certificate, reason);
        Ok(Answer::Unsupported)
    }

    /// Whether a search of this account has found an order of ours: only then does "there is none"
    /// mean anything.
    fn has_found_orders(&self) -> bool {
        false
    }

    /// The CA certificates that the CA itself serves, obtainable without an issuance. Material to
    /// complete a chain with, not something to trust.
    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error>;
}

/// What a check found out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountReport {
    /// The CA has looked at the credentials of the account.
    pub credentials_tried: bool,
    /// Findings that hinder nothing and that somebody should know of.
    pub remarks: Vec<String>,
    /// Id of the product that is ordered where a request names none.
    pub product: Option<String>,
    /// The CA certificates that the CA serves, where the check came across them.
    pub roots: Vec<Certificate>,
}

/// The credentials were tried, and nothing was found.
impl Default for AccountReport {
    fn default() -> Self {
        Self { credentials_tried: true, remarks: Vec::new(), product: None, roots: Vec::new() }
    }
}
