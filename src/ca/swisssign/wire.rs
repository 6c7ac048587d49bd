//! The bodies as the API spells them (OpenAPI 3.5.0), read leniently.
//!
//! Every field of an answer is optional here: the specification marks optional fields in a way its
//! own version ignores, and names required ones that do not exist. Unknown fields are passed over.

use std::collections::HashSet;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use der::{Decode as _, Encode as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::outside::capped::{Capped, told};
use crate::pki::{self, Certificate};

/// What the API gives on a page where nothing else is asked for. It may give less.
pub(super) const PAGE: usize = 300;
/// So many are read of anything else that comes in a list: products of a client, tags of an order,
/// certificates of a chain.
pub(super) const MANY: usize = 300;

/// A client: `cli-` and a UUID.
pub(super) const CLIENT: &str = "cli-";
/// A product, which the API calls a policy mapping.
pub(super) const PRODUCT: &str = "pma-";
/// An order.
pub(super) const ORDER: &str = "ord-";

/// Whether `text` is `prefix` and 36 characters of a lower-case UUID. The API's own pattern is not
/// anchored; what passes here can be put into a path.
pub(super) fn is_id(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|uuid| {
        uuid.len() == 36 && uuid.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f' | b'-'))
    })
}

/// `POST /v2/issue` and `POST /v2/validate`. What is not asked for is left out: an explicit null for
/// `csr` would have the CA make the key.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct IssueRequest<'a> {
    pub(super) product_reference: &'a str,
    pub(super) csr: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tags: Vec<&'a str>,
    /// Not `synchronous`, which one description in the specification calls it.
    pub(super) synchrone: bool,
    /// Silence would count as consent too.
    #[serde(rename = "acceptTandC")]
    pub(super) accept_terms: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) overrides: Option<Overrides>,
}

/// What is to differ from the CSR and the product.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Overrides {
    /// In the unit of the product.
    pub(super) validity: i64,
}

/// The filter of `POST /v2/orders/paged`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SearchOrders<'a> {
    pub(super) client_references: [&'a str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tags: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) order_status: Option<&'a [&'static str]>,
}

/// One page of a search.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: Deserialize<'de>")]
pub(super) struct Page<T> {
    /// Hits of the whole search.
    pub(super) records_filtered: Option<u64>,
    pub(super) data: Option<Capped<T, PAGE>>,
}

/// A client (customer).
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Client {
    #[serde(default)]
    pub(super) uuid: Option<String>,
    pub(super) name: Option<String>,
    pub(super) products: Option<Capped<Product, MANY>>,
}

/// A product, with the fields that decide whether Chancery can order it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Product {
    #[serde(default)]
    pub(super) uuid: Option<String>,
    pub(super) product_name: Option<String>,
    pub(super) key_generation_type: Option<String>,
    pub(super) authorization: Option<bool>,
    #[serde(rename = "isCABDNSEmailLinkValidationRequired")]
    pub(super) email_link: Option<bool>,
    #[serde(rename = "isEmailBoxValidationRequired")]
    pub(super) email_box: Option<bool>,
    pub(super) requires_registration_documents: Option<bool>,
    pub(super) requires_registration_documents_on_register: Option<bool>,
    pub(super) product_validity: Option<Validity>,
    pub(super) expiration_date: Option<String>,
}

/// How long certificates of a product live.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Validity {
    pub(super) validity_type: Option<String>,
    /// Where nothing else is asked for.
    pub(super) validity: Option<i64>,
    pub(super) validity_options: Option<Capped<i64, MANY>>,
}

/// An order. It does not repeat the CSR, the names or the key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    #[serde(default)]
    pub(super) uuid: Option<String>,
    pub(super) created_on: Option<String>,
    pub(super) status: Option<String>,
    pub(super) client_reference: Option<String>,
    pub(super) product_reference: Option<String>,
    pub(super) certificate: Option<IssuedCertificate>,
    pub(super) tags: Option<Capped<String, MANY>>,
}

/// The certificate of an order.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct IssuedCertificate {
    /// Base64 of DER, without the lines of PEM.
    #[serde(default)]
    pub(super) certificate: Option<String>,
}

impl Client {
    /// About so many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        let products = self.products.as_deref().unwrap_or_default();
        let texts = |one: &Product| {
            let options =
                one.product_validity.as_ref().and_then(|one| one.validity_options.as_ref());
            weight(&[&one.uuid, &one.product_name, &one.key_generation_type, &one.expiration_date])
                + options.map_or(0, |options| size_of_val(&**options))
        };
        size_of::<Self>()
            + weight(&[&self.uuid, &self.name])
            + size_of_val(products)
            + products.iter().map(texts).sum::<usize>()
    }
}

/// So many bytes texts take.
fn weight(texts: &[&Option<String>]) -> usize {
    texts.iter().map(|text| text.as_ref().map_or(0, String::len)).sum()
}

impl Order {
    /// About so many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        let certificate = self.certificate.as_ref().and_then(|one| one.certificate.as_ref());
        size_of::<Self>()
            + weight(&[&self.uuid, &self.created_on, &self.status])
            + weight(&[&self.client_reference, &self.product_reference])
            + certificate.map_or(0, String::len)
            + size_of_val(self.tags())
            + self.tags().iter().map(String::len).sum::<usize>()
    }

    /// The id, where it is one.
    pub(super) fn id(&self) -> Option<&str> {
        self.uuid.as_deref().filter(|id| is_id(ORDER, id))
    }

    pub(super) fn has_tag(&self, tag: &str) -> bool {
        self.tags().iter().any(|carried| carried == tag)
    }

    pub(super) fn tags(&self) -> &[String] {
        self.tags.as_deref().unwrap_or_default()
    }

    /// When the CA took it, where that can be read.
    pub(super) fn created(&self) -> Option<Timestamp> {
        self.created_on.as_deref().and_then(time)
    }

    /// The certificate, where the answer holds it.
    pub(super) fn certificate(&self) -> Option<Certificate> {
        let text = self.certificate.as_ref()?.certificate.as_deref()?;
        certificates_of(text).ok()?.into_iter().next()
    }
}

/// A step of an order at the CA.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Task {
    #[serde(default)]
    pub(super) status: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) error: Option<String>,
}

/// What an error says, where it is the API's own and not a gateway's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiError {
    /// For SwissSign's support.
    #[serde(default)]
    pub(super) uuid: Option<String>,
    pub(super) error_code: Option<String>,
    pub(super) error_messages: Option<Capped<String, MANY>>,
}

impl ApiError {
    /// `None` where the body is none of the API's.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let error: Self = serde_json::from_slice(body).ok()?;
        let is_one = error.error_code.is_some() || error.error_messages.is_some();
        is_one.then_some(error)
    }
}

/// A full date and time (RFC 3339); without an offset it is taken for UTC.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

/// The bare JSON string of `/status`. `None` where it is none.
pub(super) fn status(body: &[u8]) -> Option<String> {
    serde_json::from_slice(body).ok()
}

/// The token of `/v2/jwt`: the bare text, in one pair of quotes before version 2.1.5. `None` where
/// it cannot be one.
pub(super) fn token(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    let parts: Vec<&str> = text.split('.').collect();
    let is_part = |part: &&str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (parts.len() == 3 && parts.iter().all(is_part)).then_some(text)
}

/// The certificates of `/certificate/chain`, in the order they came, each once: an array of base64
/// of DER; PEM and PKCS #7 in the elements are understood too, and a PKCS #7 in place of the whole.
/// Empty where nothing is served yet.
pub(super) fn chain(body: &[u8]) -> Result<Vec<Certificate>, String> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let elements = match serde_json::from_slice::<Option<Capped<String, MANY>>>(body) {
        Ok(elements) => elements.map(Capped::into_vec).unwrap_or_default(),
        Err(error) => match (told(&error), serde_json::from_slice::<String>(body)) {
            (Some(why), _) => return Err(why),
            (None, Ok(element)) => vec![element],
            (None, Err(_)) => {
                let found = bare(body).ok_or_else(|| "it is not an array of texts".to_owned())?;
                return each_once(found);
            }
        },
    };
    let mut certificates = Vec::new();
    for (at, element) in elements.iter().enumerate().filter(|(_, text)| !text.trim().is_empty()) {
        certificates.extend(certificates_of(element).map_err(|why| format!("element {at} {why}"))?);
    }
    each_once(certificates)
}

/// Each once, in the order they came, where there are no more than anybody needs.
fn each_once(mut certificates: Vec<Certificate>) -> Result<Vec<Certificate>, String> {
    let mut seen = HashSet::new();
    certificates.retain(|one| seen.insert(one.clone()));
    match certificates.len() {
        too_many if too_many > MANY => {
            Err(format!("it holds {too_many} certificates, and at most {MANY} are taken"))
        }
        _ => Ok(certificates),
    }
}

/// What lies in a body without any JSON, as servers send it that go by the media type
/// `application/pkcs7-mime` (RFC 8551, section 3.2): DER or BER as it is, in base64, or in PEM. `None`
/// where that holds no certificate.
fn bare(body: &[u8]) -> Option<Vec<Certificate>> {
    let of_text = || certificates_of(std::str::from_utf8(body).ok()?).ok();
    let found = certificates_of_der(body).ok().or_else(of_text)?;
    (!found.is_empty()).then_some(found)
}

/// Decodes base64 with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The certificates of one element; no error text quotes it.
fn certificates_of(text: &str) -> Result<Vec<Certificate>, &'static str> {
    if text.contains("-----BEGIN PKCS7") || text.contains("-----BEGIN CMS") {
        let body = text.split("-----").nth(2).unwrap_or_default();
        return certificates_of_der(&decoded(body)?);
    }
    if text.contains("-----BEGIN") {
        return pki::parse_pem(text.as_bytes()).map_err(|_| "is PEM that cannot be read");
    }
    certificates_of_der(&decoded(text)?)
}

fn decoded(text: &str) -> Result<Vec<u8>, &'static str> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    LENIENT.decode(digits).map_err(|_| "is not base64")
}

/// A certificate, or a PKCS #7 (RFC 2315, RFC 5652) that holds nothing but certificates.
fn certificates_of_der(der: &[u8]) -> Result<Vec<Certificate>, &'static str> {
    if let Ok(certificate) = Certificate::from_der(der) {
        return Ok(vec![certificate]);
    }
    const FAULT: &str = "is neither a certificate nor a PKCS #7 with certificates";
    let ders = pki::pkcs7::certificates(der).ok_or(FAULT)?;
    ders.into_iter().map(|der| Certificate::from_der(der).map_err(|_| FAULT)).collect()
}

/// The key of a certification request (RFC 2986), as DER of its SubjectPublicKeyInfo.
pub(super) fn spki_of_csr(csr_der: &[u8]) -> Option<Vec<u8>> {
    let request = x509_cert::request::CertReq::from_der(csr_der).ok()?;
    request.info.public_key.to_der().ok()
}

/// Beginning of the tag that tells which key an order is for.
pub(super) const KEY_TAG: &str = "spki-";
/// Beginning of every name that Chancery gives to an order.
pub(super) const NAME_TAG: &str = "chancery-";

/// The tag for a key: the first eight bytes of the SHA-256 of its SubjectPublicKeyInfo.
pub(super) fn key_tag(spki_der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, spki_der);
    format!("{KEY_TAG}{}", data_encoding::HEXLOWER.encode(&digest.as_ref()[..8]))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::pki::{KeyKind, Names, PrivateKey};

    #[test]
    fn ids_are_a_prefix_and_a_lower_case_uuid() {
        let uuid = "0f0e0d0c-0b0a-4908-8706-050403020100";
        let cases = [
            ("as it is", format!("ord-{uuid}"), true),
            ("another prefix", format!("cli-{uuid}"), false),
            ("upper case", format!("ord-{}", uuid.to_uppercase()), false),
            ("something before it", format!("xord-{uuid}"), false),
            ("something after it", format!("ord-{uuid}/tags"), false),
            ("a path", "ord-../../../../../../../../../../../..".to_owned(), false),
            ("nothing", String::new(), false),
        ];
        for (name, id, is_one) in cases {
            assert_eq!(is_id(ORDER, &id), is_one, "{name}");
        }
    }

    #[test]
    fn tokens_are_bare_text_or_in_one_pair_of_quotes() {
        let cases: [(&str, &str, Option<&str>); 8] = [
            ("bare", "a.b-_.c", Some("a.b-_.c")),
            ("with a line end", " a.b.c\r\n", Some("a.b.c")),
            ("quoted, as before 2.1.5", "\"a.b.c\"\n", Some("a.b.c")),
            ("quoted twice", "\"\"a.b.c\"\"", None),
            ("an object", "{\"token\":\"a.b.c\"}", None),
            ("a page", "<html>a.b.c</html>", None),
            ("two parts", "a.b", None),
            ("nothing", "", None),
        ];
        for (name, body, expected) in cases {
            assert_eq!(token(body.as_bytes()), expected, "{name}");
        }
    }

    #[test]
    fn times_are_read_with_and_without_an_offset() {
        let expected = Some(Timestamp::from_second(1_780_000_000).unwrap());
        for text in ["2026-05-28T20:26:40Z", "2026-05-28T22:26:40+02:00", "2026-05-28T20:26:40.000"]
        {
            assert_eq!(time(text), expected, "{text}");
        }
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn the_key_of_a_csr_is_the_key_that_signed_it() {
        for kind in [KeyKind::Rsa2048, KeyKind::EcdsaP256, KeyKind::EcdsaP384] {
            let key = PrivateKey::generate(kind).unwrap();
            let csr_der = pki::csr::build(&key, &Names::default()).unwrap();
            assert_eq!(spki_of_csr(&csr_der).as_deref(), Some(key.spki_der()), "{kind:?}");
            let tag = key_tag(key.spki_der());
            assert!(tag.len() == 21 && tag.starts_with("spki-"), "{tag}");
        }
        assert_eq!(spki_of_csr(b"x"), None);
    }

    fn certificate() -> (Vec<u8>, Certificate) {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let der = made.self_signed(&key).unwrap().der().to_vec();
        let certificate = Certificate::from_der(&der).unwrap();
        (der, certificate)
    }

    fn pkcs7(der: &[u8]) -> Vec<u8> {
        use cms::cert::CertificateChoices;
        use cms::cert::x509::Certificate as X509;
        use cms::content_info::{CmsVersion, ContentInfo};
        use cms::signed_data::{CertificateSet, EncapsulatedContentInfo, SignedData, SignerInfos};
        let one = CertificateChoices::Certificate(X509::from_der(der).unwrap());
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
        let info = ContentInfo {
            content_type: const_oid::db::rfc5911::ID_SIGNED_DATA,
            content: der::asn1::Any::encode_from(&signed).unwrap(),
        };
        info.to_der().unwrap()
    }

    #[test]
    fn chains_are_read_in_every_spelling() {
        let (der, certificate) = certificate();
        let plain = STANDARD.encode(&der);
        let broken = format!(" {}\n{} ", &plain[..64], &plain[64..]);
        let pem = certificate.to_pem();
        let p7 = STANDARD.encode(pkcs7(&der));
        let p7_pem = format!("-----BEGIN PKCS7-----\n{p7}\n-----END PKCS7-----\n");
        let json = |elements: &[&str]| serde_json::to_vec(elements).unwrap();
        let one = Ok(1);
        let cases: [(&str, Vec<u8>, Result<usize, &str>); 21] = [
            ("base64 of DER", json(&[&plain]), one),
            ("with white space", json(&[&broken]), one),
            ("without padding", json(&[plain.trim_end_matches('=')]), one),
            ("PEM", json(&[&pem]), one),
            ("PKCS #7", json(&[&p7]), one),
            ("PKCS #7 in PEM", json(&[&p7_pem]), one),
            ("the same twice", json(&[&plain, &pem]), one),
            ("a text that is no array", serde_json::to_vec(&plain).unwrap(), one),
            ("a bare PKCS #7", pkcs7(&der), one),
            ("a bare PKCS #7 in base64", p7.clone().into_bytes(), one),
            ("a bare PKCS #7 in PEM", p7_pem.clone().into_bytes(), one),
            ("a bare certificate", der.clone(), one),
            ("a bare certificate in PEM", pem.clone().into_bytes(), one),
            ("half a PKCS #7", pkcs7(&der)[..200].to_vec(), Err("it is not an array of texts")),
            ("a page", b"<html>no</html>".to_vec(), Err("it is not an array of texts")),
            ("an empty array", json(&[]), Ok(0)),
            ("null", b"null".to_vec(), Ok(0)),
            ("nothing", b" \n".to_vec(), Ok(0)),
            ("an object", b"{}".to_vec(), Err("it is not an array of texts")),
            ("no base64", json(&[&plain, "%"]), Err("element 1 is not base64")),
            (
                "base64 of something else",
                json(&["AAAA"]),
                Err("element 0 is neither a certificate nor a PKCS #7 with certificates"),
            ),
        ];
        for (name, body, expected) in cases {
            let read = chain(&body).map(|all| {
                assert!(all.iter().all(|one| *one == certificate), "{name}");
                all.len()
            });
            assert_eq!(read, expected.map_err(str::to_owned), "{name}");
        }
    }

    #[test]
    fn nulls_and_missing_fields_are_no_fault() {
        let order: Order = serde_json::from_str(
            r#"{"uuid":null,"certificate":null,"tags":null,"status":"NEW","new":[1]}"#,
        )
        .unwrap();
        assert_eq!((order.id(), order.tags().len()), (None, 0));
        let _: Order = serde_json::from_str("{}").unwrap();
        let _: Client = serde_json::from_str("{}").unwrap();
        let _: Product = serde_json::from_str("{}").unwrap();
        let _: Task = serde_json::from_str("{}").unwrap();
        let _: Page<Order> = serde_json::from_str("{}").unwrap();
        assert!(ApiError::read(b"{}").is_none() && ApiError::read(b"<html>").is_none());
        assert!(ApiError::read(br#"{"errorCode":"<009.353.0223>"}"#).is_some());
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = (chain(&body), token(&body), status(&body), spki_of_csr(&body));
            let _ = certificates_of_der(&body);
            let _ = certificates_of(&String::from_utf8_lossy(&body));
        }
    }
}
