//! The keys that `spec.secretTemplate` may carry, as whoever runs the operator says.

use std::str::FromStr;
use std::sync::Arc;

/// The keys that a template may carry: all where nothing is said.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TemplateKeys(Option<Arc<[Entry]>>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Entry {
    Key(String),
    Prefix(String),
}

impl FromStr for TemplateKeys {
    type Err = String;

    /// Reads keys by commas. One that ends in an asterisk is the beginning of keys.
    fn from_str(text: &str) -> Result<Self, String> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let entry = |word: &str| {
            let prefix = word.strip_suffix('*');
            if prefix.unwrap_or(word).contains('*') {
                return Err(format!("{word}: an asterisk may stand at the end of a key alone"));
            }
            Ok(prefix.map_or_else(
                || Entry::Key(word.to_owned()),
                |prefix| Entry::Prefix(prefix.to_owned()),
            ))
        };
        Ok(Self(Some(words.map(entry).collect::<Result<_, _>>()?)))
    }
}

impl TemplateKeys {
    /// Whether a template may carry this key.
    pub(super) fn allow(&self, key: &str) -> bool {
        let Some(entries) = &self.0 else { return true };
        entries.iter().any(|entry| match entry {
            Entry::Key(allowed) => key == allowed,
            Entry::Prefix(prefix) => key.starts_with(prefix.as_str()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFLECTOR: &str = "reflector.example.com/reflection-allowed";

    fn only(keys: &str) -> TemplateKeys {
        keys.parse().expect("keys")
    }

    #[test]
    fn a_key_is_allowed_by_itself_or_by_how_it_begins() {
        let rows = [
            ("nothing is said", TemplateKeys::default(), REFLECTOR, true),
            ("none is listed", only(""), "team", false),
            ("it is listed", only("app, team"), "team", true),
            ("it begins like one that is listed", only("team"), "team-b", false),
            ("it is listed in capitals", only("Team"), "team", false),
            ("its domain is listed", only("app,example.com/*"), "example.com/team", true),
            ("its domain ends like one", only("example.com/*"), "not-example.com/team", false),
            ("it begins as is said", only("example.com/te*"), "example.com/team", true),
            ("all are listed", only("*"), REFLECTOR, true),
        ];
        for (name, keys, key, expected) in rows {
            assert_eq!(keys.allow(key), expected, "{name}");
        }
        let told = "*.example.com/*".parse::<TemplateKeys>().unwrap_err();
        assert!(told.contains("at the end of a key alone"), "{told}");
    }
}
