//! A user name and a password.

use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

use super::{sensitive, without};

/// HTTP Basic credentials (RFC 7617).
#[derive(Clone)]
pub struct Basic {
    username: String,
    password: SecretString,
    /// Namespace and name of the Secret that they are from.
    secret: Option<String>,
}

impl PartialEq for Basic {
    fn eq(&self, other: &Self) -> bool {
        (&self.username, self.password()) == (&other.username, other.password())
    }
}

impl Eq for Basic {}

impl std::fmt::Debug for Basic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Basic").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Basic {
    /// Credentials as they are.
    #[must_use]
    pub fn new(username: String, password: SecretString) -> Self {
        Self { username, password, secret: None }
    }

    /// The same, from this Secret.
    #[must_use]
    pub fn kept_in(self, secret: &str) -> Self {
        Self { secret: Some(secret.to_owned()), ..self }
    }

    /// Where they are, in words: whoever is to mend them looks there.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.secret {
            Some(secret) => format!("Secret {secret}"),
            None => "the Secret with the credentials".to_owned(),
        }
    }

    /// The user.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// The password, or the API key, for a CA that takes it in another way than by HTTP Basic.
    pub(crate) fn password(&self) -> &str {
        self.password.expose_secret()
    }

    /// Whether the password holds a colon.
    #[must_use]
    pub fn password_has_colon(&self) -> bool {
        self.password.expose_secret().contains(':')
    }

    /// `text` without the password, should a server repeat it: as it is, with its white space
    /// collapsed, or in the header that carried it.
    #[must_use]
    pub fn scrub(&self, text: &str) -> String {
        without(text, &[&self.encoded(), self.password.expose_secret()])
    }

    /// The value of the header `Authorization`, marked as sensitive.
    pub fn header(&self) -> Result<http::HeaderValue, http::header::InvalidHeaderValue> {
        sensitive(&Zeroizing::new(format!("Basic {}", self.encoded().as_str())))
    }

    fn encoded(&self) -> Zeroizing<String> {
        use base64::Engine as _;
        let joined = Zeroizing::new(format!("{}:{}", self.username, self.password.expose_secret()));
        let encoded = base64::engine::general_purpose::STANDARD.encode(joined.as_bytes());
        Zeroizing::new(encoded)
    }
}
