//! What can be set for one site of the SSL purchase API: resellers, plans, the life of an order,
//! and everything that the vendor's document leaves open.
//!
//! Plain values and their JSON; nothing here acts on them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::simulator::authority::KeyAlgorithm;
use crate::simulator::id;

/// One step in the life of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// The status, sent as it stands here. `active`, `completed`, `issued` and `valid` make the
    /// certificate exist.
    pub state: String,
    /// How long the order stays; without it, until the management API moves it on.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// What `status_message` says.
    #[serde(default)]
    pub message: Option<String>,
}

impl Step {
    /// A step that passes by itself.
    pub fn passing(state: &str, seconds: f64) -> Self {
        Self { state: state.to_owned(), seconds: Some(seconds), message: None }
    }

    /// A step that waits for the management API, or the last one.
    pub fn waiting(state: &str) -> Self {
        Self { state: state.to_owned(), seconds: None, message: None }
    }
}

/// What is checked before a certificate is issued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ValidationLevel {
    /// The domain alone.
    #[default]
    Dv,
    /// The organisation too.
    Ov,
    /// The organisation and who asks in its name.
    Ev,
}

/// A plan: what a certificate is ordered by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Plan {
    /// A lower-case UUID; derived from site and name if absent.
    pub id: Option<String>,
    /// The name; several plans may have the same.
    pub name: String,
    /// Free text.
    pub description: String,
    /// The vendor.
    pub brand: String,
    /// From how many days before the end a renewal is possible.
    pub renew_days_before_expiration: u32,
    /// How many months a subscription lasts.
    pub interval: u32,
    /// What is checked. Not on the wire.
    pub validation_level: ValidationLevel,
    /// Whether the certificate has the names of subjectAltName; otherwise the common name and its
    /// twin with or without `www.`. Not on the wire.
    pub multi_domain: bool,
    /// Whether the common name is a wildcard. Not on the wire.
    pub wildcard: bool,
    /// For how many days after a purchase a deletion gives the money back. Not on the wire.
    pub grace_days: u32,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            id: None,
            name: "Demo DV".to_owned(),
            description: "One name, domain validated".to_owned(),
            brand: "Demo".to_owned(),
            renew_days_before_expiration: 30,
            interval: 12,
            validation_level: ValidationLevel::Dv,
            multi_domain: false,
            wildcard: false,
            grace_days: 30,
        }
    }
}

/// A reseller: whose orders they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Reseller {
    /// The password of Basic authentication and the value of the header.
    pub api_key: String,
    /// The client of OpenID Connect; there is none if it is empty.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// How many more orders and renewals are paid for; no limit if absent. It goes down as they
    /// are bought and up with a refund.
    pub credit: Option<u32>,
}

impl Default for Reseller {
    fn default() -> Self {
        Self {
            api_key: "changeme".to_owned(),
            client_id: "demo-client".to_owned(),
            client_secret: "changeme-too".to_owned(),
            credit: None,
        }
    }
}

/// A way to authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Authentication {
    /// The reseller's reference and the API key.
    Basic,
    /// A token of `/token` and the reseller's reference in `Realm`.
    Oidc,
    /// The API key in a header of its own.
    Header,
}

/// What surrounds a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Envelope {
    /// `{"success": true, "result": …}`.
    #[default]
    Success,
    /// `{"status": "success", "result": …}`, an older form.
    Status,
    /// Nothing: the object or the array itself.
    Bare,
}

/// How a refused request says which fields are wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Messages {
    /// Field to a list of `{message, code}`.
    #[default]
    Coded,
    /// Field to a list of texts.
    Plain,
    /// As coded, with the fields one level further down.
    Nested,
    /// One sentence.
    Sentence,
}

/// How a status is spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StatusForm {
    /// The word.
    #[default]
    Text,
    /// `{"name": …}`.
    Name,
    /// `{"code": …}`.
    Code,
}

/// How times are spelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DateForm {
    /// `2026-11-24T20:00:00Z`.
    #[default]
    Rfc3339,
    /// `2026-11-24 20:00:00`.
    Blank,
    /// `2026-11-24`.
    Day,
}

/// Which orders a list filtered by `client_reference` has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReferenceFilter {
    /// Those with this reference.
    #[default]
    Exact,
    /// Those whose reference begins like this.
    Prefix,
    /// All of them.
    Ignored,
}

/// How the checks of an order come to be met.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "how", deny_unknown_fields)]
pub enum Validation {
    /// There are none.
    Nothing,
    /// By themselves, so long after the order.
    After {
        /// How long.
        seconds: f64,
    },
    /// By the management API alone.
    Manual,
}

/// The shape of `validation-details`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DetailsShape {
    /// As Xolphin's API, which may stand behind this one, with snake_case names.
    #[default]
    Snake,
    /// As Xolphin's API spells it.
    Camel,
    /// Something else altogether.
    Steps,
}

/// How `validation-details` says that something is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DetailsStatus {
    /// `true` or `false`.
    #[default]
    Bool,
    /// `1` or `0`.
    Number,
    /// `validated` or `pending`.
    Word,
}

/// What `download-csr` answers while an order is pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PendingCsr {
    /// The request that is worked on.
    #[default]
    New,
    /// That of the certificate before, so none for a new order.
    Old,
    /// Nothing.
    Missing,
}

/// What happens to names beyond those that a plan covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExtraNames {
    /// The certificate does not have them.
    #[default]
    Dropped,
    /// The order is refused.
    Refused,
}

/// The end that `renew_days_before_expiration` counts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RenewalWindow {
    /// That of the subscription.
    #[default]
    Subscription,
    /// That of the certificate, which may be earlier.
    Certificate,
}

/// What `client_reference` of a renewal or a reissue does to the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LaterReference {
    /// Nothing.
    #[default]
    Ignored,
    /// It replaces the order's.
    Stored,
}

/// The forms of downloaded files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Files {
    /// Whether `download-crt` is DER rather than PEM.
    pub crt_der: bool,
    /// Whether `download-crt` holds the chain behind the certificate. PEM only.
    pub crt_chain: bool,
    /// Whether `download-pkcs7` is DER rather than PEM.
    pub pkcs7_der: bool,
    /// Whether the root is among the certificates of the authority, wherever they are.
    pub root: bool,
    /// Whether the root comes first in `download-ca` rather than last.
    pub root_first: bool,
    /// Whether the archive has a folder, and in it a file for each certificate of the authority.
    pub zip_apart: bool,
    /// Whether lines end with CR and LF.
    pub crlf: bool,
    /// Whether text begins with a byte order mark.
    pub byte_order_mark: bool,
    /// Whether text ends without the end of a line.
    pub no_final_newline: bool,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            crt_der: false,
            crt_chain: false,
            pkcs7_der: false,
            root: true,
            root_first: false,
            zip_apart: false,
            crlf: false,
            byte_order_mark: false,
            no_final_newline: false,
        }
    }
}

/// The settings of one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SiteSettings {
    /// The resellers by their references.
    pub resellers: BTreeMap<String, Reseller>,
    /// The ways to authenticate that are taken.
    pub authentication: BTreeSet<Authentication>,
    /// The header of [`Authentication::Header`].
    pub header: String,
    /// How long a token of `/token` is good for.
    pub token_lifetime_seconds: u32,
    /// The next request with good credentials is answered with 401, once; then this is false again.
    pub reject_next: bool,
    /// What stands before every path, such as `api/v1`.
    pub base_path: String,
    /// The plans that are sold.
    pub plans: Vec<Plan>,
    /// Plans cannot be read: 403.
    pub plans_forbidden: bool,
    /// `interval` and `renew_days_before_expiration` of a plan come as texts.
    pub numbers_as_text: bool,
    /// The kind of key the site's authorities sign with.
    pub key_algorithm: KeyAlgorithm,

    /// What surrounds a result.
    pub envelope: Envelope,
    /// Failures come with HTTP 200 and `success: false`.
    pub failures_with_200: bool,
    /// The status of a request that is refused for its fields: 400 or 422.
    pub validation_status: u16,
    /// How such a refusal names the fields.
    pub messages: Messages,
    /// Fields that nobody knows are let pass; otherwise they are refused.
    pub ignores_unknown_fields: bool,

    /// The most items of a page.
    pub page_limit: u32,
    /// `offset` has no effect: every page is the first.
    pub ignores_offset: bool,
    /// A list of one item is the item.
    pub lone_item_bare: bool,
    /// Which orders a filtered list has.
    pub reference_filter: ReferenceFilter,
    /// How long a new order is missing in lists.
    pub list_lag_seconds: f64,
    /// Lists have only orders that have a certificate.
    pub list_omits_pending: bool,
    /// Lists have no order at all.
    pub list_forgets: bool,
    /// Fields that orders in lists do not have, such as `client_reference` and `csr`.
    pub list_omits: BTreeSet<String>,
    /// Fields that orders do not have anywhere.
    pub omits: BTreeSet<String>,
    /// Other names of fields: `status` as `state`, `common_name` as `domain`.
    pub renames: BTreeMap<String, String>,
    /// How long a new order is 404 when it is asked for by its id.
    pub missing_seconds: f64,

    /// Ids of orders are numbers rather than UUIDs.
    pub numeric_ids: bool,
    /// The answer to an order does not have its id.
    pub answers_without_id: bool,
    /// The plan of an order is its id rather than an object.
    pub plan_as_text: bool,
    /// How a status is spelled.
    pub status_form: StatusForm,
    /// Other words for statuses: `active` as `completed`.
    pub status_words: BTreeMap<String, String>,
    /// How times are spelled.
    pub dates: DateForm,
    /// Whether an order shows the CSR that it was made with.
    pub echoes_csr: bool,

    /// How long an order is pending once all checks are met.
    pub pending_seconds: f64,
    /// The life of an order and of a renewal. Absent, it is pending and then active.
    pub states: Option<Vec<Step>>,
    /// The life of a renewal, if it is another.
    pub renewal_states: Option<Vec<Step>>,
    /// How the checks of orders and renewals come to be met.
    pub validation: Validation,
    /// A met check counts only once `validate` was called for it.
    pub counts_when_asked: bool,
    /// The shape of `validation-details`.
    pub details_shape: DetailsShape,
    /// How they say that something is done.
    pub details_status: DetailsStatus,
    /// The next order is made twice and answered with the first; then this is false again.
    pub duplicate_next: bool,
    /// A reference that an order has is refused with 409.
    pub refuses_known_references: bool,

    /// How many days a certificate lives; the end of the subscription cuts it short.
    pub certificate_days: u32,
    /// A request without a common name is refused; otherwise the first name serves.
    pub needs_common_name: bool,
    /// Keys other than RSA are refused.
    pub refuses_ecdsa: bool,
    /// The approver must be one of the five addresses of a domain that authorities may ask.
    pub checks_approver: bool,
    /// Certificates get no twin with or without `www.`.
    pub no_twin: bool,
    /// What happens to names beyond those that a plan covers.
    pub extra_names: ExtraNames,

    /// The end that a renewal counts from.
    pub renewal_window: RenewalWindow,
    /// A renewal is taken while a purchase is worked on, which then comes to nothing: who repeats one
    /// pays twice.
    pub renews_while_pending: bool,
    /// How long after it was ordered a renewal is not to be seen in the order's status.
    pub renewal_unseen_seconds: f64,
    /// How long after a renewal or a reissue the files are still those of the certificate before.
    pub old_files_seconds: f64,
    /// How long a reissue takes; at once by default.
    pub reissue_seconds: f64,
    /// What `client_reference` of a renewal or a reissue does.
    pub later_reference: LaterReference,
    /// The status of an order that was deleted.
    pub deleted_state: String,
    /// An order that was deleted is 404, and lists do not have it.
    pub deleted_are_gone: bool,

    /// How long a new order that is active has no files yet.
    pub files_lag_seconds: f64,
    /// The status of files that are not there yet.
    pub files_missing_status: u16,
    /// What `download-csr` answers while an order is pending.
    pub pending_csr: PendingCsr,
    /// The forms of files.
    pub files: Files,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self {
            resellers: BTreeMap::from([("demo-reseller".to_owned(), Reseller::default())]),
            authentication: BTreeSet::from([Authentication::Basic, Authentication::Oidc]),
            header: "X-APIKEY".to_owned(),
            token_lifetime_seconds: 300,
            reject_next: false,
            base_path: String::new(),
            plans: plans(),
            plans_forbidden: false,
            numbers_as_text: false,
            key_algorithm: KeyAlgorithm::default(),
            envelope: Envelope::default(),
            failures_with_200: false,
            validation_status: 400,
            messages: Messages::default(),
            ignores_unknown_fields: false,
            page_limit: 100,
            ignores_offset: false,
            lone_item_bare: false,
            reference_filter: ReferenceFilter::default(),
            list_lag_seconds: 0.0,
            list_omits_pending: false,
            list_forgets: false,
            list_omits: BTreeSet::new(),
            omits: BTreeSet::new(),
            renames: BTreeMap::new(),
            missing_seconds: 0.0,
            numeric_ids: false,
            answers_without_id: false,
            plan_as_text: false,
            status_form: StatusForm::default(),
            status_words: BTreeMap::new(),
            dates: DateForm::default(),
            echoes_csr: true,
            pending_seconds: 0.5,
            states: None,
            renewal_states: None,
            validation: Validation::After { seconds: 0.3 },
            counts_when_asked: false,
            details_shape: DetailsShape::default(),
            details_status: DetailsStatus::default(),
            duplicate_next: false,
            refuses_known_references: false,
            certificate_days: 200,
            needs_common_name: false,
            refuses_ecdsa: false,
            checks_approver: false,
            no_twin: false,
            extra_names: ExtraNames::default(),
            renewal_window: RenewalWindow::default(),
            renews_while_pending: false,
            renewal_unseen_seconds: 0.0,
            old_files_seconds: 0.0,
            reissue_seconds: 0.0,
            later_reference: LaterReference::default(),
            deleted_state: "deleted".to_owned(),
            deleted_are_gone: false,
            files_lag_seconds: 0.0,
            files_missing_status: 404,
            pending_csr: PendingCsr::default(),
            files: Files::default(),
        }
    }
}

/// One of each kind.
fn plans() -> Vec<Plan> {
    let plan = |name: &str, description: &str| Plan {
        name: name.to_owned(),
        description: description.to_owned(),
        ..Plan::default()
    };
    vec![
        Plan::default(),
        Plan { multi_domain: true, ..plan("Demo DV multi", "Many names, domain validated") },
        Plan { wildcard: true, ..plan("Demo DV wildcard", "All names below one") },
        Plan {
            validation_level: ValidationLevel::Ov,
            ..plan("Demo OV", "One name, organisation validated")
        },
    ]
}

impl SiteSettings {
    /// Why these values make no sense, if they do not.
    pub(super) fn objection(&self) -> Option<String> {
        let waits = match self.validation {
            Validation::After { seconds } => Some(seconds),
            Validation::Nothing | Validation::Manual => None,
        };
        let seconds = [
            ("listLagSeconds", Some(self.list_lag_seconds)),
            ("missingSeconds", Some(self.missing_seconds)),
            ("pendingSeconds", Some(self.pending_seconds)),
            ("seconds of validation", waits),
            ("renewalUnseenSeconds", Some(self.renewal_unseen_seconds)),
            ("oldFilesSeconds", Some(self.old_files_seconds)),
            ("reissueSeconds", Some(self.reissue_seconds)),
            ("filesLagSeconds", Some(self.files_lag_seconds)),
        ];
        if let Some((name, _)) = seconds.iter().find(|(_, value)| !value.is_none_or(is_duration)) {
            return Some(format!("{name} must be between 0 and a year"));
        }
        let statuses = [
            ("validationStatus", self.validation_status),
            ("filesMissingStatus", self.files_missing_status),
        ];
        if let Some((name, _)) = statuses.iter().find(|(_, status)| !(400..600).contains(status)) {
            return Some(format!("{name} must be between 400 and 599"));
        }
        if self.page_limit == 0 {
            return Some("pageLimit must be at least 1".to_owned());
        }
        if self.envelope == Envelope::Bare && self.failures_with_200 {
            return Some(
                "a bare failure with 200 would be a result: give it an envelope".to_owned(),
            );
        }
        let lives = [("states", &self.states), ("renewalStates", &self.renewal_states)];
        for (name, life) in lives.iter().filter_map(|(name, life)| Some((name, life.as_ref()?))) {
            if life.is_empty() {
                return Some(format!("{name} must not be empty; leave it out for the usual life"));
            }
            if life.iter().any(|step| !step.seconds.is_none_or(is_duration)) {
                return Some(format!("seconds of {name} must be between 0 and a year"));
            }
        }
        if http::HeaderName::from_bytes(self.header.as_bytes()).is_err() {
            return Some(format!("{:?} is no name of a header", self.header));
        }
        let ids = self.plans.iter().filter_map(|plan| plan.id.as_ref());
        ids.into_iter()
            .find(|given| !id::is("", given))
            .map(|given| format!("{given} is not a lower-case UUID"))
    }

    /// The plans with their ids. An id that is not given is derived, so that it stays the same when
    /// settings are put again and after a restart; equal names get different ids.
    pub(super) fn offers(&self, site: &str) -> Vec<(String, Plan)> {
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        let mut offers = Vec::new();
        for plan in &self.plans {
            let id = plan.id.clone().unwrap_or_else(|| {
                let occurrence = seen.entry(&plan.name).or_default();
                *occurrence += 1;
                id::derived("", &format!("{site}/plan/{}/{occurrence}", plan.name))
            });
            offers.push((id, plan.clone()));
        }
        offers
    }

    /// The life of an order, or of its renewal.
    pub(super) fn life(&self, is_renewal: bool) -> Vec<Step> {
        let own = self.renewal_states.as_ref().filter(|_| is_renewal);
        own.or(self.states.as_ref()).cloned().unwrap_or_else(|| {
            vec![Step::passing("pending", self.pending_seconds), Step::waiting("active")]
        })
    }
}

fn is_duration(seconds: f64) -> bool {
    (0.0..=31_536_000.0).contains(&seconds)
}
