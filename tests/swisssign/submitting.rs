//! What a submit is told for, whatever happens to it, and that it is found again where its answer
//! was lost.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chancery::ca::{Claim, KeyEvidence, Lookup, Permit, Phase, Submitted};
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::outside::{Disposition, Error};
use chancery::simulator::Kind;
use chancery::simulator::swisssign::Operation;

use crate::bench::{API_KEY, Bench, DEADLINE, REFERENCE, Stored, now};

fn status(status: u16) -> Kind {
    Kind::Status { status, body: None, retry_after: None, html: false }
}

fn api_error(code: &str, status: u16, after_commit: bool) -> Kind {
    let messages = vec!["Because it is so".to_owned()];
    Kind::ApiError { code: format!("<011.350.{code}>"), status, messages, after_commit }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Refused,
    Unknown,
}

fn told(submitted: &Submitted) -> (Told, Error) {
    match submitted {
        Submitted::Refused(error) => (Told::Refused, error.clone()),
        Submitted::Unknown(error) => (Told::Unknown, error.clone()),
        Submitted::Accepted(progress) => panic!("accepted: {progress:?}"),
    }
}

fn is_fit_for_a_condition(error: &Error) {
    assert!(error.message.len() <= 2048 && !error.message.contains(char::is_control), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_spoilt_submit_is_told_for_what_it_is_and_never_repeated() {
    use Told::{Refused, Unknown};
    let cases = [
        (status(400), Unknown),
        (status(401), Refused),
        (status(403), Unknown),
        (status(404), Refused),
        (status(405), Refused),
        (status(406), Unknown),
        (status(408), Unknown),
        (status(409), Unknown),
        (status(411), Refused),
        (status(413), Refused),
        (status(415), Refused),
        (status(422), Unknown),
        (status(429), Refused),
        (status(500), Unknown),
        (status(502), Unknown),
        (status(503), Unknown),
        (status(504), Unknown),
        (status(204), Unknown),
        (Kind::Redirect { location: "https://elsewhere.example/".to_owned() }, Unknown),
        (Kind::TruncatedBody, Unknown),
        (Kind::Delay { seconds: 31.0, after_commit: true }, Unknown),
        (api_error("0224", 403, false), Refused),
        (api_error("0225", 500, true), Unknown),
        (api_error("0226", 400, false), Refused),
        (api_error("0227", 400, true), Unknown),
        (api_error("0229", 400, false), Refused),
        (api_error("0231", 400, false), Refused),
        (api_error("0234", 404, false), Refused),
        (api_error("0239", 400, true), Unknown),
        (api_error("0240", 400, false), Refused),
        (api_error("0241", 400, false), Refused),
        (api_error("0242", 400, true), Unknown),
        (api_error("0243", 400, false), Refused),
        (api_error("0248", 400, false), Refused),
        (api_error("0999", 400, true), Unknown),
    ];
    for (kind, expected) in cases {
        let bench = Bench::new();
        let ca = bench.open();
        let mut stored = Stored::new(&*ca, REFERENCE).await;
        // A token that is refused is replaced once, so that it takes two to spoil it.
        let tries = if kind == status(401) { 2 } else { 1 };
        for _ in 0..tries {
            bench.fault(Operation::Issue, kind.clone());
        }
        let (how, error) = told(&stored.submit(&*ca).await);
        assert_eq!(how, expected, "{kind:?}: {error}");
        is_fit_for_a_condition(&error);
        assert_eq!(bench.submits(), tries, "{kind:?}");
        // A refusal is proven, and an order that was made in spite of all is found.
        let made = bench.orders();
        assert!(made == 0 || expected == Unknown, "{kind:?}");
        stored.may_exist = expected == Unknown;
        match stored.find(&*ca).await {
            Lookup::Found(found) => {
                assert_eq!((found.len() as u64, made), (1, 1), "{kind:?}");
                assert_eq!(found[0].evidence, KeyEvidence::Ours, "{kind:?}");
                assert!(found[0].progress.named && found[0].created == Some(now()), "{kind:?}");
            }
            Lookup::Absent { complete, doubt } => {
                assert_eq!((made, complete, doubt), (0, true, None), "{kind:?}");
            }
            Lookup::Unchanged | Lookup::Unsupported => panic!("{kind:?}"),
        }
        assert_eq!(bench.submits(), tries, "{kind:?}: to look makes nothing");
    }
}

#[tokio::test]
async fn an_accepted_order_has_an_id_a_name_and_a_state() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    ca.preflight(&stored.order()).await.unwrap();
    assert_eq!(bench.orders(), 0, "to examine makes nothing");
    let Submitted::Accepted(progress) = stored.submit(&*ca).await else { panic!("not accepted") };
    assert_eq!(progress.id.as_ref(), Some(&bench.site.orders().unwrap()[0].uuid));
    assert!(progress.named);
    assert!(matches!(&progress.phase, Phase::Pending(waiting) if waiting.state == "NEW"));
    assert_eq!((bench.submits(), bench.orders()), (1, 1));
}

/// A gateway that has another word for success.
struct Restated {
    next: Arc<dyn Transport>,
    status: u16,
}

#[async_trait]
impl Transport for Restated {
    async fn send(&self, call: Call) -> Result<http::Response<Bytes>, Failure> {
        let mut response = self.next.send(call).await?;
        if response.status() == 200 {
            *response.status_mut() = http::StatusCode::from_u16(self.status).unwrap();
        }
        Ok(response)
    }
}

#[tokio::test]
async fn another_word_for_success_is_one_where_the_body_is_an_order() {
    for (status, is_success) in [(200, true), (201, true), (202, true), (203, false), (206, false)]
    {
        let bench = Bench::new();
        let stored = Stored::new(&*bench.open(), REFERENCE).await;
        let restated = Arc::new(Restated { next: bench.wire(), status });
        let ca = bench.open_over(restated, bench.spec(), API_KEY);
        let submitted = stored.submit(&*ca).await;
        assert_eq!(matches!(submitted, Submitted::Accepted(_)), is_success, "{status}");
        assert_eq!(bench.orders(), u64::from(is_success), "without a token nothing is sent");
        if is_success {
            let Lookup::Found(found) = stored.find(&*ca).await else { panic!("{status}") };
            assert_eq!(found.len(), 1, "{status}");
        }
    }
}

#[tokio::test]
async fn an_account_that_drops_tags_is_told_by_the_answer() {
    let bench = Bench::new();
    bench.set(|site| site.drop_tags = true);
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    let Submitted::Accepted(progress) = stored.submit(&*ca).await else { panic!("not accepted") };
    assert!(!progress.named);
}

#[tokio::test]
async fn without_a_claim_on_this_order_nothing_is_sent() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    let mut badly_named = Stored::new(&*ca, "Order 1").await;
    badly_named.since = now();
    let mut unprepared = Stored::new(&*ca, REFERENCE).await;
    unprepared.parameters = serde_json::Value::Null;
    let mut no_csr = Stored::new(&*ca, REFERENCE).await;
    no_csr.csr_der = b"no CSR".to_vec();
    bench.requests();
    let claim = |reference| Permit::Claimed(Claim::of_a_test(reference));
    for (name, stored, permit) in [
        ("free", &stored, Permit::Free),
        ("a claim on another order", &stored, claim("chancery-x-2")),
        ("a name that is none", &badly_named, claim("Order 1")),
        ("not prepared", &unprepared, claim(REFERENCE)),
        ("no CSR", &no_csr, claim(REFERENCE)),
    ] {
        let (how, error) = told(&ca.submit(&stored.order(), permit).await);
        assert_eq!((how, error.disposition), (Told::Refused, Disposition::Internal), "{name}");
    }
    assert!(bench.requests().is_empty());
}

#[tokio::test]
async fn secrets_that_come_back_are_not_shown() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    let token = {
        let requests = bench.requests();
        let header = &requests[1].request.headers()["authorization"];
        header.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
    };
    let csr = chancery::pki::csr::to_pem(&stored.csr_der);
    let secrets = [API_KEY.to_owned(), token, csr.lines().nth(1).unwrap().to_owned()];
    let all = format!("{} {} {csr}", secrets[0], secrets[1]);
    let echoes = [
        Kind::Status { status: 400, body: Some(all.clone()), retry_after: None, html: false },
        Kind::Status { status: 500, body: Some(all.clone()), retry_after: None, html: true },
        Kind::Status { status: 200, body: Some(all.clone()), retry_after: None, html: false },
        Kind::ApiError {
            code: "<011.350.0226>".to_owned(),
            status: 400,
            messages: vec![all.clone(), all.clone()],
            after_commit: false,
        },
        Kind::ApiError { code: all.clone(), status: 400, messages: vec![], after_commit: false },
    ];
    for kind in echoes {
        bench.fault(Operation::Issue, kind.clone());
        let submit = told(&stored.submit(&*ca).await).1;
        bench.fault(Operation::Validate, kind.clone());
        // Any success is one for what changes nothing.
        let preflight = ca.preflight(&stored.order()).await.err();
        bench.fault(Operation::OrdersPaged, kind.clone());
        let find = ca.find(&stored.order()).await.unwrap_err();
        bench.fault(Operation::Jwt, kind.clone());
        let check = bench.open().check().await.unwrap_err();
        for error in [submit, find, check].into_iter().chain(preflight) {
            let told = format!("{error} {error:?}");
            is_fit_for_a_condition(&error);
            for secret in &secrets {
                assert!(!told.contains(secret), "{kind:?}: {told}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_examination_refuses_what_the_api_refuses_and_needs_no_api_that_has_it() {
    let reject = Some(Disposition::Reject);
    let retry = Some(Disposition::Retry { after: None });
    let cases = [
        ("in order", None, None),
        ("a table code", Some(api_error("0226", 400, false)), reject),
        ("another one", Some(api_error("0241", 400, false)), reject),
        ("the product", Some(api_error("0246", 400, false)), Some(Disposition::BlameIssuer)),
        ("a failure", Some(api_error("0225", 500, false)), retry),
        ("an unknown code", Some(api_error("0999", 400, false)), Some(Disposition::Internal)),
        ("no such operation", Some(status(404)), None),
        ("nor this verb", Some(status(405)), None),
        ("nor this answer", Some(status(406)), None),
        ("nor this body", Some(status(415)), None),
        (
            "something that is not found",
            Some(api_error("0999", 404, false)),
            Some(Disposition::Internal),
        ),
        ("trouble", Some(status(503)), retry),
        ("silence", Some(Kind::Hang), retry),
    ];
    for (name, kind, expected) in cases {
        let bench = Bench::new();
        let ca = bench.open();
        let stored = Stored::new(&*ca, REFERENCE).await;
        if let Some(kind) = kind {
            bench.fault(Operation::Validate, kind);
        }
        let told = ca.preflight(&stored.order()).await;
        assert_eq!(told.clone().err().map(|error| error.disposition), expected, "{name}: {told:?}");
        assert_eq!(bench.orders(), 0, "{name}");
        if let Err(error) = told
            && name == "a table code"
        {
            assert!(error.message.contains("Because it is so"), "{error}");
        }
    }
    let bench = Bench::new();
    let mut spec = bench.spec();
    spec.preflight = false;
    let ca = bench.open_with(spec);
    let stored = Stored::new(&*ca, REFERENCE).await;
    bench.requests();
    ca.preflight(&stored.order()).await.unwrap();
    assert!(bench.requests().is_empty(), "it can be left out");
    assert_eq!(ca.capabilities().settle_window.as_secs(), 900);
    assert!(DEADLINE.as_secs() < 900);
}
