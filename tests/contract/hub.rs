//! A publisher and no certificate authority: a Hub that is given certificates with their keys, through
//! the same transport. It shows that `outside` is enough for it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chancery::outside::credentials::{ClientCredentials, Credentials, Kind, Token};
use chancery::outside::pause::retry_after;
use chancery::outside::transport::{Call, Transport};
use chancery::outside::{Disposition, Error, remote_text};
use chancery::pki::{Certificate, PrivateKey, parse_pem};
use chancery::reason::Reason;
use http::{HeaderValue, Request, Response, header};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::authority::{self, root};
use crate::rules::second_line;
use crate::thin::{self, text};
use crate::wire::{Peer, Played, Target, Trouble, Wire, answer, json as answered};

const SECRET: &[(&str, &str)] = &[("clientId", "chancery"), ("clientSecret", "canary-hub-2&71")];
const TOKEN: &str = "canary-token-31415";

/// The client of a Hub.
struct Publisher {
    transport: Arc<dyn Transport>,
    client: ClientCredentials,
}

impl Publisher {
    /// Puts a certificate with its key there under this name, unless it is there already.
    async fn publish(
        &self,
        name: &str,
        chain: &[Certificate],
        key: &PrivateKey,
    ) -> Result<(), Error> {
        let token = self.token().await?;
        let path = format!("/clientCertificates/{name}");
        let there = self.ask("GET", &path, Some(&token), String::new(), false).await?;
        if text(&there, "fingerprintSHA256") == chain[0].fingerprint_sha256() {
            return Ok(());
        }
        let mut pem: String = chain.iter().map(Certificate::to_pem).collect();
        pem.push_str(key.to_pkcs8_pem().expose_secret());
        let body = json!({ "name": name, "pemData": pem }).to_string();
        self.ask("PUT", &path, Some(&token), body, true).await.map(drop)
    }

    async fn token(&self) -> Result<Token, Error> {
        let form = self.client.form().to_string();
        let given = self.ask("POST", "/auth", None, form, false).await?;
        let token = Token::new(text(&given, "access_token").to_owned().into());
        token.map_err(|_| {
            told(Disposition::Internal, Reason::NoToken, "there is no token".to_owned())
        })
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&Token>,
        body: String,
        makes: bool,
    ) -> Result<Value, Error> {
        let mut request =
            Request::builder().method(method).uri(format!("https://hub.example{path}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, token.bearer().unwrap());
        }
        let call = Call {
            request: request.body(Bytes::from(body)).unwrap(),
            deadline: Duration::from_secs(30),
            body_limit: 100_000,
            fresh_connection: makes,
        };
        let response = self.transport.send(call).await;
        let response = response.map_err(|failure| failure.told("hub.example", path))?;
        let status = response.status().as_u16();
        let after = retry_after(response.headers());
        let (disposition, reason) = match status {
            200 => match serde_json::from_slice(response.body()) {
                Ok(value) => return Ok(value),
                Err(_) => (Disposition::Internal, Reason::UnexpectedAnswer),
            },
            201..=299 => (Disposition::Internal, Reason::UnexpectedAnswer),
            404 if method == "GET" => return Ok(Value::Null),
            401 | 403 => (Disposition::BlameCredentials, Reason::CredentialsRefused),
            429 => (Disposition::Retry { after }, Reason::TooManyRequests),
            400..=499 => (Disposition::Reject, Reason::Refused),
            _ => (Disposition::Retry { after }, Reason::ServerError),
        };
        let scrub = |text: &str| {
            let text = self.client.scrub(text);
            token.map_or_else(|| text.clone(), |token| token.scrub(&text))
        };
        let words = remote_text::excerpt(response.body(), scrub).unwrap_or_default();
        Err(told(disposition, reason, format!("hub.example answered {status} ({words})")))
    }
}

fn told(disposition: Disposition, reason: Reason, message: String) -> Error {
    Error { disposition, reason, message }
}

/// The other side: what it was given, by name, and how often.
#[derive(Default)]
struct Hub(Mutex<(Vec<(String, Value)>, usize)>);

impl Peer for Hub {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (held, given) = &mut *self.0.lock().unwrap();
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let bearer = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
        if path == ["auth"] {
            let is_known =
                request.body().ends_with(b"client_id=chancery&client_secret=canary-hub-2%2671");
            let token = json!({ "access_token": TOKEN });
            return if is_known { answered(200, &token) } else { answer(401, "who are you?") };
        }
        if request.headers().get(header::AUTHORIZATION) != Some(&bearer) {
            return answer(401, "who are you?");
        }
        match (request.method().as_str(), path.as_slice()) {
            ("GET", [_, name]) => match held.iter().find(|(held, _)| held == name) {
                Some((_, entry)) => answered(200, entry),
                None => answer(404, "no such entry"),
            },
            ("PUT", [_, name]) => {
                let body: Value = serde_json::from_slice(request.body()).unwrap();
                let pem = text(&body, "pemData").as_bytes();
                let leaf = parse_pem(pem).unwrap().remove(0);
                assert_eq!(PrivateKey::from_pem(pem).unwrap().spki_der(), leaf.spki_der());
                let entry = json!({ "fingerprintSHA256": leaf.fingerprint_sha256() });
                *given += 1;
                held.retain(|(held, _)| held != name);
                held.push(((*name).to_owned(), entry.clone()));
                answered(200, &entry)
            }
            _ => answer(404, "no such thing"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_published_arrives_once_whatever_happens_on_the_way() {
    let (certificate, key) = authority::client();
    let chain = [parse_pem(certificate.as_bytes()).unwrap().remove(0), root().certificate.clone()];
    let private = PrivateKey::from_pem(key.as_bytes()).unwrap();
    let secrets = [SECRET[1].1.to_owned(), "canary-hub-2%2671".to_owned(), TOKEN.to_owned()];
    let secrets: Vec<String> = secrets.into_iter().chain([second_line(key)]).collect();
    let targets = [Target::Submit, Target::Look];
    for (target, trouble) in
        targets.into_iter().flat_map(|target| Trouble::ALL.map(|trouble| (target, trouble)))
    {
        let hub = Arc::new(Hub::default());
        let is_put = |request: &Request<Bytes>| request.method() == "PUT";
        let refusal = (409, "another entry has it".to_owned());
        let wire = Wire::new(Arc::new(Played(Arc::clone(&hub))), is_put, refusal, secrets.clone());
        let open = || {
            let Credentials::ClientCredentials(client) =
                thin::credentials(Kind::ClientCredentials, SECRET)
            else {
                panic!("another kind of credentials");
            };
            Publisher { transport: wire.clone(), client }
        };
        wire.spoil(target, trouble);
        let error = open().publish("shop", &chain, &private).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!secrets.iter().any(|secret| shown.contains(secret)), "{trouble:?}: {shown}");
        assert!(!error.message.contains(char::is_control) && error.message.len() <= 2048);
        open().publish("shop", &chain, &private).await.unwrap();
        open().publish("shop", &chain, &private).await.unwrap();
        let (held, given) = &*hub.0.lock().unwrap();
        assert_eq!((held.len(), *given), (1, 1), "{target:?}, {trouble:?}");
        assert!(wire.submits().iter().all(|fresh| *fresh), "on a used connection");
    }
}

/// Read from its own text: what it is made of is no certificate authority.
#[test]
fn a_publisher_needs_nothing_of_certificate_authorities() {
    let own = include_str!("hub.rs");
    let uses: Vec<&str> = own.lines().filter(|line| line.starts_with("use chancery::")).collect();
    assert!(uses.len() >= 4 && uses.iter().all(|line| !line.contains("::ca")), "{uses:?}");
}
