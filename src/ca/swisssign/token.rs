//! The bearer token: how long it lives, by its own claims, and how we sign one. It is not verified: it
//! is for the API, not for us.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::{EncodingKey, Header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::errors::Problem;
use crate::outside::credentials::Basic;
use crate::outside::tokens::{Fresh, Lifetimes};
use crate::outside::{Disposition, Error};
use crate::reason::Reason;

/// Where a token does not say when it ends: the vendor's README gives 8 hours.
pub(super) const LIFETIMES: Lifetimes =
    Lifetimes { usual: SignedDuration::from_hours(8), margin: SignedDuration::from_mins(5) };
/// Of a token that we sign. How much is accepted is documented nowhere.
const OWN_LIFETIME: SignedDuration = SignedDuration::from_mins(15);
/// So far back the beginning of our own tokens is dated: the API refuses those from the future.
const SKEW: SignedDuration = SignedDuration::from_secs(10);

#[derive(Debug, Default, Deserialize)]
struct Times {
    #[serde(default)]
    iat: Option<f64>,
    nbf: Option<f64>,
    exp: Option<f64>,
}

/// How long a token lives that came `now`, where it says so.
fn lifetime(token: &str, now: Timestamp) -> Option<SignedDuration> {
    let times: Times = insecure_decode_claims(token).unwrap_or_default();
    let seconds = |time: f64| SignedDuration::try_from_secs_f64(time).ok();
    match (times.exp, times.iat.or(times.nbf)) {
        (Some(exp), Some(from)) => seconds(exp - from),
        (Some(exp), None) => seconds(exp).and_then(|exp| exp.checked_sub(now.as_duration())),
        (None, _) => None,
    }
}

/// A token that came `now`.
pub(super) fn fresh(token: SecretString, now: Timestamp) -> Fresh {
    let lifetime = lifetime(token.expose_secret(), now);
    (token, lifetime)
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'static str,
    aud: &'static str,
    sub: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// Signs a token with the API key itself (HS256, RFC 7518 section 3.2). The key is the bytes of its
/// text: it is not decoded, though it may look like base64.
pub(super) fn self_signed(credentials: &Basic, now: Timestamp) -> Result<SecretString, Problem> {
    let claims = Claims {
        iss: "SwissPKI",
        aud: "REST API",
        sub: credentials.username(),
        iat: (now - SKEW).as_second(),
        nbf: (now - SKEW).as_second(),
        exp: (now + OWN_LIFETIME).as_second(),
    };
    let key = EncodingKey::from_secret(credentials.password().as_bytes());
    match jsonwebtoken::encode(&Header::default(), &claims, &key) {
        Ok(token) => Ok(token.into()),
        Err(_) => Err(Problem::before_sending(Error {
            disposition: Disposition::BlameCredentials,
            reason: Reason::CredentialsUnusable,
            message: "the API key cannot sign a token: check apiKey in the Secret of spec.swissSign.credentialsSecretRef, or set spec.swissSign.authentication to Exchange".to_owned(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;
    use crate::clock::Clock;
    use crate::outside::tokens::Tokens;

    const START: i64 = 1_780_000_000;

    thread_local! {
        static NOW: Cell<i64> = const { Cell::new(START) };
    }

    fn now() -> Timestamp {
        Timestamp::from_second(NOW.get()).unwrap()
    }

    fn token(claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(claims), part("x"))
    }

    fn used_for(token: &str) -> i64 {
        LIFETIMES.used_for(lifetime(token, now())).as_secs()
    }

    #[test]
    fn a_token_is_replaced_before_it_lapses() {
        let hour = 3600;
        let cases = [
            (
                "by its own length",
                format!(r#"{{"iat":{START},"exp":{}}}"#, START + hour),
                hour - 300,
            ),
            (
                "by its length where the clocks differ by years",
                format!(r#"{{"iat":1000,"exp":{}}}"#, 1000 + hour),
                hour - 300,
            ),
            (
                "from nbf where iat is missing",
                format!(r#"{{"nbf":1000,"exp":{}}}"#, 1000 + hour),
                hour - 300,
            ),
            (
                "by the clock where only exp is there",
                format!(r#"{{"exp":{}}}"#, START + hour),
                hour - 300,
            ),
            ("a short one at nine tenths", r#"{"iat":0,"exp":60}"#.to_owned(), 54),
            ("after 8 hours without exp", "{}".to_owned(), 8 * hour - 300),
            ("after 8 hours where nothing can be read", "[]".to_owned(), 8 * hour - 300),
            ("at once where it is over", r#"{"exp":5}"#.to_owned(), 0),
            ("after a day at the latest", r#"{"iat":0,"exp":1e12}"#.to_owned(), 24 * hour - 300),
        ];
        for (name, claims, expected) in cases {
            assert_eq!(used_for(&token(&claims)), expected, "{name}");
        }
        assert_eq!(used_for("no token"), 8 * hour - 300);
    }

    #[tokio::test]
    async fn one_token_serves_until_it_lapses_or_is_refused() {
        let tokens = Tokens::<Problem>::new(Clock::new(now), LIFETIMES);
        let made = Cell::new(0);
        let make = || async {
            made.set(made.get() + 1);
            Ok(fresh(token(r#"{"iat":0,"exp":600}"#).into(), now()))
        };
        let first = tokens.get(None, make).await.ok().unwrap();
        tokens.get(None, make).await.ok().unwrap();
        assert_eq!(made.get(), 1, "it serves again");
        NOW.set(START + 541);
        tokens.get(None, make).await.ok().unwrap();
        assert_eq!(made.get(), 2, "a tenth before its end it is replaced");
        tokens.get(Some(&first), make).await.ok().unwrap();
        assert_eq!(made.get(), 2, "the one that was refused has been replaced meanwhile");
        let second = tokens.get(None, make).await.ok().unwrap();
        tokens.get(Some(&second), make).await.ok().unwrap();
        assert_eq!(made.get(), 3, "the one in use was refused");
    }

    #[test]
    fn our_own_token_carries_the_claims_the_api_asks_for() {
        let credentials = Basic::new("MPKI1.Auto".to_owned(), "not base64!".to_owned().into());
        let token = self_signed(&credentials, now()).ok().unwrap();
        let token = token.expose_secret();
        let parts: Vec<&str> = token.split('.').collect();
        let json = |part: &str| -> serde_json::Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        assert_eq!(json(parts[0]), serde_json::json!({"alg": "HS256", "typ": "JWT"}));
        let claims = serde_json::json!({
            "iss": "SwissPKI", "aud": "REST API", "sub": "MPKI1.Auto",
            "iat": START - 10, "nbf": START - 10, "exp": START + 900,
        });
        assert_eq!(json(parts[1]), claims);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, b"not base64!");
        let signed = format!("{}.{}", parts[0], parts[1]);
        let signature = URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        assert!(aws_lc_rs::hmac::verify(&key, signed.as_bytes(), &signature).is_ok());
    }
}
