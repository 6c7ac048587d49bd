//! Reads a PKCS#10 request (RFC 2986) the way a public authority does: subject, key, requested
//! names of every kind, and proof that the key signed it.
//!
//! Pure. It knows nothing of products and orders: systems share it, and it is not the operator's.

use std::net::IpAddr;

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::simulator::der::{self, Element, Reader};
use crate::simulator::name::{Name, hex};

/// pkcs-9-at-extensionRequest.
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14];
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// rsaEncryption.
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// Context tags of GeneralName (RFC 5280, section 4.2.1.6).
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const IP: u8 = 0x87;
/// The User Principal Name of Microsoft: an otherName.
const UPN: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 0x14, 2, 3];

/// One element of subjectAltName, encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AltName(Vec<u8>);

impl AltName {
    /// A host name; an international one becomes its A-label, as the server promises.
    pub(crate) fn dns(name: &str) -> Option<Self> {
        let (star, rest) = match name.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", name),
        };
        match url::Host::parse(rest).ok()? {
            url::Host::Domain(domain) if !domain.is_empty() => {
                Some(Self(der::element(DNS, format!("{star}{domain}").as_bytes())))
            }
            url::Host::Domain(_) | url::Host::Ipv4(_) | url::Host::Ipv6(_) => None,
        }
    }

    /// A mailbox.
    pub(crate) fn email(mailbox: &str) -> Option<Self> {
        (mailbox.is_ascii() && mailbox.contains('@'))
            .then(|| Self(der::element(EMAIL, mailbox.as_bytes())))
    }

    /// An address of either family.
    pub(crate) fn ip(address: &str) -> Option<Self> {
        Some(Self(match address.parse().ok()? {
            IpAddr::V4(address) => der::element(IP, &address.octets()),
            IpAddr::V6(address) => der::element(IP, &address.octets()),
        }))
    }

    /// A Microsoft user.
    pub(crate) fn upn(user: &str) -> Self {
        let value = der::element(der::CONTEXT_0, &der::element(der::UTF8_STRING, user.as_bytes()));
        let oid = der::element(der::OBJECT_IDENTIFIER, UPN);
        Self(der::element(der::CONTEXT_0, &[oid, value].concat()))
    }

    /// The element as it stands in the extension.
    pub(crate) fn der(&self) -> &[u8] {
        &self.0
    }

    /// The host name, if it is one.
    pub(crate) fn as_dns(&self) -> Option<String> {
        let element = Reader(&self.0).expect(DNS)?;
        Some(String::from_utf8_lossy(element.content).into_owned())
    }

    /// Kind and value for people, such as `dns:example.org`.
    pub(crate) fn label(&self) -> String {
        let Some(Element { tag, content, .. }) = Reader(&self.0).element() else {
            return String::new();
        };
        let text = || String::from_utf8_lossy(content).into_owned();
        match tag {
            DNS => format!("dns:{}", text()),
            EMAIL => format!("email:{}", text()),
            URI => format!("uri:{}", text()),
            IP => match <[u8; 4]>::try_from(content) {
                Ok(octets) => format!("ip:{}", IpAddr::from(octets)),
                Err(_) => match <[u8; 16]>::try_from(content) {
                    Ok(octets) => format!("ip:{}", IpAddr::from(octets)),
                    Err(_) => format!("ip:{}", hex(content)),
                },
            },
            other => format!("{other:02x}:{}", hex(content)),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Csr {
    pub(crate) subject: Name,
    /// The SubjectPublicKeyInfo, copied as it is.
    pub(crate) spki_der: Vec<u8>,
    pub(crate) names: Vec<AltName>,
}

impl Csr {
    /// Whether its key is one of RSA.
    pub(crate) fn is_rsa(&self) -> bool {
        let kind = || {
            let mut spki = Reader(&self.spki_der).expect(der::SEQUENCE)?.reader();
            spki.expect(der::SEQUENCE)?.reader().expect(der::OBJECT_IDENTIFIER)
        };
        kind().is_some_and(|kind| kind.content == RSA)
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// It cannot be read.
    Unreadable,
    /// Its signature is not that of its key, or of a kind that is not known here.
    NotSigned,
}

/// Reads a request. Without `needs_armour`, base64 alone will do.
pub(crate) fn read(text: &str, needs_armour: bool) -> Result<Csr, Unusable> {
    let der = decode(text, needs_armour).ok_or(Unusable::Unreadable)?;
    let request = parse(&der).ok_or(Unusable::Unreadable)?;
    if is_signed(&request) { Ok(request.csr) } else { Err(Unusable::NotSigned) }
}

/// The DER of a request, whatever it holds.
pub(crate) fn decode(text: &str, needs_armour: bool) -> Option<Vec<u8>> {
    let base64 = match armoured(text) {
        Some(inside) => inside,
        None if needs_armour => return None,
        None => text,
    };
    let compact: String = base64.split_ascii_whitespace().collect();
    STANDARD.decode(compact).ok()
}

fn armoured(text: &str) -> Option<&str> {
    ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].iter().find_map(|label| {
        let (_, after) = text.split_once(format!("-----BEGIN {label}-----").as_str())?;
        Some(after.split_once(format!("-----END {label}-----").as_str())?.0)
    })
}

/// A request with what its signature covers.
struct Signed<'a> {
    csr: Csr,
    info: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
}

fn parse(der: &[u8]) -> Option<Signed<'_>> {
    let mut outer = Reader(der);
    let mut request = outer.expect(der::SEQUENCE)?.reader();
    if !outer.is_empty() {
        return None;
    }
    let info = request.expect(der::SEQUENCE)?;
    let algorithm = request.expect(der::SEQUENCE)?.reader().expect(der::OBJECT_IDENTIFIER)?;
    let signature = request.expect(der::BIT_STRING)?;
    let mut fields = info.reader();
    fields.expect(der::INTEGER)?;
    let subject = fields.expect(der::SEQUENCE)?;
    let spki = fields.expect(der::SEQUENCE)?;
    let names = match fields.optional(der::CONTEXT_0) {
        Some(attributes) => requested_names(attributes)?,
        None => Vec::new(),
    };
    Some(Signed {
        csr: Csr { subject: Name::from_element(subject), spki_der: spki.raw.to_vec(), names },
        info: info.raw,
        algorithm: algorithm.content,
        signature: signature.content.get(1..)?,
    })
}

/// The names of subjectAltName among the requested extensions; `None` if they are broken.
fn requested_names(attributes: Element<'_>) -> Option<Vec<AltName>> {
    let mut names = Vec::new();
    let mut attributes = attributes.reader();
    while !attributes.is_empty() {
        let mut attribute = attributes.expect(der::SEQUENCE)?.reader();
        if attribute.expect(der::OBJECT_IDENTIFIER)?.content != EXTENSION_REQUEST {
            continue;
        }
        let mut extensions = attribute.expect(der::SET)?.reader().expect(der::SEQUENCE)?.reader();
        while !extensions.is_empty() {
            let mut extension = extensions.expect(der::SEQUENCE)?.reader();
            let is_names =
                extension.expect(der::OBJECT_IDENTIFIER)?.content == SUBJECT_ALTERNATIVE_NAME;
            let _critical = extension.optional(der::BOOLEAN);
            let value = extension.expect(der::OCTET_STRING)?.content;
            if is_names {
                let mut found = Reader(value).expect(der::SEQUENCE)?.reader();
                while !found.is_empty() {
                    names.push(AltName(found.element()?.raw.to_vec()));
                }
            }
        }
    }
    Some(names)
}

fn is_signed(request: &Signed<'_>) -> bool {
    let verified = || {
        let mut spki = Reader(&request.csr.spki_der).expect(der::SEQUENCE)?.reader();
        let mut kind = spki.expect(der::SEQUENCE)?.reader();
        let oid = kind.expect(der::OBJECT_IDENTIFIER)?.content;
        let curve = kind.optional(der::OBJECT_IDENTIFIER).map(|curve| curve.content);
        let key = spki.expect(der::BIT_STRING)?.content.get(1..)?;
        let algorithm = algorithm(oid, curve, request.algorithm)?;
        UnparsedPublicKey::new(algorithm, key).verify(request.info, request.signature).ok()
    };
    verified().is_some()
}

/// The way to verify a signature with this algorithm by a key of this kind.
fn algorithm(
    key: &[u8],
    curve: Option<&[u8]>,
    signed_with: &[u8],
) -> Option<&'static dyn VerificationAlgorithm> {
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    const RSA_SIGNATURES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
    const ECDSA_SIGNATURES: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
    const P384: &[u8] = &[0x2b, 0x81, 4, 0, 0x22];
    const P521: &[u8] = &[0x2b, 0x81, 4, 0, 0x23];
    match key {
        RSA => match signed_with.strip_prefix(RSA_SIGNATURES)? {
            [11] => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            [12] => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            [13] => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        },
        EC => match (curve?, signed_with.strip_prefix(ECDSA_SIGNATURES)?) {
            (P256, [2]) => Some(&signature::ECDSA_P256_SHA256_ASN1),
            (P256, [3]) => Some(&signature::ECDSA_P256_SHA384_ASN1),
            (P384, [2]) => Some(&signature::ECDSA_P384_SHA256_ASN1),
            (P384, [3]) => Some(&signature::ECDSA_P384_SHA384_ASN1),
            (P521, [2]) => Some(&signature::ECDSA_P521_SHA256_ASN1),
            (P521, [3]) => Some(&signature::ECDSA_P521_SHA384_ASN1),
            (P521, [4]) => Some(&signature::ECDSA_P521_SHA512_ASN1),
            _ => None,
        },
        ED25519 if signed_with == ED25519 => Some(&signature::ED25519),
        _ => None,
    }
}
