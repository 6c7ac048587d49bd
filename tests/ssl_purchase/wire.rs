//! What is sent, and as whom.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use chancery::ca::{Claim, Permit, Submitted};
use chancery::outside::Disposition;
use chancery::outside::transport::{Call, Failure, Transport};
use chancery::simulator::Kind;
use chancery::simulator::ssl_purchase::Operation;
use http::Response;
use serde_json::json;

use crate::bench::{API_KEY, Bench, PLAN, REFERENCE, RESELLER, Stored, key};

#[tokio::test]
async fn an_order_is_sent_once_on_a_connection_of_its_own_and_the_same_to_the_byte() {
    let bench = Bench::new();
    let ca = bench.open_with(json!({
        "contact": { "firstName": "Ann", "emailAddress": "hostmaster@example.org" },
        "company": { "city": "Delft" },
    }));
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    assert!(bench.lines().is_empty(), "a plan that is given by its id costs no call");
    bench.fault(Operation::Create, Kind::DropBeforeCommit);
    stored.submit(&*ca).await;
    stored.submit(&*bench.open()).await;
    let requests = bench.requests();
    assert_eq!(requests.len(), 2);
    for one in &requests {
        assert_eq!(one.line(), "POST ssl-certificate");
        assert!(one.fresh_connection);
        assert_eq!(one.header("content-type"), "application/json");
        assert_eq!(one.header("accept"), "application/json");
    }
    assert_eq!(requests[0].request.body(), requests[1].request.body());
    let body = requests[0].json();
    let csr = body["csr"].as_str().unwrap();
    assert!(csr.starts_with("-----BEGIN CERTIFICATE REQUEST-----\n"), "{csr}");
    let mut rest = body.clone();
    rest.as_object_mut().unwrap().remove("csr");
    let expected = json!({
        "plan": PLAN, "dcv_type": "DNS", "client_reference": REFERENCE,
        "approver_first_name": "Ann", "approver_email_address": "hostmaster@example.org",
        "city": "Delft",
    });
    assert_eq!(rest, expected);
}

#[tokio::test]
async fn credentials_go_the_way_that_the_issuer_names() {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{RESELLER}:{API_KEY}"));
    let basic = format!("Basic {basic}");
    let bench = Bench::new();
    bench.open().check().await.unwrap();
    assert!(bench.requests().iter().all(|one| one.header("authorization") == basic));

    let own = json!({ "authentication": { "header": { "name": "X-APIKEY" } } });
    let ca = bench.try_open(own, &[("apiKey", API_KEY)]).unwrap();
    ca.check().await.unwrap();
    for one in bench.requests() {
        assert_eq!((one.header("x-apikey"), one.header("authorization")), (API_KEY, ""));
    }
    let wrong = bench.try_open(json!({}), &[("username", RESELLER), ("apiKey", "x")]).unwrap();
    let error = wrong.check().await.unwrap_err();
    assert_eq!(error.disposition, Disposition::BlameCredentials, "{error}");
    assert!(error.message.contains("Secret shop/ca"), "{error}");
}

const OIDC: &[(&str, &str)] = &[("clientId", "demo-client"), ("clientSecret", "changeme-too")];

fn oidc() -> serde_json::Value {
    let url = "https://login.example/ssl-purchase/demo/token";
    json!({ "authentication": { "oidc": { "tokenUrl": url } } })
}

#[tokio::test]
async fn a_token_is_got_once_and_goes_to_the_api_alone() {
    let bench = Bench::new();
    let ca = bench.try_open(oidc(), OIDC).unwrap();
    ca.check().await.unwrap();
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    assert!(matches!(stored.submit(&*ca).await, Submitted::Accepted(_)));
    let requests = bench.requests();
    let (tokens, others): (Vec<_>, Vec<_>) =
        requests.iter().partition(|one| one.request.uri().host() == Some("login.example"));
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].header("authorization"), "");
    let form = "grant_type=client_credentials&client_id=demo-client&client_secret=changeme-too";
    assert_eq!(tokens[0].request.body(), form);
    for one in others {
        assert_eq!(one.request.uri().host(), Some("ca.example"));
        assert!(one.header("authorization").starts_with("Bearer "), "{}", one.line());
        assert_eq!(one.header("realm"), RESELLER);
    }
}

#[tokio::test]
async fn no_state_of_an_order_repeats_the_token() {
    let bench = Bench::new();
    let ca = bench.try_open(oidc(), OIDC).unwrap();
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    let open = stored.open(&stored.submit(&*ca).await);
    let requests = bench.requests();
    let token = requests.iter().find_map(|one| one.header("authorization").strip_prefix("Bearer "));
    let message = Some(format!("It was for {} there", token.unwrap()));
    bench.act(&chancery::simulator::ssl_purchase::Action::Fail { message });
    let phase = crate::bench::polled(&*ca, &open).await;
    assert!(crate::bench::told(&phase).ends_with("It was for […] there"), "{phase:?}");
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_replaced_once() {
    let bench = Bench::new();
    let ca = bench.try_open(oidc(), OIDC).unwrap();
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    ca.check().await.unwrap();
    bench.site.restart();
    bench.requests();
    assert!(matches!(stored.submit(&*ca).await, Submitted::Accepted(_)));
    let lines = bench.lines();
    assert_eq!(lines, ["POST ssl-certificate", "POST token", "POST ssl-certificate"]);
    assert_eq!(bench.bought(), 1);
    for _ in 0..2 {
        bench.fault(
            Operation::Plans,
            Kind::Status { status: 401, body: None, retry_after: None, html: false },
        );
    }
    let error = ca.check().await.unwrap_err();
    assert_eq!(error.disposition, Disposition::BlameCredentials);
    assert_eq!(bench.lines().len(), 3, "no third time");
}

#[tokio::test]
async fn a_client_that_gets_no_token_is_told_whose_fault_that_is() {
    let status = |status| Kind::Status { status, body: None, retry_after: Some(7), html: false };
    let rows = [
        (None, Disposition::BlameCredentials),
        (Some(status(400)), Disposition::BlameCredentials),
        (Some(status(404)), Disposition::BlameIssuer),
        (Some(status(429)), Disposition::Retry { after: Some(std::time::Duration::from_secs(7)) }),
        (Some(Kind::HtmlBody), Disposition::Internal),
    ];
    for (fault, disposition) in rows {
        let bench = Bench::new();
        let secret = if fault.is_some() { "changeme-too" } else { "wrong" };
        let secret = [("clientId", "demo-client"), ("clientSecret", secret)];
        let ca = bench.try_open(oidc(), &secret).unwrap();
        let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
        if let Some(fault) = fault.clone() {
            bench.fault(Operation::Token, fault);
        }
        let Submitted::Refused(error) = stored.submit(&*ca).await else { panic!("{fault:?}") };
        assert_eq!(error.disposition, disposition, "{error}");
        assert_eq!(bench.bought(), 0);
        assert!(!error.message.contains("changeme"), "{error}");
    }
}

#[tokio::test]
async fn paths_below_any_prefix_can_be_others() {
    let bench = Bench::with(|site| site.base_path = "api/v1".to_owned());
    let more = json!({ "url": "https://ca.example/ssl-purchase/demo/api/v1/" });
    bench.open_with(more).check().await.unwrap();
    let paths = json!({
        "url": "https://ca.example/ssl-purchase/demo",
        "paths": { "plans": "/api/v1/ssl-certificate-plan", "list": "/api/v1/ssl-certificate",
                   "one": "/api/v1/ssl-certificate/{id}" },
    });
    let ca = bench.open_with(paths);
    ca.check().await.unwrap();
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    let submitted = stored.submit(&*ca).await;
    assert!(matches!(submitted, Submitted::Accepted(_)), "{submitted:?}");
    ca.poll(&[stored.open(&submitted)]).await.remove(0).1.unwrap();
}

/// Sends nothing.
struct Closed;

#[async_trait]
impl Transport for Closed {
    async fn send(&self, call: Call) -> Result<Response<Bytes>, Failure> {
        panic!("{call:?}");
    }
}

#[tokio::test]
async fn money_is_spent_with_a_claim_on_this_very_order_alone() {
    let bench = Bench::new();
    let secret = [("username", RESELLER), ("apiKey", API_KEY)];
    let ca = bench.open_over(Arc::new(Closed), json!({}), &secret).unwrap();
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    let other = || Permit::Claimed(Claim::of_a_test("chancery-x-1"));
    for permit in [Permit::Free, other()] {
        let refused = ca.submit(&stored.order(), permit).await;
        assert!(matches!(refused, Submitted::Refused(_)), "{refused:?}");
    }
    for reference in ["shop", "chancery-X-1", &"chancery-".repeat(20)] {
        let stored = Stored { reference: reference.to_owned(), ..stored_again(&stored) };
        let refused = stored.submit(&*ca).await;
        assert!(matches!(refused, Submitted::Refused(_)), "{reference}: {refused:?}");
    }
    let stored = Stored { parameters: json!({ "plan": "../x" }), ..stored };
    assert!(matches!(stored.submit(&*ca).await, Submitted::Refused(_)));
}

fn stored_again(stored: &Stored) -> Stored {
    Stored {
        reference: stored.reference.clone(),
        kind: stored.kind.clone(),
        csr_der: stored.csr_der.clone(),
        spki_der: stored.spki_der.clone(),
        parameters: stored.parameters.clone(),
        since: stored.since,
        id: None,
    }
}

#[tokio::test]
async fn what_the_secret_lacks_is_said() {
    let bench = Bench::new();
    let header = json!({ "authentication": { "header": { "name": "X-APIKEY" } } });
    let rows = [
        (json!({}), vec![("username", RESELLER), ("apiKey", " ")], "no apiKey"),
        (json!({}), vec![("username", "a:b"), ("apiKey", "x")], "a colon"),
        (json!({}), vec![("username", RESELLER)], "apiKey"),
        (json!({}), vec![("username", "another"), ("apiKey", "x")], "reseller is"),
        (oidc(), vec![("clientId", "x")], "clientSecret"),
        (header, vec![("username", RESELLER)], "apiKey"),
    ];
    for (more, secret, says) in rows {
        let error = bench.try_open(more, &secret).err().unwrap();
        assert!(error.message.contains(says), "{says}: {error}");
        assert_eq!(error.disposition, Disposition::BlameCredentials, "{says}");
    }
}
