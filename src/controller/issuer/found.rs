//! An issuer as the caches have it.

use std::sync::Arc;

use kube::ResourceExt as _;
use kube::runtime::reflector::ObjectRef;

use crate::api::condition::{self, READY};
use crate::api::{CertificateRequest, IssuerKind, IssuerSpec, IssuerStatus};
use crate::ca::registry;
use crate::controller::cluster::stores::Guarded;
use crate::controller::context::Context;
use crate::controller::issuer::accounts::IssuerNow;
use crate::controller::issuer::key::IssuerKey;
use crate::controller::issuer::object::IssuerObject;
use crate::controller::issuer::quota::{Limited, limits_of};
use crate::issuance::allow::Allowed;
use crate::issuance::{IssuerState, Request, StandsFor};

/// The issuer of a request, from the caches.
pub(in crate::controller) enum FoundIssuer {
    Missing,
    /// A ClusterIssuer, where those are another installation's.
    NotServed,
    Unreadable(String),
    Found {
        key: IssuerKey,
        uid: String,
        spec: Box<IssuerSpec>,
        status: Box<IssuerStatus>,
        generation: i64,
    },
}

impl FoundIssuer {
    pub(in crate::controller) fn of(context: &Context, request: &CertificateRequest) -> Self {
        Self::by_key(context, &IssuerKey::of(request))
    }

    /// The field of the kind of CA of a request's issuer, where that can be read.
    pub(in crate::controller) fn field(
        context: &Context,
        request: &CertificateRequest,
    ) -> Option<&'static str> {
        let reference = &request.spec.issuer_ref;
        let stores = &context.stores;
        match reference.kind {
            IssuerKind::Issuer => {
                let at = request.namespace().unwrap_or_default();
                let found = stores.issuers.get(&ObjectRef::new(&reference.name).within(&at))?;
                found.0.as_ref().ok().map(|issuer| registry::field(&issuer.spec))
            }
            IssuerKind::ClusterIssuer => {
                let found = stores.cluster_issuers.get(&ObjectRef::new(&reference.name))?;
                found.0.as_ref().ok().map(|issuer| registry::field(&issuer.spec.issuer))
            }
        }
    }

    pub(in crate::controller) fn by_key(context: &Context, key: &IssuerKey) -> Self {
        let at = key.namespace.as_deref().unwrap_or_default();
        match key.kind {
            IssuerKind::Issuer => {
                Self::from(context.stores.issuers.get(&ObjectRef::new(&key.name).within(at)))
            }
            IssuerKind::ClusterIssuer if !context.stores.sight.has_cluster_issuers() => {
                Self::NotServed
            }
            IssuerKind::ClusterIssuer => {
                Self::from(context.stores.cluster_issuers.get(&ObjectRef::new(&key.name)))
            }
        }
    }

    fn from<K: IssuerObject>(found: Option<Arc<Guarded<K>>>) -> Self {
        let Some(found) = found else { return Self::Missing };
        match &found.0 {
            Err(error) => Self::Unreadable(error.to_string()),
            Ok(issuer) => Self::Found {
                key: IssuerKey::to::<K>(issuer),
                uid: issuer.uid().unwrap_or_default(),
                spec: Box::new(issuer.spec().clone()),
                status: Box::new(issuer.status().cloned().unwrap_or_default()),
                generation: issuer.meta().generation.unwrap_or_default(),
            },
        }
    }

    pub(in crate::controller) fn state(&self, request: &Request) -> IssuerState {
        match self {
            Self::Missing => IssuerState::Missing,
            Self::NotServed => IssuerState::NotServed,
            Self::Unreadable(why) => {
                IssuerState::NotReady(format!("this version of Chancery cannot read it: {why}"))
            }
            Self::Found { key, uid, status, generation, .. } => {
                let ready = condition::find(&status.conditions, READY);
                match ready {
                    Some(ready)
                        if status.observed_generation == *generation
                            && (ready.status == "True" || request.needs_not(status)) =>
                    {
                        IssuerState::Ready {
                            version: format!("{uid}/{generation}"),
                            account: status.account.clone(),
                            anchors: status.trust_anchors.clone(),
                        }
                    }
                    Some(ready) if status.observed_generation == *generation => {
                        IssuerState::NotReady(key.tell(&ready.reason, ready.message.clone()))
                    }
                    _ => IssuerState::NotReady("it has not been checked yet".to_owned()),
                }
            }
        }
    }

    /// What it stands for, by its last check of this generation.
    pub(in crate::controller) fn stands_for(&self) -> StandsFor {
        match self {
            Self::Found { status, generation, .. } if status.observed_generation == *generation => {
                StandsFor { account: status.account.clone(), product: status.product.clone() }
            }
            Self::Found { .. } | Self::Missing | Self::NotServed | Self::Unreadable(_) => {
                StandsFor::default()
            }
        }
    }

    /// What it says of whom it serves, for a request in this namespace.
    pub(in crate::controller) fn allowed(&self, context: &Context, namespace: &str) -> Allowed {
        let Self::Found { key, spec, .. } = self else { return Allowed::default() };
        let labels = (key.kind == IssuerKind::ClusterIssuer)
            .then(|| context.stores.namespace_labels(namespace))
            .flatten();
        Allowed {
            kind: key.kind,
            allow: spec.allow.clone().map(Arc::new),
            labels,
            suspended: spec.suspend == Some(true),
        }
    }

    /// As far as its limits bear on its requests, for a process that reserves by the name `claimant`.
    pub(in crate::controller) fn limited<'a>(&'a self, claimant: &'a str) -> Option<Limited<'a>> {
        let Self::Found { key, uid, spec, status, .. } = self else {
            return None;
        };
        let limits = limits_of(spec);
        Some(Limited { key, uid, limits, budget: status.budget.as_ref(), claimant })
    }

    pub(in crate::controller) fn now<'a>(&'a self, context: &'a Context) -> Option<IssuerNow<'a>> {
        let Self::Found { key, uid, spec, status, generation } = self else {
            return None;
        };
        Some(now(context, key.clone(), uid, (spec, status), *generation))
    }
}

/// An issuer with what the watches know of its credentials.
pub(in crate::controller) fn now<'a>(
    context: &'a Context,
    key: IssuerKey,
    uid: &str,
    (spec, status): (&'a IssuerSpec, &IssuerStatus),
    generation: i64,
) -> IssuerNow<'a> {
    let is_current = status.observed_generation == generation;
    let account = status.account.clone().filter(|_| is_current);
    IssuerNow::new(
        key,
        format!("{uid}/{generation}"),
        (spec, &IssuerStatus { account, ..status.clone() }),
        &context.namespace,
        |namespace, name| context.stores.credentials_version(namespace, name),
        |namespace, name| context.stores.bundle_version(namespace, name),
    )
}
