//! A free CA that takes its time: it names orders itself, and cannot be searched.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chancery::ca::{
    AccountReport, Actor, Answer, Capabilities, CertificateAuthority, Failed, FailedKind,
    OpenOrder, Order, OrderKind, Permit, Phase, Progress, Submitted, Waiting,
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

const SECRET: &[(&str, &str)] = &[("apiKey", "canary-house-ra-0815")];

struct Client(Way, Capabilities);

impl Client {
    async fn ask(&self, method: &str, path: &str, body: String) -> Result<Value, Problem> {
        self.0.ask(method, path, Vec::new(), body, method == "POST").await
    }
}

fn progress(order: &Value) -> Progress {
    let state = text(order, "state").to_owned();
    let phase = match state.as_str() {
        "issued" => Phase::Issued(certificates(&order["chain"])),
        "withdrawn" => {
            Phase::Failed(Failed { state, kind: FailedKind::Failed, message: String::new() })
        }
        _ => Phase::Pending(Waiting {
            state,
            actor: Actor::Approver,
            message: "approve it".to_owned(),
            retry_after: None,
            challenges: Vec::new(),
        }),
    };
    Progress { id: Some(text(order, "id").to_owned()), named: false, phase }
}

#[async_trait]
impl CertificateAuthority for Client {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        self.ask("GET", "/orders", String::new()).await?;
        Ok(AccountReport::default())
    }

    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted {
        if !is_claimed(order, &permit) || !matches!(order.kind, OrderKind::New) {
            return unusable("is not claimed, or no first one");
        }
        match self.ask("POST", "/orders", csr_pem(order)).await {
            Ok(made) => Submitted::Accepted(progress(&made)),
            Err(problem) => problem.into(),
        }
    }

    async fn poll(&self, orders: &[OpenOrder]) -> Vec<(String, Result<Progress, Error>)> {
        let all = self.ask("GET", "/orders", String::new()).await;
        let all = all.map_err(Error::from);
        let one = |order: &OpenOrder| {
            let all = all.as_ref().map_err(Clone::clone)?;
            let mut all = all.as_array().into_iter().flatten();
            let found = all.find(|one| text(one, "id") == order.id);
            let gone = json!({ "id": order.id, "state": "withdrawn" });
            Ok(progress(found.unwrap_or(&gone)))
        };
        orders.iter().map(|order| (order.reference.clone(), one(order))).collect()
    }

    async fn cancel(&self, order: &OpenOrder) -> Result<Answer<()>, Error> {
        self.ask("DELETE", &format!("/orders/{}", order.id), String::new()).await?;
        Ok(Answer::Done(()))
    }

    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        Ok(certificates(&self.ask("GET", "/ca", String::new()).await?))
    }
}

/// The other side.
#[derive(Default)]
pub(crate) struct House(Mutex<(Vec<Value>, Option<Bend>)>);

impl Peer for House {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (orders, _) = &mut *self.0.lock().unwrap();
        if request.headers().get("x-api-key").is_none_or(|key| key != SECRET[0].1) {
            return answer(401, "who are you?");
        }
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        match (request.method().as_str(), path.as_slice()) {
            ("GET", ["ca"]) => answered(200, &json!([root().certificate.to_pem()])),
            ("GET", ["orders"]) => answered(200, &json!(orders)),
            ("POST", ["orders"]) => {
                let csr = String::from_utf8_lossy(request.body());
                orders.push(json!({ "id": orders.len().to_string(), "state": "open", "csr": csr }));
                answered(200, orders.last().unwrap())
            }
            ("DELETE", ["orders", id]) => {
                let order = orders.iter_mut().find(|one| one["id"] == **id).unwrap();
                order["state"] = "withdrawn".into();
                answered(200, order)
            }
            _ => answer(404, "no such thing"),
        }
    }
}

pub(crate) type FreeInTime = Thin<House>;

impl Side for House {
    const REFUSAL: (u16, &'static str) = (409, "not here");

    fn is_submit(request: &Request<Bytes>) -> bool {
        request.method() == "POST"
    }

    const CREDENTIALS: Kind = Kind::ApiKey;
    const HAS_RECORDS: bool = true;

    fn secret() -> Vec<(&'static str, String)> {
        SECRET.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
    }

    fn client(way: Way) -> Arc<dyn CertificateAuthority> {
        let can = Capabilities {
            name: "House RA",
            key_kinds: vec![KeyKind::EcdsaP256],
            asynchronous: true,
            ..Capabilities::default()
        };
        Arc::new(Client(way, can))
    }

    fn made(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }

    fn finish(&self) {
        let (orders, bend) = &mut *self.0.lock().unwrap();
        for (at, order) in orders.iter_mut().enumerate().filter(|(_, one)| one["state"] == "open") {
            let csr = Csr::from_pem(text(order, "csr").as_bytes()).unwrap();
            order["chain"] = json!(root().issue(&csr, at as u64 + 0x200, bend.take()));
            order["state"] = "issued".into();
        }
    }

    fn bend(&self, bend: Bend) {
        self.0.lock().unwrap().1 = Some(bend);
    }

    fn withdrawn(&self) -> Option<Vec<String>> {
        let (orders, _) = &*self.0.lock().unwrap();
        let withdrawn = orders.iter().filter(|one| one["state"] == "withdrawn");
        Some(withdrawn.map(|one| text(one, "id").to_owned()).collect())
    }

    fn secrets() -> Vec<String> {
        vec![SECRET[0].1.to_owned()]
    }
}
