//! What a check finds out about an account, and what an order is prepared with.

use chancery::api::{SwissSign, SwissSignClient, SwissSignOrder, SwissSignProduct};
use chancery::ca::kind::AccountSettings as _;
use chancery::ca::{Blocks, Wanted};
use chancery::outside::Disposition;
use chancery::outside::credentials::{Basic, Credentials};
use chancery::pki::Names;
use chancery::simulator::Kind;
use chancery::simulator::swisssign::{Client, Operation, Product, ProductValidity, SiteSettings};
use jiff::SignedDuration;

use crate::bench::{Bench, names, now, quick, wanted};

fn many() -> SiteSettings {
    let mut settings = quick();
    let product = |name: &str| Product { name: name.to_owned(), ..Product::default() };
    let client = |name: &str| Client {
        name: name.to_owned(),
        products: vec![product("DV"), product("OV"), product("OV")],
        ..Client::default()
    };
    settings.clients.extend((0..250).map(|number| client(&format!("Client {number:03}"))));
    settings.clients.push(client("Client 007"));
    settings.max_page_length = 40;
    settings
}

fn client_named(name: &str) -> impl Fn(&mut SwissSign) {
    move |spec| {
        spec.client = SwissSignClient { id: None, name: Some(name.to_owned()) };
        spec.product = Some(SwissSignProduct { id: None, name: Some("DV".to_owned()) });
    }
}

#[tokio::test]
async fn a_check_finds_exactly_one_client_and_one_product() {
    let bench = Bench::with(many());
    type Change = Box<dyn Fn(&mut SwissSign)>;
    let unknown = "cli-99999999-0000-4000-8000-000000000001";
    let cases: Vec<(&str, Change, Result<(), &str>)> = vec![
        ("by id", Box::new(|_| {}), Ok(())),
        ("by name, at the end", Box::new(client_named("Client 249")), Ok(())),
        (
            "by a name that others contain",
            Box::new(client_named("Client 01")),
            Err(
                "no client of SwissSign that the account sees is called Client 01: check spec.swissSign.client.name",
            ),
        ),
        (
            "by a name that two have",
            Box::new(client_named("Client 007")),
            Err(
                "2 clients of SwissSign are called Client 007: give spec.swissSign.client.id instead",
            ),
        ),
        (
            "by an unknown id",
            Box::new(move |spec| spec.client.id = Some(unknown.to_owned())),
            Err(
                "SwissSign shows the account no client cli-99999999-0000-4000-8000-000000000001: check spec.swissSign.client",
            ),
        ),
        (
            "a product of another client",
            Box::new(|spec| {
                client_named("Client 249")(spec);
                spec.product = Some(SwissSignProduct { id: None, name: Some("EV".to_owned()) });
            }),
            Err(
                "no product of the client is called EV: check spec.swissSign.product of the issuer; it has DV (",
            ),
        ),
        (
            "a product that two are called",
            Box::new(|spec| {
                client_named("Client 249")(spec);
                spec.product = Some(SwissSignProduct { id: None, name: Some("OV".to_owned()) });
            }),
            Err(
                "2 products of the client fit, for each is called OV: give the id in spec.swissSign.product of the issuer",
            ),
        ),
        ("no product", Box::new(|spec| spec.product = None), Ok(())),
    ];
    for (name, change, expected) in cases {
        let mut spec = bench.spec();
        change(&mut spec);
        let told = bench.open_with(spec).check().await;
        match (told, expected) {
            (Ok(report), Ok(())) => assert!(report.remarks.is_empty(), "{name}: {report:?}"),
            (Err(error), Err(says)) => {
                assert!(error.message.starts_with(says), "{name}: {error}");
                assert_eq!(error.disposition, Disposition::BlameIssuer, "{name}");
                assert!(error.message.len() < 1500, "{name}: {error}");
            }
            (told, _) => panic!("{name}: {told:?}"),
        }
        assert_eq!(bench.orders(), 0);
    }
}

#[tokio::test]
async fn a_check_looks_anew_each_time() {
    let bench = Bench::new();
    let ca = bench.open();
    ca.check().await.unwrap();
    bench.set(|site| site.clients[0].products[0].authorization = true);
    let remarks = ca.check().await.unwrap().remarks;
    assert_eq!(remarks.len(), 1, "{remarks:?}");
    assert!(remarks[0].contains("waits until a person approves it"), "{remarks:?}");
    bench.set(|site| {
        site.clients[0].products[0].key_generation_type = "PKCS12withPIN".to_owned();
    });
    let error = ca.check().await.unwrap_err();
    assert_eq!(error.disposition, Disposition::BlameIssuer);
    assert!(error.message.contains("takes no CSR"), "{error}");
}

#[tokio::test]
async fn a_product_that_ends_is_remarked_and_then_refused() {
    let bench = Bench::new();
    let end = now() + SignedDuration::from_hours(48);
    bench.set(|site| site.clients[0].products[0].expiration_date = Some(end));
    let ca = bench.open();
    let remarks = ca.check().await.unwrap().remarks;
    assert!(remarks[0].contains(&format!("can be ordered only until {end}")), "{remarks:?}");
    crate::bench::pass(49 * 3600);
    assert_eq!(ca.check().await.unwrap_err().reason, "ProductUnusable");
    assert!(ca.prepare(&wanted(&names())).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_check_that_fails_says_who_must_act() {
    let retry = |seconds: Option<u64>| Disposition::Retry {
        after: seconds.map(std::time::Duration::from_secs),
    };
    let status = |status, retry_after| Kind::Status { status, body: None, retry_after, html: true };
    let denied = Kind::ApiError {
        code: "<011.352.0224>".to_owned(),
        status: 403,
        messages: Vec::new(),
        after_commit: false,
    };
    let cases = [
        (status(404, None), Disposition::BlameIssuer, "check spec.swissSign.url"),
        (status(403, None), Disposition::BlameIssuer, "the account may not do this"),
        (denied, Disposition::BlameIssuer, "error 0224 ACCESS_DENIED"),
        (status(429, Some(60)), retry(Some(60)), "tried again later"),
        (status(503, Some(99_999)), retry(Some(3600)), "tried again later"),
        (Kind::Hang, retry(None), "no complete answer came within 30 s"),
        (Kind::HtmlBody, Disposition::Internal, "but its body cannot be understood"),
        (
            Kind::Redirect { location: "https://elsewhere.example/".to_owned() },
            Disposition::BlameIssuer,
            "redirects are not followed",
        ),
    ];
    let bench = Bench::new();
    for (kind, disposition, says) in cases {
        bench.fault(Operation::Client, kind.clone());
        let error = bench.open().check().await.unwrap_err();
        assert_eq!(error.disposition, disposition, "{kind:?}: {error}");
        assert!(error.message.contains(says), "{kind:?}: {error}");
        bench.open().check().await.unwrap();
    }
    assert_eq!(bench.orders(), 0);
}

#[tokio::test]
async fn an_order_is_prepared_with_ids_a_lifetime_and_who_chose() {
    let mut settings = quick();
    settings.clients[0].products.push(Product {
        name: "Other".to_owned(),
        product_validity: Some(ProductValidity {
            validity_options: vec![30, 198],
            ..ProductValidity::default()
        }),
        ..Product::default()
    });
    let bench = Bench::with(settings);
    let ca = bench.open();
    let site = bench.site.settings();
    let names = names();
    let prepared = ca.prepare(&wanted(&names)).await.unwrap().parameters;
    let expected = serde_json::json!({
        "client": site.clients[0].id,
        "product": site.clients[0].products[0].id,
        "chosenBy": "Issuer",
        "submission": "Named",
    });
    assert_eq!(prepared, expected);

    let product = Some(SwissSignProduct { id: None, name: Some("Other".to_owned()) });
    let blocks = Blocks::default()
        .with("swissSign", serde_json::to_value(SwissSignOrder { product }).unwrap());
    let days = |days: i64| Some(SignedDuration::from_hours(24 * days));
    let other = Wanted { blocks: &blocks, duration: days(30), ..wanted(&names) };
    let prepared = ca.prepare(&other).await.unwrap().parameters;
    assert_eq!((&prepared["chosenBy"], &prepared["validity"]), (&"Request".into(), &30.into()));
    let unasked = ca.prepare(&Wanted { duration: days(198), ..other }).await.unwrap().parameters;
    assert_eq!(unasked.get("validity"), None, "it is what comes unasked");

    let nameless = Names::default();
    let product = Some(SwissSignProduct { id: None, name: Some("None".to_owned()) });
    let none = Blocks::default()
        .with("swissSign", serde_json::to_value(SwissSignOrder { product }).unwrap());
    let refused = [
        (Wanted { duration: days(31), ..other }, "gives 30, 198 days, not 31"),
        (wanted(&nameless), "SwissSign issues for names"),
        (Wanted { blocks: &none, ..wanted(&names) }, "check spec.swissSign.product of the request"),
    ];
    for (wanted, says) in refused {
        let error = ca.prepare(&wanted).await.unwrap_err();
        assert_eq!(error.disposition, Disposition::Reject, "{error}");
        assert!(error.message.contains(says), "{error}");
    }
    let mut spec = bench.spec();
    spec.product = None;
    let error = bench.open_with(spec).prepare(&wanted(&names)).await.unwrap_err();
    assert_eq!((error.reason.word(), error.disposition), ("ProductMissing", Disposition::Reject));
}

#[test]
fn the_account_is_told_in_one_line_without_secrets() {
    let bench = Bench::new();
    let spec = bench.spec();
    let basic = Basic::new("U".to_owned(), "secret".to_owned().into());
    let line =
        "https://ca.example/swisssign/demo as U, client cli-00000000-0000-4000-8000-000000000001";
    assert_eq!(spec.tenant(Some(&Credentials::Basic(basic))).to_string(), line);
    assert_eq!(spec.hosts(), ["ca.example"]);
    assert_eq!(spec.credentials_kind().keys(), ["username", "apiKey"]);
    assert_eq!(spec.secrets(), ["swisssign"]);
    assert_eq!(spec.has_records(), bench.open().capabilities().has_records());
}

#[tokio::test]
async fn it_serves_no_anchors() {
    assert!(Bench::new().open().trust_anchors().await.unwrap().is_empty());
}
