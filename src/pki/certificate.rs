//! Certificates (RFC 5280), read as leniently as real certificate authorities make necessary.
//!
//! The outer structure is walked here, element by element, so that the exact bytes of a part are at
//! hand. x509-cert's own decoder, even with its lenient profile, refuses dates before 1970 and serial
//! numbers with superfluous leading zeros, and sorts the attributes of a multi-valued RDN, which
//! would no longer equal the name in another certificate. Nothing is verified: that is
//! [`super::chain`]'s work.

use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{
    ID_CE_BASIC_CONSTRAINTS, ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_SUBJECT_ALT_NAME,
};
use data_encoding::HEXUPPER;
use der::asn1::AnyRef;
use der::{Decode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use x509_cert::ext::pkix::{ExtendedKeyUsage, KeyUsage};

use super::names::{AlternativeNames, Attribute, AttributeType, Usage, UsageCode};
use super::{name, pem};

/// The last second that [`Timestamp`] can hold at every offset, 9999-12-30T22:00:00Z.
const END_OF_TIME: i64 = 253_402_207_200;

/// Why bytes are not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A part of the certificate is missing or is not DER of the right type.
    #[error("the {part} of the certificate cannot be decoded")]
    Malformed {
        /// The part as RFC 5280 section 4.1 calls it.
        part: &'static str,
    },
    /// The certificate is complete, and more bytes follow.
    #[error("there are bytes after the end of the certificate")]
    TrailingData,
}

/// Why a PEM text could not be read as certificates. No text quotes the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A block has no END line of its own: the text was cut off or two files were run together.
    #[error("block {block} of the PEM text is truncated: it has no END line of its own")]
    Truncated {
        /// Its place among all blocks of the text, from 1.
        block: usize,
    },
    /// What stands between the BEGIN and END lines of a certificate is not base64.
    #[error("block {block} of the PEM text is damaged: its contents are not base64")]
    Undecodable {
        /// Its place among all blocks of the text, from 1.
        block: usize,
    },
    /// The contents are base64, but not a certificate.
    #[error("block {block} of the PEM text is not an X.509 certificate")]
    NotACertificate {
        /// Its place among all blocks of the text, from 1.
        block: usize,
        /// What is wrong with it.
        #[source]
        source: Error,
    },
}

/// An X.509 certificate of any version.
///
/// Cheap to clone; equal if the bytes are equal.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

struct Parsed {
    der: Vec<u8>,
    is_v3: bool,
    serial_number: String,
    issuer: String,
    issuer_der: Vec<u8>,
    subject: String,
    subject_der: Vec<u8>,
    common_names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    spki_der: Vec<u8>,
    has_ca_constraint: bool,
    alternative_names: AlternativeNames,
    fingerprint_sha256: String,
}

impl Certificate {
    /// Decodes one certificate.
    ///
    /// Takes serial numbers that are zero, negative or longer than 20 octets, versions 1 to 3,
    /// dates from the year 0 on, any subject, and any extension.
    ///
    /// # Errors
    /// Names the first part that cannot be decoded.
    pub fn from_der(der: &[u8]) -> Result<Self, Error> {
        let (certificate, rest) = Self::from_leading_der(der)?;
        if !rest.is_empty() {
            return Err(Error::TrailingData);
        }
        Ok(certificate)
    }

    /// Decodes the certificate at the start of `input`, and returns what follows it.
    fn from_leading_der(input: &[u8]) -> Result<(Self, &[u8]), Error> {
        let malformed = |_| Error::Malformed { part: "outermost" };
        let der =
            SliceReader::new(input).and_then(|mut reader| reader.tlv_bytes()).map_err(malformed)?;
        Ok((Self(Arc::new(Parsed::read(der)?)), &input[der.len()..]))
    }

    /// Returns the bytes that were decoded.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// Writes the certificate as PEM that ends with a line break.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", self.der())
    }

    /// Returns the subject as RFC 4514 text, for example `CN=example.org,O=Example,C=DE`.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// Returns the issuer as RFC 4514 text.
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the DER of the subject, byte for byte as it stands in the certificate.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject_der
    }

    /// Returns the DER of the issuer, byte for byte as it stands in the certificate.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer_der
    }

    /// Returns the serial number as `openssl x509 -serial` shows it: upper-case hexadecimal digits,
    /// two for each octet and no leading zero octets, with a minus sign if it is negative.
    pub fn serial_number(&self) -> &str {
        &self.0.serial_number
    }

    /// Returns the first instant at which the certificate is valid.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// Returns the last instant at which the certificate is valid.
    ///
    /// RFC 5280's date for "no expiration", the end of the year 9999, lies beyond what a
    /// [`Timestamp`] can hold and becomes the afternoon before.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Returns the DER of the SubjectPublicKeyInfo.
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki_der
    }

    /// May this certificate sign others? So says its basicConstraints extension; a self-issued
    /// certificate from before version 3 has no extensions and counts as a root.
    pub fn is_ca(&self) -> bool {
        self.0.has_ca_constraint || (!self.0.is_v3 && self.is_self_issued())
    }

    /// Are subject and issuer the same, as in every root certificate? Its signature is not looked
    /// at.
    pub fn is_self_issued(&self) -> bool {
        self.0.subject_der == self.0.issuer_der
    }

    /// Returns the DNS names of the subject alternative name extension, in order and as written.
    pub fn dns_names(&self) -> &[String] {
        &self.0.alternative_names.dns_names
    }

    /// Returns the IP addresses of the subject alternative name extension, in order.
    pub fn ip_addresses(&self) -> &[IpAddr] {
        &self.0.alternative_names.ip_addresses
    }

    /// Returns the URIs of the subject alternative name extension, in order and as written.
    pub fn uris(&self) -> &[String] {
        &self.0.alternative_names.uris
    }

    /// Returns the e-mail addresses of the subject alternative name extension, in order and as
    /// written.
    pub fn email_addresses(&self) -> &[String] {
        &self.0.alternative_names.email_addresses
    }

    pub(super) fn alternative_names(&self) -> &AlternativeNames {
        &self.0.alternative_names
    }

    /// Returns the common name of the subject; the last and so most specific one, if there are
    /// several.
    pub fn common_name(&self) -> Option<&str> {
        self.common_names().last().map(String::as_str)
    }

    /// Returns all common names of the subject, in the order in which they are written.
    pub fn common_names(&self) -> &[String] {
        &self.0.common_names
    }

    /// Returns the attributes of the subject that can be asked for, apart from common names.
    pub fn subject_attributes(&self) -> Vec<Attribute> {
        let attributes = AnyRef::from_der(self.subject_der()).and_then(name::attributes);
        let known = attributes.unwrap_or_default().into_iter().filter_map(|(oid, value)| {
            let kind = AttributeType::ALL.into_iter().find(|kind| kind.oid() == oid)?;
            Some(Attribute { kind, value: value? })
        });
        known.collect()
    }

    /// Returns what the key is for, as far as that can be asked for.
    pub fn usages(&self) -> Vec<Usage> {
        let bits = self.extension(ID_CE_KEY_USAGE);
        let bits = bits.and_then(|value| KeyUsage::from_der(value).ok());
        let purposes = self.extension(ID_CE_EXT_KEY_USAGE);
        let purposes = purposes.and_then(|value| ExtendedKeyUsage::from_der(value).ok());
        let is_there = |usage: &Usage| match usage.code() {
            UsageCode::Bit(bit) => bits.as_ref().is_some_and(|bits| bits.0.contains(bit)),
            UsageCode::Purpose(id) => purposes.as_ref().is_some_and(|all| all.0.contains(&id)),
        };
        Usage::ALL.into_iter().filter(is_there).collect()
    }

    /// Returns the SHA-256 digest of the DER as 64 lower-case hexadecimal digits.
    pub fn fingerprint_sha256(&self) -> &str {
        &self.0.fingerprint_sha256
    }

    /// Returns what was signed, how, and the signature (RFC 5280 section 4.1.1).
    pub(super) fn signed(&self) -> Option<Signed<'_>> {
        let mut parts = SliceReader::new(AnyRef::from_der(self.der()).ok()?.value()).ok()?;
        let to_be_signed = parts.tlv_bytes().ok()?;
        let algorithm: AnyRef<'_> = parts.decode().ok()?;
        let signature = without_unused_bits(parts.decode().ok()?);
        Some(Signed { to_be_signed, algorithm: algorithm.value(), signature })
    }

    /// Returns the value of an extension, which was read with everything else when the certificate
    /// was decoded.
    pub(super) fn extension(&self, id: ObjectIdentifier) -> Option<&[u8]> {
        let outermost = AnyRef::from_der(self.der()).ok()?;
        let to_be_signed = name::elements(outermost.value()).ok()?.into_iter().next()?;
        let is_extensions = |part: &AnyRef<'_>| {
            part.tag().is_context_specific() && part.tag().number() == TagNumber(3)
        };
        let parts = name::elements(to_be_signed.value()).ok()?;
        let explicit = parts.into_iter().find(is_extensions)?;
        value_of(&read_extensions(explicit).ok()?, id)
    }

    /// Is `instant` within the validity, both ends included (RFC 5280 section 4.1.2.5)?
    pub fn is_valid_at(&self, instant: Timestamp) -> bool {
        self.not_before() <= instant && instant <= self.not_after()
    }
}

/// The signature of a certificate and what it is of.
pub(super) struct Signed<'a> {
    /// The tbsCertificate with its tag and length.
    pub(super) to_be_signed: &'a [u8],
    /// The contents of the AlgorithmIdentifier.
    pub(super) algorithm: &'a [u8],
    /// The bits of the signature.
    pub(super) signature: &'a [u8],
}

/// The octets of a BIT STRING, whose first octet counts the bits of the last that do not belong to it.
pub(super) fn without_unused_bits(bit_string: AnyRef<'_>) -> &[u8] {
    bit_string.value().get(1..).unwrap_or_default()
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.subject())
            .field("fingerprint_sha256", &self.fingerprint_sha256())
            .finish_non_exhaustive()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.der() == other.der()
    }
}

impl Eq for Certificate {}

impl Hash for Certificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.der().hash(state);
    }
}

/// Reads every certificate of a PEM text, in order and each once.
///
/// Takes LF, CRLF or no line breaks, lines of any length, blank lines, indentation, a byte order
/// mark, text before, between and after the blocks, and the labels `CERTIFICATE`, `X509 CERTIFICATE`
/// and `TRUSTED CERTIFICATE` (OpenSSL's, whose trailing trust settings are dropped). Blocks with
/// other labels are passed over without decoding them, private keys above all; ask
/// [`contains_private_key`] whether there was one. An input without any block gives an empty vector.
///
/// # Errors
/// Says which block is truncated or cannot be decoded, counting blocks of every label. A block that
/// is passed over can be truncated too: what follows it would be lost without a word.
pub fn parse_pem(text: &[u8]) -> Result<Vec<Certificate>, PemError> {
    let mut certificates = Vec::new();
    let mut seen = HashSet::new();
    for block in pem::blocks(text) {
        let block = block.map_err(|truncated| PemError::Truncated { block: truncated.number })?;
        if let Some(certificate) = from_block(&block)?
            && seen.insert(certificate.clone())
        {
            certificates.push(certificate);
        }
    }
    Ok(certificates)
}

/// Is there a block with a private key, whole or truncated, in this PEM text?
///
/// For the places where a person may have put a key among certificates, to warn them.
pub fn contains_private_key(text: &[u8]) -> bool {
    const MARKER: &[u8] = b"PRIVATE KEY-----";
    text.windows(MARKER.len()).any(|window| window == MARKER)
}

pub(super) fn from_block(block: &pem::Block<'_>) -> Result<Option<Certificate>, PemError> {
    let is_trusted = block.label == b"TRUSTED CERTIFICATE";
    if !is_trusted && block.label != b"CERTIFICATE" && block.label != b"X509 CERTIFICATE" {
        return Ok(None);
    }
    let number = block.number;
    let der = block.decode().ok_or(PemError::Undecodable { block: number })?;
    let parsed = if is_trusted {
        Certificate::from_leading_der(&der).map(|(certificate, _)| certificate)
    } else {
        Certificate::from_der(&der)
    };
    parsed.map(Some).map_err(|source| PemError::NotACertificate { block: number, source })
}

impl Parsed {
    fn read(der: &[u8]) -> Result<Self, Error> {
        let outermost = AnyRef::from_der(der).map_err(|_| malformed("outermost"))?;
        let mut outer = Elements::of(outermost, "outermost sequence")?;
        let signed = outer.next(Tag::Sequence, "tbsCertificate")?;
        outer.next(Tag::Sequence, "signatureAlgorithm")?;
        outer.next(Tag::BitString, "signature")?;
        outer.finish("outermost sequence")?;

        let mut fields = Elements::of(signed, "tbsCertificate")?;
        let is_v3 = fields.next_context_specific(0)?.is_some_and(is_version_3);
        let serial_number = fields.next(Tag::Integer, "serialNumber")?;
        fields.next(Tag::Sequence, "signature algorithm")?;
        let issuer_der = fields.next_bytes("issuer")?;
        let (not_before, not_after) = validity(fields.next(Tag::Sequence, "validity")?)?;
        let subject_der = fields.next_bytes("subject")?;
        let spki_der = fields.next_bytes("subjectPublicKeyInfo")?;
        fields.next_context_specific(1)?;
        fields.next_context_specific(2)?;
        let extensions = fields.next_context_specific(3)?;
        fields.finish("tbsCertificate")?;

        let extensions = extensions.map_or_else(|| Ok(Vec::new()), read_extensions)?;
        Ok(Self {
            is_v3,
            serial_number: serial_number_text(serial_number.value()),
            issuer: name::to_rfc4514(issuer_der),
            issuer_der: issuer_der.to_vec(),
            subject: name::to_rfc4514(subject_der),
            subject_der: subject_der.to_vec(),
            common_names: name::common_names(subject_der),
            not_before,
            not_after,
            spki_der: spki_der.to_vec(),
            has_ca_constraint: value_of(&extensions, ID_CE_BASIC_CONSTRAINTS)
                .is_some_and(is_ca_constraint),
            alternative_names: value_of(&extensions, ID_CE_SUBJECT_ALT_NAME)
                .map(AlternativeNames::read)
                .unwrap_or_default(),
            fingerprint_sha256: super::sha256_hex(der),
            der: der.to_vec(),
        })
    }
}

fn malformed(part: &'static str) -> Error {
    Error::Malformed { part }
}

/// The elements of a constructed value, taken one after the other.
struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    fn of(constructed: AnyRef<'a>, part: &'static str) -> Result<Self, Error> {
        if !constructed.tag().is_constructed() {
            return Err(malformed(part));
        }
        SliceReader::new(constructed.value()).map(Self).map_err(|_| malformed(part))
    }

    fn next(&mut self, tag: Tag, part: &'static str) -> Result<AnyRef<'a>, Error> {
        let element: AnyRef<'_> = self.0.decode().map_err(|_| malformed(part))?;
        (element.tag() == tag).then_some(element).ok_or_else(|| malformed(part))
    }

    /// Takes a SEQUENCE with its tag and length.
    fn next_bytes(&mut self, part: &'static str) -> Result<&'a [u8], Error> {
        let is_sequence = Tag::peek(&self.0).is_ok_and(|tag| tag == Tag::Sequence);
        if !is_sequence {
            return Err(malformed(part));
        }
        self.0.tlv_bytes().map_err(|_| malformed(part))
    }

    /// Takes the next element if it has this context-specific tag.
    fn next_context_specific(&mut self, number: u32) -> Result<Option<AnyRef<'a>>, Error> {
        let is_next = !self.0.is_finished()
            && Tag::peek(&self.0)
                .is_ok_and(|tag| tag.is_context_specific() && tag.number() == TagNumber(number));
        if !is_next {
            return Ok(None);
        }
        let element = self.0.decode().map_err(|_| malformed("tbsCertificate"))?;
        Ok(Some(element))
    }

    fn finish(self, part: &'static str) -> Result<(), Error> {
        self.0.finish().map_err(|_| malformed(part))
    }
}

/// Reads `[0] EXPLICIT Version`, where 2 stands for version 3.
fn is_version_3(explicit: AnyRef<'_>) -> bool {
    explicit.value() == [0x02, 0x01, 0x02]
}

fn serial_number_text(octets: &[u8]) -> String {
    let is_negative = octets.first().is_some_and(|first| first & 0x80 != 0);
    let magnitude = if is_negative { negate(octets) } else { octets.to_vec() };
    let leading_zeros = magnitude.iter().take_while(|octet| **octet == 0).count();
    let shown = &magnitude[leading_zeros.min(magnitude.len().saturating_sub(1))..];
    let sign = if is_negative { "-" } else { "" };
    format!("{sign}{}", HEXUPPER.encode(shown))
}

/// Negates a number in two's complement.
fn negate(octets: &[u8]) -> Vec<u8> {
    let mut negated: Vec<u8> = octets.iter().map(|octet| !octet).collect();
    for octet in negated.iter_mut().rev() {
        *octet = octet.wrapping_add(1);
        if *octet != 0 {
            break;
        }
    }
    negated
}

fn validity(sequence: AnyRef<'_>) -> Result<(Timestamp, Timestamp), Error> {
    let times = name::elements(sequence.value()).map_err(|_| malformed("validity"))?;
    let [not_before, not_after] = times[..] else {
        return Err(malformed("validity"));
    };
    Ok((
        read_time(not_before).ok_or_else(|| malformed("notBefore date"))?,
        read_time(not_after).ok_or_else(|| malformed("notAfter date"))?,
    ))
}

/// Reads UTCTime (`YYMMDDHHMM[SS]Z`) or GeneralizedTime (`YYYYMMDDHHMM[SS]Z`), RFC 5280 sections
/// 4.1.2.5.1 and 4.1.2.5.2; leaving off the seconds is not allowed there, but was once.
fn read_time(time: AnyRef<'_>) -> Option<Timestamp> {
    let text = time.value();
    let (century, rest) = if time.tag() == Tag::UtcTime {
        let is_last_century = two_digits(text.get(..2)?)? >= 50;
        (if is_last_century { 19 } else { 20 }, text)
    } else if time.tag() == Tag::GeneralizedTime {
        (two_digits(text.get(..2)?)?, text.get(2..)?)
    } else {
        return None;
    };
    let digits = rest.strip_suffix(b"Z")?;
    let (pairs, remainder) = digits.as_chunks::<2>();
    let fields: Vec<i8> = pairs.iter().map(|pair| two_digits(pair)).collect::<Option<_>>()?;
    let (year, month, day, hour, minute, second) = match (&fields[..], remainder) {
        (&[year, month, day, hour, minute], []) => (year, month, day, hour, minute, 0),
        (&[year, month, day, hour, minute, second], []) => (year, month, day, hour, minute, second),
        _ => return None,
    };
    let year = i16::from(century) * 100 + i16::from(year);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    Some(to_timestamp(civil))
}

fn two_digits(pair: &[u8]) -> Option<i8> {
    let [tens, units] = *pair else { return None };
    (tens.is_ascii_digit() && units.is_ascii_digit())
        .then(|| (tens - b'0') * 10 + (units - b'0'))
        .and_then(|number| i8::try_from(number).ok())
}

/// Converts a date in UTC; only the last hours of the year 9999 do not fit.
fn to_timestamp(civil: DateTime) -> Timestamp {
    TimeZone::UTC
        .to_timestamp(civil)
        .unwrap_or_else(|_| Timestamp::from_second(END_OF_TIME).unwrap_or(Timestamp::MAX))
}

type ExtensionValue<'a> = (ObjectIdentifier, &'a [u8]);

/// Reads `[3] EXPLICIT SEQUENCE OF Extension`. Extensions whose identifiers are too long for us to
/// hold are left out.
fn read_extensions(explicit: AnyRef<'_>) -> Result<Vec<ExtensionValue<'_>>, Error> {
    let refused = |_| malformed("extensions");
    let sequence = AnyRef::from_der(explicit.value()).map_err(refused)?;
    let mut values = Vec::new();
    for extension in name::elements(sequence.value()).map_err(refused)? {
        let parts = name::elements(extension.value()).map_err(refused)?;
        let (Some(id), Some(value)) = (parts.first(), parts.last()) else {
            return Err(malformed("extensions"));
        };
        if id.tag() != Tag::ObjectIdentifier || value.tag() != Tag::OctetString {
            return Err(malformed("extensions"));
        }
        if let Ok(id) = ObjectIdentifier::from_bytes(id.value()) {
            values.push((id, value.value()));
        }
    }
    Ok(values)
}

fn value_of<'a>(extensions: &[ExtensionValue<'a>], id: ObjectIdentifier) -> Option<&'a [u8]> {
    extensions.iter().find(|(found, _)| *found == id).map(|(_, value)| *value)
}

/// Reads `BasicConstraints ::= SEQUENCE { cA BOOLEAN DEFAULT FALSE, ... }`.
fn is_ca_constraint(value: &[u8]) -> bool {
    let first = AnyRef::from_der(value)
        .and_then(|sequence| name::elements(sequence.value()))
        .unwrap_or_default()
        .into_iter()
        .next();
    first.is_some_and(|flag| {
        flag.tag() == Tag::Boolean && flag.value().iter().any(|octet| *octet != 0)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, CustomExtension, DnType, IsCa, KeyPair, SerialNumber};

    use super::*;

    fn params(common_name: &str, dns_names: &[&str]) -> CertificateParams {
        let dns_names: Vec<String> = dns_names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(dns_names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2027, 3, 4);
        params
    }

    fn der_of(params: &CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    fn certificate(params: &CertificateParams) -> Certificate {
        Certificate::from_der(&der_of(params)).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn what_a_certificate_says_of_subject_and_key_is_readable() {
        use rcgen::{ExtendedKeyUsagePurpose, KeyUsagePurpose};
        let mut asked = params("a.example.org", &["a.example.org"]);
        asked.distinguished_name.push(DnType::OrganizationName, "Example AG");
        asked.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        asked.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let read = certificate(&asked);
        let organization =
            Attribute { kind: AttributeType::Organization, value: "Example AG".to_owned() };
        assert_eq!(read.subject_attributes(), [organization]);
        let usages: Vec<String> = read.usages().iter().map(ToString::to_string).collect();
        assert_eq!(usages, ["digital signature", "client auth"]);
        let plain = certificate(&params("a", &[]));
        assert_eq!((plain.subject_attributes(), plain.usages()), (vec![], vec![]));
    }

    #[test]
    fn the_parts_of_a_certificate_are_readable() {
        let key = KeyPair::generate().unwrap();
        let mut asked = params("a.example.org", &["a.example.org", "*.B.example.org"]);
        asked.serial_number = Some(SerialNumber::from_slice(&[0x00, 0xfe, 0x01]));
        let der = asked.self_signed(&key).unwrap().der().to_vec();
        let read = Certificate::from_der(&der).unwrap();
        assert_eq!(read.der(), der);
        assert_eq!(read.subject(), "CN=a.example.org");
        assert_eq!(read.issuer(), "CN=a.example.org");
        assert_eq!(read.common_name(), Some("a.example.org"));
        assert_eq!(read.dns_names(), ["a.example.org", "*.B.example.org"]);
        assert_eq!(read.serial_number(), "FE01");
        assert_eq!(read.not_before(), at("2026-01-02T00:00:00Z"));
        assert_eq!(read.not_after(), at("2027-03-04T00:00:00Z"));
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert_eq!(read.spki_der(), spki);
        assert!(read.is_self_issued() && !read.is_ca());
        assert_eq!(read.fingerprint_sha256().len(), 64);
        assert!(format!("{read:?}").contains("CN=a.example.org"));
    }

    #[test]
    fn a_ca_is_recognised() {
        let mut asked = params("Some CA", &[]);
        asked.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        assert!(certificate(&asked).is_ca());
        asked.is_ca = IsCa::ExplicitNoCa;
        assert!(!certificate(&asked).is_ca());
    }

    #[test]
    fn serial_numbers_of_any_length_and_sign_are_taken() {
        let long = [0x7f; 33];
        let cases: [(&[u8], String); 3] =
            [(&[0], "00".to_owned()), (&[5], "05".to_owned()), (&long, "7F".repeat(33))];
        for (octets, expected) in cases {
            let mut asked = params("x", &[]);
            asked.serial_number = Some(SerialNumber::from_slice(octets));
            assert_eq!(certificate(&asked).serial_number(), expected);
        }
        assert_eq!(serial_number_text(&[0xff]), "-01");
        assert_eq!(serial_number_text(&[0x80, 0x00]), "-8000");
        assert_eq!(serial_number_text(&[]), "");
    }

    #[test]
    fn odd_subjects_and_unknown_extensions_are_taken() {
        let mut asked = params("x", &[]);
        let domain_component = DnType::from_oid(&[0, 9, 2342, 19_200_300, 100, 1, 25]);
        asked.distinguished_name.push(domain_component, "https://ca.example.org/a/b");
        let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![1, 2, 3]);
        unknown.set_criticality(true);
        asked.custom_extensions.push(unknown);
        let read = certificate(&asked);
        assert_eq!(read.subject(), "DC=https://ca.example.org/a/b,CN=x");
    }

    #[test]
    fn dates_outside_of_what_a_timestamp_holds_are_taken() {
        let cases: [(Tag, &[u8], &str); 6] = [
            (Tag::UtcTime, b"491231235959Z", "2049-12-31T23:59:59Z"),
            (Tag::UtcTime, b"500101000000Z", "1950-01-01T00:00:00Z"),
            (Tag::UtcTime, b"2601020304Z", "2026-01-02T03:04:00Z"),
            (Tag::GeneralizedTime, b"20500101000000Z", "2050-01-01T00:00:00Z"),
            (Tag::GeneralizedTime, b"99991231235959Z", "9999-12-30T22:00:00Z"),
            (Tag::GeneralizedTime, b"00000101000000Z", "0000-01-01T00:00:00Z"),
        ];
        for (tag, text, expected) in cases {
            let value = AnyRef::new(tag, text).unwrap();
            assert_eq!(read_time(value), Some(at(expected)), "{expected}");
        }
        let unreadable: [&[u8]; 5] =
            [b"", b"260102030405", b"2601020304056Z", b"269902030405Z", b"26\xff102030405Z"];
        for text in unreadable {
            let value = AnyRef::new(Tag::UtcTime, text).unwrap();
            assert_eq!(read_time(value), None);
        }
    }

    #[test]
    fn bytes_that_are_not_a_certificate_are_refused_by_part() {
        let der = der_of(&params("x", &[]));
        let trailing = [der.as_slice(), &[0]].concat();
        assert_eq!(Certificate::from_der(&trailing), Err(Error::TrailingData));
        let cases: [&[u8]; 4] = [b"", b"hello", &der[..der.len() - 1], &[0x30, 0x00]];
        for bytes in cases {
            assert!(matches!(Certificate::from_der(bytes), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn pem_is_read_in_order_and_each_certificate_once() {
        let (one, two) = (certificate(&params("one", &[])), certificate(&params("two", &[])));
        let text = format!(
            "subject=one\r\n{}\nsome words\n{}{}",
            one.to_pem().replace('\n', "\r\n"),
            two.to_pem(),
            one.to_pem().trim_end()
        );
        assert_eq!(parse_pem(text.as_bytes()), Ok(vec![one, two]));
        assert_eq!(parse_pem(b""), Ok(vec![]));
        assert_eq!(parse_pem(b"not PEM at all"), Ok(vec![]));
    }

    #[test]
    fn openssls_labels_are_read() {
        let one = certificate(&params("one", &[]));
        let x509 = one.to_pem().replace("CERTIFICATE", "X509 CERTIFICATE");
        assert_eq!(parse_pem(x509.as_bytes()), Ok(vec![one.clone()]));
        let trust_settings = [0x30, 0x02, 0x0c, 0x00];
        let with_settings = [one.der(), &trust_settings].concat();
        let trusted = pem::encode("TRUSTED CERTIFICATE", &with_settings);
        assert_eq!(parse_pem(trusted.as_bytes()), Ok(vec![one]));
        let mislabelled = pem::encode("CERTIFICATE", &with_settings);
        let source = Error::TrailingData;
        assert_eq!(
            parse_pem(mislabelled.as_bytes()),
            Err(PemError::NotACertificate { block: 1, source })
        );
    }

    #[test]
    fn private_keys_are_passed_over_and_can_be_asked_for() {
        let one = certificate(&params("one", &[]));
        let key = KeyPair::generate().unwrap().serialize_pem();
        let text = format!("{key}{}", one.to_pem());
        assert_eq!(parse_pem(text.as_bytes()), Ok(vec![one.clone()]));
        assert!(contains_private_key(text.as_bytes()));
        assert!(!contains_private_key(one.to_pem().as_bytes()));
    }

    #[test]
    fn a_damaged_block_is_named_and_not_quoted() {
        let pem = certificate(&params("one", &[])).to_pem();
        let line = pem.lines().nth(1).unwrap();
        let cases = [
            (
                "truncated",
                pem[..pem.len() - 40].to_owned(),
                "block 2 of the PEM text is truncated: it has no END line of its own",
            ),
            (
                "not base64",
                pem.replace(line, "%%%"),
                "block 2 of the PEM text is damaged: its contents are not base64",
            ),
            (
                "a line lost",
                pem.replace(line, ""),
                "block 2 of the PEM text is not an X.509 certificate",
            ),
            (
                "empty",
                "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".to_owned(),
                "block 2 of the PEM text is not an X.509 certificate",
            ),
        ];
        for (name, damaged, expected) in cases {
            let text = format!("{pem}{damaged}");
            let error = parse_pem(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{name}");
            assert!(!format!("{error:?}").contains(&line[..8]), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Certificate::from_der(&bytes);
            let _ = parse_pem(&bytes);
            let _ = parse_pem(pem::encode("TRUSTED CERTIFICATE", &bytes).as_bytes());
        }

        #[test]
        fn no_mutated_certificate_makes_decoding_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut der = der_of(&params("a.example.org", &["a.example.org"]));
            let mut text = pem::encode("CERTIFICATE", &der).into_bytes();
            for (at, byte) in &changes {
                let (in_der, in_text) = (at.index(der.len()), at.index(text.len()));
                der[in_der] = *byte;
                text[in_text] = *byte;
            }
            if let Ok(read) = Certificate::from_der(&der) {
                prop_assert_eq!(read.der(), &der[..]);
                prop_assert_eq!(parse_pem(read.to_pem().as_bytes()), Ok(vec![read]));
            }
            let _ = parse_pem(&text);
            der.truncate(changes[0].0.index(der.len()));
            let _ = Certificate::from_der(&der);
        }
    }
}
