//! A reseller: paid, takes its time, renews and reissues by the id of the order before, sets
//! challenges, and takes orders back.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use chancery::ca::{
    AccountReport, Actor, Answer, Capabilities, CertificateAuthority, Challenge, Failed,
    FailedKind, Found, KeyEvidence, Lookup, OpenOrder, Order, OrderKind, OrderKinds, Permit, Phase,
    Previous, Progress, Proof, RevocationReason, Submitted, Waiting,
};
use chancery::outside::Error;
use chancery::outside::credentials::Kind;
use chancery::pki::csr::Csr;
use chancery::pki::{Certificate, KeyKind};
use http::{Request, Response};
use serde_json::{Value, json};

use crate::authority::{Bend, root};
use crate::thin::{
    self, Problem, Side, Thin, Way, certificates, csr_pem, is_claimed, text, unusable,
};
use crate::wire::{Peer, answer, json as answered};

const KEY: &str = "canary-reseller-4711";

struct Client(Way, Capabilities);

impl Client {
    async fn ask(&self, method: &str, path: &str, body: Value) -> Result<Value, Problem> {
        let is_submit = method == "POST" && !path.ends_with("/validate");
        self.0.ask(method, path, Vec::new(), body.to_string(), is_submit).await
    }
}

fn proof(challenge: &Value) -> Proof {
    let text = |field| text(challenge, field).to_owned();
    match text("method").as_str() {
        "dns" => Proof::Dns {
            kind: "CNAME".to_owned(),
            name: text("dnsRecord"),
            value: text("dnsCnameValue"),
        },
        "file" => Proof::File { url: text("fileUrl"), content: text("fileContent") },
        _ => Proof::Mailbox { address: text("email") },
    }
}

fn progress(order: &Value) -> Progress {
    let state = text(order, "status").to_owned();
    let challenges = order["challenges"].as_array().into_iter().flatten();
    let phase = match state.as_str() {
        "active" => Phase::Issued(certificates(&order["chain"])),
        "disabled" => {
            Phase::Failed(Failed { state, kind: FailedKind::Failed, message: String::new() })
        }
        _ => Phase::Pending(Waiting {
            state,
            actor: Actor::Owner,
            message: "show that the domain is yours".to_owned(),
            retry_after: None,
            challenges: challenges
                .map(|one| Challenge {
                    domain: text(one, "domain").to_owned(),
                    proof: proof(one),
                    is_met: false,
                })
                .collect(),
        }),
    };
    Progress { id: Some(text(order, "id").to_owned()), named: true, phase }
}

#[async_trait]
impl CertificateAuthority for Client {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        self.ask("GET", "/ssl-certificate-plan", Value::Null).await?;
        Ok(AccountReport::default())
    }

    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted {
        if !is_claimed(order, &permit) {
            return unusable("is not claimed");
        }
        let mut body = json!({ "csr": csr_pem(order) });
        let verb = match order.kind {
            OrderKind::New => "",
            OrderKind::Reissue(_) => "/reissue",
            OrderKind::Renew(_) => "/renew",
            OrderKind::UpdateKey(_) => return unusable("is of a kind that is not sold"),
        };
        let previous = order.kind.previous();
        let path = match previous.map(|previous| previous.id.as_deref()) {
            None => "/ssl-certificate".to_owned(),
            Some(Some(id)) => format!("/ssl-certificate/{id}{verb}"),
            Some(None) => return unusable("before has no id"),
        };
        if previous.is_none() {
            body["client_reference"] = order.reference.into();
        }
        match self.ask("POST", &path, body).await {
            Ok(made) => Submitted::Accepted(progress(&made)),
            Err(problem) => problem.into(),
        }
    }

    async fn find(&self, order: &Order<'_>) -> Result<Lookup, Error> {
        let found =
            |one: &Value, evidence| Found { progress: progress(one), evidence, created: None };
        if let Some(previous) = order.kind.previous() {
            let path = format!("/ssl-certificate/{}", previous.id.as_deref().unwrap_or_default());
            let one = self.ask("GET", &path, Value::Null).await?;
            let is_as_before =
                text(&one, "status") == "active" && text(&one, "serial") == previous.serial();
            let moved = || Lookup::Found(vec![found(&one, KeyEvidence::None)]);
            return Ok(if is_as_before { Lookup::Unchanged } else { moved() });
        }
        let path = format!("/ssl-certificate?client_reference={}", order.reference);
        let list = self.ask("GET", &path, Value::Null).await?;
        let list = list["result"].as_array().cloned().unwrap_or_default();
        let ours = list.iter().filter(|one| text(one, "client_reference") == order.reference);
        let ours: Vec<Found> = ours.map(|one| found(one, KeyEvidence::Ours)).collect();
        let none = Lookup::Absent { complete: true, doubt: None };
        Ok(if ours.is_empty() { none } else { Lookup::Found(ours) })
    }

    async fn poll(&self, orders: &[OpenOrder]) -> Vec<(String, Result<Progress, Error>)> {
        let mut answers = Vec::new();
        for order in orders {
            let path = format!("/ssl-certificate/{}", order.id);
            let mut one = self.ask("GET", &path, Value::Null).await;
            if let Ok(one) = &mut one
                && order.replaces.as_deref() == Some(text(one, "serial"))
            {
                // Still the one before.
                one["status"] = "pending".into();
            }
            answers.push((
                order.reference.clone(),
                one.map(|one| progress(&one)).map_err(Error::from),
            ));
        }
        answers
    }

    async fn advance(
        &self,
        order: &OpenOrder,
        met: &[Challenge],
    ) -> Result<Answer<Progress>, Error> {
        let domains: Vec<&str> = met.iter().map(|challenge| challenge.domain.as_str()).collect();
        let path = format!("/ssl-certificate/{}/validate", order.id);
        let one = self.ask("POST", &path, json!({ "domains": domains })).await?;
        Ok(Answer::Done(progress(&one)))
    }

    async fn cancel(&self, order: &OpenOrder) -> Result<Answer<()>, Error> {
        self.ask("DELETE", &format!("/ssl-certificate/{}", order.id), Value::Null).await?;
        Ok(Answer::Done(()))
    }

    async fn revoke(&self, old: &Previous, _: RevocationReason) -> Result<Answer<()>, Error> {
        let Some(id) = &old.id else { return Ok(Answer::Unsupported) };
        self.ask("DELETE", &format!("/ssl-certificate/{id}"), Value::Null).await?;
        Ok(Answer::Done(()))
    }

    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        Ok(certificates(&self.ask("GET", "/ca", Value::Null).await?))
    }
}

/// The other side.
#[derive(Default)]
pub(crate) struct Shop(Mutex<Sold>);

#[derive(Default)]
struct Sold {
    orders: Vec<Value>,
    made: usize,
    bend: Option<Bend>,
    /// An order as it was before it was renewed, which is shown once more.
    former: Option<Value>,
}

impl Shop {
    /// Of orders that have ended.
    fn disabled(&self, field: &str) -> Vec<String> {
        let Sold { orders, .. } = &*self.0.lock().unwrap();
        let disabled = orders.iter().filter(|one| one["status"] == "disabled");
        disabled.map(|one| text(one, field).to_owned()).collect()
    }
}

impl Peer for Shop {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let Sold { orders, made, former, .. } = &mut *self.0.lock().unwrap();
        let credentials = thin::credentials(Kind::Basic { password: "apiKey" }, SECRET);
        let expected = credentials.basic().unwrap().header().unwrap();
        if request.headers().get("authorization") != Some(&expected) {
            return answer(401, "who are you?");
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let path: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
        let at = path.get(1).and_then(|id| orders.iter().position(|one| one["id"] == **id));
        let pending = |id: &str, csr: &Value, reference: &Value| {
            let challenges = challenges();
            json!({ "id": id, "status": "pending", "csr": csr, "client_reference": reference,
                    "serial": "", "challenges": challenges })
        };
        match (request.method().as_str(), path.as_slice(), at) {
            ("GET", ["ssl-certificate-plan"], _) => answered(200, &json!({ "result": [] })),
            ("GET", ["ca"], _) => answered(200, &json!([root().certificate.to_pem()])),
            ("GET", ["ssl-certificate"], _) => answered(200, &json!({ "result": orders })),
            ("GET", ["ssl-certificate", _], Some(at)) => {
                answered(200, &former.take().unwrap_or_else(|| orders[at].clone()))
            }
            ("POST", ["ssl-certificate"], _) => {
                *made += 1;
                let id = format!("order-{made}");
                orders.push(pending(&id, &body["csr"], &body["client_reference"]));
                answered(200, orders.last().unwrap())
            }
            ("POST", ["ssl-certificate", id, "renew" | "reissue"], Some(at)) => {
                *made += 1;
                *former = Some(orders[at].clone());
                orders[at] = pending(id, &body["csr"], &orders[at]["client_reference"]);
                answered(200, &orders[at])
            }
            ("POST", ["ssl-certificate", _, "validate"], Some(at)) => {
                let met = body["domains"].as_array().unwrap();
                let left = orders[at]["challenges"].as_array_mut().unwrap();
                left.retain(|one| !met.contains(&one["domain"]));
                answered(200, &orders[at])
            }
            ("DELETE", ["ssl-certificate", _], Some(at)) => {
                orders[at]["status"] = "disabled".into();
                answered(200, &orders[at])
            }
            _ => answer(404, "no such thing"),
        }
    }
}

/// One domain for each way to show that it is held.
fn challenges() -> Value {
    json!([
        { "domain": "a.example.org", "method": "dns", "dnsRecord": "_a", "dnsCnameValue": "b" },
        { "domain": "b.example.org", "method": "file", "fileUrl": "http://b.example.org/.well-known/c",
          "fileContent": "d" },
        { "domain": "c.example.org", "method": "email", "email": "admin@c.example.org" },
    ])
}

const SECRET: &[(&str, &str)] = &[("username", "reseller"), ("apiKey", KEY)];

pub(crate) type Reseller = Thin<Shop>;

impl Side for Shop {
    const REFUSAL: (u16, &'static str) = (422, r#"{"success":false,"error":"no such plan"}"#);

    fn is_submit(request: &Request<Bytes>) -> bool {
        request.method() == "POST" && !request.uri().path().ends_with("/validate")
    }

    const CREDENTIALS: Kind = Kind::Basic { password: "apiKey" };
    const HAS_RECORDS: bool = true;

    fn secret() -> Vec<(&'static str, String)> {
        SECRET.iter().map(|(key, value)| (*key, (*value).to_owned())).collect()
    }

    fn client(way: Way) -> Arc<dyn CertificateAuthority> {
        let can = Capabilities {
            name: "Reseller",
            key_kinds: vec![KeyKind::EcdsaP256],
            billable: true,
            asynchronous: true,
            searchable: true,
            kinds: OrderKinds { renew: true, reissue: true, update_key: false },
            ..Capabilities::default()
        };
        Arc::new(Client(way, can))
    }

    fn made(&self) -> usize {
        self.0.lock().unwrap().made
    }

    /// Orders whose challenges were met are issued.
    fn finish(&self) {
        let Sold { orders, made, bend, .. } = &mut *self.0.lock().unwrap();
        let is_ready =
            |one: &&mut Value| one["status"] == "pending" && one["challenges"] == json!([]);
        for order in orders.iter_mut().filter(is_ready) {
            let csr = Csr::from_pem(text(order, "csr").as_bytes()).unwrap();
            order["chain"] = json!(root().issue(&csr, *made as u64 + 0x10, bend.take()));
            let chain = certificates(&order["chain"]);
            let leaf = chain.iter().find(|one| !one.is_ca()).unwrap();
            order["serial"] = leaf.serial_number().into();
            order["status"] = "active".into();
        }
    }

    fn bend(&self, bend: Bend) {
        self.0.lock().unwrap().bend = Some(bend);
    }

    fn withdrawn(&self) -> Option<Vec<String>> {
        Some(self.disabled("id"))
    }

    fn revoked(&self) -> Option<Vec<String>> {
        Some(self.disabled("serial"))
    }

    fn secrets() -> Vec<String> {
        use base64::Engine as _;
        let header = format!("reseller:{KEY}");
        let header = base64::engine::general_purpose::STANDARD.encode(header);
        vec![KEY.to_owned(), header]
    }
}

#[test]
fn its_challenges_are_told_for_what_they_are() {
    let order = json!({ "id": "order-1", "status": "pending", "challenges": challenges() });
    let Phase::Pending(waiting) = progress(&order).phase else { panic!("it waits") };
    let shown: Vec<(&str, &Proof)> =
        waiting.challenges.iter().map(|one| (one.domain.as_str(), &one.proof)).collect();
    let dns = Proof::Dns { kind: "CNAME".into(), name: "_a".into(), value: "b".into() };
    let url = "http://b.example.org/.well-known/c".to_owned();
    let file = Proof::File { url, content: "d".into() };
    let mailbox = Proof::Mailbox { address: "admin@c.example.org".into() };
    let expected = [("a.example.org", &dns), ("b.example.org", &file), ("c.example.org", &mailbox)];
    assert_eq!(shown, expected);
}
