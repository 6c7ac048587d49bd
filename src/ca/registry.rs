//! From the spec of an issuer to the client of its CA: the one `match` on kinds of CA.

use std::sync::Arc;
use std::time::Duration;

use super::CertificateAuthority;
use super::online_ca::OnlineCa;
use super::swisssign::SwissSign;
use crate::api::{
    IssuerSpec, OnlineCa as OnlineCaSettings, SecretReference, SwissSign as SwissSignSettings,
};
use crate::clock::Clock;
use crate::outside::credentials::Basic;
use crate::outside::transport::Transport;
use crate::outside::{Disposition, Error};

/// The kind of CA an issuer names, from its flat spec.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'a> {
    /// `spec.onlineCa`.
    OnlineCa(&'a OnlineCaSettings),
    /// `spec.swissSign`.
    SwissSign(&'a SwissSignSettings),
}

impl<'a> Kind<'a> {
    /// The block that is set.
    ///
    /// # Errors
    /// When none is, which admission refuses: the object is from another version.
    pub fn of(spec: &'a IssuerSpec) -> Result<Self, Error> {
        let online_ca = spec.online_ca.as_ref().map(Self::OnlineCa);
        let swiss_sign = || spec.swiss_sign.as_ref().map(Self::SwissSign);
        online_ca.or_else(swiss_sign).ok_or_else(|| Error {
            disposition: Disposition::BlameIssuer,
            reason: "KindUnknown",
            message: "spec names no kind of CA that this version knows: set spec.onlineCa or spec.swissSign"
                .to_owned(),
        })
    }

    /// Secret with the credentials of the account.
    #[must_use]
    pub fn credentials(self) -> Option<&'a SecretReference> {
        match self {
            Self::OnlineCa(settings) => settings.credentials_secret_ref.as_ref(),
            Self::SwissSign(settings) => Some(&settings.credentials_secret_ref),
        }
    }

    /// Whether certificates are ordered there, for money, and do not just come.
    #[must_use]
    pub fn has_orders(self) -> bool {
        match self {
            Self::OnlineCa(_) => false,
            Self::SwissSign(_) => true,
        }
    }

    /// Key of that Secret, beside `username`, that holds what must be kept secret.
    #[must_use]
    pub fn secret_key(self) -> &'static str {
        match self {
            Self::OnlineCa(_) => "password",
            Self::SwissSign(_) => "apiKey",
        }
    }

    /// The hosts to which credentials are sent.
    #[must_use]
    pub fn host(self) -> String {
        let url = match self {
            Self::OnlineCa(settings) => &settings.certificate_url,
            Self::SwissSign(settings) => &settings.url,
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
            Self::SwissSign(settings) => {
                let user = credentials.map_or("nobody", Basic::username);
                let client = settings.client.id.as_ref().or(settings.client.name.as_ref());
                let client = client.map_or("none", String::as_str);
                format!("{} as {user}, client {client}", settings.url)
            }
        }
    }

    /// The client of the account. `clock` is the wall clock, for tokens that lapse.
    ///
    /// # Errors
    /// When settings or credentials cannot work.
    pub fn open(
        self,
        credentials: Option<Basic>,
        transport: Arc<dyn Transport>,
        deadline: Duration,
        clock: Clock,
    ) -> Result<Arc<dyn CertificateAuthority>, Error> {
        match self {
            Self::OnlineCa(settings) => {
                let ca = OnlineCa::new(settings, credentials, transport, deadline)?;
                Ok(Arc::new(ca))
            }
            Self::SwissSign(settings) => {
                let ca = SwissSign::new(settings, credentials, transport, deadline, clock)?;
                Ok(Arc::new(ca))
            }
        }
    }
}
