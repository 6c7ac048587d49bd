//! The "Online CA" web service of Contrail and CEDA: a free CA that issues a short-lived
//! certificate to an authenticated user at once.
//!
//! Facts are those of the services themselves: ContrailOnlineCAService 0.4.0 ("Contrail" below)
//! and cedadev/django-onlineca ("Django" below). Two operations exist, "get certificate" (POST, HTTP
//! Basic) and "get trust roots" (GET, no authentication); there is no order, no status, no
//! revocation. The CA takes nothing but the public key from a CSR, ignores its names and decides
//! subject and lifetime itself.
//!
//! # Invariants
//! - Credentials are sent on "get certificate" only, and without waiting for a challenge: Contrail
//!   sends none after a wrong password.
//! - A submit whose outcome is unknown costs at most one more free certificate.

mod client;
mod kind;
mod wire;

use async_trait::async_trait;

use self::client::Client;
pub(super) use self::kind::KIND;
use super::kind::Opening;
use super::{AccountReport, Capabilities, CertificateAuthority, Order, Permit, Submitted};
use crate::api::{BasicSplit, KeyAlgorithm, OnlineCa as Settings};
use crate::outside::credentials::{Basic, Credentials};
use crate::outside::{Disposition, Error};
use crate::pki::{Certificate, KeyKind};
use crate::reason::Reason;

/// Its block in the spec of an Issuer, and in that of a request.
const FIELD: &str = "onlineCa";
/// What it is called in messages.
const NAME: &str = "Online CA";

/// One Online CA, with the credentials of the Issuer where it has some.
pub struct OnlineCa {
    client: Client,
    capabilities: Capabilities,
    credentials: Option<Basic>,
    split: BasicSplit,
}

impl OnlineCa {
    /// The account that `settings` names.
    ///
    /// # Errors
    /// When the credentials cannot work with this server, or an address is not a URL.
    pub fn new(settings: &Settings, with: Opening) -> Result<Self, Error> {
        let Opening { credentials, transport, deadline, reader, .. } = with;
        let credentials = credentials.as_ref().and_then(Credentials::basic).cloned();
        if let Some(credentials) = &credentials {
            check_credentials(credentials, settings.basic_split)?;
        }
        Ok(Self {
            client: Client::new(settings, transport, deadline, reader)?,
            capabilities: Capabilities {
                name: NAME,
                key_kinds: key_kinds(&settings.key_algorithms),
                key_kinds_field: Some("spec.onlineCa.keyAlgorithms"),
                names: false,
                instead_of_names: Some("spec.onlineCa: {}"),
                usages: false,
                duration: false,
                ..Capabilities::default()
            },
            credentials,
            split: settings.basic_split,
        })
    }
}

/// RSA first: it is what every server of this kind signs.
fn key_kinds(algorithms: &[KeyAlgorithm]) -> Vec<KeyKind> {
    let mut kinds = Vec::new();
    if algorithms.contains(&KeyAlgorithm::Rsa) {
        kinds.extend([KeyKind::Rsa2048, KeyKind::Rsa3072, KeyKind::Rsa4096]);
    }
    if algorithms.contains(&KeyAlgorithm::Ecdsa) {
        kinds.extend([KeyKind::EcdsaP256, KeyKind::EcdsaP384, KeyKind::EcdsaP521]);
    }
    if algorithms.contains(&KeyAlgorithm::Ed25519) {
        kinds.push(KeyKind::Ed25519);
    }
    kinds
}

/// Refuses what the server would misread: it cuts `user:password` at one colon.
fn check_credentials(credentials: &Basic, split: BasicSplit) -> Result<(), Error> {
    let fault = match split {
        _ if credentials.username().is_empty() => {
            "username is empty: write the user's name into it"
        }
        BasicSplit::LastColon if credentials.password_has_colon() => {
            "password holds a ':', and this server splits at the last one (spec.onlineCa.basicSplit: LastColon): change the password, or set FirstColon if the server is the Django one"
        }
        BasicSplit::FirstColon if credentials.username().contains(':') => {
            "username holds a ':', and this server splits at the first one (spec.onlineCa.basicSplit: FirstColon): set LastColon if the server is the Contrail one"
        }
        BasicSplit::FirstColon | BasicSplit::LastColon => return Ok(()),
    };
    Err(Error {
        disposition: Disposition::BlameCredentials,
        reason: Reason::CredentialsUnusable,
        message: fault.to_owned(),
    })
}

#[async_trait]
impl CertificateAuthority for OnlineCa {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        let roots = self.client.trust_roots().await?;
        // "Get trust roots" is called without credentials, and nothing else can be asked for nothing.
        let credentials_tried = self.credentials.is_none();
        let (remarks, roots) = (roots.remarks, roots.certificates);
        Ok(AccountReport { credentials_tried, remarks, roots, product: None })
    }

    async fn submit(&self, order: &Order<'_>, _: Permit) -> Submitted {
        let own = order.credentials.and_then(Credentials::basic);
        let Some(credentials) = own.or(self.credentials.as_ref()) else {
            return Submitted::Refused(Error {
                disposition: Disposition::Reject,
                reason: Reason::CredentialsMissing,
                message: "neither the request nor its issuer names credentials: set spec.onlineCa.credentialsSecretRef in one of them".to_owned(),
            });
        };
        if let Err(error) = check_credentials(credentials, self.split) {
            return Submitted::Refused(error);
        }
        self.client.certificate(order.csr_der, credentials).await
    }

    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        Ok(self.client.trust_roots().await?.certificates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_the_server_would_misread_are_refused() {
        use BasicSplit::{FirstColon, LastColon};
        let cases = [
            ("plain ones pass", "jdoe", "secret", LastColon, true),
            (
                "an OpenID URL passes where the last colon cuts",
                "https://id/jdoe",
                "s",
                LastColon,
                true,
            ),
            ("and not where the first one does", "https://id/jdoe", "s", FirstColon, false),
            (
                "a colon in the password passes where the first one cuts",
                "jdoe",
                "a:b",
                FirstColon,
                true,
            ),
            ("and not where the last one does", "jdoe", "a:b", LastColon, false),
            ("a user is needed", "", "secret", LastColon, false),
        ];
        for (name, user, password, split, passes) in cases {
            let credentials = Basic::new(user.to_owned(), password.to_owned().into());
            assert_eq!(check_credentials(&credentials, split).is_ok(), passes, "{name}");
        }
    }
}
