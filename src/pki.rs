//! Keys, certification requests, certificates and chains: everything X.509, as plain functions over
//! bytes.
//!
//! This module knows nothing of Kubernetes, of any certificate authority's protocol, of the network
//! or of the clock: whoever asks passes `now`.
//!
//! # Guarantees
//! - No function panics, whatever bytes it is given.
//! - No error text quotes input: it may hold a private key that was pasted into the wrong field.
//! - Private key bytes that this module holds are overwritten when they are dropped.
//!
//! # Caveats
//! - Reading is lenient, because what real certificate authorities deliver is not always what RFC
//!   5280 asks for: [`certificate`] takes serial numbers of any length, version 1 certificates and
//!   unusual names. Judging is strict: what [`chain::verify`] lets through has been verified with
//!   rustls-webpki.

mod bundle;
pub mod certificate;
pub mod chain;
pub mod csr;
mod download;
pub mod key;
mod name;
pub mod names;
mod pem;
pub mod pkcs7;

use data_encoding::HEXLOWER;

pub use bundle::Bundle;
pub use certificate::{Certificate, contains_private_key, parse_pem};
pub use download::{Download, Error as DownloadError};
pub use key::{Error as KeyError, KeyKind, PrivateKey};
pub use names::Names;

/// What can fail outside the submodules, which have errors of their own.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system offers no root certificate, or none that can be read.
    #[error(
        "the system trust store holds no readable root certificate{}; install a bundle of \
         certificate authorities or point SSL_CERT_FILE to one",
        .unreadable.as_ref().map(|what| format!(" ({what})")).unwrap_or_default()
    )]
    NoSystemRoots {
        /// The first file or directory that could not be read, and why.
        unreadable: Option<String>,
    },
}

/// Returns the root certificates that the operating system trusts, without duplicates.
///
/// Reads files, so it blocks for some milliseconds; the environment variables `SSL_CERT_FILE` and
/// `SSL_CERT_DIR` name other places to look. Certificates that cannot be used are left out.
///
/// # Errors
/// [`Error::NoSystemRoots`] if nothing is left: an empty set of roots would make every later
/// verification fail with a misleading message.
pub fn system_roots() -> Result<Bundle, Error> {
    let found = rustls_native_certs::load_native_certs();
    let bundle = Bundle::of(found.certs.iter().enumerate().map(|(place, der)| {
        let place = format!("certificate {} of the system trust store", place + 1);
        match Certificate::from_der(der) {
            Ok(certificate) => Ok((place, certificate)),
            Err(error) => Err(format!("{place} is left out: {error}")),
        }
    }));
    if bundle.anchors.is_empty() {
        let unreadable = found.errors.iter().find_map(unreadable_path);
        return Err(Error::NoSystemRoots { unreadable });
    }
    Ok(bundle)
}

/// Names the file that could not be read. Decoding errors are left out: their texts may quote data.
fn unreadable_path(error: &rustls_native_certs::Error) -> Option<String> {
    let rustls_native_certs::ErrorKind::Io { inner, path } = &error.kind else {
        return None;
    };
    Some(format!("{}: {inner}", path.display()))
}

/// Returns the SHA-256 digest of `bytes` as 64 lower-case hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_for_missing_roots_says_where_it_looked() {
        let error = Error::NoSystemRoots {
            unreadable: Some("/nowhere: No such file or directory".to_owned()),
        };
        assert_eq!(
            error.to_string(),
            "the system trust store holds no readable root certificate (/nowhere: No such file or \
             directory); install a bundle of certificate authorities or point SSL_CERT_FILE to one"
        );
    }

    #[test]
    fn a_digest_is_in_lower_case() {
        let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256_hex(b""), digest);
    }
}
