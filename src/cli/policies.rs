//! Whether the policies of `deploy/admission.yaml` are in force, and know this operator.
//!
//! It has no right to read them, and that they are there would not show that they bind the right
//! account. Each is given a Secret that it has to refuse, in a dry run.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::api::annotation;
use crate::metrics::Metrics;

/// A policy, and what shows that it works.
struct Policy {
    name: &'static str,
    /// What it refuses.
    labels: fn() -> Value,
    annotations: fn() -> Value,
    /// What it says then.
    says: &'static str,
    /// What is at stake where it does not.
    otherwise: &'static str,
}

const POLICIES: [Policy; 2] = [
    Policy {
        name: "order-records.chancery.dev",
        labels: || json!({ annotation::ORDER_LABEL: "true" }),
        annotations: || json!({ annotation::PROBE: "true" }),
        says: "order-records.chancery.dev is in force",
        otherwise: "whoever may write Secrets can forge, change and delete the records of paid orders",
    },
    Policy {
        name: "own-secrets.chancery.dev",
        labels: || json!({}),
        annotations: || json!({}),
        says: "is none of them",
        otherwise: "the operator can write every Secret",
    },
];

/// What is missing is looked at again after these times: soon, and then less and less often.
const SOON: Duration = Duration::from_secs(10);
const LATER: Duration = Duration::from_secs(3600);

/// Looks now and then, for ever. What is missing is told each time that is looked. `namespaces` are those
/// in which the operator may create Secrets.
#[expect(clippy::disallowed_methods, reason = "policies tell nobody when they change")]
pub(super) async fn watch(client: Client, namespaces: Vec<String>, metrics: Arc<Metrics>) {
    let mut soon = SOON;
    loop {
        let mut pause = LATER;
        for (policy, seen) in look(&client, &namespaces).await {
            if let Some(is_in_force) = seen.is_in_force() {
                metrics.admission_policy(policy, is_in_force);
            }
            match seen {
                Seen::InForce => {}
                Seen::Unknown => pause = soon,
                Seen::Missing(why) => {
                    pause = soon;
                    tracing::warn!(policy, "{why}");
                }
            }
        }
        soon = if pause == LATER { SOON } else { LATER.min(soon * 3) };
        tokio::time::sleep(pause).await;
    }
}

/// What is known of a policy.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Seen {
    /// It works, and knows whoever asks as the operator.
    InForce,
    /// It does not: why that may be, what is at stake, and what is to be done.
    Missing(String),
    /// Nobody can tell now.
    Unknown,
}

impl Seen {
    fn is_in_force(&self) -> Option<bool> {
        match self {
            Self::InForce => Some(true),
            Self::Missing(_) => Some(false),
            Self::Unknown => None,
        }
    }
}

/// Each policy by its name.
pub(super) async fn look(client: &Client, namespaces: &[String]) -> Vec<(&'static str, Seen)> {
    let all: Vec<Api<Secret>> =
        namespaces.iter().map(|one| Api::namespaced(client.clone(), one)).collect();
    let mut seen = Vec::new();
    for policy in &POLICIES {
        let of_policy = match is_in_force_in(&all, policy).await {
            Some(true) => Seen::InForce,
            Some(false) => Seen::Missing(missing(policy, is_served(client).await)),
            None => Seen::Unknown,
        };
        seen.push((policy.name, of_policy));
    }
    seen
}

/// The file names the account that is shipped, and would shut out any other.
const MEND: &str = "helm upgrade, or where the operator is system:serviceaccount:chancery:chancery kubectl apply -f deploy/admission.yaml";

fn missing(policy: &Policy, is_served: Option<bool>) -> String {
    let at_stake = policy.otherwise;
    if is_served == Some(false) {
        return format!(
            "the API server has no admission policies, so that {at_stake}: start it with admissionregistration.k8s.io/v1 (--runtime-config) and the admission plugin ValidatingAdmissionPolicy, then {MEND}"
        );
    }
    format!(
        "the admission policy is missing, or names another account than this operator's, or the API server runs without the admission plugin ValidatingAdmissionPolicy: {at_stake}; {MEND}"
    )
}

/// Whether the API server has the kind at all.
async fn is_served(client: &Client) -> Option<bool> {
    match client.list_api_group_resources("admissionregistration.k8s.io/v1").await {
        Ok(all) => Some(all.resources.iter().any(|one| one.name == "validatingadmissionpolicies")),
        Err(kube::Error::Api(status)) if status.code == 404 => Some(false),
        Err(_) => None,
    }
}

/// The same everywhere, so that who can tell in one of the namespaces tells.
async fn is_in_force_in(all: &[Api<Secret>], policy: &Policy) -> Option<bool> {
    for secrets in all {
        let told = is_in_force(secrets, policy).await;
        if told.is_some() {
            return told;
        }
    }
    None
}

/// `None` where nobody can tell now.
async fn is_in_force(secrets: &Api<Secret>, policy: &Policy) -> Option<bool> {
    let secret = json!({
        "metadata": {
            "name": "chancery.probe",
            "labels": (policy.labels)(),
            "annotations": (policy.annotations)(),
        },
    });
    let secret = serde_json::from_value(secret).ok()?;
    let params = PostParams { dry_run: true, ..PostParams::default() };
    let created = secrets.create(&params, &secret).await;
    verdict(policy, created.map(drop))
}

fn verdict(policy: &Policy, created: Result<(), kube::Error>) -> Option<bool> {
    match created {
        Ok(()) => Some(false),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let is_policy_s = status.message.contains(policy.name);
            is_policy_s.then(|| status.message.contains(policy.says))
        }
        // Only what was admitted is compared with what is there.
        Err(kube::Error::Api(status)) if status.code == 409 => Some(false),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_policy_s_own_words_show_that_it_is_in_force() {
        let refused = |code: u16, message: &str| {
            let status =
                json!({"status": "Failure", "code": code, "message": message, "reason": ""});
            let status: kube::core::Status = serde_json::from_value(status).expect("a status");
            Err(kube::Error::Api(Box::new(status)))
        };
        let [records, own] = &POLICIES;
        let denied =
            "ValidatingAdmissionPolicy 'order-records.chancery.dev' with binding denied request: ";
        let rows = [
            ("it lets everything pass", Ok(()), Some(false)),
            ("in force", refused(403, &format!("{denied}{}", records.says)), Some(true)),
            (
                "for another account",
                refused(403, &format!("{denied}the label marks the record of a paid order")),
                Some(false),
            ),
            ("no right to create Secrets", refused(403, "secrets is forbidden"), None),
            ("there is one of that name", refused(409, "already exists"), Some(false)),
            ("no answer to count on", refused(500, "etcd is away"), None),
        ];
        for (name, created, expected) in rows {
            assert_eq!(verdict(records, created), expected, "{name}");
        }
        let says =
            "'own-secrets.chancery.dev' denied request: chancery/chancery.probe is none of them";
        assert_eq!(verdict(own, refused(403, says)), Some(true));
        let told = missing(own, Some(true));
        assert!(
            told.contains("or names another account") && told.contains(own.otherwise),
            "{told}"
        );
        assert!(told.contains("; helm upgrade, or where the operator is system:"), "{told}");
        let told = missing(own, Some(false));
        assert!(told.contains("then helm upgrade, or where"), "{told}");
        assert!(told.contains("has no admission policies") && told.contains("--runtime-config"));
        // The words are those of the policies as they are shipped.
        let yaml = include_str!("../../deploy/admission.yaml");
        for policy in &POLICIES {
            assert!(yaml.contains(&format!("  name: {}\n", policy.name)), "{}", policy.name);
            assert!(yaml.contains(policy.says), "{}", policy.says);
        }
    }
}
