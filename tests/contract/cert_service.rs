//! Like CertService: free, at once, no orders at all. It is shown the private key of each certificate,
//! and of the one before for its update, over TLS that demands a certificate.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::ca::{
    AccountReport, Capabilities, CertificateAuthority, Order, OrderKind, OrderKinds, Permit, Phase,
    Progress, Submitted,
};
use chancery::outside::Error;
use chancery::outside::credentials::{ClientCertificate, Kind};
use chancery::outside::transport::{Call, Connector, Failure, Roots, TlsSettings, Transport};
use chancery::pki::csr::Csr;
use chancery::pki::{Certificate, KeyKind, PrivateKey, parse_pem};
use http::{HeaderValue, Request, Response};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::authority::{Bend, client, root};
use crate::rules::{self, Row};
use crate::thin::{self, Way, certificates, csr_pem, unusable};
use crate::wire::{Peer, Played, Trouble, Wire, answer, json as answered};

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
struct Service(Mutex<(Vec<Value>, Option<Bend>)>);

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
struct Door {
    wire: Arc<Wire>,
}

struct Closed;

#[async_trait]
impl Transport for Closed {
    async fn send(&self, _: Call) -> Result<Response<Bytes>, Failure> {
        Err(Failure::ClientRefused("the server demands a client certificate".to_owned()))
    }
}

impl Connector for Door {
    fn connect(&self, tls: &TlsSettings) -> Result<Arc<dyn Transport>, Failure> {
        let is_known = tls.identity.as_ref() == Some(&identity());
        Ok(if is_known { self.wire.clone() } else { Arc::new(Closed) })
    }
}

/// What opens the door, the same for all tests.
fn identity() -> ClientCertificate {
    let (certificate, key) = client();
    let entries = [("tls.crt", certificate), ("tls.key", key)];
    let credentials = thin::credentials(Kind::ClientCertificate, &entries);
    credentials.client_certificate().unwrap().clone()
}

pub(crate) struct CertService {
    service: Arc<Service>,
    door: Door,
}

impl CertService {
    /// As the operator does it: what kind of credentials it is decides how they are shown.
    fn open_with(&self, identity: Option<ClientCertificate>) -> Arc<dyn CertificateAuthority> {
        let roots = Roots::Bundle(vec![root().certificate.clone()]);
        let transport = self.door.connect(&TlsSettings { roots, identity }).unwrap();
        let (certificate, key) = client();
        let entries = [("tls.crt", certificate), ("tls.key", key)];
        let credentials = thin::credentials(Kind::ClientCertificate, &entries);
        let can = Capabilities {
            name: "CertService",
            key_kinds: vec![KeyKind::EcdsaP256],
            needs_private_key: true,
            kinds: OrderKinds { renew: false, reissue: false, update_key: true },
            ..Capabilities::default()
        };
        Arc::new(Client(Way { transport, credentials }, can))
    }
}

impl Row for CertService {
    fn start() -> Self {
        let service = Arc::new(Service::default());
        let is_submit = |request: &Request<Bytes>| request.uri().path().starts_with("/v1/");
        let refusal = (400, json!({ "errorMessage": "Wrong certificate format" }).to_string());
        let far = Arc::new(Played(Arc::clone(&service)));
        let wire = Wire::new(far, is_submit, refusal, Self::secrets());
        Self { service, door: Door { wire } }
    }

    fn wire(&self) -> &Arc<Wire> {
        &self.door.wire
    }

    fn open(&self) -> Arc<dyn CertificateAuthority> {
        self.open_with(Some(identity()))
    }

    fn made(&self) -> usize {
        self.service.0.lock().unwrap().0.len()
    }

    fn bend(&self, bend: Bend) {
        self.service.0.lock().unwrap().1 = Some(bend);
    }

    fn anchors(&self) -> Vec<Certificate> {
        vec![root().certificate.clone()]
    }

    /// The keys as headers carry them; the rules know them in PEM.
    fn secrets() -> Vec<String> {
        let keys = rules::keys(KeyKind::EcdsaP256).into_iter().chain([client().1]);
        keys.flat_map(|pem| [STANDARD.encode(pem), rules::second_line(pem)]).collect()
    }

    fn proves_refusal(trouble: Trouble) -> bool {
        trouble != Trouble::Redirect
    }
}

#[tokio::test]
async fn a_client_without_its_certificate_gets_nothing() {
    let row = CertService::start();
    let error = row.open_with(None).check().await.unwrap_err();
    assert_eq!(error.disposition, chancery::outside::Disposition::BlameCredentials);
    assert_eq!(row.wire().requests(), 0);
    row.open().check().await.unwrap();
}
