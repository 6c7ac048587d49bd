//! Patterns of names.
//!
//! `*` stands for one or more characters within a part of a name, `**` for one or more characters,
//! neither for an asterisk, and `[*]` for that. What follows a URI's host binds both to the host.

use std::collections::HashMap;
use std::ops::Range;

use crate::pki::names::{absolute_uri, dns_name_to_ascii, email_address_to_ascii};

/// What a pattern is of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Compared as A-labels, in any case.
    Dns,
    /// The host in any case, the local part as it stands.
    Email,
    /// Anything else, in any case.
    Text,
    /// Scheme and host in any case, the rest as it stands.
    Uri,
}

impl Kind {
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Dns => "dnsNames",
            Self::Email => "emailAddresses",
            Self::Text => "commonNames",
            Self::Uri => "uris",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Dns => "DNS name",
            Self::Email => "e-mail address",
            Self::Text => "name",
            Self::Uri => "URI",
        }
    }

    /// What is between the parts of a name.
    fn separators(self) -> &'static str {
        match self {
            Self::Dns => ".",
            Self::Email => "@",
            Self::Text => "",
            Self::Uri => "/?#@:",
        }
    }

    /// The form in which names of this kind are compared. `None` for what is none.
    fn name(self, name: &str) -> Option<String> {
        match self {
            Self::Dns => dns_name_to_ascii(name),
            Self::Email => email_address_to_ascii(name),
            Self::Text => is_plain(name).then(|| name.to_lowercase()),
            // Half of the world reads a backslash as a slash.
            Self::Uri => absolute_uri(name)
                .filter(|name| !name.contains('\\') && !has_dot_segments(name))
                .map(uri),
        }
    }

    /// The form in which patterns are.
    fn pattern(self, pattern: &str) -> String {
        match self {
            Self::Dns => host(pattern),
            Self::Email => match pattern.rsplit_once('@') {
                Some((local, domain)) => format!("{local}@{}", host(domain)),
                None => pattern.to_owned(),
            },
            Self::Text => pattern.to_lowercase(),
            Self::Uri => uri(pattern),
        }
    }
}

/// Whether one of the patterns allows the name.
#[must_use]
pub fn allows(kind: Kind, patterns: &[String], name: &str) -> bool {
    let Some(name) = kind.name(name) else { return false };
    patterns.iter().any(|pattern| {
        let pattern = kind.pattern(pattern);
        is_match(&tokens(kind, &pattern), &name)
    })
}

/// Whether all of a text shows: nothing controls, and it begins and ends with no blank.
pub(super) fn is_plain(text: &str) -> bool {
    text.trim() == text && !text.contains(char::is_control)
}

/// Label by label: those with an asterisk are no names yet.
fn host(pattern: &str) -> String {
    let pattern = pattern.strip_suffix('.').unwrap_or(pattern);
    let label = |label: &str| match label.contains('*') {
        true => label.to_ascii_lowercase(),
        false => dns_name_to_ascii(label).unwrap_or_else(|| label.to_lowercase()),
    };
    pattern.split('.').map(label).collect::<Vec<_>>().join(".")
}

fn uri(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once(':') else { return text.to_owned() };
    let scheme = scheme.to_ascii_lowercase();
    let Some(rest) = rest.strip_prefix("//") else { return format!("{scheme}:{rest}") };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => format!("{scheme}://{user}@{}{path}", host.to_ascii_lowercase()),
        None => format!("{scheme}://{}{path}", authority.to_ascii_lowercase()),
    }
}

/// Whoever resolves them ends elsewhere than a pattern says.
fn has_dot_segments(uri: &str) -> bool {
    let path = uri.split(['?', '#']).next().unwrap_or(uri);
    path.split('/').any(|segment| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    })
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Token {
    /// This character.
    One(char),
    /// Characters, but none of these and no asterisk.
    Run(&'static str),
}

/// What ends a host, or makes another of it.
const ENDS_HOST: &str = "/?#@:%";
/// The same, and what is between its labels.
const ENDS_LABEL: &str = "/?#@:%.";

/// Where the host of a URI's pattern is, with scheme and user.
fn authority(pattern: &str) -> Range<usize> {
    let Some(scheme) = pattern.find("://") else { return 0..0 };
    let start = scheme + "://".len();
    let length = pattern[start..].find(['/', '?', '#']);
    0..length.map_or(pattern.len(), |length| start + length)
}

fn tokens(kind: Kind, pattern: &str) -> Vec<Token> {
    let authority = if kind == Kind::Uri { authority(pattern) } else { 0..0 };
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        let is_of_host = authority.contains(&(pattern.len() - rest.len()));
        let (token, after) = if let Some(after) = rest.strip_prefix("[*]") {
            (Token::One('*'), after)
        } else if let Some(after) = rest.strip_prefix("**") {
            // At the end of the pattern it is whatever follows, the path too.
            let is_bound = is_of_host && !after.is_empty();
            (Token::Run(if is_bound { ENDS_HOST } else { "" }), after)
        } else if let Some(after) = rest.strip_prefix('*') {
            (Token::Run(if is_of_host { ENDS_LABEL } else { kind.separators() }), after)
        } else {
            (Token::One(first), &rest[first.len_utf8()..])
        };
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// In time that grows with the product of both lengths, whatever they are, sixty-four tokens in one
/// step: an issuer may have hundreds of patterns, and a CSR hundreds of names.
fn is_match(tokens: &[Token], text: &str) -> bool {
    let mut runs: HashMap<&str, Bits> = HashMap::new();
    let mut ones: HashMap<char, Bits> = HashMap::new();
    for (at, token) in tokens.iter().enumerate() {
        let bits = match token {
            Token::One(one) => ones.entry(*one).or_insert_with(|| Bits::of(tokens)),
            Token::Run(without) => runs.entry(*without).or_insert_with(|| Bits::of(tokens)),
        };
        bits.set(at);
    }
    let (none, mut takes) = (Bits::of(tokens), Bits::of(tokens));
    // Whether the first n tokens can stand for what has been read.
    let mut reached = Bits::of(tokens);
    reached.set(0);
    for letter in text.chars() {
        takes.0.fill(0);
        for (without, run) in &runs {
            if letter != '*' && !without.contains(letter) {
                takes.add(run);
            }
        }
        if !reached.step(ones.get(&letter).unwrap_or(&none), &takes) {
            return false;
        }
    }
    reached.has(tokens.len())
}

/// A bit for each token, and one more.
struct Bits(Vec<u64>);

impl Bits {
    fn of(tokens: &[Token]) -> Self {
        Self(vec![0; tokens.len() / 64 + 1])
    }

    fn set(&mut self, at: usize) {
        self.0[at / 64] |= 1 << (at % 64);
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] & 1 << (at % 64) != 0
    }

    fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// What is reached with one letter more: behind each token that is that letter, and behind those
    /// that take it among others, where these may also go on. Whether there is anything.
    fn step(&mut self, is_it: &Self, takes: &Self) -> bool {
        // From the word below, the bit that moves into this one.
        let (mut advances, mut goes_on) = (0, 0);
        let mut any = 0;
        for ((reached, is_it), takes) in self.0.iter_mut().zip(&is_it.0).zip(&takes.0) {
            let advanced = *reached & (is_it | takes);
            let next = advanced << 1 | advances | *reached & (takes << 1 | goes_on);
            (advances, goes_on) = (advanced >> 63, takes >> 63);
            *reached = next;
            any |= next;
        }
        any != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_pattern_allows_what_it_says_and_nothing_else() {
        use Kind::{Dns, Email, Text, Uri};
        let cases = [
            ("the very name", Dns, "shop.example.org", "shop.example.org", true),
            ("in any case", Dns, "Shop.Example.org", "sHOP.example.ORG", true),
            ("with a dot at its end", Dns, "shop.example.org.", "shop.example.org.", true),
            ("another name", Dns, "shop.example.org", "shop.example.com", false),
            ("a name that goes on", Dns, "shop.example.org", "shop.example.org.evil", false),
            ("one label", Dns, "*.example.org", "shop.example.org", true),
            ("and not two", Dns, "*.example.org", "a.shop.example.org", false),
            ("nor none", Dns, "*.example.org", "example.org", false),
            ("a part of a label", Dns, "shop-*.example.org", "shop-1.example.org", true),
            ("any number of labels", Dns, "**.example.org", "a.shop.example.org", true),
            ("and at least one", Dns, "**.example.org", "example.org", false),
            ("a dot before it", Dns, "**.example.org", "evilexample.org", false),
            ("a wildcard name is none of them", Dns, "*.example.org", "*.example.org", false),
            ("nor below", Dns, "**.example.org", "*.example.org", false),
            ("nor of everybody", Dns, "**", "*.example.org", false),
            ("but where it is said", Dns, "[*].example.org", "*.example.org", true),
            ("which says nothing else", Dns, "[*].example.org", "shop.example.org", false),
            ("wildcards below", Dns, "[*].**.example.org", "*.a.b.example.org", true),
            ("an international name", Dns, "*.müller.example", "a.xn--mller-kva.example", true),
            ("written either way", Dns, "*.xn--mller-kva.example", "a.müller.example", true),
            ("what is no DNS name", Dns, "**", "a b.example.org", false),
            ("a NUL", Dns, "**.example.org", "evil.com\0.example.org", false),
            ("a mailbox", Email, "*@example.org", "a.b+c@Example.org", true),
            ("of another host", Email, "*@example.org", "a@evil.org", false),
            ("of a host below", Email, "*@example.org", "a@b.example.org", false),
            ("two at signs", Email, "*@example.org", "a@evil.org@example.org", false),
            ("a local part in its case", Email, "Shop@example.org", "shop@example.org", false),
            (
                "a URI",
                Uri,
                "spiffe://example.org/ns/*/sa/*",
                "spiffe://Example.org/ns/a/sa/b",
                true,
            ),
            (
                "a segment more",
                Uri,
                "spiffe://example.org/ns/*/sa/*",
                "spiffe://example.org/ns/a/b/sa/c",
                false,
            ),
            (
                "a host that only ends so",
                Uri,
                "https://*.example.org/",
                "https://evil.com/.example.org/",
                false,
            ),
            (
                "a user in front",
                Uri,
                "https://*.example.org/",
                "https://a.example.org:1@evil.org/",
                false,
            ),
            ("a path in its case", Uri, "https://example.org/A", "https://example.org/a", false),
            ("anything below", Uri, "https://example.org/**", "https://example.org/a/b?c", true),
            ("a way back", Uri, "https://example.org/a/**", "https://example.org/a/../b", false),
            (
                "a hidden way back",
                Uri,
                "https://example.org/a/**",
                "https://example.org/a/%2E./b",
                false,
            ),
            ("a label of a host", Uri, "https://*.example.org/**", "https://a.example.org/b", true),
            ("and not two", Uri, "https://*.example.org/**", "https://a.b.example.org/c", false),
            (
                "labels of a host",
                Uri,
                "https://**.example.org/*",
                "https://a.b.example.org/c",
                true,
            ),
            (
                "which end with the host",
                Uri,
                "https://**.example.org/",
                "https://evil.com/.example.org/",
                false,
            ),
            (
                "a backslash, which many read as a slash",
                Uri,
                "https://*.example.org/**",
                "https://evil\\.example.org/a",
                false,
            ),
            (
                "behind a dot too",
                Uri,
                "https://**.example.org/**",
                "https://evil.com\\.example.org/a",
                false,
            ),
            (
                "or written with a percent sign",
                Uri,
                "https://**.example.org/**",
                "https://evil.com%5c.example.org/a",
                false,
            ),
            ("any host and path", Uri, "https://**", "https://a.example.org/b.c", true),
            ("any URI", Uri, "**", "urn:uuid:1", true),
            ("a dot in a path", Uri, "https://a.example.org/*", "https://a.example.org/b.c", true),
            ("what is no URI", Uri, "**", "https://a.example.org/ b", false),
            ("a text", Text, "Team *", "team Shop", true),
            ("a text that ends in a blank", Text, "**", "bank.example.com ", false),
            ("one that begins with a wide one", Text, "**", "\u{a0}bank.example.com", false),
            ("one with a NUL", Text, "**", "bank.example.com\0", false),
            ("one with a line break", Text, "*", "Team\nShop", false),
            ("an asterisk in a text", Text, "*", "*", false),
            ("the whole text", Text, "Team", "Team Shop", false),
            ("nothing", Text, "*", "", false),
        ];
        for (name, kind, pattern, asked, expected) in cases {
            let patterns = [pattern.to_owned()];
            assert_eq!(allows(kind, &patterns, asked), expected, "{name}: {pattern} {asked}");
        }
        assert!(!allows(Dns, &[], "shop.example.org"), "no pattern");
    }

    /// As one would write it down, one token after the other.
    fn is_match_by_the_book(tokens: &[Token], text: &[char]) -> bool {
        let Some((first, after)) = tokens.split_first() else { return text.is_empty() };
        let takes = |letter: char| match first {
            Token::One(one) => *one == letter,
            Token::Run(without) => letter != '*' && !without.contains(letter),
        };
        let Some((_, rest)) = text.split_first().filter(|(letter, _)| takes(**letter)) else {
            return false;
        };
        let goes_on = !matches!(first, Token::One(_));
        is_match_by_the_book(after, rest) || goes_on && is_match_by_the_book(tokens, rest)
    }

    #[test]
    fn patterns_longer_than_a_word_of_the_machine_are_matched_to_their_end() {
        for length in [62, 63, 64, 65, 127, 128, 129, 300] {
            let text = "a".repeat(length);
            for pattern in [text.clone(), format!("*{}", &text[1..]), text[1..].to_owned() + "**"] {
                let tokens = tokens(Kind::Dns, &pattern);
                assert!(is_match(&tokens, &text), "{length}: {pattern}");
                assert!(!is_match(&tokens, &format!("{text}b*")), "{length}");
                assert!(!is_match(&tokens, &text[1..]), "{length}");
            }
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_the_rules_say(
            long in "[a]{0,70}", pattern in r"([ab.]|\*|\*\*|\[\*\]){0,6}", text in r"[ab.*]{0,8}",
        ) {
            let tokens = tokens(Kind::Dns, &format!("{long}{pattern}"));
            let text = format!("{long}{text}");
            let letters: Vec<char> = text.chars().collect();
            let expected = is_match_by_the_book(&tokens, &letters);
            prop_assert_eq!(is_match(&tokens, &text), expected);
        }

        #[test]
        fn no_pattern_stands_for_an_asterisk_without_saying_so(
            pattern in r"[a-z.*]{1,12}", name in "[a-z]{1,4}(\\.[a-z]{1,4}){1,3}",
        ) {
            let name = format!("*.{name}");
            prop_assert!(!allows(Kind::Dns, &[pattern], &name));
        }

        #[test]
        fn a_name_allows_itself(name in "[a-z]{1,4}(\\.[a-z]{1,4}){1,3}") {
            prop_assert!(allows(Kind::Dns, std::slice::from_ref(&name), &name));
            prop_assert!(allows(Kind::Dns, &["**".to_owned()], &name));
        }

        #[test]
        fn no_text_makes_it_panic(pattern in ".{0,40}", name in ".{0,40}") {
            for kind in [Kind::Dns, Kind::Email, Kind::Text, Kind::Uri] {
                let _ = allows(kind, std::slice::from_ref(&pattern), &name);
            }
        }
    }
}
