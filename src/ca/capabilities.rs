//! What a CA can do and accepts.

use std::time::Duration;

use crate::pki::KeyKind;

/// What a CA can do and accepts.
///
/// The default is a CA that issues at once and for nothing, cannot be searched, and takes first
/// orders only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// What the CA is called in messages, such as `House CA`.
    pub name: &'static str,
    /// Kinds of key the CA signs, the preferred one first.
    pub key_kinds: Vec<KeyKind>,
    /// The field of the Issuer that would admit further kinds of key, where there is one.
    pub key_kinds_field: Option<&'static str>,
    /// Whether certificates carry the names that were asked for.
    pub names: bool,
    /// What a request says in place of names, where they do not, such as `spec.houseCa: {}`.
    pub instead_of_names: Option<&'static str>,
    /// Whether it can be told in the CSR what the key is for.
    pub usages: bool,
    /// Whether it lets itself be asked for a lifetime.
    pub duration: bool,
    /// A certificate costs money: none is asked for twice.
    pub billable: bool,
    /// A certificate takes its time: a submit may end in an order that has to be asked about.
    pub asynchronous: bool,
    /// Whether [`find`](super::CertificateAuthority::find) can find an order by its reference.
    pub searchable: bool,
    /// So long a lost answer is looked for, before the order is made again. At least as long as a
    /// new order takes to show in a search, with every pause of the process added.
    pub settle_window: Duration,
    /// The CA makes the proof of possession itself: each order carries its private key.
    pub needs_private_key: bool,
    /// What it can be asked for beside a certificate of its own.
    pub kinds: OrderKinds,
}

/// Which kinds of order follow another one at a CA.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OrderKinds {
    /// [`OrderKind::Renew`](super::OrderKind::Renew).
    pub renew: bool,
    /// [`OrderKind::Reissue`](super::OrderKind::Reissue).
    pub reissue: bool,
    /// [`OrderKind::UpdateKey`](super::OrderKind::UpdateKey).
    pub update_key: bool,
}

impl OrderKinds {
    /// Whether the id of an order is what the next one goes by.
    #[must_use]
    pub fn go_by_id(self) -> bool {
        self.renew || self.reissue
    }
}

impl Capabilities {
    /// Whether an order is recorded before it is made: where making it again would cost money, or
    /// where somebody has to know of it for longer than a run takes.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.billable || self.asynchronous
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            name: "",
            key_kinds: Vec::new(),
            key_kinds_field: None,
            names: true,
            instead_of_names: None,
            usages: true,
            duration: true,
            billable: false,
            asynchronous: false,
            searchable: false,
            settle_window: Duration::from_secs(900),
            needs_private_key: false,
            kinds: OrderKinds::default(),
        }
    }
}
