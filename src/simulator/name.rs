//! Distinguished names: their DER, the slash form OpenSSL prints, and the file names OpenSSL
//! derives from them.
//!
//! It decides nothing about who gets which name. The string types and length limits are those
//! OpenSSL applies when an attribute is set through `X509_NAME_add_entry_by_NID`, which is what
//! ContrailCA 0.4.0 ends up calling.

use aws_lc_rs::digest;

use crate::simulator::der::{self, Element, Reader};

/// An attribute type as OpenSSL knows it: short name, object identifier, string type, longest
/// value.
struct Attribute {
    short: &'static str,
    long: &'static str,
    oid: &'static [u8],
    tag: u8,
    limit: usize,
}

/// The attribute types OpenSSL 1.1 and 3 know by these names, with the limits of its
/// `tbl_standard.h`.
const ATTRIBUTES: [Attribute; 10] = [
    Attribute {
        short: "CN",
        long: "commonName",
        oid: &[0x55, 4, 3],
        tag: der::UTF8_STRING,
        limit: 64,
    },
    Attribute {
        short: "OU",
        long: "organizationalUnitName",
        oid: &[0x55, 4, 11],
        tag: der::UTF8_STRING,
        limit: 64,
    },
    Attribute {
        short: "O",
        long: "organizationName",
        oid: &[0x55, 4, 10],
        tag: der::UTF8_STRING,
        limit: 64,
    },
    Attribute {
        short: "C",
        long: "countryName",
        oid: &[0x55, 4, 6],
        tag: der::PRINTABLE_STRING,
        limit: 2,
    },
    Attribute {
        short: "L",
        long: "localityName",
        oid: &[0x55, 4, 7],
        tag: der::UTF8_STRING,
        limit: 128,
    },
    Attribute {
        short: "ST",
        long: "stateOrProvinceName",
        oid: &[0x55, 4, 8],
        tag: der::UTF8_STRING,
        limit: 128,
    },
    Attribute {
        short: "street",
        long: "streetAddress",
        oid: &[0x55, 4, 9],
        tag: der::UTF8_STRING,
        limit: usize::MAX,
    },
    Attribute {
        short: "DC",
        long: "domainComponent",
        oid: &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25],
        tag: der::IA5_STRING,
        limit: usize::MAX,
    },
    Attribute {
        short: "UID",
        long: "userId",
        oid: &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1],
        tag: der::UTF8_STRING,
        limit: usize::MAX,
    },
    Attribute {
        short: "emailAddress",
        long: "emailAddress",
        oid: &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1],
        tag: der::IA5_STRING,
        limit: 128,
    },
];

/// OpenSSL refuses to put this attribute into a name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The name of the attribute is not one OpenSSL knows.
    #[error("OpenSSL knows no attribute named {0:?}")]
    UnknownAttribute(String),
    /// The value is empty, too long or holds characters its string type does not allow.
    #[error("OpenSSL refuses this value for the attribute {0}")]
    RefusedValue(&'static str),
}

/// A distinguished name, one attribute per RDN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    der: Vec<u8>,
}

impl Name {
    /// Sets the attributes in order; a type that is set twice keeps the later value, as
    /// `X509Name.__setattr__` does.
    pub(crate) fn from_attributes<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut rdns: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for (key, value) in attributes {
            let attribute = attribute(key)?;
            let encoded = relative_name(attribute, value)?;
            rdns.retain(|(short, _)| *short != attribute.short);
            rdns.push((attribute.short, encoded));
        }
        let content: Vec<u8> = rdns.into_iter().flat_map(|(_, encoded)| encoded).collect();
        Ok(Self { der: der::element(der::SEQUENCE, &content) })
    }

    /// The attributes in the order given, repeated ones included; types in upper or lower case.
    pub(crate) fn in_order<'a>(
        attributes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut content = Vec::new();
        for (key, value) in attributes {
            let attribute = ATTRIBUTES
                .iter()
                .find(|known| {
                    key.eq_ignore_ascii_case(known.short) || key.eq_ignore_ascii_case(known.long)
                })
                .ok_or_else(|| Error::UnknownAttribute(key.to_owned()))?;
            content.extend(relative_name(attribute, value)?);
        }
        Ok(Self { der: der::element(der::SEQUENCE, &content) })
    }

    /// The name of a certificate authority of the simulator.
    pub(crate) fn authority(system: &str, common_name: &str) -> Result<Self, Error> {
        Self::from_attributes([("O", "Chancery Simulator"), ("OU", system), ("CN", common_name)])
    }

    /// The name as it stands in a certificate.
    pub(crate) fn from_element(element: Element<'_>) -> Self {
        Self { der: element.raw.to_vec() }
    }

    /// The DER of the whole name.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The attributes in order, by OpenSSL's short names; unknown types by the hexadecimal form of
    /// their identifier.
    pub(crate) fn components(&self) -> Vec<(String, String)> {
        self.values()
            .map(|(oid, value)| {
                (short_name(oid.content), String::from_utf8_lossy(value.content).into_owned())
            })
            .collect()
    }

    /// The form `/O=NDG/OU=Security/CN=testuser`.
    pub(crate) fn slash_form(&self) -> String {
        self.components().iter().map(|(key, value)| format!("/{key}={value}")).collect()
    }

    /// What `openssl x509 -subject_hash` prints: the first four octets, little endian, of the SHA-1
    /// of the name's canonical form (every string as UTF8String, ASCII lower case, blanks trimmed
    /// and collapsed, no outer header).
    pub(crate) fn hash(&self) -> String {
        let canonical: Vec<u8> = self
            .values()
            .flat_map(|(oid, value)| {
                let value = match canonical_text(value) {
                    Some(text) => der::element(der::UTF8_STRING, text.as_bytes()),
                    None => value.raw.to_vec(),
                };
                der::element(der::SET, &der::sequence(&[oid.raw, &value]))
            })
            .collect();
        little_endian_hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &canonical).as_ref())
    }

    /// What `openssl x509 -subject_hash_old` prints: the same of the MD5 of the DER.
    pub(crate) fn old_hash(&self) -> String {
        little_endian_hex(&md5(&self.der))
    }

    /// Type and value of each attribute; multi-valued RDNs are flattened, which no name of ours
    /// has.
    fn values(&self) -> impl Iterator<Item = (Element<'_>, Element<'_>)> {
        let mut rdns = Reader(&self.der).element().map_or(Reader(&[]), Element::reader);
        let mut attributes = Reader(&[]);
        std::iter::from_fn(move || {
            if attributes.is_empty() {
                attributes = rdns.expect(der::SET)?.reader();
            }
            let mut pair = attributes.expect(der::SEQUENCE)?.reader();
            Some((pair.expect(der::OBJECT_IDENTIFIER)?, pair.element()?))
        })
    }
}

fn attribute(key: &str) -> Result<&'static Attribute, Error> {
    ATTRIBUTES
        .iter()
        .find(|attribute| key == attribute.short || key == attribute.long)
        .ok_or_else(|| Error::UnknownAttribute(key.to_owned()))
}

fn relative_name(attribute: &'static Attribute, value: &str) -> Result<Vec<u8>, Error> {
    let length = value.chars().count();
    let fits = match attribute.tag {
        der::PRINTABLE_STRING => {
            length == attribute.limit
                && value.chars().all(|c| c.is_ascii_alphanumeric() || " '()+,-./:=?".contains(c))
        }
        der::IA5_STRING => (1..=attribute.limit).contains(&length) && value.is_ascii(),
        _ => (1..=attribute.limit).contains(&length),
    };
    if !fits {
        return Err(Error::RefusedValue(attribute.short));
    }
    let oid = der::element(der::OBJECT_IDENTIFIER, attribute.oid);
    let value = der::element(attribute.tag, value.as_bytes());
    Ok(der::element(der::SET, &der::sequence(&[&oid, &value])))
}

fn short_name(oid: &[u8]) -> String {
    match ATTRIBUTES.iter().find(|attribute| attribute.oid == oid) {
        Some(attribute) => attribute.short.to_owned(),
        None => hex(oid),
    }
}

/// The text of a string type that OpenSSL's `asn1_string_canon` touches; `None` for all others.
fn canonical_text(value: Element<'_>) -> Option<String> {
    let text = match value.tag {
        der::UTF8_STRING | der::PRINTABLE_STRING | der::IA5_STRING | der::VISIBLE_STRING => {
            String::from_utf8_lossy(value.content).into_owned()
        }
        der::T61_STRING => value.content.iter().map(|octet| char::from(*octet)).collect(),
        der::BMP_STRING => {
            let units: Vec<u16> = value
                .content
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16_lossy(&units)
        }
        der::UNIVERSAL_STRING => value
            .content
            .chunks_exact(4)
            .filter_map(|c| char::from_u32(u32::from_be_bytes([c[0], c[1], c[2], c[3]])))
            .collect(),
        _ => return None,
    };
    Some(text.split_ascii_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase())
}

fn little_endian_hex(hash: &[u8]) -> String {
    hash.iter().take(4).rev().map(|octet| format!("{octet:02x}")).collect()
}

/// Lower case hexadecimal.
pub(crate) fn hex(octets: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(octets)
}

/// MD5 (RFC 1321), for names that others derive with it: aws-lc-rs rightly offers none.
pub(crate) fn md5(message: &[u8]) -> [u8; 16] {
    const SHIFTS: [[u32; 4]; 4] =
        [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64).wrapping_mul(8).to_le_bytes());
    for block in padded.chunks_exact(64) {
        let words: Vec<u32> =
            block.chunks_exact(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        let [mut a, mut b, mut c, mut d] = state;
        for i in 0..64 {
            let (mixed, word) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            // RFC 1321 defines its table as the integer part of 2^32 times abs(sin(i + 1)).
            let constant = (((i + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
            let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(words[word]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (total, part) in state.iter_mut().zip([a, b, c, d]) {
            *total = total.wrapping_add(part);
        }
    }
    let mut out = [0; 16];
    for (slot, word) in out.chunks_exact_mut(4).zip(state) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_gives_the_digests_of_rfc_1321() {
        let cases = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            (
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
                "d174ab98d277d9f5a5611c2c9f419d9f",
            ),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (message, digest) in cases {
            assert_eq!(hex(&md5(message.as_bytes())), digest, "{message}");
        }
        // Every length around the block boundary is padded to whole blocks.
        for length in 50..70 {
            md5(&vec![b'x'; length]);
        }
        assert_eq!(hex(&md5(&[b'a'; 55])), "ef1772b6dff9a122358552954ad0df65");
        assert_eq!(hex(&md5(&[b'a'; 56])), "3b0c8ac703f828b04c6c197006d17218");
        assert_eq!(hex(&md5(&[b'a'; 63])), "b06521f39153d618550606be297466d5");
        assert_eq!(hex(&md5(&[b'a'; 64])), "014842d480b571495a4a0363793f7367");
    }

    #[test]
    fn openssl_refuses_what_does_not_fit_its_table() {
        let long = "x".repeat(65);
        for (key, value) in [
            ("CN", long.as_str()),
            ("CN", ""),
            ("C", "GBR"),
            ("C", "G*"),
            ("emailAddress", "ü@example.org"),
        ] {
            assert!(
                matches!(Name::from_attributes([(key, value)]), Err(Error::RefusedValue(_))),
                "{key}={value}"
            );
        }
        for key in ["STREET", "EMAILADDRESS", "FOO"] {
            assert!(
                matches!(Name::from_attributes([(key, "x")]), Err(Error::UnknownAttribute(_))),
                "{key}"
            );
        }
        assert!(Name::from_attributes([("DC", long.as_str())]).is_ok());
    }

    #[test]
    fn a_type_that_is_set_twice_keeps_the_later_value() {
        let name = Name::from_attributes([("CN", "a"), ("O", "b"), ("commonName", "c")]);
        assert_eq!(name.map(|name| name.slash_form()), Ok("/O=b/CN=c".to_owned()));
    }
}
