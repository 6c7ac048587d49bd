//! Taking over a pair that was obtained elsewhere, without an order.
//!
//! Whoever may write a Secret gives it away with the annotation `chancery.dev/adopt`, which names the
//! request. What is in it has to be what the request asks for, verified like something the issuer's
//! CA has issued; otherwise it stays as it is, and nothing is ordered.

use super::delivery::Delivery;
use super::standing::{TLS, requested};
use crate::api::annotation;
use crate::issuance::attempt::contended;
use crate::issuance::observation::{Account, IssuerState, Observation, Target};
use crate::issuance::order::record::OrderState;
use crate::issuance::step::{Rest, Step};
use crate::pki::chain::Unfit;

/// What cert-manager writes on each Secret of a Certificate.
const OF_CERT_MANAGER: &str = "cert-manager.io/certificate-name";

impl Observation {
    /// Somebody gives this Secret to the request.
    pub(super) fn is_offered(&self, target: &Target) -> bool {
        let annotations = &target.metadata.annotations;
        let is_ours_already = annotations.get(annotation::REQUEST) == Some(&self.request.name);
        annotations.get(annotation::ADOPT) == Some(&self.request.name)
            && target.kind == TLS
            // Who has had a certificate of its own gets that back, and not an older one.
            && !is_ours_already
            && self.previous.certificate.is_none()
    }
}

/// Takes what is offered over, or says why not.
pub(in crate::issuance) fn step(seen: &Observation) -> Step {
    let refused = |why: &str| {
        Step::Rest(Rest::NotAdopted(format!(
            "Secret {} is not taken over, and nothing is ordered: {why}; mend that, or take its annotation {} away",
            seen.request.secret_name,
            annotation::ADOPT
        )))
    };
    match &seen.issuer {
        IssuerState::Missing | IssuerState::NotServed => {
            return Step::Rest(Rest::IssuerMissing);
        }
        IssuerState::NotReady(why) => return Step::Rest(Rest::IssuerNotReady(why.clone())),
        IssuerState::Ready { .. } => {}
    }
    let (Some(account), Some(target)) = (&seen.account, seen.live_target()) else {
        return Step::OpenAccount;
    };
    if let Some(trouble) = contended(seen) {
        return Step::Rest(Rest::Failed(trouble));
    }
    if seen.order.record.is_none() && account.capabilities.has_records() {
        return Step::ReadRecord;
    }
    if let Some(why) = hindrance(seen, target) {
        return refused(&why);
    }
    match delivery(seen, account, target) {
        Ok(delivery) => Step::Deliver(Box::new(delivery)),
        // The server may keep the missing intermediate among the roots it serves.
        Err(Fault::Chain(Unfit::NoPath { .. })) if seen.served.is_none() => Step::ReadServedRoots,
        Err(Fault::Chain(unfit)) => refused(&unfit.to_string()),
        Err(Fault::Other(why)) => refused(&why),
    }
}

/// Why it is not looked at.
fn hindrance(seen: &Observation, target: &Target) -> Option<String> {
    let namespace = &seen.request.namespace;
    let secret = &seen.request.secret_name;
    let owner = target.owners.iter().find(|owner| owner.starts_with("Certificate.cert-manager.io"));
    let by_name = target.metadata.annotations.get(OF_CERT_MANAGER);
    if target.immutable {
        return Some("it is immutable".to_owned());
    }
    if let Some(owner) = owner {
        return Some(format!("{owner} owns it: delete that with --cascade=orphan"));
    }
    if let Some(name) = by_name {
        return Some(format!(
            "cert-manager writes it for its Certificate {name}: delete that, and then: kubectl annotate secret -n {namespace} {secret} {OF_CERT_MANAGER}-"
        ));
    }
    let hinted = seen.previous.order.as_ref().map(|order| &order.reference);
    let stored = seen.record().filter(|record| record.mark.state == OrderState::Open);
    if let Some(order) = hinted.or_else(|| stored.map(|record| &record.next.order.reference)) {
        return Some(format!("order {order} is under way for the request"));
    }
    let noted = requested(&target.metadata);
    if noted.is_some_and(|noted| seen.asks_for_another(&noted)) {
        return Some("it was obtained for something else than the request asks for".to_owned());
    }
    seen.request
        .csr
        .as_ref()
        .map(|_| "the request brings its own CSR, and what fits that is issued for it".to_owned())
}

enum Fault {
    Chain(Unfit),
    Other(String),
}

fn delivery(seen: &Observation, account: &Account, target: &Target) -> Result<Delivery, Fault> {
    let Some(key) = seen.key_in(target) else {
        return Err(Fault::Other("its tls.key cannot be read".to_owned()));
    };
    if let Some(kind) = seen.request.key_kind.filter(|kind| kind.to_string() != key.kind()) {
        return Err(Fault::Other(format!(
            "its key is {}, and spec.privateKey asks for {kind}",
            key.kind()
        )));
    }
    let names = &seen.request.names;
    let chain =
        seen.verified(&target.chain, key.spki_der(), names, account).map_err(Fault::Chain)?;
    let mut delivery = seen.delivery(account, &chain, key, None);
    delivery.removed_annotations.push(annotation::ADOPT.to_owned());
    delivery.adopted = true;
    Ok(delivery)
}
