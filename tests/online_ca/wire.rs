//! The requests themselves, as they are handed to the transport.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::ca::{CertificateAuthority, Order, Permit};
use chancery::pki::KeyKind;
use chancery::simulator::Kind;
use http::{Method, Request, header};

use crate::bench::{Bench, DEADLINE, PASSWORD, USER, basic, csr_der, key, open, spec, submit};
use crate::router_transport::{Recorder, Restated, RouterTransport};

fn recorded(bench: &Bench) -> (Recorder, std::sync::Arc<dyn CertificateAuthority>) {
    let recorder = Recorder::new(RouterTransport(bench.simulator.router()));
    let credentials = basic(USER, PASSWORD);
    let ca = open(bench.spec(), Some(credentials), std::sync::Arc::new(recorder.clone()));
    (recorder, ca)
}

fn names_of_headers(request: &Request<Bytes>) -> Vec<&str> {
    let mut names: Vec<&str> = request.headers().keys().map(header::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn get_certificate_is_one_post_with_credentials_and_a_form() {
    let bench = Bench::new();
    let (recorder, ca) = recorded(&bench);
    assert!(submit(&*ca).await.issued().is_some());
    let [call] = &recorder.requests()[..] else { panic!("one request") };
    let request = &call.request;
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri().to_string(), bench.url("certificate/"));
    assert_eq!(names_of_headers(request), ["accept", "authorization", "content-type"]);
    let headers = request.headers();
    assert_eq!(headers[header::ACCEPT], "text/plain");
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-www-form-urlencoded");
    let authorization = &headers[header::AUTHORIZATION];
    assert!(authorization.is_sensitive(), "no debug text may show it");
    let encoded = authorization.to_str().unwrap().strip_prefix("Basic ").unwrap();
    assert_eq!(STANDARD.decode(encoded).unwrap(), format!("{USER}:{PASSWORD}").as_bytes());
    assert_eq!((call.deadline, call.body_limit), (DEADLINE, 1024 * 1024));
    assert!(!format!("{call:?}").contains(encoded));
}

/// The way out and back as any parser of forms goes it, `+` for a space included.
#[tokio::test]
async fn the_form_survives_plus_signs_and_line_ends() {
    let bench = Bench::new();
    let (recorder, ca) = recorded(&bench);
    // Bytes that are nothing but + and / in base64, over several lines.
    let mut csr_der = vec![0xfb; 150];
    csr_der.extend([0xff; 61]);
    let order = Order::unnamed(&csr_der, &serde_json::Value::Null);
    ca.submit(&order, Permit::Free).await;
    let [call] = &recorder.requests()[..] else { panic!("one request") };
    let body = std::str::from_utf8(call.request.body()).unwrap();
    assert!(body.bytes().all(|b| b.is_ascii_graphic()), "{body}");
    assert!(!body.contains("++"), "a bare plus is a space to the server: {body}");
    let fields: Vec<_> = url::form_urlencoded::parse(body.as_bytes()).collect();
    let [(name, value)] = &fields[..] else { panic!("one field: {body}") };
    assert_eq!(name, "certificate_request");
    let lines: Vec<&str> = value.lines().collect();
    assert_eq!(lines[0], "-----BEGIN CERTIFICATE REQUEST-----");
    assert_eq!(*lines.last().unwrap(), "-----END CERTIFICATE REQUEST-----");
    assert!(lines[1..lines.len() - 1].iter().all(|line| line.len() <= 64));
    assert_eq!(STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap(), csr_der);
}

#[tokio::test]
async fn trust_roots_are_asked_for_without_credentials() {
    let bench = Bench::new();
    let (recorder, ca) = recorded(&bench);
    ca.check().await.unwrap();
    ca.trust_anchors().await.unwrap();
    let calls = recorder.requests();
    assert_eq!(calls.len(), 2);
    for call in calls {
        assert_eq!(call.request.method(), Method::GET);
        assert_eq!(call.request.uri().to_string(), bench.url("trustroots/"));
        assert_eq!(names_of_headers(&call.request), ["accept"]);
        assert!(call.request.body().is_empty());
        assert_eq!((call.deadline, call.body_limit), (DEADLINE, 4 * 1024 * 1024));
    }
}

/// Trailing slashes count on both services, so nothing may add or take one.
#[tokio::test]
async fn addresses_are_used_as_they_are_written() {
    for (certificate, roots) in [
        ("https://a.example/certificate/", "https://b.example/trustroots/"),
        (
            "https://a.example:8443/onlineca/certificate",
            "https://a.example:8443/onlineca/trustroots",
        ),
        ("https://a.example/x//certificate/%7Eu/", "https://a.example/"),
    ] {
        let recorder = Recorder::new(RouterTransport(axum::Router::new()));
        let ca = open(
            spec(certificate, roots),
            Some(basic(USER, PASSWORD)),
            std::sync::Arc::new(recorder.clone()),
        );
        let _ = submit(&*ca).await;
        let _ = ca.check().await;
        let addresses: Vec<String> =
            recorder.requests().iter().map(|call| call.request.uri().to_string()).collect();
        assert_eq!(addresses, [certificate, roots]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_twice_whatever_comes_back() {
    let status = |status| Kind::Status { status, body: None, retry_after: Some(1), html: false };
    for kind in [
        status(401),
        status(429),
        status(503),
        Kind::Redirect { location: "/online-ca/demo/certificate/".to_owned() },
        Kind::DropBeforeCommit,
        Kind::TruncatedBody,
        Kind::Hang,
    ] {
        let bench = Bench::new();
        let (recorder, ca) = recorded(&bench);
        bench.fault(kind.clone());
        assert!(submit(&*ca).await.issued().is_none(), "{kind:?}");
        assert_eq!(recorder.requests().len(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn credentials_of_the_request_take_the_place_of_the_issuers() {
    let bench = Bench::new();
    bench.set(|site| {
        site.users.insert("jdoe".to_owned(), "own".to_owned());
    });
    let (recorder, ca) = recorded(&bench);
    let own = basic("jdoe", "own");
    let csr_der = csr_der(&key(KeyKind::Rsa2048));
    let order =
        Order { credentials: Some(&own), ..Order::unnamed(&csr_der, &serde_json::Value::Null) };
    let submitted = ca.submit(&order, Permit::Free).await;
    assert!(submitted.issued().is_some());
    let header = recorder.requests()[0].request.headers()[header::AUTHORIZATION].clone();
    assert_eq!(header, format!("Basic {}", STANDARD.encode("jdoe:own")));
    assert_eq!(bench.site.issued()[0].username, "jdoe");
}

#[test]
fn no_debug_text_shows_a_password() {
    let credentials = basic(USER, PASSWORD);
    let order = Order {
        credentials: Some(&credentials),
        ..Order::unnamed(b"CSR", &serde_json::Value::Null)
    };
    let told = format!("{order:?} {order:#?} {credentials:?}");
    assert!(told.contains(USER) && !told.contains(PASSWORD), "{told}");
}

#[tokio::test]
async fn another_word_for_success_is_one_where_the_body_is_a_certificate() {
    for (status, is_success) in [(200, true), (201, true), (202, true), (203, false), (206, false)]
    {
        let bench = Bench::new();
        let restated = Restated(RouterTransport(bench.simulator.router()), status);
        let ca = open(bench.spec(), Some(basic(USER, PASSWORD)), std::sync::Arc::new(restated));
        assert_eq!(submit(&*ca).await.issued().is_some(), is_success, "{status}");
        assert_eq!(ca.check().await.is_ok(), is_success, "{status}");
    }
}
