//! Whether a submission deserves an order, and which.
//!
//! Pure: nothing is recorded here.

use super::call::Call;
use super::operations::Context;
use super::order::Ordered;
use super::refusal::{Code, Refusal};
use super::settings::{Product, ProductValidity, Step, ValidityType};
use super::wire::{IssueRequest, Overrides, Values};
use super::{Operation, issue};
use crate::simulator::csr::{self, AltName, Csr, Unusable};
use crate::simulator::id;

/// An order that will be made.
pub(super) struct Admitted {
    pub(super) ordered: Ordered,
    pub(super) life: Vec<Step>,
}

/// Decides whether an IssueRequest deserves an order.
pub(super) fn json(
    context: &Context,
    call: &Call,
    operation: Operation,
) -> Result<(Admitted, IssueRequest), Refusal> {
    let settings = &context.settings;
    if !settings.allow_issue {
        let status = settings.access_denied_status;
        return Err(Refusal::with(status, Code::AccessDenied, "Access denied"));
    }
    let request: IssueRequest = call.json()?;
    if !id::is("pma-", &request.product_reference) {
        return Err(Refusal::bad(Code::Validation, "productReference must match pma-…"));
    }
    if settings.checks_terms && !request.accept_tand_c {
        return Err(Refusal::bad(
            Code::FailedValidatingRequest,
            "The terms and conditions must be accepted",
        ));
    }
    let text = request
        .csr
        .as_deref()
        .ok_or_else(|| Refusal::bad(Code::FailedValidatingRequest, "This product needs a CSR"))?;
    let csr = readable(csr::read(text, false))?;
    let admitted = admit(context, operation, &request.product_reference, csr, Some(&request))?;
    Ok((admitted, request))
}

/// Decides whether a CSR deserves an order of this product.
pub(super) fn admit(
    context: &Context,
    operation: Operation,
    product_id: &str,
    mut csr: Csr,
    request: Option<&IssueRequest>,
) -> Result<Admitted, Refusal> {
    let found = context.offers.iter().find_map(|offer| {
        let (_, product) = offer.products.iter().find(|(id, _)| id == product_id)?;
        Some((offer, product))
    });
    let (offer, product) =
        found.ok_or_else(|| context.unknown(Code::InvalidProductMapping, product_id))?;
    let objection = if product.retired {
        Some((Code::ProductRetired, "The product is retired"))
    } else if product.expiration_date.is_some_and(|expires| expires <= context.now) {
        Some((Code::ProductExpired, "The product has expired"))
    } else if product.api_disabled {
        Some((Code::ProductApiDisabled, "The product is not available over the API"))
    } else if !product.key_generation_type.contains("PKCS10") {
        Some((Code::InvalidProductType, "The product takes no CSR"))
    } else {
        None
    };
    if let Some((code, message)) = objection {
        return Err(Refusal::bad(code, message));
    }
    let overrides = request.and_then(|request| request.overrides.clone()).unwrap_or_default();
    let validity = validity(product, &overrides)?;
    apply(&mut csr, overrides)?;
    let tags = request.map(|request| request.tags.clone()).unwrap_or_default();
    let ordered = Ordered {
        account: context.account.clone(),
        operation,
        client_id: offer.client_id.clone(),
        product_id: product_id.to_owned(),
        product_name: product.name.clone(),
        submitted_tags: tags.clone(),
        tags,
        note: request.and_then(|request| request.note.clone()),
        csr,
        validity,
        fault: None,
    };
    Ok(Admitted { ordered, life: context.settings.life(product) })
}

/// The CSR, or what the API says about one that is unusable.
pub(super) fn readable(csr: Result<Csr, Unusable>) -> Result<Csr, Refusal> {
    csr.map_err(|unusable| match unusable {
        Unusable::Unreadable => Refusal::bad(Code::FailedParsingCsr, "The CSR cannot be parsed"),
        Unusable::NotSigned => {
            Refusal::bad(Code::FailedValidatingRequest, "The signature of the CSR is wrong")
        }
    })
}

/// How long the certificate is to live.
fn validity(product: &Product, overrides: &Overrides) -> Result<(ValidityType, u32), Refusal> {
    let terms = product
        .product_validity
        .clone()
        .unwrap_or_else(|| ProductValidity { validity: None, ..ProductValidity::default() });
    let refused = |message: &str| Err(Refusal::bad(Code::FailedValidatingRequest, message));
    let Some(asked) = overrides.validity else {
        return Ok(match terms.validity {
            Some(validity) => (terms.validity_type, validity),
            None => (ValidityType::Days, 90),
        });
    };
    let Ok(asked) = u32::try_from(asked) else {
        return Err(Refusal::bad(Code::Validation, "validity must be at least 1"));
    };
    match asked {
        0 => Err(Refusal::bad(Code::Validation, "validity must be at least 1")),
        _ if !product.allows_validity => refused("The product does not allow a validity"),
        _ if !terms.validity_options.is_empty() && !terms.validity_options.contains(&asked) => {
            refused("The product does not offer this validity")
        }
        _ => Ok((terms.validity_type, asked)),
    }
}

/// Replaces the subject and adds names.
fn apply(csr: &mut Csr, overrides: Overrides) -> Result<(), Refusal> {
    if let Some(text) = &overrides.subject_dn {
        csr.subject = issue::subject(text)
            .ok_or_else(|| Refusal::bad(Code::FailedParsingDn, format!("Invalid DN: {text}")))?;
    }
    let extensions = overrides.request_extensions.unwrap_or_default();
    let mut names: Vec<(String, Option<AltName>)> = Vec::new();
    for host in extensions.request_dns.iter().flat_map(|hosts| &hosts.values) {
        names.push((host.dns.clone(), AltName::dns(&host.dns)));
        let base = host.dns.strip_prefix("*.").unwrap_or(&host.dns);
        if host.include_base_domain_for_wildcard && base != host.dns {
            names.push((base.to_owned(), AltName::dns(base)));
        }
        if host.include_www_domain {
            names.push((host.dns.clone(), AltName::dns(&format!("www.{base}"))));
        }
    }
    type Make = fn(&str) -> Option<AltName>;
    let lists: [(Option<Values<String>>, Make); 3] = [
        (extensions.request_rfc822, AltName::email),
        (extensions.request_ip, AltName::ip),
        (extensions.request_upn, |user| Some(AltName::upn(user))),
    ];
    for (list, make) in lists {
        names.extend(list.into_iter().flat_map(|list| list.values).map(|name| {
            let made = make(&name);
            (name, made)
        }));
    }
    for (given, name) in names {
        let name = name.ok_or_else(|| {
            Refusal::bad(Code::FailedValidatingRequest, format!("Invalid name: {given}"))
        })?;
        if !csr.names.contains(&name) {
            csr.names.push(name);
        }
    }
    Ok(())
}
