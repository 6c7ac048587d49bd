//! A CA that takes money and issues at once: its purchases are found by their reference.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chancery::ca::{
    AccountReport, Answer, Capabilities, CertificateAuthority, Found, KeyEvidence, Lookup, Order,
    OrderKind, Permit, Phase, Previous, Progress, RevocationReason, Submitted,
};
use chancery::outside::Error;
use chancery::outside::credentials::Kind;
use chancery::pki::csr::Csr;
use chancery::pki::{Certificate, KeyKind};
use http::{Request, Response};
use serde_json::{Value, json};

use crate::authority::{Bend, root};
use crate::thin::{Problem, Side, Thin, Way, certificates, csr_pem, is_claimed, text, unusable};
use crate::wire::{Peer, answer, json as answered};

const SECRET: &[(&str, &str)] =
    &[("clientId", "chancery"), ("clientSecret", "canary-counter-1789&1")];
const TOKEN: &str = "canary-token-27182";

struct Client(Way, Capabilities);

impl Client {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, Problem> {
        self.0.ask(method, path, Vec::new(), body.to_string(), method == "PUT").await
    }
}

fn progress(purchase: &Value) -> Progress {
    let phase = Phase::Issued(certificates(&purchase["chain"]));
    Progress { id: Some(text(purchase, "reference").to_owned()), named: true, phase }
}

#[async_trait]
impl CertificateAuthority for Client {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        self.ask("GET", "/purchases", Value::Null).await?;
        Ok(AccountReport::default())
    }

    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted {
        if !is_claimed(order, &permit) || !matches!(order.kind, OrderKind::New) {
            return unusable("is not claimed, or no first one");
        }
        let body = json!({ "csr": csr_pem(order), "reference": order.reference });
        match self.ask("PUT", "/purchases", body).await {
            Ok(made) => Submitted::Accepted(progress(&made)),
            Err(problem) => problem.into(),
        }
    }

    async fn find(&self, order: &Order<'_>) -> Result<Lookup, Error> {
        let all = self.ask("GET", "/purchases", Value::Null).await?;
        let all = all.as_array().into_iter().flatten();
        let found = |one: &Value| {
            let is_ours = text(one, "csr") == csr_pem(order);
            let evidence = if is_ours { KeyEvidence::Ours } else { KeyEvidence::Foreign };
            Found { progress: progress(one), evidence, created: None }
        };
        let found: Vec<Found> =
            all.filter(|one| text(one, "reference") == order.reference).map(found).collect();
        let none = Lookup::Absent { complete: true, doubt: None };
        Ok(if found.is_empty() { none } else { Lookup::Found(found) })
    }

    async fn revoke(&self, old: &Previous, _: RevocationReason) -> Result<Answer<()>, Error> {
        let path = format!("/certificates/{}", old.serial());
        self.ask("DELETE", &path, Value::Null).await?;
        Ok(Answer::Done(()))
    }

    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        Ok(certificates(&self.ask("GET", "/ca", Value::Null).await?))
    }
}

/// The other side.
#[derive(Default)]
pub(crate) struct Counter(Mutex<Sold>);

#[derive(Default)]
struct Sold {
    purchases: Vec<Value>,
    bend: Option<Bend>,
    revoked: Vec<String>,
}

impl Peer for Counter {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let Sold { purchases, bend, revoked } = &mut *self.0.lock().unwrap();
        if request.uri().path() == "/token" {
            let known = b"client_id=chancery&client_secret=canary-counter-1789%261";
            let is_known = request.body().ends_with(known);
            let token = json!({ "access_token": TOKEN });
            return if is_known { answered(200, &token) } else { answer(401, "who are you?") };
        }
        let expected = format!("Bearer {TOKEN}");
        if request.headers().get("authorization").is_none_or(|token| token != expected.as_str()) {
            return answer(401, "who are you?");
        }
        match (request.method().as_str(), request.uri().path()) {
            ("GET", "/ca") => answered(200, &json!([root().certificate.to_pem()])),
            ("GET", "/purchases") => answered(200, &json!(purchases)),
            ("PUT", "/purchases") => {
                let mut made: Value = serde_json::from_slice(request.body()).unwrap();
                let csr = Csr::from_pem(text(&made, "csr").as_bytes()).unwrap();
                let serial = purchases.len() as u64 + 0x300;
                made["chain"] = json!(root().issue(&csr, serial, bend.take()));
                purchases.push(made);
                answered(200, purchases.last().unwrap())
            }
            ("DELETE", path) => {
                let serial = path.strip_prefix("/certificates/").unwrap();
                if !revoked.iter().any(|one| one == serial) {
                    revoked.push(serial.to_owned());
                }
                answered(200, &json!({}))
            }
            _ => answer(404, "no such thing"),
        }
    }
}

pub(crate) type PaidAtOnce = Thin<Counter>;

impl Side for Counter {
    const REFUSAL: (u16, &'static str) = (402, "no money");

    fn is_submit(request: &Request<Bytes>) -> bool {
        request.method() == "PUT"
    }

    const CREDENTIALS: Kind = Kind::ClientCredentials;
    const HAS_RECORDS: bool = true;

    fn secret() -> Vec<(&'static str, String)> {
        SECRET.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
    }

    fn client(way: Way) -> Arc<dyn CertificateAuthority> {
        let can = Capabilities {
            name: "Counter",
            key_kinds: vec![KeyKind::EcdsaP256],
            billable: true,
            searchable: true,
            ..Capabilities::default()
        };
        Arc::new(Client(way, can))
    }

    fn made(&self) -> usize {
        self.0.lock().unwrap().purchases.len()
    }

    fn bend(&self, bend: Bend) {
        self.0.lock().unwrap().bend = Some(bend);
    }

    fn revoked(&self) -> Option<Vec<String>> {
        Some(self.0.lock().unwrap().revoked.clone())
    }

    fn secrets() -> Vec<String> {
        let encoded = "canary-counter-1789%261".to_owned();
        vec![SECRET[1].1.to_owned(), encoded, TOKEN.to_owned()]
    }
}
