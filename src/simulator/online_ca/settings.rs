//! What can be set for one site of the online CA, with the defaults of the service's shipped sample
//! configuration.
//!
//! Plain values and their JSON; nothing here acts on them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::simulator::authority::KeyAlgorithm;

/// Which of the two services that speak this protocol the site plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Flavour {
    /// The Contrail online CA service 0.4.0, a WSGI application.
    #[default]
    Contrail,
    /// django-onlineca behind a Basic authentication wrapper, from which CEDA's production service
    /// is built.
    Django,
}

/// Which certificate authorities follow the issued certificate in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Chain {
    /// The issuing authority, the root left out: the convention.
    #[default]
    Intermediate,
    /// None: the option is not set, as in service 0.3.0 and older.
    None,
    /// An authority that has nothing to do with the certificate, as in the shipped sample.
    Unrelated,
}

/// How the TRUSTED_CERTS list of the vendor document is spelled, if at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Manifest {
    /// Not at all: plain `name=base64` lines, which is what the service really sends.
    #[default]
    None,
    /// First a `TRUSTED_CERTS` line whose value is base64 of the comma separated names, then
    /// `FILEDATA_` lines.
    Base64,
    /// First a `TRUSTED_CERTS` line whose value is the comma separated names, then `FILEDATA_`
    /// lines.
    Plain,
}

/// What lies in the trust root directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct TrustRoots {
    /// The site's root.
    pub root: bool,
    /// The site's issuing authority.
    pub intermediate: bool,
    /// The root above the simulator's own TLS certificate, so that a bootstrap from what it serves
    /// works.
    pub tls_root: bool,
    /// A root that expired last year.
    pub expired: bool,
    /// Whether each authority also appears under its old, MD5 style hash.
    pub old_hash_names: bool,
    /// Whether a signing policy accompanies each certificate.
    pub signing_policies: bool,
    /// The private key of the issuing authority as `test-ca.key`, which the shipped sample really
    /// publishes.
    pub leaked_key: bool,
    /// Further files, name to text. Names are sent as they are, so they may be hostile ones.
    pub files: BTreeMap<String, String>,
    /// Whether to add the list and prefixes of the vendor document.
    pub manifest: Manifest,
}

impl Default for TrustRoots {
    fn default() -> Self {
        Self {
            root: true,
            intermediate: true,
            tls_root: true,
            expired: true,
            old_hash_names: true,
            signing_policies: true,
            leaked_key: false,
            files: BTreeMap::new(),
            manifest: Manifest::None,
        }
    }
}

/// The settings of one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SiteSettings {
    /// Which service the site plays.
    pub flavour: Flavour,
    /// User names and passwords.
    pub users: BTreeMap<String, String>,
    /// The subject of every certificate, in slash form. Contrail replaces `$REMOTE_USER`, Django
    /// `{user}`; absent means `/O=NDG/OU=Security/CN=` and the user name.
    pub subject_template: Option<String>,
    /// How long certificates live (`ca_class.not_after_time_nsecs`, which counts seconds despite
    /// its name).
    pub lifetime_seconds: u32,
    /// The least size of a key, compared with its raw number of bits: 2048 shuts out every elliptic
    /// curve.
    pub min_key_bits: u32,
    /// The realm of the Basic challenge.
    pub realm: String,
    /// Which authorities follow the certificate.
    pub chain: Chain,
    /// Whether text precedes each certificate of the chain. Contrail only: it copies files as they
    /// are.
    pub chain_preamble: bool,
    /// Whether the chain has CRLF line ends. Contrail only.
    pub chain_crlf: bool,
    /// Whether the last line end of the chain is missing. Contrail only.
    pub chain_without_final_newline: bool,
    /// What the trust root directory holds.
    pub trust_roots: TrustRoots,
    /// The client register: TLS client subject in slash form to the users it may ask for.
    /// Present, even if empty, it replaces the passwords. Contrail only.
    pub client_register: Option<BTreeMap<String, Vec<String>>>,
    /// The kind of key the site's authorities sign with.
    pub key_algorithm: KeyAlgorithm,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self {
            flavour: Flavour::default(),
            users: BTreeMap::from([("testuser".to_owned(), "changeme".to_owned())]),
            subject_template: None,
            lifetime_seconds: 28_800,
            min_key_bits: 2048,
            realm: "Contrail Online CA".to_owned(),
            chain: Chain::default(),
            chain_preamble: false,
            chain_crlf: false,
            chain_without_final_newline: false,
            trust_roots: TrustRoots::default(),
            client_register: None,
            key_algorithm: KeyAlgorithm::default(),
        }
    }
}

impl SiteSettings {
    /// The subject template that is in force.
    pub(super) fn template(&self) -> &str {
        match (&self.subject_template, self.flavour) {
            (Some(template), _) => template,
            (None, Flavour::Contrail) => "/O=NDG/OU=Security/CN=$REMOTE_USER",
            (None, Flavour::Django) => "/O=NDG/OU=Security/CN={user}",
        }
    }
}
