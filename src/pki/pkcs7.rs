//! Certificates in PKCS #7 (RFC 2315) or CMS (RFC 5652): a SignedData, of which nothing but its
//! certificates is looked at.
//!
//! Only the frame is walked, so that each certificate keeps the bytes that were signed. The types
//! of x509-cert, which the `cms` crate has for them, would refuse what [`super::certificate`]
//! takes, and write some others anew in another order.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5911::ID_SIGNED_DATA;
use der::asn1::AnyRef;
use der::{Decode as _, EncodingRules, Reader as _, SliceReader, Tag, Tagged as _};

const SEQUENCE: u8 = 0x30;
/// `[0]`, which is the content of a ContentInfo, and the certificates of a SignedData.
const NUMBERED_ZERO: u8 = 0xa0;
/// The length of what ends with two zero octets.
const INDEFINITE: u8 = 0x80;
/// A version, digest algorithms and the content that is signed come before the certificates.
const PARTS_BEFORE: usize = 3;
/// So many elements a CertificateSet has. The smallest have two bytes, and a body has room for more
/// of those than anybody needs.
const ELEMENTS: usize = 4096;

/// Returns the DER of each certificate in a SignedData, in order; there may be none.
///
/// The frame may be BER with indefinite lengths, as streaming writers make it. What else a
/// SignedData may have in the place of a certificate, such as an attribute certificate, is passed
/// over, and so is what follows. `None` where it is no SignedData, or one of more than 4096
/// certificates.
#[must_use]
pub fn certificates(ber: &[u8]) -> Option<Vec<&[u8]>> {
    let (content_type, content) = split(contents(ber, SEQUENCE)?)?;
    let is_signed_data = content_type.tag() == Tag::ObjectIdentifier
        && ObjectIdentifier::from_bytes(content_type.value()) == Ok(ID_SIGNED_DATA);
    if !is_signed_data {
        return None;
    }
    let mut parts = contents(contents(content, NUMBERED_ZERO)?, SEQUENCE)?;
    for _ in 0..PARTS_BEFORE {
        parts = split(parts)?.1;
    }
    if parts.first() != Some(&NUMBERED_ZERO) {
        return Some(Vec::new());
    }
    each(contents(parts, NUMBERED_ZERO)?)
}

/// The certificates among the elements of a CertificateSet.
fn each(set: &[u8]) -> Option<Vec<&[u8]>> {
    let mut elements = reader(set)?;
    let mut certificates = Vec::new();
    let mut count = 0;
    // Zero is where a set of indefinite length ends.
    while let Some(tag) = elements.peek_byte().filter(|tag| *tag != 0) {
        count += 1;
        if count > ELEMENTS {
            return None;
        }
        let element = elements.tlv_bytes().ok()?;
        if tag == SEQUENCE {
            certificates.push(element);
        }
    }
    Some(certificates)
}

/// What is in the element that `bytes` begin with. Where its length is indefinite that is all that
/// follows: looking for the end of each of those that lie in each other would read them as often.
fn contents(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    match bytes {
        [found, INDEFINITE, rest @ ..] if *found == tag => Some(rest),
        [found, ..] if *found == tag => Some(split(bytes)?.0.value()),
        _ => None,
    }
}

/// The first element, and what follows it.
fn split(bytes: &[u8]) -> Option<(AnyRef<'_>, &[u8])> {
    let mut reader = reader(bytes)?;
    let element = AnyRef::decode(&mut reader).ok()?;
    let end = usize::try_from(reader.position()).ok()?;
    Some((element, bytes.get(end..)?))
}

fn reader(bytes: &[u8]) -> Option<SliceReader<'_>> {
    SliceReader::new_with_encoding_rules(bytes, EncodingRules::Ber).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use cms::cert::CertificateChoices;
    use cms::content_info::{CmsVersion, ContentInfo};
    use cms::signed_data::{CertificateSet, EncapsulatedContentInfo, SignedData, SignerInfos};
    use der::Encode as _;

    use super::*;

    /// Of definite length.
    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let contents = parts.concat();
        let tag = Tag::from_der(&[tag]).unwrap();
        AnyRef::new(tag, &contents).unwrap().to_der().unwrap()
    }

    /// Of indefinite length.
    fn open_ended(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        [&[tag, 0x80][..], &parts.concat(), &[0, 0]].concat()
    }

    const SIGNED_DATA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02";
    const VERSION_AND_DIGESTS: &[u8] = b"\x02\x01\x01\x31\x00";
    const NO_DATA: &[u8] = b"\x30\x0b\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01";
    const NO_SIGNERS: &[u8] = b"\x31\x00";

    /// A SignedData with these in place of its certificates, as they are.
    pub(in crate::pki) fn signed_data(elements: &[&[u8]]) -> Vec<u8> {
        framed(elements, tlv)
    }

    fn framed(elements: &[&[u8]], wrap: fn(u8, &[&[u8]]) -> Vec<u8>) -> Vec<u8> {
        let set = wrap(0xa0, elements);
        let signed = wrap(0x30, &[VERSION_AND_DIGESTS, NO_DATA, &set, NO_SIGNERS]);
        wrap(0x30, &[SIGNED_DATA, &wrap(0xa0, &[&signed])])
    }

    fn certificate() -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        made.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn certificates_are_found_as_they_are() {
        let (one, other) = (certificate(), certificate());
        let (one, other) = (one.as_slice(), other.as_slice());
        // It is no certificate that x509-cert would take, and is for others to judge.
        let odd: &[u8] = b"\x30\x03\x02\x01\x00";
        let attribute_certificate: &[u8] = b"\xa2\x02\x05\x00";
        let whole = signed_data(&[one, other]);
        let no_set = tlv(0x30, &[VERSION_AND_DIGESTS, NO_DATA, NO_SIGNERS]);
        type Case<'a> = (&'static str, Vec<u8>, Option<Vec<&'a [u8]>>);
        let cases: [Case<'_>; 11] = [
            ("in order", whole.clone(), Some(vec![one, other])),
            ("in another order", framed(&[other, one], tlv), Some(vec![other, one])),
            ("BER", framed(&[one, other], open_ended), Some(vec![one, other])),
            ("something after it", [&whole[..], b"\n"].concat(), Some(vec![one, other])),
            ("odd", framed(&[odd, one], tlv), Some(vec![odd, one])),
            ("others", framed(&[attribute_certificate, one], tlv), Some(vec![one])),
            ("an empty set", framed(&[], tlv), Some(vec![])),
            ("no set", tlv(0x30, &[SIGNED_DATA, &tlv(0xa0, &[&no_set])]), Some(vec![])),
            ("half of it", whole[..whole.len() / 2].to_vec(), None),
            ("other content", tlv(0x30, &[&NO_DATA[2..], &tlv(0xa0, &[&no_set])]), None),
            ("a certificate", one.to_vec(), None),
        ];
        for (name, ber, expected) in cases {
            assert_eq!(certificates(&ber), expected, "{name}");
        }
    }

    #[test]
    fn there_is_an_end_to_elements() {
        let (one, other): (&[u8], &[u8]) = (b"\x30\x00", b"\xa1\x00");
        let count_of = |element: &[u8], count: usize| {
            certificates(&signed_data(&vec![element; count])).map(|all| all.len())
        };
        assert_eq!(count_of(one, ELEMENTS), Some(ELEMENTS));
        assert_eq!(count_of(other, ELEMENTS), Some(0));
        assert_eq!((count_of(one, ELEMENTS + 1), count_of(other, ELEMENTS + 1)), (None, None));
    }

    #[test]
    fn what_the_cms_crate_writes_is_read() {
        let der = certificate();
        let one = CertificateChoices::Certificate(x509_cert::Certificate::from_der(&der).unwrap());
        let signed = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: Default::default(),
            encap_content_info: EncapsulatedContentInfo {
                econtent_type: const_oid::db::rfc5911::ID_DATA,
                econtent: None,
            },
            certificates: Some(CertificateSet(vec![one].try_into().unwrap())),
            crls: None,
            signer_infos: SignerInfos(Default::default()),
        };
        let content = der::asn1::Any::encode_from(&signed).unwrap();
        let info = ContentInfo { content_type: ID_SIGNED_DATA, content };
        assert_eq!(certificates(&info.to_der().unwrap()), Some(vec![&der[..]]));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = certificates(&bytes);
        }
    }
}
