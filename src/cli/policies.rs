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
/// in which the operator may create Secrets: in the first that tells.
#[expect(clippy::disallowed_methods, reason = "policies tell nobody when they change")]
pub(super) async fn watch(client: Client, namespaces: Vec<String>, metrics: Arc<Metrics>) {
    let all: Vec<Api<Secret>> =
        namespaces.iter().map(|one| Api::namespaced(client.clone(), one)).collect();
    let mut soon = SOON;
    loop {
        let mut pause = LATER;
        for policy in &POLICIES {
            let Some(is_in_force) = is_in_force_in(&all, policy).await else {
                pause = soon;
                continue;
            };
            metrics.admission_policy(policy.name, is_in_force);
            if !is_in_force {
                pause = soon;
                tracing::warn!(
                    policy = policy.name,
                    "the admission policy is missing, or names another account than this operator's: {}; kubectl apply -f deploy/admission.yaml",
                    policy.otherwise
                );
            }
        }
        soon = if pause == LATER { SOON } else { LATER.min(soon * 3) };
        tokio::time::sleep(pause).await;
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
        // The words are those of the policies as they are shipped.
        let yaml = include_str!("../../deploy/admission.yaml");
        for policy in &POLICIES {
            assert!(yaml.contains(&format!("  name: {}\n", policy.name)), "{}", policy.name);
            assert!(yaml.contains(policy.says), "{}", policy.says);
        }
    }
}
