//! Name constraints (RFC 5280 section 4.2.1.10), as far as rustls-webpki does not judge them.
//!
//! It judges DNS names and IP addresses, and refuses whatever else a certificate authority constrains:
//! [`Constraints::for_webpki`] is what is left for it, [`Constraints::violation`] judges the rest. What
//! neither understands is refused here too.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280::{ID_CE_NAME_CONSTRAINTS, ID_CE_SUBJECT_ALT_NAME};
use der::asn1::AnyRef;
use der::{Decode as _, Encode as _, Tagged as _};

use super::super::certificate::Certificate;
use super::super::name;

/// PKCS#9; the names of old certificates for e-mail stand in the subject.
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// So many comparisons of a name with a constraint are made for one certificate. webpki has such a
/// limit, too; no real certificate comes near.
const COMPARISONS: usize = 10_000;

/// The choices of GeneralName by their numbers.
const RFC822_NAME: u32 = 1;
const DNS_NAME: u32 = 2;
const DIRECTORY_NAME: u32 = 4;
const URI: u32 = 6;
const IP_ADDRESS: u32 = 7;

/// A GeneralName: its number and its contents.
#[derive(Clone, Copy)]
struct Name<'a> {
    kind: u32,
    value: &'a [u8],
}

impl Name<'_> {
    fn is_webpkis(&self) -> bool {
        matches!(self.kind, DNS_NAME | IP_ADDRESS)
    }
}

/// What a certificate allows below it.
pub(super) struct Constraints<'a> {
    permitted: Vec<AnyRef<'a>>,
    excluded: Vec<AnyRef<'a>>,
}

impl<'a> Constraints<'a> {
    /// Reads the extension. `None` where there is none; where it cannot be read, nothing is permitted.
    pub(super) fn of(certificate: &'a Certificate) -> Option<Result<Self, Unreadable>> {
        let value = certificate.extension(ID_CE_NAME_CONSTRAINTS)?;
        Some(Self::read(value).ok_or(Unreadable))
    }

    fn read(value: &'a [u8]) -> Option<Self> {
        let mut constraints = Self { permitted: Vec::new(), excluded: Vec::new() };
        for part in name::elements(AnyRef::from_der(value).ok()?.value()).ok()? {
            let subtrees = name::elements(part.value()).ok()?;
            match part.tag().number().0 {
                0 => constraints.permitted = subtrees,
                1 => constraints.excluded = subtrees,
                _ => return None,
            }
        }
        let all = constraints.permitted.iter().chain(&constraints.excluded);
        all.map(base).all(|base| base.is_some()).then_some(constraints)
    }

    /// Is there anything that webpki does not judge?
    pub(super) fn are_beyond_webpki(&self) -> bool {
        let all = self.permitted.iter().chain(&self.excluded);
        all.filter_map(base).any(|base| !base.is_webpkis())
    }

    /// Does webpki refuse every chain with these certificates below? It refuses directory names
    /// whatever they say, and of the kinds that it does not judge the names that are there.
    pub(super) fn are_refused_by_webpki(&self, below: &[&Certificate]) -> bool {
        let has = |kind: u32| {
            below.iter().any(|one| {
                let names = one.extension(ID_CE_SUBJECT_ALT_NAME).map(general_names);
                names.is_some_and(|names| {
                    names.unwrap_or_default().iter().any(|name| name.kind == kind)
                })
            })
        };
        let mut all = self.permitted.iter().chain(&self.excluded).filter_map(base);
        all.any(|base| base.kind == DIRECTORY_NAME || !base.is_webpkis() && has(base.kind))
    }

    /// The contents of a NameConstraints with nothing but what webpki judges. `None` where nothing is
    /// left.
    pub(super) fn for_webpki(&self) -> Option<Vec<u8>> {
        let mut contents = Vec::new();
        for (tag, subtrees) in [(0xa0, &self.permitted), (0xa1, &self.excluded)] {
            let left =
                subtrees.iter().filter(|one| base(one).is_some_and(|base| base.is_webpkis()));
            let left: Vec<u8> = left.filter_map(|one| one.to_der().ok()).flatten().collect();
            if !left.is_empty() {
                contents.push(tag);
                contents.extend(der::Length::try_from(left.len()).ok()?.to_der().ok()?);
                contents.extend(left);
            }
        }
        (!contents.is_empty()).then_some(contents)
    }

    /// Says which name of `certificate` is not allowed, of the kinds that webpki does not judge.
    pub(super) fn violation(&self, certificate: &Certificate) -> Option<String> {
        let permitted: Vec<Name<'_>> = self.permitted.iter().filter_map(base).collect();
        let excluded: Vec<Name<'_>> = self.excluded.iter().filter_map(base).collect();
        let alternative = match certificate.extension(ID_CE_SUBJECT_ALT_NAME).map(general_names) {
            Some(Some(names)) => names,
            Some(None) => return Some("alternative names that cannot be read".to_owned()),
            None => Vec::new(),
        };
        let addresses = name::values_of(certificate.subject_der(), EMAIL_ADDRESS);
        let in_subject = addresses.iter().map(|address| Name { kind: RFC822_NAME, value: address });
        let subject = Name { kind: DIRECTORY_NAME, value: certificate.subject_der() };
        let names = alternative.into_iter().chain(in_subject).chain([subject]);
        let mut names: Vec<Name<'_>> = names.filter(|name| !name.is_webpkis()).collect();
        if names.len() * (permitted.len() + excluded.len()) > COMPARISONS {
            return Some("more names than anybody compares".to_owned());
        }
        names.retain(|name| !allows(&permitted, &excluded, *name));
        names.first().copied().map(shown)
    }
}

/// The extension is there and cannot be read.
#[derive(Debug)]
pub(super) struct Unreadable;

/// The name of a GeneralSubtree. RFC 5280 has minimum 0 and no maximum, which DER leaves out.
fn base<'a>(subtree: &AnyRef<'a>) -> Option<Name<'a>> {
    match name::elements(subtree.value()).ok()?[..] {
        [base] => general_name(base),
        _ => None,
    }
}

fn general_names(value: &[u8]) -> Option<Vec<Name<'_>>> {
    let names = name::elements(AnyRef::from_der(value).ok()?.value()).ok()?;
    names.into_iter().map(general_name).collect()
}

/// A directoryName is tagged explicitly (X.680 section 31.2.7): its contents are a name in DER.
fn general_name(choice: AnyRef<'_>) -> Option<Name<'_>> {
    let kind = choice.tag().number().0;
    let is_name = choice.tag().is_context_specific() && kind <= 8;
    is_name.then_some(Name { kind, value: choice.value() })
}

fn allows(permitted: &[Name<'_>], excluded: &[Name<'_>], name: Name<'_>) -> bool {
    // The empty subject is no name.
    if name.kind == DIRECTORY_NAME && name::is_empty(name.value) {
        return true;
    }
    let of_its_kind = |bases: &[Name<'_>]| -> Vec<Option<bool>> {
        let bases = bases.iter().filter(|base| base.kind == name.kind);
        bases.map(|base| is_within(name, *base)).collect()
    };
    let (permitted, excluded) = (of_its_kind(permitted), of_its_kind(excluded));
    (permitted.is_empty() || permitted.contains(&Some(true)))
        && excluded.iter().all(|within| *within == Some(false))
}

/// Does `name` lie within the subtree? `None` where nobody can say.
fn is_within(name: Name<'_>, base: Name<'_>) -> Option<bool> {
    let text = |value| std::str::from_utf8(value).ok().filter(|text: &&str| text.is_ascii());
    match name.kind {
        DIRECTORY_NAME => name::is_below(name.value, base.value),
        RFC822_NAME => {
            let (name, base) = (text(name.value)?, text(base.value)?);
            let (local, host) = name.rsplit_once('@')?;
            Some(match base.rsplit_once('@') {
                Some((base_local, base_host)) => {
                    local == base_local && host.eq_ignore_ascii_case(base_host)
                }
                None => is_host_within(host, base),
            })
        }
        URI => Some(is_host_within(host_of(text(name.value)?)?, text(base.value)?)),
        _ => None,
    }
}

/// A constraint that begins with a dot takes the hosts of a domain, any other one host.
fn is_host_within(host: &str, base: &str) -> bool {
    let (host, base) = (host.to_ascii_lowercase(), base.to_ascii_lowercase());
    // Nothing asked for is everything, as TLS clients read it.
    if base.is_empty() {
        return true;
    }
    if base.starts_with('.') { host.ends_with(&base) && host != base } else { host == base }
}

/// The host of a URI. One without, or with an address for it, cannot be judged (RFC 5280 section
/// 4.2.1.10).
fn host_of(uri: &str) -> Option<&str> {
    let (_, hierarchical) = uri.split_once("://")?;
    let authority = hierarchical.split(['/', '?', '#']).next()?;
    let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host_and_port.split_once(':').map_or(host_and_port, |(host, _)| host);
    let is_name =
        !host.is_empty() && !host.starts_with('[') && host.parse::<std::net::Ipv4Addr>().is_err();
    is_name.then_some(host)
}

fn shown(name: Name<'_>) -> String {
    let text = String::from_utf8_lossy(name.value);
    match name.kind {
        RFC822_NAME => format!("the e-mail address {}", text.escape_debug()),
        URI => format!("the URI {}", text.escape_debug()),
        DIRECTORY_NAME => format!("the subject {}", name::to_rfc4514(name.value)),
        _ => "a name of a kind that cannot be judged".to_owned(),
    }
}
