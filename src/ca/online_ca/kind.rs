//! The Online CA, as the registry lists it.

use std::sync::Arc;

use super::{FIELD, NAME, OnlineCa};
use crate::api::{CertificateRequestSpec, IssuerSpec, OnlineCa as Settings, OnlineCaIdentity};
use crate::ca::CertificateAuthority;
use crate::ca::kind::{AccountSettings, Asked, Kind, Opening};
use crate::ca::tenant::Tenant;
use crate::outside::Error;
use crate::outside::credentials::{self, Credentials};
use crate::outside::opt_in::host_and_port;

/// The Online CA as a kind of CA.
pub(in crate::ca) const KIND: &dyn Kind = &OnlineCaKind;

struct OnlineCaKind;

impl Kind for OnlineCaKind {
    fn field(&self) -> &'static str {
        FIELD
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn account<'a>(&self, spec: &'a IssuerSpec) -> Option<&'a dyn AccountSettings> {
        spec.online_ca.as_ref().map(|settings| settings as &dyn AccountSettings)
    }

    /// The block holds credentials and nothing that goes into an order.
    fn asked<'a>(&self, spec: &'a CertificateRequestSpec) -> Asked<'a> {
        let Some(OnlineCaIdentity { credentials_secret_ref }) = &spec.online_ca else {
            return Asked::default();
        };
        let own = credentials_secret_ref.as_ref().map(|reference| reference.name.as_str());
        Asked { credentials: own, ..Asked::default() }
    }
}

impl AccountSettings for Settings {
    fn credentials_kind(&self) -> credentials::Kind {
        credentials::Kind::Basic { password: "password" }
    }

    fn credentials_secret(&self) -> Option<&str> {
        self.credentials_secret_ref.as_ref().map(|reference| reference.name.as_str())
    }

    /// "Get trust roots" is asked for without credentials.
    fn hosts(&self) -> Vec<String> {
        vec![host_and_port(&self.certificate_url)]
    }

    /// The user is whom the certificate is for.
    fn tenant(&self, credentials: Option<&Credentials>) -> Tenant {
        Tenant::user(&self.certificate_url, credentials.and_then(Credentials::name))
    }

    fn has_records(&self) -> bool {
        false
    }

    fn open(&self, with: Opening) -> Result<Arc<dyn CertificateAuthority>, Error> {
        Ok(Arc::new(OnlineCa::new(self, with)?))
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
    fn a_request_brings_credentials_and_nothing_else() {
        let own = asked(json!({ "credentialsSecretRef": { "name": "jdoe" } }));
        let empty = asked(json!({}));
        for (name, spec, credentials) in
            [("credentials", own, Some("jdoe")), ("an empty block", empty, None)]
        {
            let Asked { block, credentials: found, .. } = KIND.asked(&spec);
            assert_eq!((block, found), (None, credentials), "{name}");
        }
    }
}
