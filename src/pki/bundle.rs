//! Trust anchors from where people keep them: fields, ConfigMaps, Secrets and the operating system's
//! store, in which odd certificates stand among good ones.
//!
//! One that the TLS stack cannot take is left out with a remark that names it. That is decided once,
//! here: what is in a [`Bundle`] can be an anchor of rustls and of [`super::chain`] alike.

use std::collections::HashSet;

use super::certificate::{Certificate, PemError, from_block};
use super::{chain, pem};

/// So many anchors a bundle has: twice as many as operating systems trust. Each is held by each issuer.
const MOST: usize = 300;
/// Remarks for so many certificates; what is more is counted.
const TOLD: usize = 5;

/// Trust anchors, and what was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Those that can be used, each once, in order.
    pub anchors: Vec<Certificate>,
    /// What is left out, each with its place, its subject where it has one, and the reason.
    pub remarks: Vec<String>,
}

impl Bundle {
    /// Reads every certificate of a PEM text, as [`super::parse_pem`] does. What cannot be read or used
    /// is left out.
    #[must_use]
    pub fn from_pem(text: &[u8]) -> Self {
        let blocks = pem::blocks(text).map(|block| match block {
            Ok(block) => (block.number, from_block(&block).transpose()),
            Err(truncated) => {
                let block = truncated.number;
                (block, Some(Err(PemError::Truncated { block })))
            }
        });
        let read = blocks.filter_map(|(number, read)| Some((format!("block {number}"), read?)));
        Self::of(read.map(|(place, read)| read.map(|read| (place, read)).map_err(told)))
    }

    /// Sorts out certificates that come with their places, and sentences about those that cannot be
    /// read.
    pub(super) fn of(read: impl Iterator<Item = Result<(String, Certificate), String>>) -> Self {
        let mut bundle = Self::default();
        let mut seen = HashSet::new();
        let mut left_out: Vec<String> = Vec::new();
        for read in read {
            match read {
                Ok((place, certificate)) => match chain::unfit_as_anchor(&certificate) {
                    None if !seen.insert(certificate.clone()) => {}
                    None if bundle.anchors.len() < MOST => bundle.anchors.push(certificate),
                    None => left_out.push(format!(
                        "{place}, {}, is left out: a bundle has {MOST} certificates at most",
                        chain::named(certificate.subject())
                    )),
                    Some(flaw) => left_out.push(format!(
                        "{place}, {}, is left out: it {flaw}",
                        chain::named(certificate.subject())
                    )),
                },
                Err(told) => left_out.push(told),
            }
        }
        let more = left_out.len().saturating_sub(TOLD);
        bundle.remarks = left_out.into_iter().take(TOLD).collect();
        if more > 0 {
            bundle.remarks.push(format!("{more} more certificates are left out"));
        }
        bundle
    }
}

fn told(error: PemError) -> String {
    format!("{error}, and is left out")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn root(common_name: &str) -> Certificate {
        let mut asked = CertificateParams::default();
        asked.distinguished_name = rcgen::DistinguishedName::new();
        asked.distinguished_name.push(DnType::CommonName, common_name);
        let made = asked.self_signed(&KeyPair::generate().unwrap()).unwrap();
        Certificate::from_der(made.der()).unwrap()
    }

    /// A root whose outer AlgorithmIdentifier is another than the inner one.
    fn odd(common_name: &str) -> Certificate {
        let whole = root(common_name).der().to_vec();
        let sha256 = b"\x2a\x86\x48\xce\x3d\x04\x03\x02";
        let outer = whole.windows(sha256.len()).rposition(|window| window == sha256).unwrap();
        let mut changed = whole;
        changed[outer + sha256.len() - 1] = 0x03;
        Certificate::from_der(&changed).unwrap()
    }

    #[test]
    fn a_bundle_has_an_end() {
        let many = (0..MOST + 9).map(|number| Ok((format!("block {number}"), root("Some"))));
        let bundle = Bundle::of(many);
        assert_eq!(bundle.anchors.len(), MOST);
        let end = ", CN=Some, is left out: a bundle has 300 certificates at most";
        assert_eq!(bundle.remarks[0], format!("block 300{end}"));
        assert_eq!(bundle.remarks[TOLD], "4 more certificates are left out");
    }

    #[test]
    fn one_odd_root_spoils_nothing_and_is_named() {
        let (good, odd, other) = (root("Good"), odd("Odd"), root("Other"));
        let damaged = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
        let truncated = &good.to_pem()[..200];
        let odd_remark =
            "block 2, CN=Odd, is left out: it names two different signature algorithms";
        let base64 =
            "block 2 of the PEM text is damaged: its contents are not base64, and is left out";
        let cut =
            "block 2 of the PEM text is truncated: it has no END line of its own, and is left out";
        let pem = Certificate::to_pem;
        let rows: [(&str, [String; 3], &[&str]); 4] = [
            ("nothing odd", [pem(&good), pem(&good), pem(&other)], &[]),
            ("odd", [pem(&good), pem(&odd), pem(&other)], &[odd_remark]),
            ("damaged", [pem(&good), damaged.to_owned(), pem(&other)], &[base64]),
            ("truncated", [pem(&good), format!("{truncated}\n"), pem(&other)], &[cut]),
        ];
        for (name, parts, remarks) in rows {
            let bundle = Bundle::from_pem(parts.concat().as_bytes());
            assert_eq!(bundle.anchors, [good.clone(), other.clone()], "{name}");
            assert_eq!(bundle.remarks, remarks, "{name}");
        }
    }

    #[test]
    fn many_odd_roots_are_counted() {
        let text: String = (0..8).map(|number| odd(&format!("Odd {number}")).to_pem()).collect();
        let bundle = Bundle::from_pem(text.as_bytes());
        assert!(bundle.anchors.is_empty());
        assert_eq!(bundle.remarks.len(), TOLD + 1);
        assert_eq!(bundle.remarks[TOLD], "3 more certificates are left out");
    }

    #[test]
    fn text_around_certificates_may_be_anything() {
        let (one, two) = (root("One"), root("Two"));
        let (first, second) = (one.to_pem(), two.to_pem());
        let rows = [
            ("as it is", format!("{first}{second}")),
            ("a byte order mark", format!("\u{feff}{first}{second}")),
            ("one in the middle", format!("{first}\u{feff}{second}")),
            ("CRLF", format!("{first}{second}").replace('\n', "\r\n")),
            (
                "no newline between, none at the end",
                format!("{}{}", first.trim_end(), second.trim_end()),
            ),
            (
                "Bag Attributes",
                format!(
                    "Bag Attributes\n    friendlyName: one\nsubject=CN = One\n\nissuer=CN = One\n\n{first}Bag Attributes: <Empty Attributes>\n{second}"
                ),
            ),
            (
                "markers in a comment",
                format!(
                    "# Keep everything from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----\n{first}{second}"
                ),
            ),
            (
                "a comment that begins with one",
                format!("-----BEGIN CERTIFICATE----- is how each of these begins\n{first}{second}"),
            ),
            (
                "one that mentions the beginning alone, in between",
                format!("{first}# after -----BEGIN CERTIFICATE----- comes base64\n{second}"),
            ),
            (
                "one that mentions the end",
                format!("# up to -----END CERTIFICATE-----\n{first}{second}"),
            ),
        ];
        for (name, text) in rows {
            let bundle = Bundle::from_pem(text.as_bytes());
            assert_eq!(bundle.anchors, [one.clone(), two.clone()], "{name}");
            assert_eq!(bundle.remarks, Vec::<String>::new(), "{name}");
            assert_eq!(super::super::parse_pem(text.as_bytes()), Ok(bundle.anchors), "{name}");
        }
    }
}
