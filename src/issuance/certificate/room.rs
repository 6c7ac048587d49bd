//! Does what is asked for fit where it has to go: into the target Secret, the record of an order and the
//! status? It is looked at before anything is asked of a CA: what was bought and cannot be written
//! would be lost.

use crate::api::annotation;
use crate::issuance::certificate::key::BroughtCsr;
use crate::issuance::certificate::requested::LONGEST_NONCE;
use crate::issuance::observation::{Observation, Template};
use crate::pki::Names;

/// So many bytes all names of a certificate have together: they are in the CSR, in the record twice,
/// and in an annotation of the target.
const MOST_OF_NAMES: usize = 64 * 1024;
/// The longest CSR in DER: such names, a key, and as much again.
const LONGEST_CSR: usize = 128 * 1024;
/// The API server takes so many bytes of annotations.
const MOST_OF_ANNOTATIONS: usize = 256 * 1024;
/// What is written beside the template and what was requested: references, ids and digests.
const OWN_ANNOTATIONS: usize = 4 * 1024;

impl Observation {
    /// Says what is too long, and what would do.
    pub(in crate::issuance) fn too_long(&self) -> Option<String> {
        let request = &self.request;
        let length = request.renew.as_ref().map_or(0, String::len);
        if length > LONGEST_NONCE {
            return Some(format!(
                "the annotation {} has {length} bytes, and at most {LONGEST_NONCE} are taken: set a shorter value",
                annotation::RENEW
            ));
        }
        let length = bytes_of(&request.names);
        if length > MOST_OF_NAMES {
            return Some(format!(
                "all names together have {length} bytes, and at most {MOST_OF_NAMES} are taken: shorten {}",
                request.name_fields().join(", ")
            ));
        }
        let wanted = self.metadata(None, &self.wanted().to_annotation(), "");
        let length = bytes_in_annotations(&wanted) + OWN_ANNOTATIONS;
        if length > MOST_OF_ANNOTATIONS {
            return Some(format!(
                "Secret {} would have {length} bytes of annotations, and Kubernetes takes {MOST_OF_ANNOTATIONS}: shorten spec.secretTemplate.annotations",
                request.secret_name
            ));
        }
        let prefix = |key: &String| key.split_once('/').map_or(0, |(prefix, _)| prefix.len());
        let keys = request.template.annotations.keys().chain(request.template.labels.keys());
        let long = keys.map(|key| (prefix(key), key)).find(|(length, _)| *length > 253);
        long.map(|(length, key)| {
            let begin: String = key.chars().take(60).collect();
            format!(
                "a key in spec.secretTemplate, {begin}…, has {length} characters before the '/', and Kubernetes takes 253: choose a shorter one"
            )
        })
    }
}

/// The same for a CSR that somebody brought.
pub(in crate::issuance) fn csr_too_long(csr: &BroughtCsr, secret: &str) -> Option<String> {
    let (names, length) = (bytes_of(&csr.names), csr.der.len());
    if length > LONGEST_CSR {
        return Some(format!(
            "the CSR in Secret {secret} has {length} bytes, and at most {LONGEST_CSR} are taken: bring a shorter one"
        ));
    }
    (names > MOST_OF_NAMES).then(|| {
        format!(
            "all names in the CSR of Secret {secret} have {names} bytes, and at most {MOST_OF_NAMES} are taken: bring one with fewer"
        )
    })
}

fn bytes_of(names: &Names) -> usize {
    let lists = [&names.dns_names, &names.uris, &names.email_addresses];
    let texts = lists.into_iter().flatten().chain(&names.common_name);
    let subject = names.subject.iter().map(|one| &one.value);
    texts.chain(subject).map(String::len).sum::<usize>() + 16 * names.ip_addresses.len()
}

fn bytes_in_annotations(metadata: &Template) -> usize {
    metadata.annotations.iter().map(|(key, value)| key.len() + value.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::fixtures::{opened, with};

    #[test]
    fn what_does_not_fit_is_told_with_its_field() {
        type Change = fn(&mut Observation);
        let cases: [(&str, Change, Option<&str>); 8] = [
            ("an ordinary request", |_| {}, None),
            ("a nonce of a kilobyte", |seen| seen.request.renew = Some("x".repeat(1024)), None),
            (
                "a nonce of 250 KiB",
                |seen| seen.request.renew = Some("x".repeat(250 * 1024)),
                Some("the annotation chancery.dev/renew has 256000 bytes, and at most 1024"),
            ),
            (
                "a hundred long URIs",
                |seen| seen.request.names.uris = vec![format!("urn:{}", "x".repeat(600)); 100],
                None,
            ),
            (
                "a hundred URIs of the longest",
                |seen| seen.request.names.uris = vec![format!("urn:{}", "x".repeat(1020)); 100],
                Some("all names together have 1"),
            ),
            (
                "annotations of 200 KiB",
                |seen| {
                    let annotations = &mut seen.request.template.annotations;
                    annotations.insert("a".to_owned(), "x".repeat(200 * 1024));
                },
                None,
            ),
            (
                "annotations of 250 KiB, and others of our own",
                |seen| {
                    let annotations = &mut seen.request.template.annotations;
                    annotations.insert("a".to_owned(), "x".repeat(253 * 1024));
                },
                Some(
                    "bytes of annotations, and Kubernetes takes 262144: shorten spec.secretTemplate",
                ),
            ),
            (
                "a label whose key no Secret can have",
                |seen| {
                    let key = format!("{}/a", "x".repeat(254));
                    seen.request.template.labels.insert(key, "x".to_owned());
                },
                Some("has 254 characters before the '/', and Kubernetes takes 253"),
            ),
        ];
        for (name, change, expected) in cases {
            let told = with(opened(), change).too_long();
            assert_eq!(told.is_some(), expected.is_some(), "{name}: {told:?}");
            if let Some(part) = expected {
                assert!(told.unwrap().contains(part), "{name}");
            }
        }
    }

    #[test]
    fn a_csr_is_as_long_as_its_names_need_and_no_longer() {
        let csr = |length: usize, uri: usize| BroughtCsr {
            asked: crate::pki::csr::Asked::default(),
            der: vec![0; length],
            key: crate::issuance::certificate::key::Key::Public([0; 4].as_slice().into()),
            names: Names { uris: vec!["x".repeat(uri)], ..Names::default() },
        };
        assert_eq!(csr_too_long(&csr(128 * 1024, 1000), "csr"), None);
        let long = csr_too_long(&csr(128 * 1024 + 1, 0), "csr").unwrap();
        assert!(long.starts_with("the CSR in Secret csr has 131073 bytes"), "{long}");
        let many = csr_too_long(&csr(1000, 70_000), "csr").unwrap();
        assert!(many.starts_with("all names in the CSR of Secret csr have 70000 bytes"), "{many}");
    }
}
