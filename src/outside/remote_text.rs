//! Text from an outside system, made fit for a condition: bounded, on one line, without mark-up and without
//! anything that might be a secret.

use crate::terminal;

/// Longest excerpt, in characters.
const LIMIT: usize = 200;

/// So much of a body is looked at, in bytes.
const HEAD: usize = 16 * 1024;

/// Who reads what an outside system said.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Reader {
    /// The platform team, whose issuers are for the whole cluster: everything helps.
    #[default]
    Platform,
    /// A tenant, who chose the address. What answers there may be meant for others than tenants: its
    /// words are repeated where they are an error of the API that was asked for, and nothing else.
    Tenant,
}

/// An excerpt of a body in quotation marks and parentheses, for the end of a clause; for a tenant only
/// its length, unless it `is_error` of the API.
#[must_use]
pub fn quoted(
    body: &[u8],
    reader: Reader,
    is_error: bool,
    scrub: impl Fn(&str) -> String,
) -> String {
    if reader == Reader::Tenant && !is_error {
        return if body.is_empty() {
            String::new()
        } else {
            format!(" ({} bytes, not shown to a namespace)", body.len())
        };
    }
    excerpt(body, scrub).map_or_else(String::new, |text| format!(" (\"{text}\")"))
}

/// So many candidates are named in a message.
pub const CANDIDATES: usize = 8;

/// A name or an id from outside, in a message.
#[must_use]
pub fn shown(text: &str) -> String {
    const LIMIT: usize = 60;
    let plain: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LIMIT).collect();
    if text.chars().nth(LIMIT).is_some() { plain + "…" } else { plain }
}

/// Candidates for a message, each as it is shown, in order; `none` where there are none.
#[must_use]
pub fn listed(mut all: Vec<String>, none: &str) -> String {
    if all.is_empty() {
        return none.to_owned();
    }
    all.sort();
    if all.len() > CANDIDATES {
        let more = all.len() - CANDIDATES;
        all.truncate(CANDIDATES);
        all.push(format!("{more} more"));
    }
    all.join(", ")
}

/// A readable excerpt of an answer's body, or `None` where nothing readable is in it.
///
/// `scrub` takes known secrets out of a text. It sees the body as it came, before anything is cut
/// that a secret could lie across, and the line once it reads as it will be shown: entities are
/// resolved and control characters gone.
#[must_use]
pub fn excerpt(body: &[u8], scrub: impl Fn(&str) -> String) -> Option<String> {
    let text = scrub(&String::from_utf8_lossy(body));
    let head = &text[..text.floor_char_boundary(HEAD)];
    // Before the mark-up goes, which may take a marker with it, and after, when tags no longer hide one.
    let plain = without_blocks(&without_markup(&without_blocks(head)));
    let mut line = plain
        .split_whitespace()
        .map(|word| if looks_like_a_token(word) { "[…]" } else { word })
        .collect::<Vec<_>>()
        .join(" ");
    line.retain(|c| !terminal::is_obeyed(c));
    line = scrub(&line);
    if line.chars().count() > LIMIT {
        line = line.chars().take(LIMIT - 1).chain(['…']).collect();
    }
    (!line.is_empty()).then_some(line)
}

/// Drops tags and the content of the elements that are not text for people.
fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        plain.push_str(&rest[..start]);
        plain.push(' ');
        let tag = &rest[start..];
        let skipped = ["script", "style", "head"].iter().find_map(|element| {
            let named = tag.get(1..=element.len())?;
            named.eq_ignore_ascii_case(element).then(|| {
                let close = format!("</{element}");
                tag.to_ascii_lowercase().find(&close).map_or(tag.len(), |at| at)
            })
        });
        let from = skipped.unwrap_or(0).max(usize::from(skipped.is_none()));
        rest = match tag.get(from..).and_then(|after| after.find('>').map(|end| from + end + 1)) {
            Some(end) => &tag[end..],
            None => "",
        };
    }
    plain.push_str(rest);
    with_characters(&plain)
}

/// Resolves the character references that a page needs to repeat what it was sent.
fn with_characters(text: &str) -> String {
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        resolved.push_str(&rest[..start]);
        rest = &rest[start..];
        let reference = rest.find(';').filter(|end| *end <= 9).map(|end| &rest[1..end]);
        match reference.and_then(|name| Some((name, character(name)?))) {
            Some((name, character)) => {
                resolved.push(character);
                rest = &rest[name.len() + 2..];
            }
            None => {
                resolved.push('&');
                rest = &rest[1..];
            }
        }
    }
    resolved.push_str(rest);
    resolved
}

fn character(name: &str) -> Option<char> {
    let Some(number) = name.strip_prefix('#') else {
        return match name {
            "amp" => Some('&'),
            "apos" => Some('\''),
            "gt" => Some('>'),
            "lt" => Some('<'),
            "quot" => Some('"'),
            _ => None,
        };
    };
    let code = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    code.ok().and_then(char::from_u32)
}

/// PEM blocks can be private keys: none is ever quoted, nor what is left of one whose beginning is
/// missing.
fn without_blocks(text: &str) -> String {
    let (begin, end) = (text.find("-----BEGIN"), text.find("-----END"));
    let start = match (begin, end) {
        (Some(begin), Some(end)) if begin < end => begin,
        (Some(begin), None) => begin,
        (_, Some(_)) => 0,
        (None, None) => return text.to_owned(),
    };
    let after = end_of_block(&text[start..]).unwrap_or_default();
    format!("{}[…]{}", &text[..start], without_blocks(after))
}

/// What follows the END line. Its dashes may be those of the next block, where a line end was lost.
fn end_of_block(text: &str) -> Option<&str> {
    let (_, label) = text.split_once("-----END")?;
    let dashes = label.find("-----")?;
    let (from_dashes, after) = (&label[dashes..], &label[dashes + 5..]);
    Some(if after.starts_with("BEGIN") || after.starts_with("END") { from_dashes } else { after })
}

/// Long runs without a space are keys, hashes, tokens or base64: nothing a person reads. Shorter
/// ones may be the last line of a key whose frame was lost.
fn looks_like_a_token(word: &str) -> bool {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    let is_mixed =
        |run: &str| run.chars().skip(1).any(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    !word.contains("://")
        && (word.len() > 40
            || word.split(|c| !is_base64(c)).any(|run| run.len() >= 20 && is_mixed(run)))
}

#[cfg(test)]
mod tests {
    use super::{Reader, excerpt, quoted};

    #[test]
    fn bodies_become_one_readable_line() {
        let cases: [(&str, &str, Option<&str>); 11] = [
            ("plain text stays", "bad request\r\n\r\ndetail", Some("bad request detail")),
            (
                "tags go, text stays",
                "<html><head><title>x</title></head><body><h1>400</h1>Error loading <b>CSR</b></body>",
                Some("400 Error loading CSR"),
            ),
            ("scripts go", "<script>var a = '<b>';</script>Sorry", Some("Sorry")),
            (
                "a private key is never quoted",
                "oops -----BEGIN PRIVATE KEY-----\nMIIEvQ\n-----END PRIVATE KEY----- end",
                Some("oops […] end"),
            ),
            (
                "a key without an end takes the rest",
                "x -----BEGIN RSA PRIVATE KEY-----\nMII",
                Some("x […]"),
            ),
            (
                "tokens go",
                "token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0 end",
                Some("token […] end"),
            ),
            (
                "so does the last line of a key",
                "x qLoMNdvMrbrzPvQq9/VTjpWQ= y, detail=\"InvalidRequest\" at /house-ca/certificate/",
                Some("x […] y, detail=\"InvalidRequest\" at /house-ca/certificate/"),
            ),
            (
                "a key without a beginning takes what is before it",
                "x\nqLoMN\n-----END RSA PRIVATE KEY----- y",
                Some("[…] y"),
            ),
            (
                "a block may begin where the last one lost its line end",
                "x -----END-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY----- y",
                Some("[…][…] y"),
            ),
            (
                "references are characters",
                "a &#39;b&#x27; &lt;c&gt; &amp;amp; &nope; &",
                Some("a 'b' <c> &amp; &nope; &"),
            ),
            ("nothing readable is nothing", "<html></html>", None),
        ];
        for (name, body, expected) in cases {
            assert_eq!(excerpt(body.as_bytes(), str::to_owned).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_tenant_reads_errors_of_the_api_alone() {
        let rows = [
            (Reader::Platform, false, " (\"secret\")"),
            (Reader::Platform, true, " (\"secret\")"),
            (Reader::Tenant, true, " (\"secret\")"),
            (Reader::Tenant, false, " (6 bytes, not shown to a namespace)"),
        ];
        for (reader, is_error, expected) in rows {
            assert_eq!(quoted(b"secret", reader, is_error, str::to_owned), expected, "{reader:?}");
            assert_eq!(quoted(b"", reader, is_error, str::to_owned), "");
        }
    }

    #[test]
    fn long_bodies_are_cut() {
        let text = "word ".repeat(10_000);
        assert_eq!(
            excerpt(text.as_bytes(), str::to_owned).map(|line| line.chars().count()),
            Some(200)
        );
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..2000)) {
            let _ = excerpt(&body, str::to_owned);
        }

        #[test]
        fn no_markup_makes_it_panic(body in "[<>a-z/é! -]{0,60}(-----BEGIN|-----END|<script|<HEAD|</head>)?[<>a-z/é -]{0,60}") {
            let _ = excerpt(body.as_bytes(), str::to_owned);
        }
    }
}
