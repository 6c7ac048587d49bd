//! What has to be shown to a CA before it issues, as a status says it.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What has to be shown to the CA before it issues for a domain.
#[derive(KubeSchema, Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderChallenge {
    /// The domain, as the CA writes it.
    pub domain: String,
    /// `DNS`: a record has to be there. `File`: a file has to be served over plain HTTP. `Email`: a
    /// mail of the CA has to be answered.
    #[serde(rename = "type")]
    pub kind: ChallengeKind,
    /// The CA has seen it: nothing is left to do.
    #[serde(default)]
    pub done: bool,
    /// Type of the DNS record, such as `CNAME` or `TXT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// Full name of the DNS record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_name: Option<String>,
    /// Value of the DNS record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_value: Option<String>,
    /// Where the CA looks for the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Content of the file, to the byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Whom the CA writes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailbox: Option<String>,
}

/// How control of a domain is shown.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
pub enum ChallengeKind {
    /// A DNS record.
    #[serde(rename = "DNS")]
    Dns,
    /// A file that is served over plain HTTP.
    File,
    /// A mail that somebody answers.
    Email,
}
