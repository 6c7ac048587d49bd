//! What this process has told of each request's orders, so that a write that is tried again makes no
//! second line. After a restart a line may come once more.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::issuance::purchases::Entry;

/// So much is remembered of one request: more than happens to two orders.
const MOST: usize = 16;

#[derive(Default)]
pub(in crate::controller) struct Told(Mutex<HashMap<String, VecDeque<String>>>);

impl Told {
    /// Notes that an entry is told of the request with this uid; false where it was before. An order
    /// whose submit was told of has not to be found; what has no name, as no order was made, goes by the
    /// certificate.
    pub(in crate::controller) fn is_new(&self, uid: &str, entry: &Entry) -> bool {
        let what = if entry.event.is_purchase() { "bought" } else { entry.event.word() };
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let named = entry.reference.as_ref().or(entry.serial.as_ref()).cloned();
        let key = format!("{what} {} {}", text(&named), text(&entry.id));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = all.entry(uid.to_owned()).or_default();
        if told.contains(&key) {
            return false;
        }
        if told.len() == MOST {
            told.pop_front();
        }
        told.push_back(key);
        true
    }

    /// Forgets a request that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::purchases::OrderEvent;

    #[test]
    fn each_event_of_an_order_is_new_once_and_a_second_order_of_its_name_is_another() {
        use OrderEvent::{Found, Issued, Submitted};
        let told = Told::default();
        let is_new = |uid: &str, event, reference: &str, id: &str| {
            let entry = Entry {
                event,
                reference: Some(reference.to_owned()),
                kind: None,
                tenant: String::new(),
                product: None,
                id: Some(id.to_owned()),
                serial: None,
            };
            told.is_new(uid, &entry)
        };
        assert!(is_new("u", Submitted, "r-1", "a"));
        assert!(!is_new("u", Submitted, "r-1", "a"), "again");
        assert!(!is_new("u", Found, "r-1", "a"), "it was submitted");
        assert!(is_new("u", Found, "r-1", "b"), "the CA has two of one name");
        assert!(is_new("u", Issued, "r-1", "a"));
        assert!(is_new("other", Issued, "r-1", "a"));
        for number in 2..20 {
            assert!(is_new("u", Submitted, &format!("r-{number}"), "a"));
        }
        assert!(is_new("u", Submitted, "r-1", "a"), "what is long ago is forgotten");
        assert!(!is_new("other", Issued, "r-1", "a"));
        told.forget("other");
        assert!(is_new("other", Issued, "r-1", "a"));
    }

    #[test]
    fn each_certificate_that_is_adopted_is_new_once() {
        let told = Told::default();
        let is_new = |serial: &str| {
            let entry = Entry {
                event: OrderEvent::Adopted,
                reference: None,
                kind: None,
                tenant: String::new(),
                product: None,
                id: None,
                serial: Some(serial.to_owned()),
            };
            told.is_new("u", &entry)
        };
        assert!(is_new("0a"));
        assert!(!is_new("0a"), "again");
        assert!(is_new("0b"), "another certificate");
    }
}
