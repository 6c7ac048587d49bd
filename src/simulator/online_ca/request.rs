//! Reads a request the way the two services do: credentials, form field, certificate request.
//!
//! Pure, and lenient exactly where they are: Python's base64 skips what it does not know, the PEM
//! reader of OpenSSL skips text around a block, and nobody checks the request's signature.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::form_urlencoded;

use super::settings::Flavour;
use crate::simulator::der::{self, Element, Reader};

/// The one form field of the protocol.
const FIELD: &str = "certificate_request";

/// What an Authorization header amounts to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credentials {
    /// There is no such header.
    Missing,
    /// Another scheme than Basic.
    OtherScheme,
    /// Basic, but not base64 of something with a colon in UTF-8.
    Malformed,
    /// User name and password.
    Basic(String, String),
}

/// Takes an Authorization header apart: Contrail splits at the last colon, Django's wrapper at the
/// first.
pub(super) fn credentials(flavour: Flavour, header: Option<&str>) -> Credentials {
    let Some(header) = header else {
        return Credentials::Missing;
    };
    let Some((scheme, encoded)) = header.trim().split_once(char::is_whitespace) else {
        return Credentials::Malformed;
    };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Credentials::OtherScheme;
    }
    let decoded =
        lenient_base64(encoded.as_bytes()).and_then(|octets| String::from_utf8(octets).ok());
    let parts = decoded.as_deref().and_then(|text| match flavour {
        Flavour::Contrail => text.rsplit_once(':'),
        Flavour::Django => text.split_once(':'),
    });
    parts.map_or(Credentials::Malformed, |(user, password)| {
        Credentials::Basic(user.to_owned(), password.to_owned())
    })
}

/// Base64 as Python's `b64decode` reads it: other characters are skipped, only wrong padding is an
/// error.
pub(super) fn lenient_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut sextets = Vec::new();
    let mut padding = 0;
    for &octet in encoded {
        let value = match octet {
            b'A'..=b'Z' => octet - b'A',
            b'a'..=b'z' => octet - b'a' + 26,
            b'0'..=b'9' => octet - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            // Padding counts only where a group can end; there, the rest of the input is ignored.
            b'=' if sextets.len() % 4 >= 2 => {
                padding += 1;
                if sextets.len() % 4 + padding == 4 {
                    break;
                }
                continue;
            }
            _ => continue,
        };
        padding = 0;
        sextets.push(value);
    }
    if (sextets.len() + padding) % 4 != 0 {
        return None;
    }
    let octets = sextets.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0_u32, |bits, sextet| bits << 6 | u32::from(*sextet))
            << (6 * (4 - group.len()));
        bits.to_be_bytes().into_iter().skip(1).take(group.len() - 1).collect::<Vec<_>>()
    });
    Some(octets.collect())
}

/// What the form holds under the one name that counts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// Not there, or the body is no form at all.
    Missing,
    /// A part of a multipart form that has a file name.
    File,
    /// Its text; the last one if there are several.
    Text(String),
}

/// Finds the form field in a body.
pub(super) fn field(content_type: Option<&str>, body: &[u8]) -> Field {
    let content_type = content_type.unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match media_type.as_str() {
        "" | "application/x-www-form-urlencoded" => form_urlencoded::parse(body)
            .filter(|(name, _)| name == FIELD)
            .last()
            .map_or(Field::Missing, |(_, value)| Field::Text(value.into_owned())),
        "multipart/form-data" => multipart_field(content_type, body),
        _ => Field::Missing,
    }
}

fn multipart_field(content_type: &str, body: &[u8]) -> Field {
    let Some(boundary) = parameter(content_type, "boundary") else {
        return Field::Missing;
    };
    // A delimiter stands at the beginning of a line; the first one may begin the body.
    let text = format!("\r\n{}", String::from_utf8_lossy(body));
    let delimiter = format!("\r\n--{boundary}");
    let mut found = Field::Missing;
    for part in text.split(delimiter.as_str()).skip(1) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else {
            continue;
        };
        let disposition = head
            .lines()
            .find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))
            .unwrap_or_default();
        if parameter(disposition, "name") != Some(FIELD) {
            continue;
        }
        found = match parameter(disposition, "filename") {
            Some(_) => Field::File,
            None => Field::Text(content.to_owned()),
        };
    }
    found
}

/// A parameter of a header value, with or without quotes.
fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|piece| {
        let (key, text) = piece.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then(|| text.trim_matches('"'))
    })
}

/// A certificate request, as far as the services look at it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Csr {
    /// The SubjectPublicKeyInfo, copied as it is.
    pub(super) spki_der: Vec<u8>,
}

/// Why there is no certificate request in the field.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoCsr {
    /// Neither PEM nor base64 with the right padding; Contrail does not catch this.
    BadBase64,
    /// Base64, but of something else.
    SomethingElse,
}

/// Reads the field: PEM first, then base64 of DER.
pub(super) fn csr(text: &str) -> Result<Csr, NoCsr> {
    if let Some(found) = pem_block(text).and_then(|der| parse_csr(&der)) {
        return Ok(found);
    }
    let der = lenient_base64(text.as_bytes()).ok_or(NoCsr::BadBase64)?;
    parse_csr(&der).ok_or(NoCsr::SomethingElse)
}

/// The first block labelled as a request, wherever it stands in the text.
fn pem_block(text: &str) -> Option<Vec<u8>> {
    ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].iter().find_map(|label| {
        let (_, after) = text.split_once(format!("-----BEGIN {label}-----").as_str())?;
        let (body, _) = after.split_once(format!("-----END {label}-----").as_str())?;
        let base64: String = body.split_ascii_whitespace().collect();
        STANDARD.decode(base64).ok()
    })
}

/// The outline of a PKCS#10 request; its subject, attributes and signature are not looked at.
fn parse_csr(der: &[u8]) -> Option<Csr> {
    let mut request = Reader(der).expect(der::SEQUENCE)?.reader();
    let mut info = request.expect(der::SEQUENCE)?.reader();
    request.expect(der::SEQUENCE)?;
    request.expect(der::BIT_STRING)?;
    info.expect(der::INTEGER)?;
    info.expect(der::SEQUENCE)?;
    let spki = info.expect(der::SEQUENCE)?;
    Some(Csr { spki_der: spki.raw.to_vec() })
}

/// The raw number of bits of a public key as OpenSSL counts it; `None` if OpenSSL would not load
/// the key.
pub(super) fn key_bits(spki_der: &[u8]) -> Option<u32> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
    const ED448: &[u8] = &[0x2b, 0x65, 0x71];
    let mut spki = Reader(spki_der).expect(der::SEQUENCE)?.reader();
    let mut algorithm = spki.expect(der::SEQUENCE)?.reader();
    let key = spki.expect(der::BIT_STRING)?.content.get(1..)?;
    match algorithm.expect(der::OBJECT_IDENTIFIER)?.content {
        RSA => modulus_bits(Reader(key).expect(der::SEQUENCE)?),
        EC => curve_bits(algorithm.expect(der::OBJECT_IDENTIFIER)?.content),
        ED25519 => (key.len() == 32).then_some(256),
        ED448 => (key.len() == 57).then_some(456),
        _ => None,
    }
}

fn modulus_bits(key: Element<'_>) -> Option<u32> {
    let modulus = key.reader().expect(der::INTEGER)?.content;
    let significant = &modulus[modulus.iter().take_while(|octet| **octet == 0).count()..];
    let octets = u32::try_from(significant.len()).ok()?;
    octets.checked_mul(8)?.checked_sub(significant.first()?.leading_zeros())
}

fn curve_bits(curve: &[u8]) -> Option<u32> {
    match curve {
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7] | [0x2b, 0x81, 4, 0, 0x0a] => Some(256),
        [0x2b, 0x81, 4, 0, 0x22] => Some(384),
        [0x2b, 0x81, 4, 0, 0x23] => Some(521),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn contrail_splits_credentials_at_the_last_colon_and_django_at_the_first() {
        let header = basic("https://a.example/b:c:d");
        let both =
            [Flavour::Contrail, Flavour::Django].map(|flavour| credentials(flavour, Some(&header)));
        assert_eq!(both[0], Credentials::Basic("https://a.example/b:c".to_owned(), "d".to_owned()));
        assert_eq!(both[1], Credentials::Basic("https".to_owned(), "//a.example/b:c:d".to_owned()));
    }

    #[test]
    fn odd_authorization_headers_are_told_apart() {
        let no_colon = basic("jdoe");
        let cases = [
            (None, Credentials::Missing),
            (Some("Bearer abc"), Credentials::OtherScheme),
            (Some("Basic"), Credentials::Malformed),
            (Some("Basic abc"), Credentials::Malformed),
            (Some(no_colon.as_str()), Credentials::Malformed),
            (Some("Basic /w=="), Credentials::Malformed),
            (Some("bAsIc ajo="), Credentials::Basic("j".to_owned(), String::new())),
        ];
        for (header, expected) in cases {
            assert_eq!(credentials(Flavour::Contrail, header), expected, "{header:?}");
        }
    }

    #[test]
    fn base64_is_read_as_python_reads_it() {
        let cases: [(&str, Option<&[u8]>); 9] = [
            ("aGVsbG8=", Some(b"hello")),
            ("aGVs\r\nbG8=", Some(b"hello")),
            ("!a-G_V.s bG8=", Some(b"hello")),
            ("", Some(b"")),
            ("!!!", Some(b"")),
            ("None", Some(&[0x36, 0x89, 0xde])),
            ("aGVsbG8", None),
            ("a", None),
            ("aGVsbG8=trailing", Some(b"hello")),
        ];
        for (encoded, expected) in cases {
            assert_eq!(lenient_base64(encoded.as_bytes()).as_deref(), expected, "{encoded}");
        }
    }

    #[test]
    fn only_a_form_has_a_field() {
        let form = b"a=b&certificate_request=first&certificate_request=x%2By+z";
        assert_eq!(
            field(Some("application/x-www-form-urlencoded; charset=utf-8"), form),
            Field::Text("x+y z".to_owned())
        );
        assert_eq!(field(None, form), Field::Text("x+y z".to_owned()));
        assert_eq!(field(Some("application/x-pem-file"), form), Field::Missing);
        assert_eq!(field(Some("application/x-www-form-urlencoded"), b"-----BEGIN"), Field::Missing);
    }

    #[test]
    fn a_multipart_part_with_a_file_name_is_a_file() {
        let part = |disposition: &str| {
            let body = format!(
                "--B\r\nContent-Disposition: form-data; {disposition}\r\n\r\nvalue\n\r\n--B--\r\n"
            );
            field(Some("multipart/form-data; boundary=\"B\""), body.as_bytes())
        };
        assert_eq!(part("name=\"certificate_request\""), Field::Text("value\n".to_owned()));
        assert_eq!(part("name=\"certificate_request\"; filename=\"u.csr\""), Field::File);
        assert_eq!(part("name=\"other\""), Field::Missing);
        assert_eq!(field(Some("multipart/form-data"), b"--B"), Field::Missing);
    }

    #[test]
    fn noise_is_not_a_request_and_never_a_panic() {
        assert_eq!(csr("aGVsbG8"), Err(NoCsr::BadBase64));
        for noise in ["", "None", "aGVsbG8=", "MAA=", "MIIB"] {
            assert_eq!(csr(noise), Err(NoCsr::SomethingElse), "{noise}");
        }
    }
}
