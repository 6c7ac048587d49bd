//! From template and user name to the subject of a certificate, and the sorted form the client
//! register compares.
//!
//! Pure. It reproduces, on purpose, what `X509SubjectName` of the Contrail online CA service 0.4.0
//! and `x509_name` of django-onlineca do: repeated attributes collapse into one, and a user name
//! can smuggle in attributes of its own.

use super::settings::Flavour;
use crate::simulator::name::Name;

/// The attribute names both services split at. The British spellings are theirs, and OpenSSL knows
/// three of them not, so those raise as STREET and EMAILADDRESS do.
const SPLIT_AT: [&str; 20] = [
    "commonName",
    "organisationalUnitName",
    "organisation",
    "countryName",
    "emailAddress",
    "localityName",
    "stateOrProvinceName",
    "streetAddress",
    "domainComponent",
    "userid",
    "CN",
    "OU",
    "O",
    "C",
    "EMAILADDRESS",
    "L",
    "ST",
    "STREET",
    "DC",
    "UID",
];

/// The service raised an exception: nobody catches it, the client sees 500.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Raised;

/// The subject this service gives to this user.
pub(super) fn subject(flavour: Flavour, template: &str, user: &str) -> Result<Name, Raised> {
    let filled = match flavour {
        Flavour::Contrail => fill_string_template(template, user)?,
        Flavour::Django => fill_format(template, user)?,
    };
    let attributes = collapse(&split(&filled));
    if attributes.is_empty() {
        return Err(Raised);
    }
    Name::from_attributes(attributes.iter().map(|(key, value)| (*key, value.as_str())))
        .map_err(|_| Raised)
}

/// Python's `string.Template.substitute` with the one variable that matters, REMOTE_USER.
fn fill_string_template(template: &str, user: &str) -> Result<String, Raised> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix('{');
        let name_start = braced.unwrap_or(rest);
        let end = name_start
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(name_start.len());
        let (name, after) = name_start.split_at(end);
        rest = match braced {
            Some(_) => after.strip_prefix('}').ok_or(Raised)?,
            None => after,
        };
        if name != "REMOTE_USER" {
            return Err(Raised);
        }
        out.push_str(user);
    }
    out.push_str(rest);
    Ok(out)
}

/// Python's `str.format` with the one field `user`.
fn fill_format(template: &str, user: &str) -> Result<String, Raised> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(after) = tail.strip_prefix("{user}") {
            out.push_str(user);
            rest = after;
        } else if let Some(after) = tail.strip_prefix("{{") {
            out.push('{');
            rest = after;
        } else if let Some(after) = tail.strip_prefix("}}") {
            out.push('}');
            rest = after;
        } else {
            return Err(Raised);
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Splits at every `/NAME=` of a known name; text before the first one is lost, unknown names stay
/// in the value.
fn split(slash_form: &str) -> Vec<(&'static str, &str)> {
    let mut starts = Vec::new();
    for (at, _) in slash_form.match_indices('/') {
        let tail = &slash_form[at + 1..];
        let known = SPLIT_AT
            .iter()
            .find(|name| tail.strip_prefix(**name).is_some_and(|rest| rest.starts_with('=')));
        if let Some(name) = known {
            starts.push((*name, at, at + name.len() + 2));
        }
    }
    let ends = starts.iter().skip(1).map(|(_, at, _)| *at).chain([slash_form.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|((name, _, start), end)| (*name, &slash_form[*start..end]))
        .collect()
}

/// One attribute per name: `/DC=uk/DC=ac` becomes the single value `uk/DC=ac`.
///
/// The services iterate over a hash table; here the order of first appearance stands for whatever
/// order that gives.
fn collapse(attributes: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let mut collapsed: Vec<(&'static str, String)> = Vec::new();
    for (key, value) in attributes {
        match collapsed.iter_mut().find(|(known, _)| known == key) {
            Some((_, joined)) => joined.push_str(&format!("/{key}={value}")),
            None => collapsed.push((key, (*value).to_owned())),
        }
    }
    collapsed
}

/// The form in which the client register compares names: attributes sorted, empty ones left
/// out.
pub(super) fn sorted_slash_form(slash_form: &str) -> String {
    let mut fields: Vec<String> = collapse(&split(slash_form))
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    fields.sort();
    format!("/{}", fields.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contrail(template: &str, user: &str) -> Result<String, Raised> {
        subject(Flavour::Contrail, template, user).map(|name| name.slash_form())
    }

    #[test]
    fn subjects_come_out_as_measured() {
        let at_limit = "u".repeat(64);
        let limit_subject = format!("/CN={at_limit}");
        let cases = [
            (
                "the sample template",
                "/O=NDG/OU=Security/CN=$REMOTE_USER",
                "jdoe",
                "/O=NDG/OU=Security/CN=jdoe",
            ),
            ("braces", "/CN=${REMOTE_USER}", "jdoe", "/CN=jdoe"),
            ("a doubled dollar sign", "/CN=$$$REMOTE_USER", "jdoe", "/CN=$jdoe"),
            (
                "repeated attributes collapse",
                "/DC=uk/DC=ac/DC=somewhere/CN=$REMOTE_USER",
                "j",
                "/DC=uk/DC=ac/DC=somewhere/CN=j",
            ),
            (
                "an OpenID URL stays in the CN",
                "/O=NDG/CN=$REMOTE_USER",
                "https://a.example/b",
                "/O=NDG/CN=https://a.example/b",
            ),
            (
                "a user name injects an attribute",
                "/O=NDG/CN=$REMOTE_USER",
                "j/L=Leeds",
                "/O=NDG/CN=j/L=Leeds",
            ),
            (
                "a user name merges into one",
                "/O=NDG/CN=$REMOTE_USER",
                "j/O=Evil",
                "/O=NDG/O=Evil/CN=j",
            ),
            ("64 characters fit", "/CN=$REMOTE_USER", at_limit.as_str(), limit_subject.as_str()),
            ("long names", "/commonName=$REMOTE_USER/localityName=X", "j", "/CN=j/L=X"),
        ];
        for (case, template, user, expected) in cases {
            assert_eq!(contrail(template, user).as_deref(), Ok(expected), "{case}");
        }
    }

    #[test]
    fn collapsed_attributes_are_one_value_and_not_three() {
        let name = subject(Flavour::Contrail, "/DC=uk/DC=ac/DC=somewhere", "");
        assert_eq!(
            name.map(|name| name.components()),
            Ok(vec![("DC".to_owned(), "uk/DC=ac/DC=somewhere".to_owned())])
        );
    }

    #[test]
    fn what_the_service_does_not_catch_raises() {
        let long = "u".repeat(65);
        let cases = [
            ("/CN=$REMOTE_USER", long.as_str()),
            ("/STREET=x/CN=$REMOTE_USER", "j"),
            ("/EMAILADDRESS=a@example.org/CN=$REMOTE_USER", "j"),
            ("CN=$REMOTE_USER,O=NDG", "j"),
            ("/CN=$OTHER", "j"),
            ("/CN=$", "j"),
            ("/CN=${REMOTE_USER", "j"),
        ];
        for (template, user) in cases {
            assert_eq!(contrail(template, user), Err(Raised), "{template}");
        }
    }

    #[test]
    fn django_fills_the_field_named_user() {
        let filled =
            |template| subject(Flavour::Django, template, "jdoe").map(|name| name.slash_form());
        assert_eq!(filled("/O={{x}}/CN={user}").as_deref(), Ok("/O={x}/CN=jdoe"));
        assert_eq!(filled("/CN=$REMOTE_USER").as_deref(), Ok("/CN=$REMOTE_USER"));
        for broken in ["/CN={name}", "/CN={user", "/CN=}"] {
            assert_eq!(filled(broken), Err(Raised), "{broken}");
        }
    }

    #[test]
    fn the_register_compares_names_without_regard_to_order() {
        let sorted = sorted_slash_form("/O=NDG/OU=Security/CN=portal.example");
        assert_eq!(sorted, "/CN=portal.example/O=NDG/OU=Security");
        assert_eq!(sorted_slash_form("/CN=portal.example/OU=Security/O=NDG"), sorted);
        assert_ne!(sorted_slash_form("/CN=other.example/OU=Security/O=NDG"), sorted);
    }
}
