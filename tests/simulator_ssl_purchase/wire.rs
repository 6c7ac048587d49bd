//! How answers are spelled, and the settings that spell them in another way.

use chancery::simulator::ssl_purchase::{
    DateForm, DetailsShape, DetailsStatus, Envelope, Messages, Record, References, StatusForm,
    Validation,
};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::bench::{Bench, csr_for, key, with};

#[tokio::test]
async fn ssl_purchase_results_come_in_an_envelope_or_bare() {
    let bench = Bench::new();
    let id = bench.ordered("a").await;
    let path = format!("ssl-certificate/{id}");
    let list = bench.get("ssl-certificate").await.json();
    let paging = [&list["total"], &list["limit"], &list["offset"]];
    assert_eq!(paging, [&json!(1), &json!(100), &json!(0)]);
    bench.change(|settings| settings.envelope = Envelope::Status);
    let (one, list) = (bench.get(&path).await.json(), bench.get("ssl-certificate").await.json());
    assert_eq!((&one["status"], &one["result"]["id"]), (&json!("success"), &json!(id)));
    assert_eq!((&list["result"][0]["id"], &list["total"]), (&json!(id), &json!(1)));
    bench.change(|settings| settings.envelope = Envelope::Bare);
    assert_eq!(bench.get(&path).await.json()["id"], json!(id));
    assert_eq!(bench.get("ssl-certificate").await.json()[0]["id"], json!(id));
    let failure = bench.get("ssl-certificate/nothing").await;
    assert_eq!((failure.status, &failure.json()["code"]), (404, &json!("not_found")));
}

#[tokio::test]
async fn ssl_purchase_failures_come_with_a_status_or_with_200() {
    let bench = Bench::new();
    let rows = [
        (Method::GET, "ssl-certificate/nothing", 404, "not_found"),
        (Method::POST, "ssl-certificate", 400, "invalid_json"),
        (Method::PUT, "ssl-certificate", 405, "method_not_allowed"),
        (Method::GET, "elsewhere", 404, "not_found"),
        (Method::GET, "ssl-certificate?plan=x", 400, "request_validation_failed"),
    ];
    for (method, path, status, code) in rows.clone() {
        let reply = bench.call(method, path, None).await;
        assert_eq!(reply.failure(), (status, code.to_owned()), "{path}");
    }
    let reply = bench.call(Method::PUT, "ssl-certificate", None).await;
    assert_eq!(reply.headers["allow"], "GET, POST");
    bench.change(|settings| settings.failures_with_200 = true);
    for (method, path, _, code) in rows {
        let reply = bench.call(method, path, None).await;
        assert_eq!(reply.failure(), (200, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn ssl_purchase_wrong_fields_are_named_in_four_ways() {
    let bench = Bench::new();
    let required = json!({"message": "This field is required.", "code": "required"});
    let text = "This field is required.";
    let rows = [
        (Messages::Coded, json!({"csr": [required], "dcv_type": [required], "plan": [required]})),
        (Messages::Plain, json!({"csr": [text], "dcv_type": [text], "plan": [text]})),
        (
            Messages::Nested,
            json!({"ssl_certificate":
                {"csr": [required], "dcv_type": [required], "plan": [required]}}),
        ),
        (Messages::Sentence, json!(format!("plan: {text} dcv_type: {text} csr: {text}"))),
    ];
    for (messages, expected) in rows {
        bench.change(|settings| settings.messages = messages);
        let reply = bench.post("ssl-certificate", &json!({})).await;
        assert_eq!(reply.json()["error"]["message"], expected, "{messages:?}");
    }
    bench.change(|settings| settings.validation_status = 422);
    assert_eq!(bench.post("ssl-certificate", &json!({})).await.status, 422);
}

#[tokio::test]
async fn ssl_purchase_orders_can_be_spelled_in_other_ways() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let seen = async |field: &str| bench.order(&id).await[field].clone();
    bench.change(|settings| settings.status_form = StatusForm::Name);
    assert_eq!(seen("status").await, json!({"name": "active"}));
    bench.change(|settings| settings.status_form = StatusForm::Code);
    assert_eq!(seen("status").await, json!({"code": "active"}));
    bench.change(|settings| {
        settings.status_form = StatusForm::Text;
        settings.status_words.insert("active".to_owned(), "Completed".to_owned());
    });
    assert_eq!(seen("status").await, "Completed");
    bench.change(|settings| settings.dates = DateForm::Blank);
    assert_eq!(seen("expires").await, "2027-06-12 20:00:00");
    bench.change(|settings| settings.dates = DateForm::Day);
    assert_eq!(seen("expires").await, "2027-06-12");
    bench.change(|settings| settings.plan_as_text = true);
    assert_eq!(seen("plan").await, json!(bench.plan));
    bench.change(|settings| settings.echoes_csr = false);
    assert_eq!(seen("csr").await, Value::Null);
    bench.change(|settings| {
        settings.renames.insert("expires".to_owned(), "valid_to".to_owned());
        settings.omits.insert("order_id".to_owned());
    });
    assert_eq!(seen("valid_to").await, "2027-06-12");
    let order = bench.order(&id).await;
    assert!(order.get("expires").is_none() && order.get("order_id").is_none(), "{order}");
}

#[tokio::test]
async fn ssl_purchase_ids_are_uuids_or_numbers_or_missing() {
    let bench = Bench::with(with(|settings| settings.numeric_ids = true));
    let order = bench.create(&["example.org"], json!({})).await.result();
    assert_eq!(order["id"], 100_001);
    assert_eq!(bench.order("100001").await["id"], 100_001);
    bench.change(|settings| settings.answers_without_id = true);
    let order = bench.create(&["example.org"], json!({"client_reference": "b"})).await.result();
    assert!(order.get("id").is_none(), "{order}");
    let list = bench.get("ssl-certificate?client_reference=b").await.result();
    assert_eq!(list[0]["id"], 100_002);
}

#[tokio::test]
async fn ssl_purchase_validation_details_have_three_shapes() {
    let bench = Bench::with(with(|settings| settings.validation = Validation::Manual));
    let id = bench.ordered("a").await;
    bench.change(|settings| settings.details_shape = DetailsShape::Camel);
    let details = bench.details(&id).await;
    assert_eq!(details["requiresAction"], true);
    let domain = &details["dcv"]["domains"][0];
    assert_eq!(domain["statusMessage"], "Waiting for customer");
    assert!(domain["dnsRecord"].is_string() && domain["dnsCnameValue"].is_string(), "{details}");
    bench.change(|settings| settings.details_shape = DetailsShape::Steps);
    let details = bench.details(&id).await;
    assert_eq!(details["steps"][0]["progress"], 0);
    assert!(details.get("dcv").is_none());
    bench.change(|settings| {
        settings.details_shape = DetailsShape::Snake;
        settings.validation = Validation::Nothing;
    });
    let id = bench.ordered("b").await;
    assert_eq!(bench.details(&id).await["dcv"]["domains"], json!([]));
    let multi = bench.plan(1);
    let email = json!({"plan": multi, "dcv_type": "EMAIL",
        "approver_email_address": "admin@a.org"});
    bench.change(|settings| settings.validation = Validation::Manual);
    let order = bench.create(&["b.org", "www.a.org", "c.org"], email).await.result();
    let id = order["id"].as_str().unwrap();
    let details = bench.details(id).await;
    let addresses = [0, 1, 2].map(|index| details["dcv"]["domains"][index]["dcv_email"].clone());
    assert_eq!(addresses, ["admin@a.org", "admin@a.org", "Not Yet Set"]);
    for (form, said) in [
        (DetailsStatus::Bool, json!(false)),
        (DetailsStatus::Number, json!(0)),
        (DetailsStatus::Word, json!("pending")),
    ] {
        bench.change(|settings| settings.details_status = form);
        assert_eq!(bench.details(id).await["dcv"]["domains"][0]["status"], said);
    }
}

#[tokio::test]
async fn ssl_purchase_paths_can_have_a_prefix() {
    let bench = Bench::with(with(|settings| settings.base_path = "api/v1".to_owned()));
    assert_eq!(bench.get("ssl-certificate").await.status, 404);
    assert_eq!(bench.get("api/v1/ssl-certificate").await.result(), json!([]));
}

#[tokio::test]
async fn ssl_purchase_management_sets_shows_and_acts() {
    let bench = Bench::new();
    let manage = async |method: Method, path: &str, body: &str| {
        let uri = format!("/management/ssl-purchase/demo{path}");
        let request = Request::builder().method(method).uri(uri).body(body.to_owned().into());
        bench.send(request.unwrap()).await
    };
    let body = r#"{"keyAlgorithm": "ECDSA", "validation": {"how": "manual"},
        "files": {"root": false}, "plans": [{"name": "only", "interval": 1}]}"#;
    let site = manage(Method::PUT, "", body).await.json();
    assert_eq!(site["settings"]["plans"][0]["interval"], 1);
    assert!(site["rootPem"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let plan = site["settings"]["plans"][0]["id"].clone();
    assert_eq!(manage(Method::GET, "", "").await.json()["settings"]["plans"][0]["id"], plan);
    let misspelled = manage(Method::PUT, "", r#"{"pendingSecond": 1}"#).await;
    assert_eq!(misspelled.status, 400);

    let fault = r#"{"operation": "create", "kind": "dropAfterCommit"}"#;
    assert_eq!(manage(Method::POST, "/faults", fault).await.status, 204);
    let faults = manage(Method::GET, "/faults", "").await.json();
    assert_eq!(faults["faults"][0]["operation"], "create");
    assert_eq!(manage(Method::DELETE, "/faults", "").await.status, 204);

    let body = json!({"plan": plan, "csr": csr_for(&key(), &["a.org"]), "dcv_type": "DNS",
        "client_reference": "a"});
    let id = bench.post("ssl-certificate", &body).await.result()["id"].as_str().unwrap().to_owned();
    let act = async |action: &str| manage(Method::POST, &format!("/orders/{id}"), action).await;
    let record: Record = serde_json::from_value(act(r#"{"action": "meet"}"#).await.json()).unwrap();
    assert_eq!((record.id.as_str(), record.checks[0].is_met), (id.as_str(), true));
    assert_eq!(act(r#"{"action": "meet"}"#).await.status, 409);
    assert_eq!(act(r#"{"action": "dance"}"#).await.status, 400);
    assert_eq!(manage(Method::POST, "/orders/x", r#"{"action": "advance"}"#).await.status, 404);
    assert_eq!(act(r#"{"action": "advance"}"#).await.json()["state"], "active");
    assert_eq!(act(r#"{"action": "set", "state": "odd"}"#).await.json()["state"], "odd");
    let orders = manage(Method::GET, "/orders", "").await.json();
    assert_eq!(orders["orders"][0]["purchases"][0]["deed"], "create");
    let references: References =
        serde_json::from_value(manage(Method::GET, "/references", "").await.json()).unwrap();
    assert_eq!(references.of("a").creates, 1);
    let requests = manage(Method::GET, "/requests", "").await.json();
    assert_eq!(requests["operations"]["create"]["200"], 1);
    assert_eq!(manage(Method::POST, "/restart", "").await.status, 204);
    for path in ["/ssl-purchase/-x/ssl-certificate", "/ssl-purchase/demo", "/ssl-purchase/"] {
        let request = Request::get(path).body(String::new().into()).unwrap();
        assert_eq!(bench.send(request).await.status, 404, "{path}");
    }
    let sites = bench.simulator.sites();
    assert_eq!((sites[0].system.as_str(), sites[0].name.as_str()), ("ssl-purchase", "demo"));
}
