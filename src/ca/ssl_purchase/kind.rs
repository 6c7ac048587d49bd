//! The SSL purchase API, as the registry lists it.

use std::sync::Arc;

use super::prepared::Block;
use super::{FIELD, NAME, SslPurchase};
use crate::api::{CertificateRequestSpec, IssuerSpec, SslPurchase as Settings};
use crate::ca::CertificateAuthority;
use crate::ca::kind::{AccountSettings, Asked, Kind, Opening};
use crate::ca::tenant::{Client, Tenant};
use crate::outside::Error;
use crate::outside::credentials::{self, Credentials};
use crate::outside::opt_in::host_and_port;

/// The SSL purchase API as a kind of CA.
pub(in crate::ca) const KIND: &dyn Kind = &SslPurchaseKind;

struct SslPurchaseKind;

impl Kind for SslPurchaseKind {
    fn field(&self) -> &'static str {
        FIELD
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn product_field(&self) -> &'static str {
        "plan"
    }

    fn account<'a>(&self, spec: &'a IssuerSpec) -> Option<&'a dyn AccountSettings> {
        spec.ssl_purchase.as_ref().map(|settings| settings as &dyn AccountSettings)
    }

    fn asked<'a>(&self, spec: &'a CertificateRequestSpec) -> Asked<'a> {
        let Some(asked) = &spec.ssl_purchase else { return Asked::default() };
        let product =
            asked.plan.as_ref().and_then(|plan| plan.id.clone().or_else(|| plan.name.clone()));
        let contact = asked.contact.as_ref().map(|_| "contact");
        Asked {
            block: serde_json::to_value(Block::from(asked)).ok(),
            credentials: None,
            product,
            contact: contact.or_else(|| asked.company.as_ref().map(|_| "company")),
        }
    }
}

impl AccountSettings for Settings {
    fn credentials_kind(&self) -> credentials::Kind {
        let authentication = &self.authentication;
        if authentication.oidc.is_some() {
            credentials::Kind::ClientCredentials
        } else if authentication.header.is_some() {
            credentials::Kind::ApiKey
        } else {
            credentials::Kind::Basic { password: "apiKey" }
        }
    }

    fn credentials_secret(&self) -> Option<&str> {
        Some(&self.credentials_secret_ref.name)
    }

    fn hosts(&self) -> Vec<String> {
        let token = self.authentication.oidc.as_ref().map(|oidc| host_and_port(&oidc.token_url));
        let mut hosts = vec![host_and_port(&self.url)];
        hosts.extend(token.filter(|token| !hosts.contains(token)));
        hosts
    }

    /// Whoever may order for a reseller does it for that reseller.
    fn tenant(&self, credentials: Option<&Credentials>) -> Tenant {
        let user = credentials.and_then(Credentials::name);
        let client = Client { id: None, name: Some(self.reseller.clone()) };
        // As it is read back: a reference that looks like an id is one.
        Tenant::parse(&Tenant::client(&self.url, client, user).to_string())
    }

    fn has_records(&self) -> bool {
        true
    }

    fn open(&self, with: Opening) -> Result<Arc<dyn CertificateAuthority>, Error> {
        Ok(Arc::new(SslPurchase::new(self, with)?))
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

    fn settings(more: serde_json::Value) -> Settings {
        let mut all = json!({
            "url": "https://Reseller.example:8443/api/v1/",
            "credentialsSecretRef": { "name": "key" },
            "reseller": "rp-1",
            "dcvType": "DNS",
            "reissuePolicy": "Never",
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    /// What goes into an order is stored with each certificate: other words would issue all anew.
    #[test]
    fn what_a_request_says_is_stored_in_the_same_words() {
        let person = json!({ "emailAddress": "hostmaster@example.org" });
        let company = json!({ "city": "Delft" });
        let rows = [
            (json!({}), json!({}), None),
            (json!({ "plan": { "name": "DV" } }), json!({ "product": { "name": "DV" } }), None),
            (json!({ "dcvType": "FILE" }), json!({ "how": { "dcvType": "FILE" } }), None),
            (
                json!({ "contact": person }),
                json!({ "contact": { "person": person } }),
                Some("contact"),
            ),
            (
                json!({ "company": company }),
                json!({ "contact": { "company": company } }),
                Some("company"),
            ),
        ];
        for (block, stored, contact) in rows {
            let spec = asked(block.clone());
            let Asked { block: told, credentials, product, contact: named } = KIND.asked(&spec);
            assert_eq!((told, credentials), (Some(stored), None), "{block}");
            assert_eq!(named, contact, "{block}");
            assert_eq!(product.is_some(), block.get("plan").is_some(), "{block}");
        }
    }

    #[test]
    fn the_hosts_of_api_and_tokens_are_named_and_the_secret_holds_what_authentication_says() {
        let rows = [
            (json!({}), vec!["reseller.example:8443"], vec!["username", "apiKey"]),
            (
                json!({ "header": { "name": "X-APIKEY" } }),
                vec!["reseller.example:8443"],
                vec!["apiKey"],
            ),
            (
                json!({ "oidc": { "tokenUrl": "https://login.example/token" } }),
                vec!["reseller.example:8443", "login.example"],
                vec!["clientId", "clientSecret"],
            ),
            (
                json!({ "oidc": { "tokenUrl": "https://reseller.example:8443/token" } }),
                vec!["reseller.example:8443"],
                vec!["clientId", "clientSecret"],
            ),
        ];
        for (authentication, hosts, keys) in rows {
            let more = match authentication.as_object().unwrap().is_empty() {
                true => json!({}),
                false => json!({ "authentication": authentication }),
            };
            let settings = settings(more);
            assert_eq!(settings.hosts(), hosts, "{authentication}");
            assert_eq!(settings.credentials_kind().keys(), keys, "{authentication}");
        }
    }

    #[test]
    fn the_reseller_is_the_tenant_however_it_is_spelt() {
        use crate::ca::tenant::{Relation, relation};
        let tenant =
            |reseller: &str| settings(json!({ "reseller": reseller })).tenant(None).to_string();
        let id = "rp-11111111-2222-4333-8444-555555555555";
        for reseller in ["rp-1", id] {
            let settings = settings(json!({ "reseller": reseller }));
            let read = Tenant::parse(&settings.tenant(None).to_string());
            assert_eq!(settings.tenant(None), read, "{reseller}");
        }
        assert_eq!(relation(&tenant("rp-1"), &tenant("rp-1")), Relation::Same);
        assert_ne!(relation(&tenant("rp-1"), &tenant("rp-2")), Relation::Same);
    }
}
