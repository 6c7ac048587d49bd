//! Which orders a search finds, and which it unkindly does not.
//!
//! Pure. Filters combine with AND, values within one filter with OR; where the
//! specification leaves the meaning open, [`SiteSettings`] decides.

use jiff::Timestamp;

use super::order::{Order, duration};
use super::settings::{SiteSettings, TagSearch};
use super::wire::Search;
use crate::simulator::authority::shifted;

/// Whether searches see the order at all at this time.
pub(super) fn is_indexed(settings: &SiteSettings, order: &Order, now: Timestamp) -> bool {
    let visible = shifted(order.created_on, duration(settings.search_lag_seconds));
    let is_hidden = order.is_forgotten
        || settings.index_forgets
        || settings.search_omits_open_orders && order.certificate.is_none();
    !is_hidden && visible <= now
}

/// Whether the order is what is searched for.
pub(super) fn matches(settings: &SiteSettings, search: &Search, order: &Order) -> bool {
    let certificate = order.certificate.as_ref();
    let holds = |wanted: Option<bool>| wanted.unwrap_or(true);
    let found_in = |pattern: &String| {
        certificate.is_some_and(|certificate| {
            certificate
                .attributes
                .iter()
                .any(|(key, value)| is_like(pattern, key) || is_like(pattern, value))
        })
    };
    let revoked = order.revocation.as_ref().filter(|found| found.revoked_on.is_some());
    let conditions = [
        search.order_reference.as_ref().map(|wanted| *wanted == order.uuid),
        search.serial_number.as_ref().map(|pattern| {
            certificate.is_some_and(|certificate| is_like(pattern, &certificate.serial))
        }),
        non_empty(&search.order_status)
            .map(|wanted| wanted.iter().any(|status| status.is(order.state()))),
        non_empty(&search.revocation_reason)
            .map(|wanted| revoked.is_some_and(|found| wanted.contains(&found.reason))),
        non_empty(&search.client_references)
            .map(|wanted| wanted.contains(&order.ordered.client_id)),
        // The prose reads the opposite of the names, and this is the prose.
        search.start_after.map(|limit| order.created_on <= limit),
        search.start_before.map(|limit| order.created_on >= limit),
        search.attribute.as_ref().map(found_in),
        non_empty(&search.tags)
            .filter(|_| !settings.search_ignores_tags)
            .map(|wanted| has_tags(settings, wanted, &order.tags)),
    ];
    conditions.into_iter().all(holds)
}

fn non_empty<T>(list: &Option<Vec<T>>) -> Option<&Vec<T>> {
    list.as_ref().filter(|list| !list.is_empty())
}

fn has_tags(settings: &SiteSettings, wanted: &[String], tags: &[String]) -> bool {
    let has = |wanted: &String| {
        tags.iter().any(|tag| match settings.tag_wildcards {
            true => is_like(wanted, tag),
            false => wanted == tag,
        })
    };
    match settings.tag_search {
        TagSearch::AllOf => wanted.iter().all(has),
        TagSearch::AnyOf => wanted.iter().any(has),
    }
}

/// Whether a client of this name is found by this text: a part of the name, or all of it where there
/// are wildcards.
pub(super) fn finds_client(search: &str, name: &str) -> bool {
    match search.contains(['*', '?']) {
        true => is_like(search, name),
        false => name.to_lowercase().contains(&search.to_lowercase()),
    }
}

/// Whether the whole text is like the pattern: `*` is anything, `?` is one character, case does not
/// matter.
pub(super) fn is_like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how far it reaches.
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(expected) if *expected == '?' || *expected == text[read] => {
                at += 1;
                read += 1;
            }
            Some(_) | None => match star {
                Some((place, reach)) => {
                    at = place + 1;
                    read = reach + 1;
                    star = Some((place, reach + 1));
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|rest| *rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_for_anything_or_for_one_character() {
        let rows = [
            ("abc", "ABC", true),
            ("abc", "abcd", false),
            ("a*", "abcd", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*b*d", "abcbd", true),
            ("*b*d", "abcbde", false),
            ("a*b*c", "aXbYbZc", true),
            ("**a", "a", true),
        ];
        for (pattern, text, expected) in rows {
            assert_eq!(is_like(pattern, text), expected, "{pattern} {text}");
        }
        assert!(finds_client("demo", "A Demo Client") && !finds_client("d?mo", "A Demo Client"));
    }
}
