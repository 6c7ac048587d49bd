//! An order and its life: a script of states that pass with the clock or wait for the
//! management API.
//!
//! Pure: the time is a parameter, and whoever settles an order says how its certificate is made.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::operation::Operation;
use super::settings::{Step, ValidityType};
use super::wire::RevocationReason;
use crate::simulator::authority::shifted;
use crate::simulator::csr::Csr;
use crate::simulator::faults::Kind;
use crate::simulator::id;

/// Whether the answer to a submission reached its client as far as the simulator can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delivery {
    /// A whole answer with this order was handed to the connection.
    Delivered,
    /// The answer was dropped, damaged or about another order, or the client had gone away.
    Dropped,
}

/// A certificate as the API describes it, with its chain.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Upper-case hexadecimal, padded to 40 digits.
    pub(super) serial: String,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    /// Base64 of the DER.
    pub(super) leaf: String,
    /// Base64 of DER, leaf first and root last, as the chain operation answers.
    pub(super) chain: Vec<String>,
    pub(super) fingerprint_sha256: String,
    pub(super) names: Vec<String>,
    /// Every attribute value a search can find, names of the certificate included.
    pub(super) attributes: Vec<(String, String)>,
}

/// A revocation that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Revocation {
    pub(super) reason: RevocationReason,
    pub(super) revoked_by: String,
    pub(super) requestor: Option<String>,
    /// When it takes effect; `None` until the management API carries it out.
    pub(super) due: Option<Timestamp>,
    pub(super) revoked_on: Option<Timestamp>,
}

/// A state an order was in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// The status as it was sent.
    pub state: String,
    /// When the order came to it.
    pub entered: Timestamp,
    /// What its task said was wrong.
    pub error: Option<String>,
}

/// What was ordered.
#[derive(Clone, Debug)]
pub(super) struct Ordered {
    pub(super) account: String,
    pub(super) operation: Operation,
    pub(super) client_id: String,
    pub(super) product_id: String,
    pub(super) product_name: String,
    /// The tags of the submission.
    pub(super) submitted_tags: Vec<String>,
    /// The tags that were stored.
    pub(super) tags: Vec<String>,
    pub(super) note: Option<String>,
    pub(super) csr: Csr,
    pub(super) validity: (ValidityType, u32),
    /// The fault that spoils its certificate.
    pub(super) fault: Option<Kind>,
}

/// An order.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) uuid: String,
    pub(super) created_on: Timestamp,
    pub(super) ordered: Ordered,
    pub(super) tags: Vec<String>,
    step: Step,
    entered: Timestamp,
    remaining: VecDeque<Step>,
    past: Vec<Past>,
    pub(super) issued_on: Option<Timestamp>,
    pub(super) certificate: Option<Certificate>,
    pub(super) revocation: Option<Revocation>,
    pub(super) delivery: Delivery,
    /// The API has never heard of it any more; the record stays.
    pub(super) is_forgotten: bool,
}

impl Order {
    /// An order at the beginning of its life.
    pub(super) fn new(uuid: String, ordered: Ordered, life: Vec<Step>, now: Timestamp) -> Self {
        let mut remaining = VecDeque::from(life);
        let step = remaining.pop_front().unwrap_or_else(|| Step::waiting("NEW"));
        let tags = ordered.tags.clone();
        Self {
            uuid,
            created_on: now,
            ordered,
            tags,
            step,
            entered: now,
            remaining,
            past: Vec::new(),
            issued_on: None,
            certificate: None,
            revocation: None,
            delivery: Delivery::Dropped,
            is_forgotten: false,
        }
    }

    /// The status, as the script spells it.
    pub(super) fn state(&self) -> &str {
        &self.step.state
    }

    /// Whether the status is this one in any case.
    pub(super) fn is_in(&self, state: &str) -> bool {
        self.step.state.eq_ignore_ascii_case(state)
    }

    /// Brings the order to where it is at this time. `make` makes the certificate.
    pub(super) fn settle<E>(
        &mut self,
        now: Timestamp,
        mut make: impl FnMut(&Ordered, Timestamp) -> Result<Certificate, E>,
    ) -> Result<(), E> {
        loop {
            if self.certificate.is_none() && self.has_certificate_in_this_state() {
                self.certificate = Some(make(&self.ordered, self.entered)?);
            }
            if self.is_in("ISSUED") && self.issued_on.is_none() {
                self.issued_on = Some(self.entered);
            }
            let due = self.step.seconds.map(|seconds| shifted(self.entered, duration(seconds)));
            match due {
                Some(due) if due <= now && !self.remaining.is_empty() => self.next(due),
                Some(_) | None => break,
            }
        }
        let due = self.revocation.as_ref().filter(|found| found.revoked_on.is_none());
        if let Some(due) = due.and_then(|revocation| revocation.due).filter(|due| *due <= now) {
            self.carry_out_revocation(due);
        }
        Ok(())
    }

    fn has_certificate_in_this_state(&self) -> bool {
        ["FINALIZE_ISSUANCE", "POST_VALIDATION", "ISSUED"].iter().any(|state| self.is_in(state))
    }

    fn next(&mut self, at: Timestamp) {
        if let Some(step) = self.remaining.pop_front() {
            self.enter(step, at);
        }
    }

    fn enter(&mut self, step: Step, at: Timestamp) {
        let left = std::mem::replace(&mut self.step, step);
        self.past.push(Past { state: left.state, entered: self.entered, error: left.error });
        self.entered = at;
    }

    /// Moves on to the next state of the script; `false` if there is none.
    pub(super) fn advance(&mut self, now: Timestamp) -> bool {
        let has_next = !self.remaining.is_empty();
        self.next(now);
        has_next
    }

    /// A person says yes: `false` unless the order waits for one. Without a next state in the
    /// script the certificate is issued.
    pub(super) fn approve(&mut self, now: Timestamp) -> bool {
        if !self.is_in("PENDING_AUTH") {
            return false;
        }
        if !self.advance(now) {
            self.enter(Step::waiting("ISSUED"), now);
        }
        true
    }

    /// Ends the script in this state.
    pub(super) fn end(&mut self, step: Step, now: Timestamp) {
        self.remaining.clear();
        self.enter(step, now);
    }

    /// Puts a state in between: the script goes on behind it when it is advanced.
    pub(super) fn put(&mut self, state: &str, now: Timestamp) {
        self.enter(Step::waiting(state), now);
    }

    /// Ends in REVOKED, with the revocation that was asked for or one of the authority's own.
    pub(super) fn carry_out_revocation(&mut self, now: Timestamp) {
        let revocation = self.revocation.get_or_insert_with(|| Revocation {
            reason: RevocationReason::PrivilegeWithdrawn,
            revoked_by: "operator@ra.example".to_owned(),
            requestor: None,
            due: None,
            revoked_on: None,
        });
        revocation.revoked_on = Some(now);
        self.end(Step::waiting("REVOKED"), now);
    }

    /// All states, the present one last.
    pub(super) fn history(&self) -> Vec<Past> {
        let present = Past {
            state: self.step.state.clone(),
            entered: self.entered,
            error: self.step.error.clone(),
        };
        self.past.iter().cloned().chain([present]).collect()
    }

    /// CertificateOrder. With `nulls`, what is not there is `null`; otherwise it is left out.
    pub(super) fn document(&self, lowercase_status: bool, nulls: bool, with_chain: bool) -> Value {
        let mut document = json!({
            "uuid": self.uuid,
            "createdOn": self.created_on,
            "status": self.status(lowercase_status),
            "clientReference": self.ordered.client_id,
            "productReference": self.ordered.product_id,
            "issuedBy": format!("{}@ra.example", self.ordered.account),
        });
        let chain =
            self.certificate.as_ref().filter(|_| with_chain).map(|found| json!(found.chain));
        let optional = [
            ("certificate", self.certificate_document()),
            ("certificateChain", chain),
            ("tags", (!self.tags.is_empty()).then(|| json!(self.tags))),
        ];
        for (name, value) in optional {
            match value {
                Some(value) => document[name] = value,
                None if nulls => document[name] = Value::Null,
                None => {}
            }
        }
        document
    }

    /// The status on the wire.
    pub(super) fn status(&self, lowercase: bool) -> String {
        if lowercase { self.state().to_ascii_lowercase() } else { self.state().to_owned() }
    }

    fn certificate_document(&self) -> Option<Value> {
        let certificate = self.certificate.as_ref()?;
        let mut document = json!({
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "serial": certificate.serial,
            "startValidity": certificate.not_before,
            "endValidity": certificate.not_after,
            "certificate": certificate.leaf,
        });
        let revoked = self.revocation.as_ref().and_then(|found| Some((found, found.revoked_on?)));
        if let Some((revocation, on)) = revoked {
            let mut status = json!({
                "revokedOn": on,
                "reason": revocation.reason,
                "revokedBy": revocation.revoked_by,
            });
            if let Some(requestor) = &revocation.requestor {
                status["revocationRequestor"] = json!(requestor);
            }
            document["revocationStatus"] = status;
        }
        Some(document)
    }

    /// CertificateOrderTask of every state so far.
    pub(super) fn tasks(&self) -> Vec<Value> {
        let history = self.history();
        let present = history.len() - 1;
        let mut tasks = Vec::new();
        let mut last_kind = "ISSUE_SUBMIT_CERTIFICATE_ORDER_JOB";
        for (index, past) in history.iter().enumerate() {
            let upper = past.state.to_ascii_uppercase();
            let kind = task_of(&upper).unwrap_or(last_kind);
            last_kind = kind;
            let status = match (index == present, upper.as_str(), &past.error) {
                (_, "FAILED" | "REJECTED", _) => "FAILED",
                (false, ..) | (true, "ISSUED" | "REVOKED", _) => "SUCCESS",
                (true, _, Some(_)) => "RETRY",
                (true, _, None) => "WAITING",
            };
            let finished = history.get(index + 1).map(|next| next.entered);
            tasks.push(json!({
                "uuid": id::derived("job-", &format!("{}/{index}", self.uuid)),
                "status": status,
                "type": kind,
                "numberOfExecutions": 1,
                "timeCreated": past.entered,
                "timeScheduled": Value::Null,
                "timeFinished": finished,
                "error": past.error,
            }));
        }
        tasks
    }
}

/// The task that an order is busy with in this state.
fn task_of(state: &str) -> Option<&'static str> {
    Some(match state {
        "NEW" => "ISSUE_SUBMIT_CERTIFICATE_ORDER_JOB",
        "KEY_VALIDATION" => "ISSUE_KEY_VALIDATION_JOB",
        "PRE_VALIDATION" => "ISSUE_DOMAIN_OWNER_CHECK_VALIDATION_JOB",
        "GENERATE_TBS" => "ISSUE_GENERATE_TBS_JOB",
        "PENDING_AUTH" => "ISSUE_AUTHORIZATION_JOB",
        "PRE_ISSUE" => "ISSUE_PRE_ISSUE_CERTIFICATE_JOB",
        "ISSUE" => "ISSUE_ISSUE_CERTIFICATE_JOB",
        "POST_VALIDATION" => "ISSUE_POST_LINTING_CERTIFICATE_JOB",
        "FINALIZE_ISSUANCE" => "ISSUE_FINALIZE_ISSUE_CERTIFICATE_JOB",
        "ISSUED" => "ISSUE_NOTIFY_ISSUED_JOB",
        "REVOKED" => "REVOKE_CERTIFICATE_JOB",
        _ => return None,
    })
}

/// A span of time from seconds that were checked when they were set.
pub(super) fn duration(seconds: f64) -> SignedDuration {
    SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::ZERO)
}
