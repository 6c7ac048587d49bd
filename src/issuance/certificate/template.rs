//! Which labels and annotations a request may have put on its Secret.
//!
//! Other controllers act on those of a Secret: one that copies Secrets into other namespaces does so
//! for whoever may write its annotations. Whoever runs the operator can say which keys
//! `spec.secretTemplate` may carry. With any other, nothing is asked of a CA, and the key is neither put
//! on the Secret nor changed there; one that was put there before it was forbidden stays.

use std::collections::BTreeMap;

use crate::api::annotation;
use crate::issuance::allow::Refusal;
use crate::issuance::observation::{Observation, Template};
use crate::reason::Reason;

/// So many characters of a key are told.
const SHOWN: usize = 60;

impl Observation {
    /// Why nothing is asked of a CA, where the template has a key that it may not carry.
    pub(in crate::issuance) fn template_refused(&self) -> Option<Refusal> {
        let template = &self.request.template;
        let of = |field, keys: &BTreeMap<String, String>| {
            let key = keys.keys().find(|key| !self.template_keys.allow(key))?;
            Some((field, key.clone()))
        };
        let (field, key) =
            of("annotations", &template.annotations).or_else(|| of("labels", &template.labels))?;
        let cut = if key.chars().count() > SHOWN { "…" } else { "" };
        let key: String = key.chars().take(SHOWN).collect();
        Some(Refusal {
            reason: Reason::TemplateNotAllowed,
            message: format!(
                "spec.secretTemplate.{field} has the key {key}{cut}, which is not put on Secrets here: take it away, or have whoever runs the operator add it to its --secret-template-keys"
            ),
            needs_person: true,
            look_again: None,
        })
    }

    /// The template as far as it may go on a Secret that is `there`: what may not be set is left as an
    /// earlier delivery set it.
    pub(in crate::issuance) fn template_on(&self, there: Option<&Template>) -> Template {
        let template = &self.request.template;
        if self.template_refused().is_none() {
            return template.clone();
        }
        let of =
            |kind, wanted: &BTreeMap<String, String>, is: Option<&BTreeMap<String, String>>| {
                let delivered = there.map(|there| template_keys(there, kind)).unwrap_or_default();
                let value = |(key, value): (&String, &String)| {
                    let value = if self.template_keys.allow(key) {
                        value
                    } else {
                        is.filter(|_| delivered.contains(key))?.get(key)?
                    };
                    Some((key.clone(), value.clone()))
                };
                wanted.iter().filter_map(value).collect()
            };
        Template {
            labels: of("labels", &template.labels, there.map(|there| &there.labels)),
            annotations: of(
                "annotations",
                &template.annotations,
                there.map(|there| &there.annotations),
            ),
        }
    }
}

/// The keys of that kind which an earlier delivery has set from a template.
pub(super) fn template_keys(metadata: &Template, kind: &str) -> Vec<String> {
    metadata
        .annotations
        .get(annotation::TEMPLATE_KEYS)
        .and_then(|text| serde_json::from_str::<BTreeMap<String, Vec<String>>>(text).ok())
        .and_then(|mut keys| keys.remove(kind))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::certificate::template_keys::TemplateKeys;
    use crate::issuance::decide::decide;
    use crate::issuance::describe::describe;
    use crate::issuance::fixtures::{absent, fresh, kept, obtained, opened, with};
    use crate::issuance::step::{Rest, Step};

    const REFLECTOR: &str = "reflector.example.com/reflection-allowed";

    fn only(keys: &str) -> TemplateKeys {
        keys.parse().expect("keys")
    }

    /// Where `app` and what begins like it are allowed, and the request has this key too.
    fn carries(key: &str) -> impl FnOnce(&mut Observation) {
        let key = key.to_owned();
        move |seen| {
            seen.template_keys = only("app*,team");
            seen.request.template.annotations.insert(key, "true".to_owned());
        }
    }

    #[test]
    fn with_a_key_beyond_the_list_nothing_is_asked_and_what_is_there_stays() {
        let rests = |seen: &Observation| {
            let Step::Rest(Rest::NotAllowed(refusal)) = decide(seen) else { return None };
            Some(refusal.message)
        };
        for (name, seen) in [
            ("before the Secret is read", fresh()),
            ("before the account is opened", absent()),
            ("before a key is made", opened()),
        ] {
            let told = rests(&with(seen.clone(), carries(REFLECTOR))).expect(name);
            assert!(told.contains(&format!("annotations has the key {REFLECTOR},")), "{told}");
            assert!(told.contains("--secret-template-keys"), "{told}");
            assert_eq!(rests(&with(seen, carries("app.example.com/a"))), None, "{name}");
        }
        let long = "x".repeat(300);
        let told = rests(&with(fresh(), carries(&long))).expect("it is refused");
        assert!(told.contains('…') && told.len() < 300, "{told}");
        let label = with(fresh(), |seen| {
            seen.template_keys = only("app,team");
            seen.request.template.labels.insert("copy".to_owned(), "true".to_owned());
        });
        assert!(rests(&label).expect("it is refused").contains("labels has the key"));

        // What is delivered stays as it is, and the status says what holds up the next one.
        let seen = with(kept(), carries(REFLECTOR));
        assert!(matches!(decide(&seen), Step::Rest(Rest::Kept)), "{:?}", decide(&seen));
        let status = describe(&seen, &[], &Rest::Kept).status;
        let of = |kind: &str| {
            let all = &status.conditions;
            let found = crate::api::condition::find(all, kind).expect("it is told");
            (found.status.clone(), found.reason.clone())
        };
        assert_eq!(of("Ready"), ("True".to_owned(), "Issued".to_owned()));
        assert_eq!(of("Issuing"), ("False".to_owned(), "TemplateNotAllowed".to_owned()));
        assert_eq!(of("Stalled").0, "True");
    }

    #[test]
    fn a_key_beyond_the_list_is_neither_set_nor_changed_nor_taken_away() {
        let delivered = |seen: Observation| {
            let Step::Deliver(delivery) = decide(&seen) else { panic!("{:?}", decide(&seen)) };
            delivery
        };
        // What the CA issued meanwhile is delivered without it.
        let first = delivered(with(obtained(), carries(REFLECTOR)));
        assert!(!first.metadata.annotations.contains_key(REFLECTOR));
        assert!(!first.metadata.annotations["chancery.dev/template-keys"].contains(REFLECTOR));

        let there = |value: &str| {
            let keys = format!("{{\"labels\":[],\"annotations\":[\"{REFLECTOR}\"]}}");
            let annotations = [
                (REFLECTOR.to_owned(), value.to_owned()),
                ("chancery.dev/template-keys".to_owned(), keys),
            ];
            Template { annotations: annotations.into(), ..Template::default() }
        };
        let seen = with(fresh(), carries(REFLECTOR));
        let on = |there: Option<&Template>| seen.template_on(there).annotations.remove(REFLECTOR);
        assert_eq!(on(None), None, "nothing is set");
        assert_eq!(on(Some(&there("false"))).as_deref(), Some("false"), "nothing is changed");
        let foreign = Template {
            annotations: [(REFLECTOR.to_owned(), String::new())].into(),
            ..Template::default()
        };
        assert_eq!(on(Some(&foreign)), None, "what somebody else set is theirs");
        let all = with(seen, |seen| seen.template_keys = TemplateKeys::default());
        assert_eq!(all.template_on(None), all.request.template);
    }
}
