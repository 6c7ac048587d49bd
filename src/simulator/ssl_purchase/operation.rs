//! The operations that are played, and the verbs and paths that name them.

use http::Method;
use serde::{Deserialize, Serialize};

/// The operations that are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// `POST /token`.
    Token,
    /// `GET /ssl-certificate`.
    List,
    /// `POST /ssl-certificate`.
    Create,
    /// `GET /ssl-certificate/{id}`.
    Read,
    /// `POST /ssl-certificate/{id}/renew`.
    Renew,
    /// `POST /ssl-certificate/{id}/reissue`.
    Reissue,
    /// `POST /ssl-certificate/{id}/validate`.
    Validate,
    /// `DELETE /ssl-certificate/{id}`.
    Delete,
    /// `GET /ssl-certificate/{id}/download-zip`.
    DownloadZip,
    /// `GET /ssl-certificate/{id}/download-pkcs7`.
    DownloadPkcs7,
    /// `GET /ssl-certificate/{id}/download-crt`.
    DownloadCrt,
    /// `GET /ssl-certificate/{id}/download-csr`.
    DownloadCsr,
    /// `GET /ssl-certificate/{id}/download-ca`.
    DownloadCa,
    /// `GET /ssl-certificate/{id}/validation-details`.
    ValidationDetails,
    /// `GET /ssl-certificate-plan`.
    Plans,
    /// `GET /ssl-certificate-plan/{id}`.
    Plan,
    /// `POST /ssl-certificate-plan` and `PUT /ssl-certificate-plan/{id}`, for provisioners alone.
    WritePlan,
}

/// What verb and path name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addressed<'a> {
    /// An operation, with the id of the path if it has one.
    Known(Operation, &'a str),
    /// A path that takes other verbs: these.
    WrongVerb(&'static str),
    /// Nothing.
    Nowhere,
}

impl Operation {
    /// The operation as faults and counts name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::List => "list",
            Self::Create => "create",
            Self::Read => "read",
            Self::Renew => "renew",
            Self::Reissue => "reissue",
            Self::Validate => "validate",
            Self::Delete => "delete",
            Self::DownloadZip => "downloadZip",
            Self::DownloadPkcs7 => "downloadPkcs7",
            Self::DownloadCrt => "downloadCrt",
            Self::DownloadCsr => "downloadCsr",
            Self::DownloadCa => "downloadCa",
            Self::ValidationDetails => "validationDetails",
            Self::Plans => "plans",
            Self::Plan => "plan",
            Self::WritePlan => "writePlan",
        }
    }

    /// How a right answer begins, for bodies that are never one.
    pub(super) fn opening(self) -> &'static str {
        match self {
            Self::DownloadZip => "PK",
            Self::DownloadPkcs7 => "-----BEGIN PKCS7-----\n",
            Self::DownloadCrt | Self::DownloadCa => "-----BEGIN CERTIFICATE-----\n",
            Self::DownloadCsr => "-----BEGIN CERTIFICATE REQUEST-----\n",
            Self::Token
            | Self::List
            | Self::Create
            | Self::Read
            | Self::Renew
            | Self::Reissue
            | Self::Validate
            | Self::Delete
            | Self::ValidationDetails
            | Self::Plans
            | Self::Plan
            | Self::WritePlan => "{",
        }
    }

    /// Whether certificates come of it.
    pub(super) fn issues(self) -> bool {
        matches!(self, Self::Create | Self::Renew | Self::Reissue)
    }
}

/// What verb and path name; the path is the part behind the site.
pub(super) fn addressed<'a>(method: &Method, path: &'a str, base_path: &str) -> Addressed<'a> {
    if path == "token" {
        return by_verb(method, "", None, Some(Operation::Token), None);
    }
    let base = base_path.trim_matches('/');
    let path = match base.is_empty() {
        true => Some(path),
        false => path.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')),
    };
    let Some(path) = path else {
        return Addressed::Nowhere;
    };
    let segments: Vec<&str> = path.split('/').collect();
    match segments[..] {
        ["ssl-certificate"] => {
            by_verb(method, "", Some(Operation::List), Some(Operation::Create), None)
        }
        ["ssl-certificate", id] if !id.is_empty() => {
            by_verb(method, id, Some(Operation::Read), None, Some(Operation::Delete))
        }
        ["ssl-certificate", id, action] => match action {
            "renew" => by_verb(method, id, None, Some(Operation::Renew), None),
            "reissue" => by_verb(method, id, None, Some(Operation::Reissue), None),
            "validate" => by_verb(method, id, None, Some(Operation::Validate), None),
            "download-zip" => by_verb(method, id, Some(Operation::DownloadZip), None, None),
            "download-pkcs7" => by_verb(method, id, Some(Operation::DownloadPkcs7), None, None),
            "download-crt" => by_verb(method, id, Some(Operation::DownloadCrt), None, None),
            "download-csr" => by_verb(method, id, Some(Operation::DownloadCsr), None, None),
            "download-ca" => by_verb(method, id, Some(Operation::DownloadCa), None, None),
            "validation-details" => {
                by_verb(method, id, Some(Operation::ValidationDetails), None, None)
            }
            _ => Addressed::Nowhere,
        },
        ["ssl-certificate-plan"] => {
            by_verb(method, "", Some(Operation::Plans), Some(Operation::WritePlan), None)
        }
        ["ssl-certificate-plan", id] if *method == Method::PUT => {
            Addressed::Known(Operation::WritePlan, id)
        }
        ["ssl-certificate-plan", id] if !id.is_empty() => {
            by_verb(method, id, Some(Operation::Plan), None, None)
        }
        _ => Addressed::Nowhere,
    }
}

fn by_verb<'a>(
    method: &Method,
    id: &'a str,
    get: Option<Operation>,
    post: Option<Operation>,
    delete: Option<Operation>,
) -> Addressed<'a> {
    let operation = match *method {
        Method::GET | Method::HEAD => get,
        Method::POST => post,
        Method::DELETE => delete,
        _ => None,
    };
    match operation {
        Some(operation) => Addressed::Known(operation, id),
        None => Addressed::WrongVerb(match (get, post, delete) {
            (Some(_), Some(_), _) => "GET, POST",
            (Some(_), None, Some(_)) => "GET, DELETE",
            (Some(_), None, None) => "GET",
            (None, ..) => "POST",
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verb_and_path_name_an_operation() {
        let known = Addressed::Known;
        let rows = [
            (Method::GET, "ssl-certificate", "", known(Operation::List, "")),
            (Method::HEAD, "ssl-certificate/7", "", known(Operation::Read, "7")),
            (Method::POST, "ssl-certificate/7/renew", "", known(Operation::Renew, "7")),
            (Method::GET, "ssl-certificate/7/renew", "", Addressed::WrongVerb("POST")),
            (Method::DELETE, "ssl-certificate/7/renew", "", Addressed::WrongVerb("POST")),
            (Method::PUT, "ssl-certificate/7", "", Addressed::WrongVerb("GET, DELETE")),
            (Method::GET, "ssl-certificate/", "", Addressed::Nowhere),
            (Method::GET, "ssl-certificate/7/download-exe", "", Addressed::Nowhere),
            (Method::PUT, "ssl-certificate-plan/7", "", known(Operation::WritePlan, "7")),
            (Method::GET, "api/v1/ssl-certificate", "/api/v1/", known(Operation::List, "")),
            (Method::GET, "ssl-certificate", "api/v1", Addressed::Nowhere),
            (Method::POST, "token", "api/v1", known(Operation::Token, "")),
        ];
        for (method, path, base_path, expected) in rows {
            assert_eq!(addressed(&method, path, base_path), expected, "{method} {path}");
        }
    }
}
