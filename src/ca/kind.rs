//! What the operator knows of a kind of CA before it has opened an account there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::CertificateAuthority;
use super::tenant::Tenant;
use crate::api::{CertificateRequestSpec, IssuerSpec};
use crate::clock::Clock;
use crate::outside::Error;
use crate::outside::credentials::{self, Credentials};
use crate::outside::remote_text::Reader;
use crate::outside::transport::Transport;

/// One kind of CA. Each has one in its folder, and [`registry`](super::registry) lists them.
pub trait Kind: Sync {
    /// Its field in the spec of an Issuer, and in that of a request, such as `houseCa`.
    fn field(&self) -> &'static str;

    /// What it is called in messages, such as `House CA`.
    fn name(&self) -> &'static str;

    /// The field in which a request names a product, in its block for this kind of CA.
    fn product_field(&self) -> &'static str {
        "product"
    }

    /// The account that an Issuer of this kind describes; `None` for Issuers of other kinds.
    fn account<'a>(&self, spec: &'a IssuerSpec) -> Option<&'a dyn AccountSettings>;

    /// What a request says to this kind of CA only.
    fn asked<'a>(&self, spec: &'a CertificateRequestSpec) -> Asked<'a> {
        let _ = spec;
        Asked::default()
    }
}

/// What a request says to one kind of CA only.
#[derive(Debug, Default)]
pub struct Asked<'a> {
    /// What goes into the order, as the CA's [`prepare`](CertificateAuthority::prepare) reads it. The
    /// certificate is issued anew where it changes, `contact` and `how` in it aside: what they say
    /// counts from the next order on.
    pub block: Option<Value>,
    /// Secret with the request's own credentials, in place of those of the Issuer.
    pub credentials: Option<&'a str>,
    /// The product, by id or name, in place of the one of the Issuer. What else makes a request
    /// somebody else at the CA has a field of its own here, and one in `spec.allow` of issuers.
    pub product: Option<String>,
    /// The field of the block that names a person or a company for the CA to ask, in place of those of
    /// the Issuer. The block has them in `contact`.
    pub contact: Option<&'static str>,
}

/// The block of an Issuer for its kind of CA: one account.
pub trait AccountSettings: Sync {
    /// What its Secrets with credentials hold, those of the account and those of a request.
    fn credentials_kind(&self) -> credentials::Kind;

    /// Secret with the credentials of the account.
    fn credentials_secret(&self) -> Option<&str>;

    /// Every Secret the block refers to, each with the label of credentials. When one of them
    /// changes, the account is opened anew.
    fn secrets(&self) -> Vec<&str> {
        self.credentials_secret().into_iter().collect()
    }

    /// The hosts to which credentials are sent, as
    /// [`host_and_port`](crate::outside::opt_in::host_and_port) writes them.
    fn hosts(&self) -> Vec<String>;

    /// Whom certificates are for, as far as settings and credentials tell.
    fn tenant(&self, credentials: Option<&Credentials>) -> Tenant;

    /// Whether orders are recorded, as
    /// [`Capabilities::has_records`](super::Capabilities::has_records) says of the open account. Limits
    /// on open orders and on orders for one request have a meaning there alone.
    fn has_records(&self) -> bool;

    /// The client of the account.
    ///
    /// # Errors
    /// When settings or credentials cannot work.
    fn open(&self, with: Opening) -> Result<Arc<dyn CertificateAuthority>, Error>;
}

/// What an account is opened with.
pub struct Opening {
    /// Its credentials.
    pub credentials: Option<Credentials>,
    /// The way to the CA.
    pub transport: Arc<dyn Transport>,
    /// How long the CA has for an answer.
    pub deadline: Duration,
    /// The wall clock, for tokens that lapse.
    pub clock: Clock,
    /// Who reads what the CA says.
    pub reader: Reader,
}
