//! What a certificate is bought for: tenant and product at the CA, as ids.

use std::collections::BTreeMap;

use serde_json::Value;

use super::requested::Requested;

/// What an order was made with, in ids: known once the CA has translated it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Purchase {
    /// The account in one line, with the id of its client where it has one.
    pub account: String,
    /// Id of the product, where the CA has products.
    pub product: Option<String>,
}

impl Purchase {
    /// Notes it in what a certificate is requested with.
    #[must_use]
    pub fn noted_in(&self, requested: Requested) -> Requested {
        requested
            .with(Requested::ACCOUNT, Some(self.account.clone()))
            .with_product(self.product.as_deref())
    }
}

/// Ids of products, by the words that name them: [`Requested::CA_BLOCK`] as it is stored.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Products(BTreeMap<String, Option<String>>);

impl Products {
    /// Notes what the CA makes of these words; `None` where it has no products, or not that one.
    pub fn note(&mut self, words: &Value, product: Option<String>) {
        self.0.insert(words.to_string(), product);
    }

    pub(in crate::issuance) fn has(&self, words: &Value) -> bool {
        self.0.contains_key(&words.to_string())
    }

    pub(super) fn get(&self, words: &Value) -> Option<&str> {
        self.0.get(&words.to_string())?.as_deref()
    }
}
