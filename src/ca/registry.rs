//! From the spec of an issuer to the client of its CA: the one `match` on kinds of CA.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::Basic;
use super::online_ca::OnlineCa;
use super::transport::Transport;
use super::{CertificateAuthority, Disposition, Error};
use crate::api::{IssuerSpec, OnlineCa as OnlineCaSettings, SecretReference};

/// The kind of CA an issuer names, from its flat spec.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// `spec.onlineCa`.
    OnlineCa(&'a OnlineCaSettings),
}

impl<'a> Kind<'a> {
    /// The block that is set.
    ///
    /// # Errors
    /// When none is, which admission refuses: the object is from another version.
    pub fn of(spec: &'a IssuerSpec) -> Result<Self, Error> {
        spec.online_ca.as_ref().map(Self::OnlineCa).ok_or_else(|| Error {
            disposition: Disposition::BlameIssuer,
            reason: "KindUnknown",
            message: "spec names no kind of CA that this version knows: set spec.onlineCa"
                .to_owned(),
        })
    }

    /// Secret with the credentials of the account.
    #[must_use]
    pub fn credentials(self) -> Option<&'a SecretReference> {
        match self {
            Self::OnlineCa(settings) => settings.credentials_secret_ref.as_ref(),
        }
    }

    /// The hosts to which credentials are sent.
    #[must_use]
    pub fn host(self) -> String {
        let url = match self {
            Self::OnlineCa(settings) => &settings.certificate_url,
        };
        let parsed = url.parse::<http::Uri>().ok();
        parsed.as_ref().and_then(http::Uri::host).unwrap_or_default().to_ascii_lowercase()
    }

    /// The account in one line, without secrets: when it changes, certificates are issued anew.
    #[must_use]
    pub fn account(self, credentials: Option<&Basic>) -> String {
        match self {
            Self::OnlineCa(settings) => match credentials {
                Some(basic) => format!("{} as {}", settings.certificate_url, basic.username()),
                None => settings.certificate_url.clone(),
            },
        }
    }

    /// The client of the account.
    ///
    /// # Errors
    /// When settings or credentials cannot work.
    pub fn open(
        self,
        credentials: Option<Basic>,
        transport: Arc<dyn Transport>,
        deadline: Duration,
    ) -> Result<Arc<dyn CertificateAuthority>, Error> {
        match self {
            Self::OnlineCa(settings) => {
                let ca = OnlineCa::new(settings, credentials, transport, deadline)?;
                Ok(Arc::new(ca))
            }
        }
    }
}
