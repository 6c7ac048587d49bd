//! What keys there are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Algorithm of a private key.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum KeyAlgorithm {
    /// RSA, RFC 8017.
    #[serde(rename = "RSA")]
    Rsa,
    /// ECDSA on the curves P-256, P-384 and P-521 of FIPS 186.
    #[serde(rename = "ECDSA")]
    Ecdsa,
    /// Ed25519, RFC 8032.
    Ed25519,
}
