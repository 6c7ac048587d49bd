//! SwissSign, as the registry lists it.

use std::sync::Arc;

use super::{FIELD, NAME, SwissSign};
use crate::api::{
    CertificateRequestSpec, IssuerSpec, SwissSign as Settings, SwissSignClient, SwissSignOrder,
    SwissSignProduct,
};
use crate::ca::CertificateAuthority;
use crate::ca::kind::{AccountSettings, Asked, Kind, Opening};
use crate::ca::tenant::{Client, Tenant};
use crate::outside::Error;
use crate::outside::credentials::{self, Credentials};
use crate::outside::opt_in::host_and_port;

/// SwissSign as a kind of CA.
pub(in crate::ca) const KIND: &dyn Kind = &SwissSignKind;

struct SwissSignKind;

impl Kind for SwissSignKind {
    fn field(&self) -> &'static str {
        FIELD
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn account<'a>(&self, spec: &'a IssuerSpec) -> Option<&'a dyn AccountSettings> {
        spec.swiss_sign.as_ref().map(|settings| settings as &dyn AccountSettings)
    }

    fn asked<'a>(&self, spec: &'a CertificateRequestSpec) -> Asked<'a> {
        let Some(asked) = &spec.swiss_sign else { return Asked::default() };
        let SwissSignOrder { product } = asked;
        let product = product.as_ref().and_then(|product| {
            let SwissSignProduct { id, name } = product;
            id.clone().or_else(|| name.clone())
        });
        Asked { block: serde_json::to_value(asked).ok(), product, ..Asked::default() }
    }
}

impl AccountSettings for Settings {
    fn credentials_kind(&self) -> credentials::Kind {
        credentials::Kind::Basic { password: "apiKey" }
    }

    fn credentials_secret(&self) -> Option<&str> {
        Some(&self.credentials_secret_ref.name)
    }

    fn hosts(&self) -> Vec<String> {
        vec![host_and_port(&self.url)]
    }

    /// Whoever may order for a client does it for that client.
    fn tenant(&self, credentials: Option<&Credentials>) -> Tenant {
        let SwissSignClient { id, name } = self.client.clone();
        let user = credentials.and_then(Credentials::name);
        Tenant::client(&self.url, Client { id, name }, user)
    }

    fn has_records(&self) -> bool {
        true
    }

    fn open(&self, with: Opening) -> Result<Arc<dyn CertificateAuthority>, Error> {
        Ok(Arc::new(SwissSign::new(self, with)?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(block: serde_json::Value) -> CertificateRequestSpec {
        serde_json::from_value(json!({
            "issuerRef": { "name": "ca" }, "secretName": "tls", FIELD: block,
        }))
        .unwrap()
    }

    /// What goes into an order is stored with each certificate: other words would issue all anew.
    #[test]
    fn what_a_request_says_is_stored_in_the_same_words() {
        for block in [json!({}), json!({ "product": { "name": "DV" } })] {
            let spec = asked(block.clone());
            let Asked { block: stored, credentials, .. } = KIND.asked(&spec);
            assert_eq!((stored, credentials), (Some(block), None));
        }
    }
}
