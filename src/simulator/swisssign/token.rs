//! Tokens: those the site hands out and those that clients sign themselves with their API key.
//!
//! Pure but for nothing: the time and the keys are parameters. The library checks signature,
//! algorithm, issuer and audience; the times are checked here, against the simulator's clock and
//! without leeway.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

const ISSUER: &str = "SwissPKI";
const AUDIENCE: &str = "REST API";
/// The only lifetime that is known to be accepted.
const LONGEST: i64 = 8 * 3600;

#[derive(Serialize)]
struct Issued<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    iat: i64,
    exp: i64,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
    #[serde(default)]
    iat: Option<i64>,
}

/// Why a token is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Bad {
    /// Signature, algorithm, issuer, audience or subject is wrong.
    #[error("the token is not valid")]
    Invalid,
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` or `iat` is to come.
    #[error("the token is not valid yet")]
    Early,
    /// It would be good for longer than eight hours.
    #[error("the token is valid for too long")]
    Long,
}

/// A token of the site for this account.
pub(super) fn issue(
    site_key: &[u8],
    account: &str,
    lifetime_seconds: u32,
    now: Timestamp,
) -> Option<String> {
    let iat = now.as_second();
    let exp = iat + i64::from(lifetime_seconds);
    let claims = Issued { iss: ISSUER, aud: AUDIENCE, sub: account, iat, exp };
    let key = EncodingKey::from_secret(site_key);
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).ok()
}

/// The account that a token is for.
pub(super) fn account(
    token: &str,
    site_key: &[u8],
    accounts: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<String, Bad> {
    let own = claims(token, site_key).filter(|claims| accounts.contains_key(&claims.sub));
    // The key of a token that a client signed is the API key of the account it names, octet by
    // octet as it stands.
    let claims = own
        .or_else(|| {
            accounts.iter().find_map(|(account, api_key)| {
                claims(token, api_key.as_bytes()).filter(|claims| claims.sub == *account)
            })
        })
        .ok_or(Bad::Invalid)?;
    let now = now.as_second();
    let begins = claims.nbf.into_iter().chain(claims.iat).max();
    if claims.exp <= now {
        return Err(Bad::Expired);
    }
    if begins.is_some_and(|begins| begins > now) {
        return Err(Bad::Early);
    }
    if claims.exp - claims.iat.or(claims.nbf).unwrap_or(now) > LONGEST {
        return Err(Bad::Long);
    }
    Ok(claims.sub)
}

fn claims(token: &str, key: &[u8]) -> Option<Claims> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    let decoded = jsonwebtoken::decode(token, &DecodingKey::from_secret(key), &validation);
    decoded.ok().map(|decoded| decoded.claims)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const KEY: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01";

    fn signed(algorithm: Algorithm, claims: &Value, key: &[u8]) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(key))
            .unwrap()
    }

    #[test]
    fn a_token_is_taken_if_every_claim_is_right() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let good = json!({
            "iss": "SwissPKI", "aud": "REST API", "sub": "me",
            "iat": 1_800_000_000, "nbf": 1_799_999_990, "exp": 1_800_000_900,
        });
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let without = |name: &str| {
            let mut claims = good.clone();
            claims.as_object_mut().unwrap().remove(name);
            claims
        };
        let rows = [
            ("all claims", good.clone(), Ok("me".to_owned())),
            ("audience as a list", with("aud", json!(["REST API"])), Ok("me".to_owned())),
            (
                "neither iat nor nbf",
                json!({"iss": "SwissPKI", "aud": "REST API", "sub": "me",
                "exp": 1_800_000_900}),
                Ok("me".to_owned()),
            ),
            ("issuer with a blank", with("iss", json!("Swiss PKI")), Err(Bad::Invalid)),
            ("no issuer", without("iss"), Err(Bad::Invalid)),
            ("another audience", with("aud", json!("RESTAPI")), Err(Bad::Invalid)),
            ("no audience", without("aud"), Err(Bad::Invalid)),
            ("another account", with("sub", json!("you")), Err(Bad::Invalid)),
            ("no expiry", without("exp"), Err(Bad::Invalid)),
            ("expires now", with("exp", json!(1_800_000_000)), Err(Bad::Expired)),
            ("nbf is to come", with("nbf", json!(1_800_000_001)), Err(Bad::Early)),
            ("iat is to come", with("iat", json!(1_800_000_001)), Err(Bad::Early)),
            ("eight hours and a second", with("exp", json!(1_800_028_801)), Err(Bad::Long)),
        ];
        let accounts = BTreeMap::from([
            ("me".to_owned(), KEY.to_owned()),
            ("you".to_owned(), "another".to_owned()),
        ]);
        let check = |token: &str| account(token, b"site", &accounts, now);
        for (case, claims, expected) in rows {
            assert_eq!(
                check(&signed(Algorithm::HS256, &claims, KEY.as_bytes())),
                expected,
                "{case}"
            );
        }
        assert_eq!(check(&signed(Algorithm::HS512, &good, KEY.as_bytes())), Err(Bad::Invalid));
        let decoded = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, KEY);
        let guessed = signed(Algorithm::HS256, &good, &decoded.unwrap());
        assert_eq!(check(&guessed), Err(Bad::Invalid), "the key is not base64");
        let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJtZSJ9.";
        assert_eq!(check(unsigned), Err(Bad::Invalid));
        let own = issue(b"site", "me", 60, now).unwrap();
        assert_eq!(check(&own), Ok("me".to_owned()));
        assert_eq!(account(&own, b"after a restart", &accounts, now), Err(Bad::Invalid));
    }
}
