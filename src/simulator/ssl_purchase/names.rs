//! Which names a certificate of a plan has: those of the request, as far as the plan covers them.
//!
//! Pure. The API has no parameter for names; that they come from the request is assumed.

use super::refusal::Wrong;
use super::settings::{ExtraNames, Plan, SiteSettings};
use crate::simulator::csr::{AltName, Csr};

/// The names of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) common_name: String,
    /// What the certificate is valid for, the common name first.
    pub(super) certified: Vec<String>,
    /// The domains that must be validated.
    pub(super) checked: Vec<String>,
}

/// The names that a request gets.
pub(super) fn of(settings: &SiteSettings, plan: &Plan, csr: &Csr) -> Result<Names, Wrong> {
    let wrong = |text: &str| Wrong::new("csr", text, "invalid");
    let mut asked = Vec::new();
    for name in &csr.names {
        let name = name.as_dns().ok_or_else(|| wrong("The CSR may have DNS names only."))?;
        asked.push(host(&name).ok_or_else(|| wrong("The CSR has a name that is none."))?);
    }
    let given = csr.subject.components().into_iter().find(|(kind, _)| kind == "CN");
    let common_name = match given {
        Some((_, name)) => {
            host(&name).ok_or_else(|| wrong("The common name of the CSR is no domain."))?
        }
        None if settings.needs_common_name => {
            return Err(wrong("The CSR has no common name."));
        }
        None => asked.first().cloned().ok_or_else(|| wrong("The CSR has no name."))?,
    };
    if plan.wildcard && !common_name.starts_with("*.") {
        return Err(wrong("The common name must be a wildcard for this plan."));
    }
    if !plan.wildcard && std::iter::once(&common_name).chain(&asked).any(|n| n.starts_with("*.")) {
        return Err(wrong("This plan has no wildcards."));
    }
    let mut certified = vec![common_name.clone()];
    let mut checked = vec![base(&common_name).to_owned()];
    if plan.multi_domain {
        for name in asked {
            let domain = base(&name).to_owned();
            if !checked.contains(&domain) {
                checked.push(domain);
            }
            if !certified.contains(&name) {
                certified.push(name);
            }
        }
    } else {
        certified.extend((!settings.no_twin).then(|| twin(&common_name)));
        if settings.extra_names == ExtraNames::Refused
            && asked.iter().any(|name| !certified.contains(name))
        {
            return Err(wrong("The CSR has more names than this plan covers."));
        }
    }
    Ok(Names { common_name, certified, checked })
}

fn host(name: &str) -> Option<String> {
    AltName::dns(name)?.as_dns()
}

/// The domain itself, without the star.
fn base(name: &str) -> &str {
    name.strip_prefix("*.").unwrap_or(name)
}

/// The name that comes for nothing: with or without `www.`, and the domain of a wildcard.
fn twin(name: &str) -> String {
    match name.strip_prefix("*.").or_else(|| name.strip_prefix("www.")) {
        Some(rest) => rest.to_owned(),
        None => format!("www.{name}"),
    }
}
