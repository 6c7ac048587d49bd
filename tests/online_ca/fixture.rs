//! The Online CA under the contract that all certificate authorities keep, in both flavours.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery::ca::CertificateAuthority;
use chancery::outside::credentials::Credentials;
use chancery::pki::KeyKind;
use chancery::simulator::online_ca::{self, Flavour};
use chancery::simulator::{Fault, Kind};
use secrecy::ExposeSecret as _;

use crate::bench::{Bench, PASSWORD, USER, basic, key, settings};
use crate::contract::{self, Fixture, Operation, Trouble};

struct OnlineCa {
    bench: Bench,
    ca: Arc<dyn CertificateAuthority>,
    own_credentials: bool,
}

impl OnlineCa {
    fn new(flavour: Flavour, own_credentials: bool) -> Self {
        let bench = Bench::with(settings(flavour));
        let ca = bench.open();
        Self { bench, ca, own_credentials }
    }
}

impl Fixture for OnlineCa {
    fn ca(&self) -> Arc<dyn CertificateAuthority> {
        Arc::clone(&self.ca)
    }

    fn credentials(&self) -> Option<Credentials> {
        self.own_credentials.then(|| basic(USER, PASSWORD))
    }

    fn minting_requests(&self) -> u64 {
        self.bench.asked()
    }

    fn minted(&self) -> usize {
        self.bench.site.issued().len()
    }

    fn spoil(&self, operation: Operation, trouble: Trouble) -> bool {
        let operation = match operation {
            Operation::Submit => online_ca::Operation::Certificate,
            Operation::Check | Operation::TrustAnchors => online_ca::Operation::TrustRoots,
        };
        let kind = match trouble {
            Trouble::CredentialsRefused => status(401, None),
            Trouble::RequestRefused => status(400, None),
            Trouble::UnknownAddress => status(404, None),
            Trouble::TooManyRequests => status(429, None),
            Trouble::Redirect => {
                Kind::Redirect { location: "https://elsewhere.example/".to_owned() }
            }
            Trouble::ServerError => status(503, None),
            Trouble::UnexpectedSuccess => status(202, None),
            Trouble::LostBeforeCommit => Kind::DropBeforeCommit,
            Trouble::LostAfterCommit => Kind::DropAfterCommit,
            Trouble::HalfAnswer => Kind::TruncatedBody,
            Trouble::EmptyAnswer => Kind::EmptyBody,
            Trouble::AnotherServer => Kind::HtmlBody,
            Trouble::EndlessAnswer => Kind::HugeBody { bytes: 5 * 1024 * 1024 },
            Trouble::Silence => Kind::Hang,
            Trouble::SecretsEchoed => status(400, Some(self.secrets().join(" \n"))),
            Trouble::SecretsEchoedByError => status(500, Some(self.secrets().join("&"))),
        };
        // What is asked for without credentials cannot give them away.
        if operation == online_ca::Operation::TrustRoots
            && matches!(trouble, Trouble::SecretsEchoed | Trouble::SecretsEchoedByError)
        {
            return false;
        }
        self.bench.site.inject(Fault::next(operation, kind)).unwrap();
        true
    }

    fn secrets(&self) -> Vec<String> {
        let header = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        let pem = key(KeyKind::Rsa2048).to_pkcs8_pem();
        vec![PASSWORD.to_owned(), header, pem.expose_secret().to_owned()]
    }
}

fn status(status: u16, body: Option<String>) -> Kind {
    Kind::Status { status, body, retry_after: None, html: false }
}

#[tokio::test(start_paused = true)]
async fn the_contrail_service_keeps_the_contract() {
    contract::holds(|| OnlineCa::new(Flavour::Contrail, false)).await;
}

#[tokio::test(start_paused = true)]
async fn the_django_service_keeps_the_contract() {
    contract::holds(|| OnlineCa::new(Flavour::Django, false)).await;
}

#[tokio::test(start_paused = true)]
async fn credentials_of_the_request_keep_the_contract() {
    contract::holds(|| OnlineCa::new(Flavour::Contrail, true)).await;
}
