//! The textual encoding of RFC 7468, read leniently and written strictly.
//!
//! Three well-kept crates were compared and each misses something that certificate authorities and
//! people's editors really produce: one refuses 76 columns, one passes over `TRUSTED CERTIFICATE`
//! and over files that start with a byte order mark without a word, one passes over a truncated
//! block; two quote the offending line, which may be part of a private key. Hence this scanner. It
//! looks for the framing and takes everything between as base64, however it is broken into lines.

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::engine::{DecodePaddingMode, Engine};
use zeroize::Zeroizing;

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";
const DASHES: &[u8] = b"-----";
const COLUMNS: usize = 64;

/// Decodes base64 with or without padding, since some tools leave it off.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What stands between one BEGIN line and its END line.
pub(super) struct Block<'a> {
    /// Its place among all blocks of the input, from 1.
    pub(super) number: usize,
    /// The words on the BEGIN line, for example `CERTIFICATE`.
    pub(super) label: &'a [u8],
    body: &'a [u8],
}

/// The block with this number has no END line that belongs to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Truncated {
    pub(super) number: usize,
}

impl Block<'_> {
    /// Is this a private key, in whatever format?
    pub(super) fn is_private_key(&self) -> bool {
        self.label.ends_with(b"PRIVATE KEY")
    }

    /// Is this a private key that needs a passphrase, in PKCS#8 or OpenSSL's older format?
    pub(super) fn is_encrypted(&self) -> bool {
        self.label == b"ENCRYPTED PRIVATE KEY" || find(self.body, b",ENCRYPTED").is_some()
    }

    /// Decodes the contents, or returns `None` if they are not base64.
    pub(super) fn decode(&self) -> Option<Zeroizing<Vec<u8>>> {
        from_base64(without_headers(self.body))
    }
}

/// Decodes base64 with white space anywhere, or returns `None` if it is none.
pub(super) fn from_base64(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut digits = Zeroizing::new(Vec::with_capacity(text.len()));
    digits.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    LENIENT.decode(digits.as_slice()).ok().map(Zeroizing::new)
}

/// Finds the blocks of `input` in order. After one that is truncated, the next that begins within it is
/// looked for.
///
/// Text around the blocks may mention their BEGIN lines. Such a mention is none: it has other text on
/// its line, and what follows it is no block.
pub(super) fn blocks(input: &[u8]) -> impl Iterator<Item = Result<Block<'_>, Truncated>> {
    let mut rest = input;
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let (before, from_label) = split_at(rest, BEGIN)?;
            // A block ends before the next begins, and nothing is looked at twice.
            let to_next = &from_label[..find(from_label, BEGIN).unwrap_or(from_label.len())];
            let block = next_block(to_next, number + 1);
            let begins_line = is_blank(before.rsplit(is_line_break).next()?);
            if is_meant(begins_line, to_next, block.as_ref().map(|(block, _)| block)) {
                number += 1;
                rest = block
                    .as_ref()
                    .map_or(from_label, |(_, after)| &from_label[to_next.len() - after.len()..]);
                return Some(block.map(|(block, _)| block).ok_or(Truncated { number }));
            }
            rest = from_label;
        }
    })
}

/// Is a BEGIN a block, whole or damaged? One alone on its line is. One with other text on its line is
/// where all that stands between it and its END is the base64 of a DER SEQUENCE, as it is where line
/// breaks were lost, and where they were escaped.
fn is_meant(begins_line: bool, from_label: &[u8], block: Option<&Block<'_>>) -> bool {
    let line = from_label.split(is_line_break).next().unwrap_or_default();
    let is_alone = split_at(line, DASHES).is_none_or(|(_, after)| is_blank(after));
    let is_sequence = |block: &Block<'_>| {
        block.decode().is_some_and(|bytes| bytes.first() == Some(&0x30))
            || without_headers(block.body).starts_with(b"\\")
    };
    begins_line && is_alone || block.is_some_and(is_sequence)
}

fn is_line_break(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// White space and byte order marks, which files have that were put together.
fn is_blank(text: &[u8]) -> bool {
    let mut text = text.trim_ascii();
    while let Some(rest) = text.strip_prefix("\u{feff}".as_bytes()) {
        text = rest.trim_ascii();
    }
    text.is_empty()
}

/// Reads one block whose BEGIN has been seen, and returns it with what follows its END line.
fn next_block(from_label: &[u8], number: usize) -> Option<(Block<'_>, &[u8])> {
    let (label, after_label) = split_at(from_label, DASHES)?;
    let (body, from_end_label) = split_at(after_label, END)?;
    let (end_label, after) = split_at(from_end_label, DASHES)?;
    let is_whole = label == end_label && !label.contains(&b'\n');
    is_whole.then_some((Block { number, label, body }, after))
}

/// Leaves out the header lines of RFC 1421 ("Proc-Type: ..."), which end with a blank line.
fn without_headers(body: &[u8]) -> &[u8] {
    if !body.contains(&b':') {
        return body;
    }
    [&b"\n\n"[..], b"\r\n\r\n"]
        .iter()
        .find_map(|blank_line| split_at(body.trim_ascii_start(), blank_line))
        .map_or(body, |(_, contents)| contents)
}

fn split_at<'a>(input: &'a [u8], marker: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = find(input, marker)?;
    Some((&input[..at], &input[at + marker.len()..]))
}

fn find(input: &[u8], marker: &[u8]) -> Option<usize> {
    input.windows(marker.len()).position(|window| window == marker)
}

/// Encodes `der` in lines of 64 columns that end with LF, as RFC 7468 asks of writers.
///
/// The text is written in place, without a reallocation that would leave a copy of a key behind.
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let digits = der.len().div_ceil(3) * 4;
    let framing = 2 * label.len() + "-----BEGIN -----\n-----END -----\n".len();
    let mut text = String::with_capacity(framing + digits + digits.div_ceil(COLUMNS));
    text.extend(["-----BEGIN ", label, "-----\n"]);
    for line in der.chunks(COLUMNS / 4 * 3) {
        STANDARD.encode_string(line, &mut text);
        text.push('\n');
    }
    text.extend(["-----END ", label, "-----\n"]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = (String, Option<Vec<u8>>);

    fn read(input: &str) -> Result<Vec<Read>, Truncated> {
        blocks(input.as_bytes())
            .map(|block| {
                let block = block?;
                let label = String::from_utf8_lossy(block.label).into_owned();
                Ok((label, block.decode().map(|bytes| bytes.to_vec())))
            })
            .collect()
    }

    #[test]
    fn what_is_written_is_read_back_and_was_written_in_place() {
        for length in [0, 1, 47, 48, 49, 96, 1000] {
            let bytes = vec![0xa5; length];
            let text = encode("SOME LABEL", &bytes);
            assert_eq!(text.len(), text.capacity());
            assert!(text.lines().all(|line| line.len() <= 64));
            let expected = vec![("SOME LABEL".to_owned(), Some(bytes))];
            assert_eq!(read(&text), Ok(expected));
        }
    }

    #[test]
    fn every_way_to_break_lines_is_read() {
        let expected = Ok(vec![("A".to_owned(), Some(b"hello".to_vec()))]);
        let cases = [
            ("LF", "-----BEGIN A-----\naGVs\nbG8=\n-----END A-----\n"),
            ("CRLF", "-----BEGIN A-----\r\naGVs\r\nbG8=\r\n-----END A-----\r\n"),
            ("CR alone", "-----BEGIN A-----\raGVs\rbG8=\r-----END A-----\r"),
            ("blank lines", "-----BEGIN A-----\n\naGVs\n\nbG8=\n\n-----END A-----"),
            ("indented", "  -----BEGIN A-----  \n  aGVs \n\tbG8=\t\n  -----END A-----"),
            ("a byte order mark", "\u{feff}-----BEGIN A-----\naGVsbG8=\n-----END A-----"),
            ("no padding", "-----BEGIN A-----\naGVsbG8\n-----END A-----\n"),
            ("text around it", "Bag Attributes\n-----BEGIN A-----\naGVsbG8=\n-----END A-----\nbye"),
            ("headers", "-----BEGIN A-----\nKey: value\n more\n\naGVsbG8=\n-----END A-----"),
            (
                "headers with CRLF",
                "-----BEGIN A-----\r\nKey: value\r\n\r\naGVsbG8=\r\n-----END A-----",
            ),
        ];
        for (name, text) in cases {
            assert_eq!(read(text), expected, "{name}");
        }
    }

    #[test]
    fn line_breaks_may_be_lost() {
        let expected = Ok(vec![("A".to_owned(), Some(vec![0x30, 0x00]))]);
        let cases = [
            ("nothing for them", "-----BEGIN A-----MAA=-----END A-----"),
            ("a space for each", "-----BEGIN A----- MA A= -----END A-----"),
            ("something before", "ca: -----BEGIN A-----\nMAA=\n-----END A-----"),
        ];
        for (name, text) in cases {
            assert_eq!(read(text), expected, "{name}");
        }
    }

    /// Each is looked at once: a megabyte of them takes no longer than one of anything else.
    #[expect(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
    #[test]
    fn a_megabyte_of_mentions_is_read_at_once() {
        let lines = "-----BEGIN A----- x ".repeat(50_000);
        let begun = std::time::Instant::now();
        assert_eq!(read(&lines), Ok(vec![]));
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_mention_is_no_block() {
        let cases = [
            "from -----BEGIN A----- to -----END A-----",
            "-----BEGIN A----- and ends with -----END A-----",
            "after -----BEGIN A-----",
        ];
        for text in cases {
            assert_eq!(read(text), Ok(vec![]), "{text}");
            let with_block = format!("{text}\n-----BEGIN A-----\nMAA=\n-----END A-----\n");
            let expected = Ok(vec![("A".to_owned(), Some(vec![0x30, 0x00]))]);
            assert_eq!(read(&with_block), expected, "{text}");
        }
    }

    #[test]
    fn a_damaged_frame_is_reported_with_the_number_of_its_block() {
        let whole = "-----BEGIN A-----\naGVsbG8=\n-----END A-----\n";
        let cases = [
            ("no END line", "-----BEGIN A-----\naGVsbG8=\n"),
            ("half an END line", "-----BEGIN A-----\naGVsbG8=\n-----END"),
            ("half a BEGIN line", "-----BEGIN A"),
            ("four dashes", "-----BEGIN A----\naGVsbG8=\n-----END A-----\n"),
            ("another's END line", "-----BEGIN A-----\naGVsbG8=\n-----END B-----\n"),
            (
                "a BEGIN line before the END line",
                "-----BEGIN A-----\naGVs\n-----BEGIN A-----\naGVsbG8=\n-----END A-----\n",
            ),
        ];
        for (name, damaged) in cases {
            let second = format!("{whole}{damaged}");
            assert_eq!(read(&second), Err(Truncated { number: 2 }), "{name}");
        }
    }

    #[test]
    fn what_is_not_base64_is_not_decoded() {
        let escaped = "-----BEGIN A-----\\naGVsbG8=\\n-----END A-----\\n";
        assert_eq!(read(escaped), Ok(vec![("A".to_owned(), None)]));
    }
}
