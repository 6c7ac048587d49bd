//! What can be set for one site of the SwissSign RA API: accounts, clients and products, the life
//! of an order, and everything a site can be unkind with.
//!
//! Plain values and their JSON; nothing here acts on them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::simulator::authority::KeyAlgorithm;
use crate::simulator::id;

/// One step in the life of an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// The status, sent as it stands here. `ISSUED`, `FINALIZE_ISSUANCE` and `POST_VALIDATION`
    /// in any case make the certificate exist.
    pub state: String,
    /// How long the order stays; without it, until the management API moves it on.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// What the task of this step says is wrong.
    #[serde(default)]
    pub error: Option<String>,
}

impl Step {
    /// A step that passes by itself.
    pub fn passing(state: &str, seconds: f64) -> Self {
        Self { state: state.to_owned(), seconds: Some(seconds), error: None }
    }

    /// A step that waits for the management API, or the last one.
    pub fn waiting(state: &str) -> Self {
        Self { state: state.to_owned(), seconds: None, error: None }
    }
}

/// The unit of a validity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ValidityType {
    /// Calendar years.
    Years,
    /// Calendar months.
    Months,
    /// Days.
    #[default]
    Days,
    /// Hours.
    Hours,
    /// Minutes.
    Minutes,
    /// Seconds.
    Seconds,
}

/// How long the certificates of a product live.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProductValidity {
    /// The unit of the numbers below and of `overrides.validity`.
    pub validity_type: ValidityType,
    /// The default; `null` on the wire and 90 days in certificates if absent.
    pub validity: Option<u32>,
    /// What may be asked for; empty allows everything.
    pub validity_options: Vec<u32>,
}

impl Default for ProductValidity {
    fn default() -> Self {
        Self {
            validity_type: ValidityType::Days,
            validity: Some(198),
            validity_options: Vec::new(),
        }
    }
}

/// A product of a client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Product {
    /// The name; several products may have the same.
    pub name: String,
    /// `pma-` and a lower-case UUID; derived from site, client and name if absent.
    pub id: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// Who makes the key. Only kinds that contain `PKCS10` take a CSR.
    pub key_generation_type: String,
    /// The declared kind of key, which constrains nothing.
    pub key_type: String,
    /// Whether a person must approve each order.
    pub authorization: bool,
    /// Whether domains must be validated first.
    #[serde(rename = "isCABDNSValidationRequired")]
    pub is_cab_dns_validation_required: bool,
    /// Whether the owner of a domain must follow a mailed link.
    #[serde(rename = "isCABDNSEmailLinkValidationRequired")]
    pub is_cab_dns_email_link_validation_required: bool,
    /// Whether the owner of a mailbox must follow a mailed link.
    pub is_email_box_validation_required: bool,
    /// Whether documents are needed later.
    pub requires_registration_documents: bool,
    /// Whether documents are needed with the order.
    pub requires_registration_documents_on_register: bool,
    /// How long its certificates live; absent on the wire if absent here.
    pub product_validity: Option<ProductValidity>,
    /// Whether `overrides.validity` is enabled.
    pub allows_validity: bool,
    /// When the product stops being orderable.
    pub expiration_date: Option<Timestamp>,
    /// Orders are refused with PRODUCT_RETIRED.
    pub retired: bool,
    /// Orders are refused with PRODUCT_API_DISABLED.
    pub api_disabled: bool,
    /// The life of its orders, instead of the site's.
    pub states: Option<Vec<Step>>,
}

impl Default for Product {
    fn default() -> Self {
        Self {
            name: "Demo DV SSL Silver Single-Domain".to_owned(),
            id: None,
            description: None,
            key_generation_type: "PKCS10".to_owned(),
            key_type: "RSA_2048".to_owned(),
            authorization: false,
            is_cab_dns_validation_required: false,
            is_cab_dns_email_link_validation_required: false,
            is_email_box_validation_required: false,
            requires_registration_documents: false,
            requires_registration_documents_on_register: false,
            product_validity: Some(ProductValidity::default()),
            allows_validity: true,
            expiration_date: None,
            retired: false,
            api_disabled: false,
            states: None,
        }
    }
}

/// A client: what customers see as their organisation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Client {
    /// The name; several clients may have the same.
    pub name: String,
    /// `cli-` and a lower-case UUID; derived from site and name if absent.
    pub id: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// What it may order.
    pub products: Vec<Product>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            name: "Demo Client".to_owned(),
            id: None,
            description: None,
            products: vec![Product::default()],
        }
    }
}

/// Which orders a search for several tags finds; the specification leaves it open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TagSearch {
    /// Those that have all of them.
    #[default]
    AllOf,
    /// Those that have one of them.
    AnyOf,
}

/// The settings of one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SiteSettings {
    /// Account names and their API keys.
    pub accounts: BTreeMap<String, String>,
    /// How long a token of `/v2/jwt` is good for.
    pub token_lifetime_seconds: u32,
    /// The next request with a token is answered with 401, once; then this is false again.
    pub reject_next_token: bool,
    /// Whether the token comes as a JSON string, as specifications before 2.1.5 had it.
    pub quoted_token: bool,
    /// The clients and their products.
    pub clients: Vec<Client>,
    /// The life of an order. Absent, it is NEW, ISSUE and within a second ISSUED, with PENDING_AUTH
    /// in between for products that need a person.
    pub states: Option<Vec<Step>>,
    /// The kind of key the site's authorities sign with.
    pub key_algorithm: KeyAlgorithm,
    /// The most rows of any search.
    pub max_page_length: u32,
    /// How long an order stays invisible to searches; `/v2/order/{ord}` sees it at once.
    pub search_lag_seconds: f64,
    /// Searches do not look at tags and find everything else they are asked for.
    pub search_ignores_tags: bool,
    /// Searches find only orders that have a certificate.
    pub search_omits_open_orders: bool,
    /// How several tags combine.
    pub tag_search: TagSearch,
    /// Whether `*` and `?` in a tag of a search are wildcards.
    pub tag_wildcards: bool,
    /// Searches find no order at all.
    pub index_forgets: bool,
    /// Orders are stored without their tags.
    pub drop_tags: bool,
    /// The next submission makes two orders and answers with the first; then this is false again.
    pub duplicate_next: bool,
    /// How long the chain of an issued order is still missing.
    pub chain_missing_seconds: f64,
    /// The status of a chain that is not there yet: 404 or 400.
    pub chain_missing_status: u16,
    /// Places in the list of names, from 0, whose name the certificate does not get.
    pub drop_sans: Vec<usize>,
    /// Whether the certificate also gets `www.` and the first DNS name.
    pub add_www: bool,
    /// DNS names the certificate gets though nobody asked for them.
    pub add_sans: Vec<String>,
    /// Statuses are sent in lower case, though the specification writes them in upper case.
    pub lowercase_status: bool,
    /// No certificate lives longer, whatever was asked for.
    pub clamp_validity_days: Option<u32>,
    /// Whether the account may use `/v2/issue` and `/v2/validate`; otherwise it has only
    /// `/v2/issue/csr`.
    pub allow_issue: bool,
    /// The status of ACCESS_DENIED, which no operation declares: 403, 401 or 400.
    pub access_denied_status: u16,
    /// The status of an id that is well formed and unknown: 404 or 400.
    pub unknown_id_status: u16,
    /// Whether orders need `acceptTandC`.
    pub checks_terms: bool,
    /// Whether revocations need `revocationRequestor`, as the prose says for service accounts.
    pub needs_requestor: bool,
    /// How long an accepted revocation takes; absent, until the management API carries it out.
    pub revocation_seconds: Option<f64>,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self {
            accounts: BTreeMap::from([("MPKI0000001.AutoRAO".to_owned(), "changeme".to_owned())]),
            token_lifetime_seconds: 8 * 3600,
            reject_next_token: false,
            quoted_token: false,
            clients: vec![Client::default()],
            states: None,
            key_algorithm: KeyAlgorithm::default(),
            max_page_length: 300,
            search_lag_seconds: 0.0,
            search_ignores_tags: false,
            search_omits_open_orders: false,
            tag_search: TagSearch::default(),
            tag_wildcards: false,
            index_forgets: false,
            drop_tags: false,
            duplicate_next: false,
            chain_missing_seconds: 0.0,
            chain_missing_status: 404,
            drop_sans: Vec::new(),
            add_www: false,
            add_sans: Vec::new(),
            lowercase_status: false,
            clamp_validity_days: None,
            allow_issue: true,
            access_denied_status: 403,
            unknown_id_status: 404,
            checks_terms: true,
            needs_requestor: true,
            revocation_seconds: Some(0.5),
        }
    }
}

/// A product as the API names it: the ids are settled.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) client_id: String,
    pub(super) client_name: String,
    pub(super) client_description: Option<String>,
    pub(super) products: Vec<(String, Product)>,
}

impl SiteSettings {
    /// Why these values make no sense, if they do not.
    pub(super) fn objection(&self) -> Option<String> {
        let seconds = [
            ("searchLagSeconds", Some(self.search_lag_seconds)),
            ("chainMissingSeconds", Some(self.chain_missing_seconds)),
            ("revocationSeconds", self.revocation_seconds),
        ];
        if let Some((name, _)) = seconds.iter().find(|(_, value)| !value.is_none_or(is_duration)) {
            return Some(format!("{name} must be between 0 and a year"));
        }
        let statuses = [
            ("chainMissingStatus", self.chain_missing_status),
            ("accessDeniedStatus", self.access_denied_status),
            ("unknownIdStatus", self.unknown_id_status),
        ];
        if let Some((name, _)) = statuses.iter().find(|(_, status)| !(400..600).contains(status)) {
            return Some(format!("{name} must be between 400 and 599"));
        }
        let lives = self.states.iter().chain(
            self.clients
                .iter()
                .flat_map(|client| &client.products)
                .filter_map(|p| p.states.as_ref()),
        );
        for life in lives {
            if life.is_empty() {
                return Some(
                    "states must not be empty; leave it out for the usual life".to_owned(),
                );
            }
            if life.iter().any(|step| !step.seconds.is_none_or(is_duration)) {
                return Some("seconds of a state must be between 0 and a year".to_owned());
            }
        }
        let ids = self.clients.iter().flat_map(|client| {
            let products = client.products.iter().map(|product| ("pma-", product.id.as_ref()));
            std::iter::once(("cli-", client.id.as_ref())).chain(products)
        });
        ids.filter_map(|(prefix, given)| given.map(|given| (prefix, given)))
            .find(|(prefix, given)| !id::is(prefix, given))
            .map(|(prefix, given)| format!("{given} is not {prefix} and a lower-case UUID"))
    }

    /// The clients with their ids. An id that is not given is derived, so that it stays the same
    /// when settings are put again and after a restart; equal names get different ids.
    pub(super) fn offers(&self, site: &str) -> Vec<Offer> {
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        let mut derived = |prefix: &str, given: Option<&String>, seed: String| match given {
            Some(given) => given.clone(),
            None => {
                let occurrence = seen.entry(seed.clone()).or_default();
                *occurrence += 1;
                id::derived(prefix, &format!("{site}/{seed}/{occurrence}"))
            }
        };
        let mut offers = Vec::new();
        for client in &self.clients {
            let client_id = derived("cli-", client.id.as_ref(), client.name.clone());
            let mut products = Vec::new();
            for product in &client.products {
                let seed = format!("{client_id}/{}", product.name);
                products.push((derived("pma-", product.id.as_ref(), seed), product.clone()));
            }
            offers.push(Offer {
                client_id,
                client_name: client.name.clone(),
                client_description: client.description.clone(),
                products,
            });
        }
        offers
    }

    /// The life of an order of this product.
    pub(super) fn life(&self, product: &Product) -> Vec<Step> {
        if let Some(life) = product.states.as_ref().or(self.states.as_ref()) {
            return life.clone();
        }
        let mut life = vec![Step::passing("NEW", 0.3)];
        if product.authorization {
            life.push(Step::waiting("PENDING_AUTH"));
        }
        life.extend([Step::passing("ISSUE", 0.5), Step::waiting("ISSUED")]);
        life
    }
}

fn is_duration(seconds: f64) -> bool {
    (0.0..=31_536_000.0).contains(&seconds)
}
