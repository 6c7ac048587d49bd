//! Where private keys come from.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::pki::{self, KeyKind, PrivateKey};

/// Makes private keys.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// A key that nobody else has.
    ///
    /// # Errors
    /// Where the cryptographic library fails.
    async fn generate(&self, kind: KeyKind) -> Result<Arc<PrivateKey>, pki::KeyError>;
}

/// Makes each key when it is asked for, on a thread that may block.
pub struct Generator(Semaphore);

impl Default for Generator {
    fn default() -> Self {
        // RSA keys cost whole cores for up to a second.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Semaphore::new(cores))
    }
}

#[async_trait]
impl KeySource for Generator {
    async fn generate(&self, kind: KeyKind) -> Result<Arc<PrivateKey>, pki::KeyError> {
        let failed = |_| pki::KeyError::Generate { kind };
        let _permit = self.0.acquire().await.map_err(|_closed| pki::KeyError::Generate { kind })?;
        let made = tokio::task::spawn_blocking(move || PrivateKey::generate(kind));
        made.await.map_err(failed)?.map(Arc::new)
    }
}
