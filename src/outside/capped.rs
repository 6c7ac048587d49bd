//! Lists in what comes from outside, read as far as anybody needs them and no further: an element of
//! three bytes may take a hundred times as many once it is read.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

/// A list of at most so many elements. A longer one is refused where its first superfluous element
/// begins.
#[derive(Clone, Debug)]
pub struct Capped<T, const MOST: usize>(Vec<T>);

/// How the error begins that says so, which quotes nothing of what was read.
const BEGINNING: &str = "a list in it has more than ";

/// What is wrong with a text that could not be read, where that is a list without end.
#[must_use]
pub fn told(error: &serde_json::Error) -> Option<String> {
    let text = error.to_string();
    let rest = text.strip_prefix(BEGINNING)?;
    let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
    Some(format!("{BEGINNING}{} elements", &rest[..digits]))
}

impl<T, const MOST: usize> Capped<T, MOST> {
    /// The elements.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MOST: usize> Default for Capped<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MOST: usize> From<Vec<T>> for Capped<T, MOST> {
    fn from(mut all: Vec<T>) -> Self {
        all.truncate(MOST);
        Self(all)
    }
}

impl<T, const MOST: usize> std::ops::Deref for Capped<T, MOST> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Capped<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Elements(PhantomData))
    }
}

struct Elements<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Elements<T, MOST> {
    type Value = Capped<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST} elements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rest: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < MOST {
            match rest.next_element()? {
                Some(element) => elements.push(element),
                None => break,
            }
        }
        // What is one too many is looked at without being kept.
        if elements.len() == MOST && rest.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::custom(format_args!("{BEGINNING}{MOST} elements")));
        }
        elements.shrink_to_fit();
        Ok(Capped(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_to_its_cap_and_refused_beyond_it() {
        let cases = [
            ("nothing", "[]", Ok(0)),
            ("as many as allowed", "[1,2,3]", Ok(3)),
            ("one more", "[1,2,3,4]", Err(Some("a list in it has more than 3 elements"))),
            (
                "one more of another kind",
                "[1,2,3,{}]",
                Err(Some("a list in it has more than 3 elements")),
            ),
            ("no list", "{}", Err(None)),
            (
                "an element of another kind",
                "[\"a list in it has more than 9 elements\"]",
                Err(None),
            ),
            ("half a list", "[1,2,3", Err(None)),
        ];
        for (name, text, expected) in cases {
            let read: Result<Capped<u8, 3>, _> = serde_json::from_str(text);
            let read = read.map(|list| list.len()).map_err(|error| told(&error));
            assert_eq!(read, expected.map_err(|says| says.map(str::to_owned)), "{name}");
        }
    }
}
