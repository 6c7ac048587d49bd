//! Tokens: obtained once, replaced before they lapse, and once when they are refused.

use chancery::api::SwissSignAuthentication;
use chancery::ca::Submitted;
use chancery::outside::Disposition;
use chancery::simulator::swisssign::Operation;
use chancery::simulator::{Fault, Kind};

use crate::bench::{Bench, REFERENCE, Stored, pass, placed, polled};

fn count(paths: &[String], beginning: &str) -> usize {
    paths.iter().filter(|path| path.starts_with(beginning)).count()
}

#[tokio::test]
async fn one_token_serves_until_shortly_before_it_lapses() {
    let bench = Bench::new();
    let ca = bench.open();
    let order = placed(&*ca, 1).await;
    for _ in 0..5 {
        polled(&*ca, &order).await;
    }
    assert_eq!(count(&bench.paths(), "jwt"), 1);
    pass(8 * 3600 - 299);
    polled(&*ca, &order).await;
    polled(&*ca, &order).await;
    assert_eq!(
        bench.paths(),
        ["jwt/MPKI0000001.AutoRAO", "order/ord-/status", "order/ord-/status"]
    );
}

#[tokio::test]
async fn twenty_requests_at_once_share_one_token() {
    let bench = Bench::new();
    let order = placed(&*bench.open(), 1).await;
    let ca = bench.open();
    bench.requests();
    futures::future::join_all((0..20).map(|_| polled(&*ca, &order))).await;
    assert_eq!(count(&bench.paths(), "jwt"), 1);
}

#[tokio::test]
async fn a_token_the_api_no_longer_knows_is_replaced_once_also_for_an_order() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    bench.requests();
    bench.set(|site| site.reject_next_token = true);
    assert!(matches!(stored.submit(&*ca).await, Submitted::Accepted(_)));
    assert_eq!(bench.paths(), ["issue", "jwt/MPKI0000001.AutoRAO", "issue"]);
    assert_eq!(bench.orders(), 1);
}

#[tokio::test]
async fn a_second_refusal_blames_the_credentials_and_ends_it() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    bench.requests();
    let refusal = Kind::Status { status: 401, body: None, retry_after: None, html: false };
    bench.site.inject(Fault::always(Operation::Issue, refusal)).unwrap();
    let Submitted::Refused(error) = stored.submit(&*ca).await else { panic!("not refused") };
    assert_eq!(error.disposition, Disposition::BlameCredentials);
    assert_eq!(bench.paths(), ["issue", "jwt/MPKI0000001.AutoRAO", "issue"]);
    assert_eq!(bench.orders(), 0);
}

#[tokio::test]
async fn an_order_is_repeated_after_a_401_alone() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    let api_error = |status, after_commit| Kind::ApiError {
        code: "<009.250.0228>".to_owned(),
        status,
        messages: Vec::new(),
        after_commit,
    };
    bench.requests();
    bench.fault(Operation::Issue, api_error(400, false));
    let Submitted::Refused(error) = stored.submit(&*ca).await else { panic!("not refused") };
    assert_eq!(error.disposition, Disposition::Retry { after: None }, "{error}");
    assert_eq!(bench.paths(), ["issue"]);
    assert!(matches!(stored.submit(&*ca).await, Submitted::Accepted(_)));
    assert_eq!(bench.paths(), ["jwt/MPKI0000001.AutoRAO", "issue"], "with another token");
    // What changes nothing is repeated after the code as well.
    bench.fault(Operation::OrdersPaged, api_error(400, false));
    stored.find(&*ca).await;
    assert_eq!(bench.paths(), ["orders/paged", "jwt/MPKI0000001.AutoRAO", "orders/paged"]);
    let runtime = Kind::ApiError {
        code: "<011.354.0225>".to_owned(),
        status: 401,
        messages: Vec::new(),
        after_commit: true,
    };
    bench.fault(Operation::Issue, runtime);
    assert!(matches!(stored.submit(&*ca).await, Submitted::Unknown(_)));
    assert_eq!(bench.paths(), ["issue"], "the code says that something ran");
}

#[tokio::test]
async fn an_order_without_a_token_is_refused_and_not_sent() {
    let bench = Bench::new();
    let stored = Stored::new(&*bench.open(), REFERENCE).await;
    let status = |status| Kind::Status { status, body: None, retry_after: None, html: false };
    for kind in [status(500), status(404), status(403), Kind::DropAfterCommit, Kind::HtmlBody] {
        bench.requests();
        bench.fault(Operation::Jwt, kind.clone());
        let ca = bench.open();
        let submitted = stored.submit(&*ca).await;
        assert!(matches!(submitted, Submitted::Refused(_)), "{kind:?}: {submitted:?}");
        assert_eq!(bench.paths(), ["jwt/MPKI0000001.AutoRAO"], "{kind:?}");
    }
    assert_eq!(bench.orders(), 0);
}

#[tokio::test]
async fn a_wrong_api_key_is_told_and_not_shown() {
    let bench = Bench::new();
    let ca = bench.open_as(bench.spec(), "wrong-key-0123456789");
    let error = ca.check().await.unwrap_err();
    assert_eq!(error.disposition, Disposition::BlameCredentials, "{error}");
    assert!(error.message.contains("apiKey"), "{error}");
    assert!(!format!("{error:?}").contains("wrong-key"), "{error}");
    assert_eq!(bench.paths(), ["jwt/MPKI0000001.AutoRAO"]);
}

#[tokio::test]
async fn a_token_signed_with_the_key_itself_is_accepted() {
    let bench = Bench::new();
    let mut spec = bench.spec();
    spec.authentication = SwissSignAuthentication::SelfSigned;
    let ca = bench.open_with(spec.clone());
    let order = placed(&*ca, 1).await;
    pass(3600);
    polled(&*ca, &order).await;
    assert_eq!(count(&bench.paths(), "jwt"), 0);
    let error = bench.open_as(spec, "wrong").check().await.unwrap_err();
    assert_eq!(error.disposition, Disposition::BlameCredentials, "{error}");
    assert!(error.message.contains("SelfSigned"), "{error}");
}

#[tokio::test]
async fn a_token_in_quotes_is_a_token() {
    let bench = Bench::new();
    bench.set(|site| site.quoted_token = true);
    bench.open().check().await.unwrap();
}

#[tokio::test]
async fn what_is_no_token_is_told_once_for_a_whole_poll() {
    let bench = Bench::new();
    let first = bench.open();
    let orders = [placed(&*first, 1).await, placed(&*first, 2).await];
    bench.site.inject(Fault::always(Operation::Jwt, Kind::HtmlBody)).unwrap();
    bench.requests();
    let answers = bench.open().poll(&orders).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_err()), "{answers:?}");
    assert_eq!(bench.paths(), ["jwt/MPKI0000001.AutoRAO"]);
}

#[test]
fn no_debug_text_of_a_call_shows_its_body() {
    let request = http::Request::post("https://ca.example/v2/jwt/u")
        .body(bytes::Bytes::from_static(b"userSecret=Tr0ub4dor"))
        .unwrap();
    let deadline = std::time::Duration::from_secs(1);
    let call = chancery::outside::transport::Call {
        request,
        deadline,
        body_limit: 1,
        fresh_connection: false,
    };
    let told = format!("{call:?} {call:#?}");
    assert!(told.contains("ca.example") && !told.contains("Tr0ub4dor"), "{told}");
}
