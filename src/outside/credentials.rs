//! What tells an outside system who asks: read from the data of a Secret, held in memory only.
//!
//! # Guarantees
//! - `Debug` shows no secret, and secrets are overwritten when they are dropped.
//! - Messages name keys of the Secret and quote nothing that stands in them.

use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{Disposition, Error};
use crate::pki::{self, PrivateKey};
use crate::reason::Reason;

mod basic;
mod client_certificate;

pub use self::basic::Basic;
pub use self::client_certificate::{ClientCertificate, Mismatch};

/// A kind of credentials, which says what its Secret holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A user name under `username`, and what goes with it.
    Basic {
        /// The key that holds the password, or what takes its place.
        password: &'static str,
    },
    /// A key that each request carries, under `apiKey`.
    ApiKey,
    /// A token that each request carries (RFC 6750), under `token`.
    Bearer,
    /// What an OAuth 2.0 client gets its tokens with (RFC 6749, section 4.4), under `clientId` and
    /// `clientSecret`.
    ClientCredentials,
    /// A certificate for TLS with its private key, as in a Secret of type `kubernetes.io/tls`.
    ClientCertificate,
}

/// Credentials of one kind.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// User name and password.
    Basic(Basic),
    /// A key that each request carries.
    ApiKey(Token),
    /// A token that each request carries.
    Bearer(Token),
    /// What tokens are got with.
    ClientCredentials(ClientCredentials),
    /// A certificate for TLS.
    ClientCertificate(ClientCertificate),
}

impl Kind {
    /// The keys that its Secret needs.
    #[must_use]
    pub fn keys(self) -> Vec<&'static str> {
        match self {
            Self::ApiKey => vec!["apiKey"],
            Self::Basic { password } => vec!["username", password],
            Self::Bearer => vec!["token"],
            Self::ClientCertificate => vec!["tls.crt", "tls.key"],
            Self::ClientCredentials => vec!["clientId", "clientSecret"],
        }
    }

    /// Reads credentials of this kind. `secret` names the Secret in messages, `entry` returns what it
    /// holds under a key.
    ///
    /// # Errors
    /// When a key is missing, or what it holds cannot be used.
    pub fn read<'a>(
        self,
        secret: &'a str,
        entry: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> Result<Credentials, Error> {
        let data = Data { secret, entry };
        Ok(match self {
            Self::ApiKey => Credentials::ApiKey(data.token("apiKey")?),
            Self::Basic { password } => {
                let username = data.text("username")?.to_owned();
                let basic = Basic::new(username, data.text(password)?.into());
                Credentials::Basic(basic.kept_in(secret))
            }
            Self::Bearer => Credentials::Bearer(data.token("token")?),
            Self::ClientCertificate => Credentials::ClientCertificate(data.client_certificate()?),
            Self::ClientCredentials => Credentials::ClientCredentials(ClientCredentials {
                id: data.filled("clientId")?.to_owned(),
                secret: data.filled("clientSecret")?.into(),
            }),
        })
    }
}

impl Credentials {
    /// Whom they speak for, where they say so. Nothing secret.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::ApiKey(_) | Self::Bearer(_) => None,
            Self::Basic(basic) => Some(basic.username()),
            Self::ClientCertificate(identity) => Some(identity.certificate().subject()),
            Self::ClientCredentials(client) => Some(client.id()),
        }
    }

    /// User name and password, for a system that takes nothing else.
    #[must_use]
    pub fn basic(&self) -> Option<&Basic> {
        match self {
            Self::Basic(basic) => Some(basic),
            Self::ApiKey(_)
            | Self::Bearer(_)
            | Self::ClientCertificate(_)
            | Self::ClientCredentials(_) => None,
        }
    }

    /// What TLS connections are made with, where that is how they are shown.
    #[must_use]
    pub fn client_certificate(&self) -> Option<&ClientCertificate> {
        match self {
            Self::ClientCertificate(identity) => Some(identity),
            Self::ApiKey(_) | Self::Basic(_) | Self::Bearer(_) | Self::ClientCredentials(_) => None,
        }
    }

    /// `text` without what is secret in them, should a server repeat it.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        match self {
            Self::ApiKey(token) | Self::Bearer(token) => token.scrub(text),
            Self::Basic(basic) => basic.scrub(text),
            // No request carries its key.
            Self::ClientCertificate(_) => text.to_owned(),
            Self::ClientCredentials(client) => client.scrub(text),
        }
    }
}

/// A secret that goes into a header as it is. It fits into one.
#[derive(Clone)]
pub struct Token(SecretString);

impl Token {
    /// # Errors
    /// When no header can carry it.
    pub fn new(token: SecretString) -> Result<Self, http::header::InvalidHeaderValue> {
        HeaderValue::from_str(token.expose_secret()).map(|_| Self(token))
    }

    /// The value of a header of its own, marked as sensitive.
    pub fn header(&self) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        sensitive(self.0.expose_secret())
    }

    /// The value of the header `Authorization`, marked as sensitive.
    pub fn bearer(&self) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
        sensitive(&Zeroizing::new(format!("Bearer {}", self.0.expose_secret())))
    }

    /// `text` without the token.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        without(text, &[self.0.expose_secret()])
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

/// An OAuth 2.0 client with its secret.
#[derive(Clone)]
pub struct ClientCredentials {
    id: String,
    secret: SecretString,
}

impl ClientCredentials {
    /// The client.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The form that asks for a token, with the credentials in it.
    #[must_use]
    pub fn form(&self) -> Zeroizing<String> {
        Zeroizing::new(
            url::form_urlencoded::Serializer::new(String::new())
                .append_pair("grant_type", "client_credentials")
                .append_pair("client_id", &self.id)
                .append_pair("client_secret", self.secret.expose_secret())
                .finish(),
        )
    }

    /// `text` without the secret, as it is or as a form writes it.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        let secret = self.secret.expose_secret();
        let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        without(text, &[&Zeroizing::new(encoded), secret])
    }
}

impl std::fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientCredentials").field("id", &self.id).finish_non_exhaustive()
    }
}

fn sensitive(value: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let mut header = HeaderValue::from_str(value)?;
    header.set_sensitive(true);
    Ok(header)
}

/// `text` without these secrets, each as it is and with its white space collapsed.
fn without(text: &str, secrets: &[&str]) -> String {
    secrets.iter().fold(text.to_owned(), |text, secret| {
        let words = secret.split_whitespace().collect::<Vec<_>>().join(" ");
        let words = Zeroizing::new(words);
        [*secret, words.as_str()]
            .into_iter()
            .filter(|secret| !secret.trim().is_empty())
            .fold(text, |text, secret| text.replace(secret, "[…]"))
    })
}

/// The data of a Secret, by key.
struct Data<'a, F> {
    secret: &'a str,
    entry: F,
}

impl<'a, F: Fn(&str) -> Option<&'a [u8]>> Data<'a, F> {
    fn bytes(&self, key: &str) -> Result<&'a [u8], Error> {
        let missing = || unusable(format!("Secret {} has no key {key}: add it", self.secret));
        (self.entry)(key).ok_or_else(missing)
    }

    fn text(&self, key: &str) -> Result<&'a str, Error> {
        let text = (self.entry)(key).and_then(|value| std::str::from_utf8(value).ok());
        text.map(without_line_end).ok_or_else(|| {
            unusable(format!("Secret {} has no key {key} with UTF-8 text: add it", self.secret))
        })
    }

    fn filled(&self, key: &str) -> Result<&'a str, Error> {
        let text = self.text(key)?;
        if text.trim().is_empty() {
            return Err(self.unfit(key, "is empty: write it there"));
        }
        Ok(text)
    }

    fn token(&self, key: &str) -> Result<Token, Error> {
        Token::new(self.filled(key)?.into()).map_err(|_| {
            self.unfit(key, "holds characters that no HTTP header can carry: write it on one line")
        })
    }

    fn client_certificate(&self) -> Result<ClientCertificate, Error> {
        let cannot = |key, why: &dyn std::fmt::Display| {
            self.unfit(key, &format!("cannot be used for TLS: {why}"))
        };
        let certificates =
            pki::parse_pem(self.bytes("tls.crt")?).map_err(|error| cannot("tls.crt", &error))?;
        if certificates.is_empty() {
            return Err(self.unfit("tls.crt", "holds no certificate: put the client's there"));
        }
        let key = PrivateKey::from_pem(self.bytes("tls.key")?)
            .map_err(|error| cannot("tls.key", &error))?;
        ClientCertificate::new(certificates, key).map_err(|error| cannot("tls.key", &error))
    }

    fn unfit(&self, key: &str, what: &str) -> Error {
        unusable(format!("key {key} of Secret {} {what}", self.secret))
    }
}

/// `kubectl create secret --from-file` and editors leave a line end that no password has.
fn without_line_end(text: &str) -> &str {
    text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text))
}

fn unusable(message: String) -> Error {
    Error {
        disposition: Disposition::BlameCredentials,
        reason: Reason::CredentialsUnusable,
        message,
    }
}

#[cfg(test)]
mod tests;
