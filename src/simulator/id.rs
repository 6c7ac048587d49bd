//! Identifiers: a prefix and a lower-case UUID.

use aws_lc_rs::{digest, rand};

use crate::simulator::authority::Error;
use crate::simulator::name::hex;

/// Whether the text is this prefix and a lower-case UUID.
pub(crate) fn is(prefix: &str, text: &str) -> bool {
    text.strip_prefix(prefix).is_some_and(|uuid| {
        uuid.len() == 36
            && uuid.bytes().enumerate().all(|(at, octet)| match at {
                8 | 13 | 18 | 23 => octet == b'-',
                _ => matches!(octet, b'0'..=b'9' | b'a'..=b'f'),
            })
    })
}

/// The same id for the same seed, for ever.
pub(crate) fn derived(prefix: &str, seed: &str) -> String {
    format!("{prefix}{}", uuid(digest::digest(&digest::SHA256, seed.as_bytes()).as_ref()))
}

/// An id that nobody can guess.
pub(crate) fn random(prefix: &str) -> Result<String, Error> {
    let mut octets = [0; 16];
    rand::fill(&mut octets).map_err(|_| Error::GenerateKey)?;
    Ok(format!("{prefix}{}", uuid(&octets)))
}

/// The shape of a random UUID (RFC 9562, section 5.4) from the first sixteen octets.
fn uuid(octets: &[u8]) -> String {
    let mut octets: Vec<u8> = octets.iter().copied().take(16).collect();
    octets.resize(16, 0);
    octets[6] = octets[6] & 0x0f | 0x40;
    octets[8] = octets[8] & 0x3f | 0x80;
    let text = hex(&octets);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_prefix_and_a_lower_case_uuid_and_nothing_else() {
        let good = derived("ord-", "seed");
        assert!(is("ord-", &good), "{good}");
        assert_eq!(derived("ord-", "seed"), good);
        assert_ne!(random("ord-").ok(), random("ord-").ok());
        let upper = format!("ord-{}", good[4..].to_uppercase());
        for bad in [good[4..].to_owned(), upper, format!("{good}x"), good.replace("ord", "cli")] {
            assert!(!is("ord-", &bad), "{bad}");
        }
    }
}
