//! The little DER the simulator needs: a writer for certificates and a reader for requests and
//! names.
//!
//! It is written by hand so that the simulator shares no parser, and therefore no parser's
//! mistakes, with the operator it tests. It must not learn anything about certificates; that is
//! `authority`'s work.
//!
//! *Guarantees.* The reader never panics: whatever it does not understand is `None`. The writer
//! produces definite lengths in their shortest form.

/// BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTF8String.
pub(crate) const UTF8_STRING: u8 = 0x0c;
/// PrintableString.
pub(crate) const PRINTABLE_STRING: u8 = 0x13;
/// T61String.
pub(crate) const T61_STRING: u8 = 0x14;
/// IA5String.
pub(crate) const IA5_STRING: u8 = 0x16;
/// UTCTime.
pub(crate) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;
/// VisibleString.
pub(crate) const VISIBLE_STRING: u8 = 0x1a;
/// UniversalString.
pub(crate) const UNIVERSAL_STRING: u8 = 0x1c;
/// BMPString.
pub(crate) const BMP_STRING: u8 = 0x1e;
/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// SET.
pub(crate) const SET: u8 = 0x31;
/// The constructed context tag `[0]`.
pub(crate) const CONTEXT_0: u8 = 0xa0;
/// The constructed context tag `[3]`.
pub(crate) const CONTEXT_3: u8 = 0xa3;

/// One element: tag, length, content.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match significant {
        [] => out.push(0),
        [short] if *short < 0x80 => out.push(*short),
        // A length has at most eight octets, so the cast cannot lose anything.
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(content);
    out
}

/// A SEQUENCE of elements that are already encoded.
pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(SEQUENCE, &parts.concat())
}

/// A non-negative INTEGER from its big-endian magnitude.
pub(crate) fn integer(magnitude: &[u8]) -> Vec<u8> {
    let zeros = magnitude.iter().take_while(|byte| **byte == 0).count();
    let mut content = magnitude[zeros..].to_vec();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    element(INTEGER, &content)
}

/// A BIT STRING of whole octets.
pub(crate) fn bit_string(octets: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], octets].concat())
}

/// One element as it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// The identifier octet.
    pub(crate) tag: u8,
    /// What the element holds.
    pub(crate) content: &'a [u8],
    /// The whole element: tag, length and content.
    pub(crate) raw: &'a [u8],
}

impl<'a> Element<'a> {
    /// The element itself, if it has this tag.
    pub(crate) fn tagged(self, tag: u8) -> Option<Self> {
        (self.tag == tag).then_some(self)
    }

    /// The elements inside this one.
    pub(crate) fn reader(self) -> Reader<'a> {
        Reader(self.content)
    }
}

/// Reads elements one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element; `None` at the end and where the encoding is broken.
    pub(crate) fn element(&mut self) -> Option<Element<'a>> {
        let input = self.0;
        let (tag, first) = (*input.first()?, *input.get(1)?);
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x84 => {
                let octets = usize::from(first & 0x7f);
                let length = input.get(2..2 + octets)?;
                (2 + octets, length.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)))
            }
            _ => return None,
        };
        let end = header.checked_add(length)?;
        let raw = input.get(..end)?;
        self.0 = &input[end..];
        Some(Element { tag, content: &raw[header..], raw })
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.element()?.tagged(tag)
    }

    /// The next element if it has this tag; otherwise nothing is consumed.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let found = ahead.expect(tag)?;
        *self = ahead;
        Some(found)
    }

    /// Whether everything was read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form_and_are_read_back() {
        for (size, header) in [(0, 2), (127, 2), (128, 3), (255, 3), (256, 4), (70_000, 5)] {
            let encoded = element(OCTET_STRING, &vec![7; size]);
            assert_eq!(encoded.len(), size + header);
            let mut reader = Reader(&encoded);
            assert_eq!(reader.element().map(|found| found.content.len()), Some(size));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn integers_are_never_negative() {
        assert_eq!(integer(&[]), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]), [2, 1, 0]);
        assert_eq!(integer(&[0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0, 1]), [2, 1, 1]);
    }

    #[test]
    fn a_broken_length_is_nothing_rather_than_a_panic() {
        for broken in [
            &[][..],
            &[0x30],
            &[0x30, 0x82, 1],
            &[0x30, 5, 0],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert!(Reader(broken).element().is_none(), "{broken:?}");
        }
    }
}
