//! Text that others wrote, made fit for a terminal and for a shell.

use std::borrow::Cow;

/// Whether a terminal, or an editor, obeys the character in place of showing it: control characters,
/// and those that turn the direction of text, end lines or show nothing.
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` on one line, with a mark in place of each character that a terminal obeys.
#[must_use]
pub fn line(text: &str) -> String {
    text.chars().map(|c| if is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// The same of several lines.
#[must_use]
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// `text` as one word of a shell's command.
#[must_use]
pub fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", line(text).replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing() {
        let rows = [
            ("plain text stays", "Genève 東京 🦀", "Genève 東京 🦀"),
            ("a colour", "\u{1b}[31mred", "\u{fffd}[31mred"),
            ("a control sequence of one character", "\u{9b}31mred", "\u{fffd}31mred"),
            ("a way back to the begin of the line", "a\rb\u{8}", "a\u{fffd}b\u{fffd}"),
            ("another direction", "a\u{202e}b\u{2066}", "a\u{fffd}b\u{fffd}"),
            ("what is not seen", "a\u{200b}b\u{feff}", "a\u{fffd}b\u{fffd}"),
        ];
        for (name, text, shown) in rows {
            assert_eq!(line(text), shown, "{name}");
            assert_eq!(lines(text), shown, "{name}");
        }
        assert_eq!((line("a\nb"), lines("a\nb")), ("a\u{fffd}b".to_owned(), "a\nb".to_owned()));
    }

    #[test]
    fn a_word_stays_one_word() {
        let rows = [
            ("a name", "shop-tls.order", "shop-tls.order"),
            ("a list", "a=b,c:8443", "a=b,c:8443"),
            ("nothing", "", "''"),
            ("a pattern", "[::1]:8443", "'[::1]:8443'"),
            ("a second command", "x; id", "'x; id'"),
            ("a way out of the quotes", "x'$(id)'", r"'x'\''$(id)'\'''"),
            ("a second line", "x\nid", "'x\u{fffd}id'"),
        ];
        for (name, text, expected) in rows {
            assert_eq!(word(text), expected, "{name}");
        }
    }
}
