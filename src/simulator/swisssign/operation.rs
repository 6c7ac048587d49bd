//! The operations that are played, and the paths that name them.

use serde::{Deserialize, Serialize};

/// The operations that are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// `/v2/jwt/{userName}`.
    Jwt,
    /// `/v2/clients`.
    Clients,
    /// `/v2/clients/paged`.
    ClientsPaged,
    /// `/v2/client/{cli}`.
    Client,
    /// `/v2/issue`.
    Issue,
    /// `/v2/issue/csr/{pma}`.
    IssueCsr,
    /// `/v2/validate`.
    Validate,
    /// `/v2/order/{ord}`.
    Order,
    /// `/v2/order/{ord}/status`.
    Status,
    /// `/v2/order/{ord}/certificate/chain`.
    Chain,
    /// `/v2/order/{ord}/tasks`.
    Tasks,
    /// `/v2/order/{ord}/tags`.
    Tags,
    /// `/v2/orders`.
    Orders,
    /// `/v2/orders/paged`.
    OrdersPaged,
    /// `/v2/revoke`.
    Revoke,
}

impl Operation {
    /// The operation as faults and counts name it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::Clients => "clients",
            Self::ClientsPaged => "clientsPaged",
            Self::Client => "client",
            Self::Issue => "issue",
            Self::IssueCsr => "issueCsr",
            Self::Validate => "validate",
            Self::Order => "order",
            Self::Status => "status",
            Self::Chain => "chain",
            Self::Tasks => "tasks",
            Self::Tags => "tags",
            Self::Orders => "orders",
            Self::OrdersPaged => "ordersPaged",
            Self::Revoke => "revoke",
        }
    }

    /// The operation a path names, with the path parameter as it stands there.
    pub(super) fn from_path(path: &str) -> Option<(Self, &str)> {
        let segments: Vec<&str> = path.split('/').collect();
        Some(match segments[..] {
            ["v2", "jwt", user] if !user.is_empty() => (Self::Jwt, user),
            ["v2", "clients"] => (Self::Clients, ""),
            ["v2", "clients", "paged"] => (Self::ClientsPaged, ""),
            ["v2", "client", id] => (Self::Client, id),
            ["v2", "issue"] => (Self::Issue, ""),
            ["v2", "issue", "csr", id] => (Self::IssueCsr, id),
            ["v2", "validate"] => (Self::Validate, ""),
            ["v2", "order", id] => (Self::Order, id),
            ["v2", "order", id, "status"] => (Self::Status, id),
            ["v2", "order", id, "certificate", "chain"] => (Self::Chain, id),
            ["v2", "order", id, "tasks"] => (Self::Tasks, id),
            ["v2", "order", id, "tags"] => (Self::Tags, id),
            ["v2", "orders"] => (Self::Orders, ""),
            ["v2", "orders", "paged"] => (Self::OrdersPaged, ""),
            ["v2", "revoke"] => (Self::Revoke, ""),
            _ => return None,
        })
    }

    /// How a right answer begins, for bodies that are never one.
    pub(super) fn opening(self) -> &'static str {
        match self {
            Self::Jwt => "eyJ",
            Self::Clients | Self::Orders | Self::Chain | Self::Tasks => "[",
            Self::Status => "\"",
            Self::Validate | Self::Revoke => "",
            Self::ClientsPaged
            | Self::Client
            | Self::Issue
            | Self::IssueCsr
            | Self::Order
            | Self::Tags
            | Self::OrdersPaged => "{",
        }
    }
}
