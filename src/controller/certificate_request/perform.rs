//! The effects, one per step. Each returns what came of it as a plain value; none decides what
//! follows.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use crate::api::{CertificateRequest, Trust};
use crate::ca::registry;
use crate::ca::{
    Blocks, Capabilities, Order, OrderKind, Permit, Phase, Preparation, Progress, Submitted, Wanted,
};
use crate::controller::cluster::ErrorKind;
use crate::controller::cluster::secret;
use crate::controller::context::Context;
use crate::controller::issuer::accounts::{Account, IssuerNow};
use crate::controller::issuer::found::FoundIssuer;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::quota::{Allowance, Spent};
use crate::controller::process::failpoint::failpoint;
use crate::issuance::{
    self, Delivery, Key, KeyPlan, Observation, Obtained, Outcome, Purchase, Read, Target, Trouble,
    allow,
};
use crate::outside::credentials;
use crate::outside::{Disposition, Error};
use crate::pki::{Certificate, KeyKind, Names, PrivateKey, csr};
use crate::reason::Reason;

/// Reads the target Secret.
pub(in crate::controller) async fn read_target(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerKey,
) -> Outcome {
    let request = &seen.request;
    let read = match context.cluster.secret(&request.namespace, &request.secret_name).await {
        Read::Present(secret) => Read::Present(target(context, issuer, secret).await),
        Read::Absent => Read::Absent,
        Read::Unreadable(why) => Read::Unreadable(why),
    };
    failpoint("after-read-target");
    Outcome::TargetRead(read)
}

/// The target as the core sees it.
async fn target(context: &Context, issuer: &IssuerKey, secret: Secret) -> Target {
    if secret::is_short(&secret) {
        return secret::target(&secret);
    }
    context.beside.compute(issuer, move || secret::target(&secret)).await
}

/// Opens the account at the CA, and reads the credentials that the request brings itself.
pub(in crate::controller) async fn open_account(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
) -> Outcome {
    // Who brings credentials of their own does not mind that those of the issuer were refused.
    let refused = context.accounts.blamed(issuer).filter(|_| seen.request.credentials.is_none());
    let opened = match refused {
        Some(error) => Err(error),
        None => context.accounts.open(&context.cluster, issuer).await,
    };
    let account = match opened {
        Ok(account) => account,
        Err(error) => {
            // The issuer's own condition tells, and its owner has to act.
            // Refused credentials are known to it, and are to rest.
            if context.accounts.blamed(issuer).is_none() {
                context.checks.due(&issuer.key, seen.now);
            }
            context.wake.issuer(issuer.key.kind, issuer.key.namespace.as_deref(), &issuer.key.name);
            let trouble = Trouble::from(issuer.key.told(error));
            return Outcome::Failed(Trouble { counts: false, ..trouble });
        }
    };
    let (credentials, opt_in) = match &seen.request.credentials {
        None => (None, None),
        Some(name) => {
            let place = (seen.request.namespace.as_str(), name.as_str());
            let kind = account.credentials_kind;
            if let Err(error) = may_be_brought(kind, registry::field(issuer.spec)) {
                return Outcome::Failed(error.into());
            }
            match secret::credentials(&context.cluster, place, kind, &account.way()).await {
                Ok((credentials, opt_in)) => (Some(credentials), Some(opt_in)),
                Err(error) => return Outcome::Failed(error.into()),
            }
        }
    };
    let name = match (&credentials, registry::account(issuer.spec)) {
        (Some(own), Ok(settings)) => settings.tenant(Some(own)).to_string(),
        _ => account.name(),
    };
    Outcome::Opened(issuance::Account {
        name,
        capabilities: account.ca.capabilities().clone(),
        anchors: account.anchors.clone(),
        is_bundle: issuer.spec.trust.as_ref().is_some_and(Trust::has_bundle_alone),
        preferred_root: account.preferred_root.clone(),
        add_served_roots: account.add_served_roots,
        credentials,
        opt_in,
    })
}

/// Whether a request may bring credentials of this kind: TLS connections are the account's, and are
/// made with its certificate.
fn may_be_brought(kind: credentials::Kind, field: &str) -> Result<(), Error> {
    if kind != credentials::Kind::ClientCertificate {
        return Ok(());
    }
    Err(Error {
        disposition: Disposition::Reject,
        reason: Reason::CredentialsUnusable,
        message: format!(
            "spec.{field}.credentialsSecretRef names a client certificate, and this CA is shown that of the Issuer only: remove the field, and name an Issuer that has the certificate"
        ),
    })
}

/// Reads the CSR that the request brings.
pub(in crate::controller) async fn read_csr(context: &Context, seen: &Observation) -> Outcome {
    let Some(reference) = &seen.request.csr else {
        return Outcome::Abandoned;
    };
    match secret::csr(&context.cluster, &seen.request.namespace, reference).await {
        Ok(csr) => Outcome::CsrRead(Arc::new(csr)),
        Err(error) => Outcome::Failed(error.into()),
    }
}

/// Makes or takes the key, and submits.
pub(in crate::controller) async fn submit(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    (plan, kind): (KeyPlan, OrderKind),
    allowance: &mut Allowance,
) -> Outcome {
    let (key, csr_der, csr_names) = match csr(context, seen, plan).await {
        Ok(csr) => csr,
        Err(trouble) => return Outcome::Failed(trouble),
    };
    // After the key, which may have taken its time: the account of now is asked.
    let account = match account_for(context, seen, issuer, &kind).await {
        Ok(account) => account,
        Err(outcome) => return outcome,
    };
    let credentials = seen.account.as_ref().and_then(|account| account.credentials.clone());
    let trial = credentials.is_none().then(|| context.accounts.trial(issuer));
    let _turn = match &trial {
        Some(trial) => trial.turn().await,
        None => None,
    };
    let _permit = account.permits.turn().await;
    let blamed = || context.accounts.blamed(issuer).filter(|_| trial.is_some());
    if let Some(error) = blamed() {
        return Outcome::Failed(uncounted(issuer, error));
    }
    let order = Order {
        kind: &kind,
        key: disclosed(account.ca.capabilities(), key.private()),
        credentials: credentials.as_ref(),
        ..Order::unnamed(&csr_der, &serde_json::Value::Null)
    };
    let names = csr_names.as_ref().unwrap_or(&seen.request.names);
    let Some(key_kind) = KeyKind::of_spki(key.spki_der()) else {
        return Outcome::Failed(key_trouble(&"its kind is not known"));
    };
    let Preparation { kind, parameters } =
        match examine(&account, seen, (names, key_kind), &order).await {
            Ok(preparation) => preparation,
            Err(error) => return Outcome::Failed(refused(context, seen, issuer, error)),
        };
    if let Err(error) = account.turn().await {
        return Outcome::Failed(error.into());
    }
    // Much may have happened while this request waited.
    if context.is_stopping()
        || !is_still_wanted(context, seen)
        || !is_still_allowed(context, seen, issuer, allow::Stage::Submit)
    {
        return Outcome::Abandoned;
    }
    if let Some(error) = blamed() {
        return Outcome::Failed(uncounted(issuer, error));
    }
    let Some(grant) = allowance.take(seen.quota.limits, context.clock.now()) else {
        return Outcome::Lapsed;
    };
    let order = Order { kind: &kind, parameters: &parameters, ..order };
    match issued(context, &account, issuer, &order, grant.spend()).await {
        Ok(candidates) => {
            trial.iter().for_each(|trial| trial.passed());
            let purchase = purchase(seen, &account, &parameters);
            Outcome::Issued(Obtained { key, csr_names, candidates, purchase })
        }
        Err(NotIssued::Refused(error)) => Outcome::Failed(refused(context, seen, issuer, error)),
        Err(NotIssued::Pending) => Outcome::Failed(not_at_once()),
    }
}

/// The account that an order of this kind goes to.
async fn account_for(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    kind: &OrderKind,
) -> Result<Arc<Account>, Outcome> {
    let account = context.accounts.open(&context.cluster, issuer).await;
    let account = account.map_err(|error| Outcome::Failed(uncounted(issuer, error)))?;
    // An old key goes back to the tenant that certified it, and the issuer may speak for another now.
    let is_as_seen = seen.account.as_ref().is_some_and(|seen| account.is(&seen.name));
    if kind.follows() && !is_as_seen {
        return Err(Outcome::Abandoned);
    }
    opened_for(context, seen, issuer, account).map_err(|outcome| *outcome)
}

/// The account as the request's own credentials may use it, which opted in to what the issuer was when
/// they were read.
pub(in crate::controller) fn opened_for(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    account: Arc<Account>,
) -> Result<Arc<Account>, Box<Outcome>> {
    let opt_in = seen.account.as_ref().and_then(|account| account.opt_in.as_ref());
    match context.accounts.opened_for(issuer, account, opt_in) {
        Ok(account) => account.ok_or_else(|| Box::new(Outcome::Abandoned)),
        Err(error) => Err(Box::new(Outcome::Failed(issuer.key.told(error).into()))),
    }
}

/// An error of the issuer is not the request's failure.
pub(in crate::controller) fn uncounted(issuer: &IssuerNow<'_>, error: Error) -> Trouble {
    Trouble { counts: false, ..issuer.key.told(error).into() }
}

/// Why a CA that issues at once did not.
enum NotIssued {
    Refused(Error),
    Pending,
}

async fn issued(
    context: &Context,
    account: &Account,
    issuer: &IssuerNow<'_>,
    order: &Order<'_>,
    spent: Spent,
) -> Result<Vec<Certificate>, NotIssued> {
    failpoint("before-submit");
    let submitted = timed(context, account, issuer, order, spent).await;
    failpoint("after-submit");
    match submitted {
        Submitted::Accepted(Progress { phase: Phase::Issued(candidates), .. }) => Ok(candidates),
        Submitted::Accepted(_) => Err(NotIssued::Pending),
        Submitted::Refused(error) | Submitted::Unknown(error) => Err(NotIssued::Refused(error)),
    }
}

/// Has the CA translate what is wanted into what `order` has to say, and examine the order with
/// that. Costs nothing.
pub(in crate::controller) async fn examine(
    account: &Account,
    seen: &Observation,
    (names, key_kind): (&Names, KeyKind),
    order: &Order<'_>,
) -> Result<Preparation, Error> {
    let wanted = Wanted {
        kind: order.kind,
        names,
        key_kind,
        duration: seen.request.duration,
        blocks: &seen.request.blocks,
        is_requested: seen.is_requested(),
    };
    if account.ca.capabilities().billable {
        account.can_be_trusted().await?;
    }
    let preparation = account.ca.prepare(&wanted).await?;
    let Preparation { kind, parameters } = &preparation;
    // An old key, and the id of an old order, go where they were seen to belong, and nowhere else.
    if !kind.may_replace(order.kind) {
        return Err(Error {
            disposition: Disposition::Internal,
            reason: Reason::UnexpectedAnswer,
            message: "the order was made ready to follow a certificate that nobody named"
                .to_owned(),
        });
    }
    account.ca.preflight(&Order { kind, parameters, ..*order }).await?;
    Ok(preparation)
}

/// What an order with these parameters is for, in ids.
pub(in crate::controller) fn purchase(
    seen: &Observation,
    account: &Account,
    parameters: &serde_json::Value,
) -> Purchase {
    // Whoever brings credentials of their own has an account of their own.
    let own = seen.account.as_ref().filter(|account| account.credentials.is_some());
    let name = own.map_or_else(|| account.name(), |own| own.name.clone());
    Purchase { account: name, product: account.ca.product_in(parameters) }
}

/// Asks the CA what words for products stand for.
pub(in crate::controller) async fn resolve(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    words: &[serde_json::Value],
) -> Outcome {
    let account = match context.accounts.open(&context.cluster, issuer).await {
        Ok(account) => account,
        Err(error) => return Outcome::Failed(uncounted(issuer, error)),
    };
    let _permit = account.permits.turn().await;
    let wanted = seen.wanted().block();
    let is_open = seen.order.record.is_some() || seen.previous.order.is_some();
    let mut products = seen.products.clone();
    for words in words {
        match account.ca.product(&Blocks::parse(words)).await {
            Ok(product) => products.note(words, product),
            Err(error) if *words == wanted && !is_open => {
                return Outcome::Failed(refused(context, seen, issuer, error));
            }
            // What was ordered once may be on offer no more: that is no difference. Nor is what cannot be
            // told, as long as an order is open: it is told when that has ended.
            Err(_) => products.note(words, None),
        }
    }
    Outcome::Resolved(products)
}

/// The private key, where the CA is one that needs it: no other client ever sees it.
pub(in crate::controller) fn disclosed<'a>(
    can: &Capabilities,
    key: Option<&'a Arc<PrivateKey>>,
) -> Option<&'a PrivateKey> {
    key.filter(|_| can.needs_private_key).map(Arc::as_ref)
}

/// A CA without orders issues at once or not at all.
fn not_at_once() -> Trouble {
    Trouble {
        disposition: Disposition::Internal,
        reason: Reason::UnexpectedAnswer,
        message: "the CA took the request but issued nothing".to_owned(),
        counts: true,
    }
}

/// Sends the order and measures the answer.
async fn timed(
    context: &Context,
    account: &Account,
    issuer: &IssuerNow<'_>,
    order: &Order<'_>,
    spent: Spent,
) -> Submitted {
    let start = tokio::time::Instant::now();
    let submitted = account.submit(order, Permit::Free, spent).await;
    let disposition = match &submitted {
        Submitted::Accepted(_) => "issued",
        Submitted::Refused(error) | Submitted::Unknown(error) => error.disposition.label(),
    };
    context.metrics.ca_request(&issuer.key.labels(), "submit", disposition, start.elapsed());
    submitted
}

/// Refused credentials of the issuer are the issuer's trouble: all its requests wait, and nothing
/// is asked of the CA, until they change.
pub(in crate::controller) fn refused(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    error: Error,
) -> Trouble {
    if error.disposition == Disposition::BlameCredentials && seen.request.credentials.is_none() {
        context.accounts.blame(issuer, error.clone());
        context.wake.issuer(issuer.key.kind, issuer.key.namespace.as_deref(), &issuer.key.name);
        return uncounted(issuer, error);
    }
    error.into()
}

/// The key, the CSR to submit, and the names in it where the request brought it.
pub(in crate::controller) async fn csr(
    context: &Context,
    seen: &Observation,
    plan: KeyPlan,
) -> Result<(Key, Vec<u8>, Option<Names>), Trouble> {
    let key = match plan {
        KeyPlan::Brought(csr) => {
            // A CA that ignores names ignores those too.
            let account = seen.account.as_ref();
            let goes_by_names = account.is_some_and(|account| account.capabilities.names);
            let names = goes_by_names.then(|| csr.names.clone());
            return Ok((csr.key.clone(), csr.der.clone(), names));
        }
        KeyPlan::Reuse(key) => key,
        KeyPlan::Generate(kind) => generate(context, kind).await?,
    };
    let csr_der = csr::build(&key, &seen.request.names).map_err(|error| key_trouble(&error))?;
    Ok((key.into(), csr_der, None))
}

async fn generate(context: &Context, kind: KeyKind) -> Result<Arc<PrivateKey>, Trouble> {
    context.keys.generate(kind).await.map_err(|error| key_trouble(&error))
}

pub(in crate::controller) fn key_trouble(error: &dyn std::fmt::Display) -> Trouble {
    Trouble {
        disposition: Disposition::Internal,
        reason: Reason::KeyFailed,
        message: format!("the key or its signing request could not be made: {error}"),
        counts: true,
    }
}

/// Asks the CA for the certificates it serves.
pub(in crate::controller) async fn read_served_roots(
    context: &Context,
    issuer: &IssuerNow<'_>,
) -> Outcome {
    let account = match context.accounts.open(&context.cluster, issuer).await {
        Ok(account) => account,
        Err(error) => return Outcome::Failed(uncounted(issuer, error)),
    };
    match account.served_roots().await {
        Ok(certificates) => Outcome::Served(certificates),
        // Unreadable is not empty: without them a chain may look broken that is not.
        Err(error) => Outcome::Failed(error.into()),
    }
}

/// Writes the target Secret: creates it, or changes exactly the version that was read.
pub(in crate::controller) async fn deliver(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerKey,
    delivery: &Delivery,
) -> Outcome {
    let request = &seen.request;
    let (namespace, name) = (&request.namespace, &request.secret_name);
    if !is_still_wanted(context, seen) {
        return Outcome::Abandoned;
    }
    failpoint("before-deliver");
    let written = match &delivery.base {
        None => {
            let secret = secret::created(namespace, name, delivery);
            context.cluster.create_secret(namespace, name, &secret).await
        }
        Some((uid, version)) => {
            let patch = secret::changed(uid, version, delivery);
            context.cluster.patch_secret(namespace, name, &patch).await
        }
    };
    failpoint("after-deliver");
    match written {
        Ok(secret) => Outcome::Delivered {
            target: target(context, issuer, secret).await,
            added_roots: delivery.added_roots.clone(),
            renewed: delivery.renewed,
            adopted: delivery.adopted,
        },
        // Somebody created, changed or deleted it in between: look again.
        Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound) => {
            Outcome::Conflict
        }
        Err(error) => Outcome::Failed(Trouble {
            disposition: Disposition::Retry { after: None },
            reason: Reason::SecretNotWritten,
            message: error.to_string(),
            counts: true,
        }),
    }
}

/// What the caches say now counts: an issuer may have been suspended, or a namespace have lost its
/// permission, while the request waited. Another run tells of it.
pub(in crate::controller) fn is_still_allowed(
    context: &Context,
    seen: &Observation,
    issuer: &IssuerNow<'_>,
    stage: allow::Stage,
) -> bool {
    let found = FoundIssuer::by_key(context, &issuer.key);
    let allowed = found.allowed(context, &seen.request.namespace);
    matches!(found, FoundIssuer::Found { .. })
        && allow::rules::refusal(&allowed, seen, stage).is_none()
}

/// Nobody waits for the certificate of a request that went away while the CA was asked.
fn is_still_wanted(context: &Context, seen: &Observation) -> bool {
    let request = &seen.request;
    context.stores.request(&request.namespace, &request.name).is_some_and(|cached| {
        cached.0.as_ref().is_ok_and(|cached: &CertificateRequest| {
            cached.uid().as_deref() == Some(&request.uid)
                && cached.metadata.deletion_timestamp.is_none()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_of_the_request_is_refused_and_other_credentials_are_not() {
        use credentials::Kind;
        let error = may_be_brought(Kind::ClientCertificate, "houseCa").expect_err("refused");
        assert_eq!(error.disposition, Disposition::Reject);
        assert!(error.message.contains("spec.houseCa.credentialsSecretRef"), "{error}");
        assert!(error.message.contains("remove the field"), "{error}");
        for kind in [
            Kind::ApiKey,
            Kind::Basic { password: "password" },
            Kind::Bearer,
            Kind::ClientCredentials,
        ] {
            assert!(may_be_brought(kind, "houseCa").is_ok(), "{kind:?}");
        }
    }

    #[test]
    fn a_private_key_is_shown_to_a_ca_that_needs_it_and_to_no_other() {
        let key = Arc::new(PrivateKey::generate(KeyKind::EcdsaP256).expect("a key"));
        let can = |needs_private_key| Capabilities { needs_private_key, ..Capabilities::default() };
        let shown = |needs, key| disclosed(&can(needs), key).map(PrivateKey::spki_der);
        assert_eq!(shown(true, Some(&key)), Some(key.spki_der()));
        assert_eq!(shown(true, None), None, "it stayed with whoever brought the CSR");
        assert_eq!(shown(false, Some(&key)), None);
    }
}
