//! What the certificates of a chain may be used for (extended key usage and key usage).
//!
//! RFC 5280 section 4.2.1.12 has the extension for the key of the certificate that carries it. TLS
//! clients hold it against everything below, too: a certificate for servers below an intermediate for
//! e-mail is refused by OpenSSL, Go, rustls and browsers.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_CE_BASIC_CONSTRAINTS, ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE};
use der::asn1::AnyRef;
use der::{Decode as _, Tag, Tagged as _};

use super::super::certificate::{Certificate, without_unused_bits};
use super::super::name;

const ANY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const TLS: [ObjectIdentifier; 2] = [SERVER_AUTH, CLIENT_AUTH];

/// The purposes in the certificate, or `None` where it may be used for any.
fn purposes(certificate: &Certificate) -> Option<Vec<ObjectIdentifier>> {
    let value = certificate.extension(ID_CE_EXT_KEY_USAGE)?;
    let listed = AnyRef::from_der(value).and_then(|sequence| name::elements(sequence.value()));
    let ids = listed.unwrap_or_default().into_iter().filter_map(|id| {
        let is_id = id.tag() == Tag::ObjectIdentifier;
        is_id.then(|| ObjectIdentifier::from_bytes(id.value()).ok())?
    });
    let ids: Vec<ObjectIdentifier> = ids.collect();
    (!ids.contains(&ANY)).then_some(ids)
}

/// How many of the purposes of `leaf` do all of `intermediates` share? `None` where TLS is among them
/// and nothing of that is left, so that every TLS client refuses the chain.
///
/// A leaf that says nothing is for TLS where it has a name that servers are called by.
pub(super) fn shared(leaf: &Certificate, intermediates: &[&Certificate]) -> Option<usize> {
    let is_for_hosts = !leaf.dns_names().is_empty() || !leaf.ip_addresses().is_empty();
    let mut left = match purposes(leaf) {
        Some(listed) => listed,
        None if is_for_hosts => TLS.to_vec(),
        None => return Some(0),
    };
    let is_for_tls = |purposes: &[ObjectIdentifier]| TLS.iter().any(|tls| purposes.contains(tls));
    let was_for_tls = is_for_tls(&left);
    for listed in intermediates.iter().filter_map(|intermediate| purposes(intermediate)) {
        left.retain(|purpose| listed.contains(purpose));
    }
    (!was_for_tls || is_for_tls(&left)).then_some(left.len())
}

/// The first of `intermediates`, from the leaf upwards, below which nothing of TLS is left.
pub(super) fn forbidding<'a>(
    leaf: &Certificate,
    intermediates: &[&'a Certificate],
) -> Option<&'a Certificate> {
    let is_end = |count: &usize| shared(leaf, &intermediates[..*count]).is_none();
    let count = (1..=intermediates.len()).find(is_end)?;
    Some(intermediates[count - 1])
}

/// The most intermediates that may stand below this one (pathLenConstraint, RFC 5280 section 4.2.1.9).
pub(super) fn path_length(certificate: &Certificate) -> Option<usize> {
    let value = certificate.extension(ID_CE_BASIC_CONSTRAINTS)?;
    let parts = AnyRef::from_der(value).and_then(|sequence| name::elements(sequence.value()));
    let parts = parts.ok()?;
    let length = parts.iter().find(|part| part.tag() == Tag::Integer)?;
    // Whoever writes more than one octet means "many".
    match length.value() {
        [one] if one & 0x80 == 0 => Some(usize::from(*one)),
        _ => None,
    }
}

/// May the key sign certificates, as far as keyUsage says (RFC 5280 section 4.2.1.3: keyCertSign is
/// bit 5)? Without the extension it may.
pub(super) fn may_sign_certificates(certificate: &Certificate) -> bool {
    const KEY_CERT_SIGN: u8 = 0x80 >> 5;
    let Some(value) = certificate.extension(ID_CE_KEY_USAGE) else { return true };
    AnyRef::from_der(value).is_ok_and(|bits| {
        without_unused_bits(bits).first().is_some_and(|first| first & KEY_CERT_SIGN != 0)
    })
}
