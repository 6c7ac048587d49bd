//! Where private keys come from.

use std::sync::Arc;

use crate::pki::{self, KeyKind, PrivateKey};
use crate::turns::Turns;
use async_trait::async_trait;

/// Makes private keys.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// A key that nobody else has.
    ///
    /// # Errors
    /// Where the cryptographic library fails.
    async fn generate(&self, kind: KeyKind) -> Result<Arc<PrivateKey>, pki::KeyError>;
}

/// Makes each key when it is asked for, on a thread that may block, by turns of the namespaces.
pub struct Generator(Turns);

impl Default for Generator {
    fn default() -> Self {
        // RSA keys cost whole cores for up to a second.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Turns::new(cores))
    }
}

#[async_trait]
impl KeySource for Generator {
    async fn generate(&self, kind: KeyKind) -> Result<Arc<PrivateKey>, pki::KeyError> {
        let failed = |_| pki::KeyError::Generate { kind };
        // The others are made in no time, and wait for none of these.
        let _turn = if kind.is_rsa() { Some(self.0.turn().await) } else { None };
        let made = tokio::task::spawn_blocking(move || PrivateKey::generate(kind));
        made.await.map_err(failed)?.map(Arc::new)
    }
}
