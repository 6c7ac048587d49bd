//! The requests themselves, as they are handed to the transport.

use chancery::api::SwissSignSubmission;
use chancery::ca::{Submitted, Wanted};
use http::{Method, header};
use jiff::SignedDuration;
use serde_json::json;

use crate::bench::{
    API_KEY, Bench, DEADLINE, REFERENCE, Recorded, Stored, USER, key, names, placed, polled, wanted,
};

fn names_of_headers(one: &Recorded) -> Vec<&str> {
    let mut names: Vec<&str> = one.request.headers().keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn an_order_is_a_token_a_product_and_one_post() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    assert!(matches!(stored.submit(&*ca).await, Submitted::Accepted(_)));
    let requests = bench.requests();
    let [jwt, client, issue] = &requests[..] else { panic!("{requests:?}") };
    assert!(requests.iter().all(|one| one.request.method() == Method::POST));
    assert!(requests.iter().all(|one| one.deadline == DEADLINE));

    assert_eq!(jwt.path(), format!("jwt/{USER}"));
    assert_eq!(names_of_headers(jwt), ["accept", "content-type"]);
    assert_eq!(jwt.request.headers()[header::ACCEPT], "text/plain, application/json");
    assert_eq!(jwt.request.headers()[header::CONTENT_TYPE], "application/x-www-form-urlencoded");
    assert_eq!(jwt.request.body(), format!("userSecret={API_KEY}").as_bytes());

    assert!(client.path().starts_with("client/cli-"));
    assert_eq!(names_of_headers(client), ["accept", "authorization", "content-length"]);
    assert_eq!(client.request.headers()[header::CONTENT_LENGTH], "0");
    assert!(client.request.body().is_empty());
    assert!(client.request.headers()[header::AUTHORIZATION].is_sensitive());

    assert_eq!((issue.path(), issue.fresh_connection), ("issue", true));
    assert!(!jwt.fresh_connection && !client.fresh_connection);
    assert_eq!(names_of_headers(issue), ["accept", "authorization", "content-type"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key().spki_der());
    let hash: String = digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = json!({
        "productReference": bench.site.settings().clients[0].products[0].id,
        "csr": chancery::pki::csr::to_pem(&stored.csr_der),
        "tags": [REFERENCE, format!("spki-{hash}")],
        "synchrone": false,
        "acceptTandC": true,
    });
    assert_eq!(issue.json(), expected);
}

#[tokio::test]
async fn an_order_that_is_made_again_is_the_same_to_the_byte() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE).await;
    for _ in 0..2 {
        // Another process, that knows nothing but what was stored.
        stored.submit(&*bench.open()).await;
    }
    let issues: Vec<_> = bench.requests().into_iter().filter(|one| one.path() == "issue").collect();
    assert_eq!(issues.len(), 2);
    assert_eq!(issues[0].request.body(), issues[1].request.body());
}

#[tokio::test]
async fn a_lifetime_is_asked_for_in_the_unit_of_the_product() {
    let bench = Bench::new();
    let ca = bench.open();
    let names = names();
    let duration = Some(SignedDuration::from_hours(90 * 24));
    let prepared = ca.prepare(&Wanted { duration, ..wanted(&names) }).await.unwrap().parameters;
    assert_eq!(prepared["validity"], 90);
    let mut stored = Stored::new(&*ca, REFERENCE).await;
    stored.parameters = prepared;
    bench.requests();
    stored.submit(&*ca).await;
    assert_eq!(bench.requests()[0].json()["overrides"], json!({"validity": 90}));
}

#[tokio::test]
async fn a_bare_csr_is_plain_text_and_carries_no_name() {
    let bench = Bench::new();
    bench.set(|site| site.allow_issue = false);
    let mut spec = bench.spec();
    spec.submission = SwissSignSubmission::CsrOnly;
    let ca = bench.open_with(spec);
    assert!(!ca.capabilities().searchable);
    let stored = Stored::new(&*ca, REFERENCE).await;
    ca.preflight(&stored.order()).await.unwrap();
    let Submitted::Accepted(progress) = stored.submit(&*ca).await else { panic!("refused") };
    assert!(!progress.named && progress.id.is_some());
    let requests = bench.requests();
    let issue = requests.last().unwrap();
    assert!(issue.path().starts_with("issue/csr/pma-") && issue.fresh_connection);
    assert_eq!(issue.request.headers()[header::CONTENT_TYPE], "text/plain");
    assert_eq!(issue.request.body(), chancery::pki::csr::to_pem(&stored.csr_der).as_bytes());
}

#[tokio::test]
async fn users_and_addresses_are_encoded_into_the_path() {
    let bench = Bench::new();
    let mut spec = bench.spec();
    spec.url = "https://ca.example/swisssign/demo".to_owned();
    let ca = bench.open_with(spec);
    let order = placed(&*ca, 1).await;
    bench.requests();
    polled(&*ca, &order).await;
    let mut other = order.clone();
    other.id = "ord-../../clients".to_owned();
    let answers = ca.poll(std::slice::from_ref(&other)).await;
    assert!(answers[0].1.is_err(), "{answers:?}");
    assert_eq!(bench.paths_of_polls(), ["order/ord-/status"], "nothing was sent for what is no id");
}
