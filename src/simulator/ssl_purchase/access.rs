//! Who asks: Basic, OpenID Connect and the header, and the tokens that the site hands out.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use url::form_urlencoded;

use super::Site;
use super::call::{Call, JSON, Outcome};
use super::refusal::Refusal;
use super::settings::{Authentication, SiteSettings};
use crate::simulator::authority::shifted;
use crate::simulator::{answer, id, lock};

/// A token that was handed out.
#[derive(Clone, Debug)]
pub(super) struct Token {
    reseller: String,
    expires: Timestamp,
}

impl Site {
    /// The reference of the reseller who asks.
    pub(super) fn authenticate(
        &self,
        settings: &SiteSettings,
        call: &Call,
    ) -> Result<String, Refusal> {
        let reseller = self.credentials(settings, call).ok_or_else(Refusal::credentials)?;
        match std::mem::take(&mut lock(&self.0.settings).reject_next) {
            true => Err(Refusal::credentials()),
            false => Ok(reseller),
        }
    }

    fn credentials(&self, settings: &SiteSettings, call: &Call) -> Option<String> {
        let takes = |way| settings.authentication.contains(&way);
        if let Some(key) = call.header(&settings.header).filter(|_| takes(Authentication::Header)) {
            let owner = settings.resellers.iter().find(|(_, reseller)| reseller.api_key == key);
            return owner.map(|(reference, _)| reference.clone());
        }
        let (scheme, value) = call.header(AUTHORIZATION.as_str())?.split_once(' ')?;
        if scheme.eq_ignore_ascii_case("basic") && takes(Authentication::Basic) {
            let pair = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
            let (reference, key) = pair.split_once(':')?;
            let reseller = settings.resellers.get(reference)?;
            return (reseller.api_key == key).then(|| reference.to_owned());
        }
        if scheme.eq_ignore_ascii_case("bearer") && takes(Authentication::Oidc) {
            let tokens = lock(&self.0.tokens);
            let token = tokens.get(value.trim())?;
            let is_good = token.expires > self.0.shared.now()
                && call.header("realm") == Some(token.reseller.as_str());
            return is_good.then(|| token.reseller.clone());
        }
        None
    }

    /// `POST /token`: answers as OAuth 2.0 has it, with the names that the vendor's page spells.
    pub(super) fn token(&self, settings: &SiteSettings, call: &Call) -> Result<Outcome, Refusal> {
        let content_type = call.header("content-type").unwrap_or_default();
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        let form: HashMap<String, String> =
            form_urlencoded::parse(&call.body).into_owned().collect();
        let given = |name: &str| form.get(name).map(String::as_str).filter(|text| !text.is_empty());
        let fields = (given("client_id"), given("client_secret"), given("grant_type"));
        let (Some(client), Some(secret), Some(grant)) = fields else {
            return Ok(refused(400, "invalid_request"));
        };
        if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            return Ok(refused(400, "invalid_request"));
        }
        if grant != "client_credentials" {
            return Ok(refused(400, "unsupported_grant_type"));
        }
        let owner = settings
            .resellers
            .iter()
            .find(|(_, reseller)| reseller.client_id == client && reseller.client_secret == secret);
        let Some((reference, _)) = owner else {
            return Ok(refused(401, "invalid_client"));
        };
        let ids = (id::random("at-"), id::random("rt-"));
        let (Ok(access), Ok(refresh)) = ids else {
            return Err(Refusal::uncaught());
        };
        let lifetime = i64::from(settings.token_lifetime_seconds);
        let expires = shifted(self.0.shared.now(), SignedDuration::from_secs(lifetime));
        let token = Token { reseller: reference.clone(), expires };
        lock(&self.0.tokens).insert(access.clone(), token);
        Ok(Outcome::json(&json!({
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "Bearer",
            "expires_in": lifetime,
            "refresh_token_exires_in": lifetime * 6,
        })))
    }
}

/// An error of the token endpoint, which is not one of the API.
fn refused(status: u16, error: &str) -> Outcome {
    let mut outcome = Outcome::json(&json!({ "error": error }));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let response: Response<_> = answer::with_body(status, JSON, outcome.body.clone());
    outcome.response = response;
    outcome
}
