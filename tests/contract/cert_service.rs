//! Like CertService: free, at once, no orders at all. It is shown the private key of each certificate,
//! and of the one before for its update, over TLS that demands a certificate.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::ca::kind::Opening;
use chancery::ca::{
    AccountReport, Capabilities, CertificateAuthority, Order, OrderKind, OrderKinds, Permit, Phase,
    Progress, Submitted,
};
use chancery::clock::Clock;
use chancery::outside::credentials::{ClientCertificate, Kind};
use chancery::outside::remote_text::Reader;
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::outside::{Disposition, Error};
use chancery::pki::csr::Csr;
use chancery::pki::{Certificate, KeyKind, PrivateKey, parse_pem};
use http::{HeaderValue, Request, Response};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::authority::{Bend, client, root};
use crate::rules::{self, Row};
use crate::thin::{Side, Thin, Way, certificates, csr_pem, unusable};
use crate::wire::{Peer, Wire, answer, json as answered};

struct Client(Way, Capabilities);

fn header(pem: &str) -> HeaderValue {
    let mut value = HeaderValue::from_str(&STANDARD.encode(pem)).unwrap();
    value.set_sensitive(true);
    value
}

fn private(key: &PrivateKey) -> HeaderValue {
    header(key.to_pkcs8_pem().expose_secret())
}

#[async_trait]
impl CertificateAuthority for Client {
    fn capabilities(&self) -> &Capabilities {
        &self.1
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        self.0.ask("GET", "/ready", Vec::new(), String::new(), false).await?;
        Ok(AccountReport::default())
    }

    async fn submit(&self, order: &Order<'_>, _: Permit) -> Submitted {
        let Some(key) = order.key else { return unusable("has no private key") };
        let mut headers = vec![("csr", header(&csr_pem(order))), ("pk", private(key))];
        let path = match order.kind {
            OrderKind::New => "/v1/certificate/RA",
            OrderKind::UpdateKey(previous) => {
                let Some(key) = &previous.key else { return unusable("before has no key") };
                headers.push(("old_cert", header(&previous.certificate.to_pem())));
                headers.push(("old_pk", private(key)));
                "/v1/certificate-update/RA"
            }
            OrderKind::Reissue(_) | OrderKind::Renew(_) => return unusable("is of another kind"),
        };
        match self.0.ask("GET", path, headers, String::new(), true).await {
            Ok(made) => {
                let phase = Phase::Issued(certificates(&made["certificateChain"]));
                Submitted::Accepted(Progress { id: None, named: false, phase })
            }
            Err(problem) => problem.into(),
        }
    }

    /// There are none without an issuance.
    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        Ok(Vec::new())
    }
}

/// The other side.
#[derive(Default)]
pub(crate) struct Service(Mutex<(Vec<Value>, Option<Bend>)>);

fn sent(request: &Request<Bytes>, name: &str) -> Option<Vec<u8>> {
    STANDARD.decode(request.headers().get(name)?.as_bytes()).ok()
}

/// Whether the request holds the key of this certificate or CSR.
fn holds_key(request: &Request<Bytes>, name: &str, spki_der: &[u8]) -> bool {
    let key = sent(request, name).and_then(|pem| PrivateKey::from_pem(&pem).ok());
    key.is_some_and(|key| key.spki_der() == spki_der)
}

impl Peer for Service {
    fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let (made, bend) = &mut *self.0.lock().unwrap();
        let path = request.uri().path();
        if path == "/ready" {
            return answered(200, &json!({}));
        }
        let csr = sent(request, "csr").and_then(|pem| Csr::from_pem(&pem).ok());
        let Some(csr) = csr.filter(|csr| holds_key(request, "pk", &csr.spki_der)) else {
            return answer(400, r#"{"errorMessage":"Wrong key (PK) format"}"#);
        };
        if path.starts_with("/v1/certificate-update/") {
            let old = sent(request, "old_cert").and_then(|pem| parse_pem(&pem).ok()?.pop());
            let is_ours = |old: &Certificate| {
                let is_made = made.iter().any(|chain| certificates(chain).contains(old));
                is_made && holds_key(request, "old_pk", old.spki_der())
            };
            if !old.is_some_and(|old| is_ours(&old)) {
                return answer(400, r#"{"errorMessage":"Wrong certificate format"}"#);
            }
        }
        let serial = made.len() as u64 + 0x100;
        made.push(json!(root().issue(&csr, serial, bend.take())));
        answered(200, &json!({ "certificateChain": made.last(), "trustedCertificates": [] }))
    }
}

/// Its TLS: who comes with another certificate, or none, gets nowhere.
struct Closed;

#[async_trait]
impl Transport for Closed {
    async fn send(&self, _: Call) -> Result<Response<Bytes>, Failure> {
        Err(Failure::ClientRefused("the server demands a client certificate".to_owned()))
    }
}

pub(crate) type CertService = Thin<Service>;

impl Side for Service {
    const REFUSAL: (u16, &'static str) = (400, r#"{"errorMessage":"Wrong certificate format"}"#);

    fn is_submit(request: &Request<Bytes>) -> bool {
        request.uri().path().starts_with("/v1/")
    }

    const CREDENTIALS: Kind = Kind::ClientCertificate;
    const HAS_RECORDS: bool = false;

    fn secret() -> Vec<(&'static str, String)> {
        let (certificate, key) = client();
        vec![("tls.crt", certificate.to_owned()), ("tls.key", key.to_owned())]
    }

    fn client(way: Way) -> Arc<dyn CertificateAuthority> {
        let can = Capabilities {
            name: "CertService",
            key_kinds: vec![KeyKind::EcdsaP256],
            needs_private_key: true,
            kinds: OrderKinds { renew: false, reissue: false, update_key: true },
            ..Capabilities::default()
        };
        Arc::new(Client(way, can))
    }

    fn connect(wire: &Arc<Wire>, identity: Option<&ClientCertificate>) -> Arc<dyn Transport> {
        let known = parse_pem(client().0.as_bytes()).unwrap().remove(0);
        let is_known = identity.is_some_and(|identity| *identity.certificate() == known);
        if is_known { wire.clone() } else { Arc::new(Closed) }
    }

    fn made(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }

    fn bend(&self, bend: Bend) {
        self.0.lock().unwrap().1 = Some(bend);
    }

    /// The keys as headers carry them; the rules know them in PEM.
    fn secrets() -> Vec<String> {
        let keys = rules::keys(KeyKind::EcdsaP256).into_iter().chain([client().1]);
        keys.flat_map(|pem| [STANDARD.encode(pem), rules::second_line(pem)]).collect()
    }
}

#[tokio::test]
async fn a_client_without_its_certificate_gets_nothing() {
    let row = CertService::start();
    let opening = Opening {
        credentials: Some(row.read_secret()),
        transport: row.connect(None),
        deadline: Duration::from_secs(30),
        clock: Clock::new(rules::now),
        reader: Reader::default(),
    };
    let error = row.settings().open(opening).unwrap().check().await.unwrap_err();
    assert_eq!(error.disposition, Disposition::BlameCredentials);
    assert_eq!(row.wire().requests(), 0);
    row.open().check().await.unwrap();
}
