//! Distinguished names (RFC 5280 section 4.1.2.4) as a person reads them (RFC 4514).
//!
//! x509-cert's own rendering knows neither BMPString, in which Microsoft's certificate authorities
//! write names with umlauts, nor Latin-1 in TeletexString, and shows both in hexadecimal. A name that cannot be decoded at all is shown as `#` and its bytes in
//! hexadecimal, so that every certificate has a name to show.

use std::fmt::Write as _;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc4519::COMMON_NAME;
use data_encoding::HEXLOWER;
use der::asn1::AnyRef;
use der::{Decode, Encode, Reader, SliceReader, Tag};

/// The keywords of RFC 4514 section 3, then those that OpenSSL and browsers use beyond it.
const KEYWORDS: [(ObjectIdentifier, &str); 22] = [
    (COMMON_NAME, "CN"),
    (ObjectIdentifier::new_unwrap("2.5.4.7"), "L"),
    (ObjectIdentifier::new_unwrap("2.5.4.8"), "ST"),
    (ObjectIdentifier::new_unwrap("2.5.4.10"), "O"),
    (ObjectIdentifier::new_unwrap("2.5.4.11"), "OU"),
    (ObjectIdentifier::new_unwrap("2.5.4.6"), "C"),
    (ObjectIdentifier::new_unwrap("2.5.4.9"), "STREET"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25"), "DC"),
    (ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.1"), "UID"),
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"), "emailAddress"),
    (ObjectIdentifier::new_unwrap("2.5.4.5"), "serialNumber"),
    (ObjectIdentifier::new_unwrap("2.5.4.4"), "SN"),
    (ObjectIdentifier::new_unwrap("2.5.4.42"), "GN"),
    (ObjectIdentifier::new_unwrap("2.5.4.12"), "title"),
    (ObjectIdentifier::new_unwrap("2.5.4.17"), "postalCode"),
    (ObjectIdentifier::new_unwrap("2.5.4.15"), "businessCategory"),
    (ObjectIdentifier::new_unwrap("2.5.4.46"), "dnQualifier"),
    (ObjectIdentifier::new_unwrap("2.5.4.13"), "description"),
    (ObjectIdentifier::new_unwrap("2.5.4.97"), "organizationIdentifier"),
    (JURISDICTION_LOCALITY, "jurisdictionL"),
    (JURISDICTION_STATE, "jurisdictionST"),
    (JURISDICTION_COUNTRY, "jurisdictionC"),
];

/// Where a company is registered: CA/Browser Forum EV guidelines section 9.2.4, under Microsoft's arc.
pub(super) const JURISDICTION_LOCALITY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.60.2.1.1");
pub(super) const JURISDICTION_STATE: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.60.2.1.2");
pub(super) const JURISDICTION_COUNTRY: ObjectIdentifier =
    ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.60.2.1.3");

struct Attribute<'a> {
    oid: ObjectIdentifier,
    value: AnyRef<'a>,
}

/// Returns the keyword of an attribute type; an empty text for one that has none.
pub(super) fn keyword(oid: ObjectIdentifier) -> &'static str {
    KEYWORDS.iter().find(|(known, _)| *known == oid).map_or("", |(_, keyword)| *keyword)
}

/// Renders a DER-encoded name as RFC 4514 text, most specific attribute first.
///
/// An empty name gives an empty string.
pub(super) fn to_rfc4514(name_der: &[u8]) -> String {
    let Ok(relative_names) = parse(name_der) else {
        return format!("#{}", HEXLOWER.encode(name_der));
    };
    let rendered: Vec<String> = relative_names.iter().rev().map(|r| relative(r)).collect();
    rendered.join(",")
}

/// Returns the common names of a DER-encoded name, in the order in which they are written.
pub(super) fn common_names(name_der: &[u8]) -> Vec<String> {
    let relative_names = parse(name_der).unwrap_or_default();
    relative_names
        .iter()
        .flatten()
        .filter(|attribute| attribute.oid == COMMON_NAME)
        .filter_map(|attribute| text(attribute.value))
        .collect()
}

/// Returns all attributes of a name, each with its value where that is a text.
pub(super) fn attributes(name: AnyRef<'_>) -> der::Result<Vec<(ObjectIdentifier, Option<String>)>> {
    let relative_names = elements(name.value())?;
    let mut found = Vec::new();
    for set in relative_names {
        for pair in elements(set.value())? {
            let Attribute { oid, value } = attribute(pair)?;
            found.push((oid, text(value)));
        }
    }
    Ok(found)
}

/// Returns the values of the attributes of one type as they are written, without tag and length.
pub(super) fn values_of(name_der: &[u8], oid: ObjectIdentifier) -> Vec<&[u8]> {
    let relative_names = parse(name_der).unwrap_or_default();
    let attributes = relative_names.into_iter().flatten();
    attributes.filter(|attribute| attribute.oid == oid).map(|one| one.value.value()).collect()
}

/// Is there no attribute in it?
pub(super) fn is_empty(name_der: &[u8]) -> bool {
    parse(name_der).is_ok_and(|relative_names| relative_names.is_empty())
}

/// Does a name begin with all of `base`, so that it lies below it in the directory (RFC 5280 section
/// 7.1)? `None` where one of them cannot be read.
pub(super) fn is_below(name_der: &[u8], base_der: &[u8]) -> Option<bool> {
    let (name, base) = (parse(name_der).ok()?, parse(base_der).ok()?);
    let comparable = |relative: &Vec<Attribute<'_>>| {
        let mut pairs: Vec<_> = relative.iter().map(comparable).collect();
        pairs.sort();
        pairs
    };
    let is_prefix = name.len() >= base.len()
        && base.iter().zip(&name).all(|(one, other)| comparable(one) == comparable(other));
    Some(is_prefix)
}

/// In either case, and any number of spaces for one; what is no text as it stands.
fn comparable(attribute: &Attribute<'_>) -> (ObjectIdentifier, Vec<u8>) {
    let value = text(attribute.value).map_or_else(
        || attribute.value.to_der().unwrap_or_default(),
        |text| {
            let words: Vec<&str> = text.split_whitespace().collect();
            words.join(" ").to_lowercase().into_bytes()
        },
    );
    (attribute.oid, value)
}

fn parse(name_der: &[u8]) -> der::Result<Vec<Vec<Attribute<'_>>>> {
    elements(AnyRef::from_der(name_der)?.value())?
        .into_iter()
        .map(|set| elements(set.value())?.into_iter().map(attribute).collect())
        .collect()
}

fn attribute(sequence: AnyRef<'_>) -> der::Result<Attribute<'_>> {
    let mut reader = SliceReader::new(sequence.value())?;
    Ok(Attribute { oid: reader.decode()?, value: reader.decode()? })
}

/// Reads the elements of a SEQUENCE OF or SET OF, whatever their order.
pub(super) fn elements(content: &[u8]) -> der::Result<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(content)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        found.push(reader.decode()?);
    }
    Ok(found)
}

fn relative(attributes: &[Attribute<'_>]) -> String {
    let rendered: Vec<String> = attributes.iter().map(type_and_value).collect();
    rendered.join("+")
}

/// Renders one attribute; RFC 4514 section 2.4 asks for hexadecimal where there is no keyword.
fn type_and_value(attribute: &Attribute<'_>) -> String {
    let keyword = KEYWORDS.iter().find(|(oid, _)| *oid == attribute.oid);
    match (keyword, text(attribute.value)) {
        (Some((_, keyword)), Some(value)) => format!("{keyword}={}", escape(&value)),
        (keyword, _) => {
            let name = keyword.map_or_else(|| attribute.oid.to_string(), |(_, k)| (*k).to_owned());
            let value_der = attribute.value.to_der().unwrap_or_default();
            format!("{name}=#{}", HEXLOWER.encode(&value_der))
        }
    }
}

/// Decodes the string types of X.520, taking Latin-1 where bytes are not the UTF-8 they should be.
fn text(value: AnyRef<'_>) -> Option<String> {
    let bytes = value.value();
    let tag = der::Tagged::tag(&value);
    let is_text = [
        Tag::Utf8String,
        Tag::PrintableString,
        Tag::Ia5String,
        Tag::TeletexString,
        Tag::NumericString,
        Tag::VisibleString,
    ]
    .contains(&tag);
    if is_text {
        let utf8 = std::str::from_utf8(bytes).map(str::to_owned);
        return Some(utf8.unwrap_or_else(|_| bytes.iter().copied().map(char::from).collect()));
    }
    (tag == Tag::BmpString).then(|| utf16(bytes))?
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (units, remainder) = bytes.as_chunks::<2>();
    let units: Vec<u16> = units.iter().copied().map(u16::from_be_bytes).collect();
    remainder.is_empty().then(|| String::from_utf16(&units).ok())?
}

/// Escapes a value as RFC 4514 section 2.4 asks, and control characters besides, so that a name
/// cannot break the line of a log or the cell of a table.
fn escape(value: &str) -> String {
    let last = value.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(value.len());
    for (position, c) in value.chars().enumerate() {
        match c {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', c]),
            '#' if position == 0 => escaped.push_str("\\#"),
            ' ' if position == 0 || position == last => escaped.push_str("\\ "),
            _ if c.is_control() => push_hex_pairs(&mut escaped, c),
            _ => escaped.push(c),
        }
    }
    escaped
}

fn push_hex_pairs(escaped: &mut String, c: char) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a String cannot fail.
        let _ = write!(escaped, "\\{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wraps `content` in a tag and a length below 128.
    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        assert!(length < 128);
        [&[tag, length], content].concat()
    }

    fn pair(oid: &str, tag: u8, value: &[u8]) -> Vec<u8> {
        let oid = ObjectIdentifier::new(oid).unwrap().to_der().unwrap();
        tlv(0x30, &[oid, tlv(tag, value)].concat())
    }

    fn name(relative_names: &[&[Vec<u8>]]) -> Vec<u8> {
        let sets: Vec<Vec<u8>> = relative_names.iter().map(|r| tlv(0x31, &r.concat())).collect();
        tlv(0x30, &sets.concat())
    }

    const CN: &str = "2.5.4.3";
    const OU: &str = "2.5.4.11";
    const UTF8: u8 = 0x0c;

    #[test]
    fn the_most_specific_attribute_comes_first_and_repeated_ones_are_kept() {
        let der = name(&[
            &[pair("2.5.4.6", 0x13, b"DE")],
            &[pair(OU, UTF8, b"one")],
            &[pair(OU, UTF8, b"two")],
            &[pair(CN, UTF8, b"example.org")],
        ]);
        assert_eq!(to_rfc4514(&der), "CN=example.org,OU=two,OU=one,C=DE");
    }

    #[test]
    fn several_attributes_in_one_rdn_are_joined_even_if_not_in_der_order() {
        let der = name(&[&[pair(OU, UTF8, b"Sales"), pair(CN, UTF8, b"J. Smith")]]);
        assert_eq!(to_rfc4514(&der), "OU=Sales+CN=J. Smith");
    }

    #[test]
    fn every_string_type_is_readable() {
        let cases: [(u8, &[u8], &str); 7] = [
            (UTF8, "Köln".as_bytes(), "Köln"),
            (0x13, b"Printable", "Printable"),
            (0x16, b"ia5", "ia5"),
            (0x14, b"K\xf6ln", "Köln"),
            (UTF8, b"K\xf6ln", "Köln"),
            (0x1e, b"\0K\0\xf6\0l\0n", "Köln"),
            (0x14, "Köln".as_bytes(), "Köln"),
        ];
        for (tag, bytes, expected) in cases {
            let der = name(&[&[pair(CN, tag, bytes)]]);
            assert_eq!(to_rfc4514(&der), format!("CN={expected}"), "tag {tag:#x}");
            assert_eq!(common_names(&der), [expected], "tag {tag:#x}");
        }
    }

    #[test]
    fn what_is_not_text_or_has_no_keyword_is_shown_in_hexadecimal() {
        let odd_bmp = name(&[&[pair(CN, 0x1e, b"\0K\0")]]);
        assert_eq!(to_rfc4514(&odd_bmp), "CN=#1e03004b00");
        let unknown = name(&[&[pair("1.2.3.4", UTF8, b"x")]]);
        assert_eq!(to_rfc4514(&unknown), "1.2.3.4=#0c0178");
    }

    #[test]
    fn special_characters_are_escaped_and_slashes_are_not() {
        let der = name(&[
            &[pair("0.9.2342.19200300.100.1.25", 0x16, b"https://ca.example.org/x")],
            &[pair(CN, UTF8, b"#a, b+\"c\"\\<d>;\n ")],
        ]);
        assert_eq!(
            to_rfc4514(&der),
            "CN=\\#a\\, b\\+\\\"c\\\"\\\\\\<d\\>\\;\\0A\\ ,DC=https://ca.example.org/x"
        );
    }

    #[test]
    fn an_empty_name_is_an_empty_string_and_a_broken_one_its_bytes() {
        assert_eq!(to_rfc4514(&[0x30, 0x00]), "");
        assert_eq!(to_rfc4514(&[0x30, 0x02, 0x31, 0x05]), "#30023105");
        assert!(common_names(&[0x30, 0x02, 0x31, 0x05]).is_empty());
    }
}
