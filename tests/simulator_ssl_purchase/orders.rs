//! Orders: what may be ordered, by whom, and how an order becomes active.

use chancery::simulator::ssl_purchase::{
    Action, Authentication, Delivery, ExtraNames, NotDone, Operation, Plan, Reseller, Step,
    Subject, Validation, ValidationLevel,
};
use chancery::simulator::{Fault, KeyAlgorithm, Kind};
use http::Method;
use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value, json};
use x509_cert::Certificate;

use crate::bench::{Bench, basic, csr_for, days, is_for, key, names, quick, with};

#[tokio::test]
async fn ssl_purchase_order_goes_from_pending_to_its_certificate() {
    let bench = Bench::new();
    let key = key();
    let further = json!({"client_reference": "chancery-1 #a", "company_name": "Example"});
    let body = bench.body(&key, &["example.org", "www.example.org"], further);
    let reply = bench.post("ssl-certificate", &body).await;
    let order = reply.result();
    let id = order["id"].as_str().unwrap();
    assert_eq!(id.len(), 36);
    assert_eq!(order["status"], "pending");
    assert_eq!(order["client_reference"], "chancery-1 #a");
    assert_eq!(order["plan"], json!({"id": bench.plan, "name": "Demo DV"}));
    assert_eq!(order["common_name"], "example.org");
    assert_eq!(order["csr"], body["csr"]);
    assert_eq!((&order["expires"], &order["issued_at"]), (&Value::Null, &Value::Null));
    assert_eq!(bench.file(id, "crt").await.failure(), (404, "not_available".to_owned()));
    bench.pass(0.7);
    assert_eq!(bench.status(id).await, "pending", "0.3 s until it is validated, and 0.5 s");
    bench.pass(0.2);
    let order = bench.order(id).await;
    assert_eq!(order["status"], "active");
    assert_eq!(order["issued_at"], "2026-11-24T20:00:00Z");
    assert_eq!(order["expires"], "2027-06-12T20:00:00Z", "200 days");
    assert_eq!(order["subscription_expires"], "2027-11-24T20:00:00Z", "12 months");

    let leaf = bench.leaf(id).await;
    assert!(is_for(&leaf, &key));
    assert_eq!(leaf.tbs_certificate().subject().to_string(), "CN=example.org");
    assert_eq!(names(&leaf), ["example.org", "www.example.org"]);
    assert_eq!(days(&leaf), 200);
    let ca = Certificate::load_pem_chain(&bench.file(id, "ca").await.body).unwrap();
    assert_eq!(ca.len(), 2, "the root is there");
    bench.verify(&leaf, &ca[..1]).unwrap();

    let record = bench.record(0);
    assert_eq!(record.purchases[0].delivery, Delivery::Delivered);
    assert_eq!(record.purchases[0].fields["company_name"], "Example");
    assert_eq!(record.purchases[0].spki_sha256, record.certificates[0].spki_sha256);
    let states: Vec<&str> = record.history.iter().map(|past| past.state.as_str()).collect();
    assert_eq!(states, ["pending", "active"]);
    assert_eq!(bench.site.references().of("chancery-1 #a").creates, 1);
    assert_eq!(bench.site.requests().count("create", "200"), 1);
    assert_eq!(bench.site.requests().count("downloadCrt", "404"), 1);
}

#[tokio::test]
async fn ssl_purchase_issues_for_rsa_keys_from_rsa_authorities() {
    let bench = Bench::with(with(|settings| settings.key_algorithm = KeyAlgorithm::Rsa));
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
    let id = bench.ordered_with(&key, "a").await;
    bench.pass(1.0);
    let leaf = bench.leaf(&id).await;
    let ca = Certificate::load_pem_chain(&bench.file(&id, "ca").await.body).unwrap();
    assert!(is_for(&leaf, &key));
    bench.verify(&leaf, &ca[..1]).unwrap();
}

#[tokio::test]
async fn ssl_purchase_takes_basic_credentials_and_no_others_by_default() {
    let bench = Bench::new();
    let good = basic("demo-reseller", "changeme");
    let (wrong_key, wrong_reseller) = (basic("demo-reseller", "x"), basic("x", "changeme"));
    let lower = good.replacen("Basic", "basic", 1);
    let rows = [
        ("good", vec![("authorization", good.as_str())], 200),
        ("scheme in lower case", vec![("authorization", lower.as_str())], 200),
        ("none", vec![], 401),
        ("wrong key", vec![("authorization", wrong_key.as_str())], 401),
        ("wrong reseller", vec![("authorization", wrong_reseller.as_str())], 401),
        ("no base64", vec![("authorization", "Basic §")], 401),
        ("header", vec![("x-apikey", "changeme")], 401),
    ];
    for (case, headers, status) in rows {
        let reply = bench.bare(Method::GET, "ssl-certificate", &headers, String::new()).await;
        assert_eq!(reply.status, status, "{case}");
    }
    bench.change(|settings| settings.reject_next = true);
    assert_eq!(bench.get("ssl-certificate").await.status, 401);
    assert_eq!(bench.get("ssl-certificate").await.status, 200, "once");
    bench.change(|settings| settings.authentication = [Authentication::Header].into());
    assert_eq!(bench.get("ssl-certificate").await.status, 401, "Basic is not taken");
    for (value, status) in [("changeme", 200), ("x", 401)] {
        let headers = [("x-apikey", value)];
        let reply = bench.bare(Method::GET, "ssl-certificate", &headers, String::new()).await;
        assert_eq!(reply.status, status, "{value}");
    }
}

#[tokio::test]
async fn ssl_purchase_tokens_go_with_a_realm_and_expire() {
    let bench = Bench::new();
    let form = ("content-type", "application/x-www-form-urlencoded");
    let good = "client_id=demo-client&client_secret=changeme-too&grant_type=client_credentials";
    let rows = [
        ("JSON", ("content-type", "application/json"), good, 400, "invalid_request"),
        ("no grant", form, "client_id=demo-client&client_secret=x", 400, "invalid_request"),
        (
            "another grant",
            form,
            "client_id=demo-client&client_secret=changeme-too&grant_type=password",
            400,
            "unsupported_grant_type",
        ),
        (
            "wrong secret",
            form,
            "client_id=demo-client&client_secret=x&grant_type=client_credentials",
            401,
            "invalid_client",
        ),
    ];
    for (case, content_type, body, status, error) in rows {
        let reply = bench.bare(Method::POST, "token", &[content_type], body.to_owned()).await;
        assert_eq!((reply.status, &reply.json()["error"]), (status, &json!(error)), "{case}");
    }
    let token = async || {
        let reply = bench.bare(Method::POST, "token", &[form], good.to_owned()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let issued = token().await;
    assert_eq!(issued["expires_in"], 300);
    assert_eq!(issued["refresh_token_exires_in"], 1800, "spelled like this");
    let use_it = async |token: &Value, realm: Option<&str>| {
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(realm.map(|realm| ("realm", realm)));
        bench.bare(Method::GET, "ssl-certificate", &headers, String::new()).await.status
    };
    assert_eq!(use_it(&issued, Some("demo-reseller")).await, 200);
    assert_eq!(use_it(&issued, None).await, 401, "the realm is needed");
    assert_eq!(use_it(&issued, Some("another")).await, 401, "and must be the client's");
    bench.pass(300.0);
    assert_eq!(use_it(&issued, Some("demo-reseller")).await, 401, "it has expired");
    let issued = token().await;
    assert_eq!(use_it(&issued, Some("demo-reseller")).await, 200);
    bench.site.restart();
    assert_eq!(use_it(&issued, Some("demo-reseller")).await, 401, "the service was restarted");
}

#[tokio::test]
async fn ssl_purchase_resellers_do_not_see_each_other() {
    let bench = Bench::with(with(|settings| {
        let other = Reseller { client_id: String::new(), ..Reseller::default() };
        settings.resellers.insert("other".to_owned(), other);
    }));
    let id = bench.ordered("a").await;
    let authorization = basic("other", "changeme");
    let headers = [("authorization", authorization.as_str())];
    let read = format!("ssl-certificate/{id}");
    assert_eq!(bench.bare(Method::GET, &read, &headers, String::new()).await.status, 404);
    let list = bench.bare(Method::GET, "ssl-certificate", &headers, String::new()).await;
    assert_eq!(list.result(), json!([]));
}

#[tokio::test]
async fn ssl_purchase_names_come_from_the_csr_as_far_as_the_plan_goes() {
    let bench = Bench::new();
    let [single, multi, wildcard, _] = [0, 1, 2, 3].map(|index| bench.plan(index));
    let issued = async |plan: &str, asked: &[&str]| {
        let reply = bench.create(asked, json!({ "plan": plan })).await;
        if reply.status != 200 {
            return reply.json()["error"]["message"]["csr"][0]["message"].to_string();
        }
        bench.pass(1.0);
        let id = reply.result()["id"].as_str().unwrap().to_owned();
        names(&bench.leaf(&id).await).join(" ")
    };
    let rows: [(&str, &[&str], &str); 10] = [
        (&single, &["example.org"], "example.org www.example.org"),
        (&single, &["www.example.org"], "www.example.org example.org"),
        (&single, &["Example.ORG", "b.example.org"], "example.org www.example.org"),
        (&single, &["", "b.example.org"], "b.example.org www.b.example.org"),
        (&single, &["*.example.org"], "\"This plan has no wildcards.\""),
        (&single, &["example.org", "192.0.2.1"], "\"The CSR may have DNS names only.\""),
        (&single, &[""], "\"The CSR has no name.\""),
        (&multi, &["a.org", "b.org", "a.org", "c.org"], "a.org b.org c.org"),
        (&wildcard, &["*.a.org", "b.a.org"], "*.a.org a.org"),
        (&wildcard, &["a.org"], "\"The common name must be a wildcard for this plan.\""),
    ];
    for (plan, asked, expected) in rows {
        assert_eq!(issued(plan, asked).await, expected, "{asked:?}");
    }
    bench.change(|settings| settings.no_twin = true);
    assert_eq!(issued(&single, &["example.org"]).await, "example.org");
    bench.change(|settings| settings.extra_names = ExtraNames::Refused);
    assert_eq!(
        issued(&single, &["example.org", "b.example.org"]).await,
        "\"The CSR has more names than this plan covers.\""
    );
    bench.change(|settings| settings.needs_common_name = true);
    assert_eq!(issued(&single, &["", "a.org"]).await, "\"The CSR has no common name.\"");
    bench.change(|settings| settings.refuses_ecdsa = true);
    assert_eq!(
        issued(&single, &["a.org"]).await,
        "\"The key must be RSA with at least 2048 bits.\""
    );
}

#[tokio::test]
async fn ssl_purchase_refuses_what_the_vendors_tables_do_not_have() {
    let bench = Bench::new();
    let key = key();
    let wrong = async |further: Value| {
        let reply = bench.post("ssl-certificate", &bench.body(&key, &["a.org"], further)).await;
        if reply.status == 200 {
            return "taken".to_owned();
        }
        assert_eq!(reply.failure(), (400, "request_validation_failed".to_owned()));
        let body = reply.json();
        let fields = body["error"]["message"].as_object().unwrap();
        fields.keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let ov = bench.plan(3);
    let person = json!({"plan": ov, "chamber_of_commerce": "1", "department": "IT",
        "approver_first_name": "A", "approver_last_name": "B"});
    let bare = csr_for(&key, &["a.org"]).lines().nth(1).unwrap().to_owned();
    let rows = [
        (json!({}), "taken"),
        (json!({"dcv_type": "EMAIL"}), "approver_email_address"),
        (json!({"dcv_type": "EMAIL", "approver_email_address": "john.doe@a.org"}), "taken"),
        (json!({"dcv_type": "email"}), "dcv_type"),
        (json!({"plan": null, "dcv_type": null}), "dcv_type plan"),
        (json!({"plan": "6f9619ff-8b86-4011-b42d-00cf4fc964ff"}), "plan"),
        (json!({"csr": bare}), "csr"),
        (json!({"country": "NL"}), "country"),
        (json!({"ee_reference_order_id": "1"}), "taken"),
        (
            json!({"plan": ov}),
            "approver_first_name approver_last_name chamber_of_commerce department",
        ),
        (person, "taken"),
    ];
    for (further, expected) in rows {
        assert_eq!(wrong(further.clone()).await, expected, "{further}");
    }
    let wildcard = bench.plan(2);
    let body = bench.body(&key, &["*.a.org"], json!({"plan": wildcard, "dcv_type": "FILE"}));
    let reply = bench.post("ssl-certificate", &body).await;
    assert!(reply.json()["error"]["message"]["dcv_type"].is_array(), "{}", reply.text());
    bench.change(|settings| settings.checks_approver = true);
    let email = json!({"dcv_type": "EMAIL", "approver_email_address": "john.doe@a.org"});
    assert_eq!(wrong(email).await, "approver_email_address");
    bench.change(|settings| settings.ignores_unknown_fields = true);
    assert_eq!(wrong(json!({"country": "NL"})).await, "taken");
    let reply = bench.post("ssl-certificate", &json!([])).await;
    assert_eq!(reply.failure(), (400, "invalid_json".to_owned()));
}

#[tokio::test]
async fn ssl_purchase_order_waits_until_somebody_has_shown_control_over_the_domain() {
    let bench = Bench::with(with(|settings| settings.validation = Validation::Manual));
    let multi = bench.plan(1);
    let reply = bench.create(&["a.org", "b.org"], json!({ "plan": multi })).await;
    let id = reply.result()["id"].as_str().unwrap().to_owned();
    bench.pass_days(3);
    assert_eq!(bench.status(&id).await, "pending");
    let details = bench.details(&id).await;
    assert_eq!(details["requires_action"], true);
    let domains = details["dcv"]["domains"].as_array().unwrap();
    assert_eq!(domains.len(), 2);
    assert_eq!(domains[1]["domain"], "b.org");
    assert_eq!((&domains[1]["status"], &domains[1]["dcv_type"]), (&json!(false), &json!("DNS")));
    assert!(domains[1]["dns_record"].as_str().unwrap().ends_with(".b.org"), "{details}");
    assert!(domains[1]["dns_cname_value"].is_string(), "{details}");

    let meet = |domain: Option<&str>| Action::Meet { domain: domain.map(str::to_owned) };
    let record = bench.site.act(&id, &meet(Some("b.org"))).unwrap();
    assert_eq!(record.checks.iter().filter(|check| check.is_met).count(), 1);
    assert!(matches!(
        bench.site.act(&id, &meet(Some("b.org"))),
        Err(NotDone::WrongState { done: "validated", .. })
    ));
    bench.pass(9.0);
    assert_eq!(bench.status(&id).await, "pending");
    bench.site.act(&id, &meet(None)).unwrap();
    assert_eq!(bench.status(&id).await, "pending");
    bench.pass(0.5);
    assert_eq!(bench.status(&id).await, "active");
    assert_eq!(bench.details(&id).await["requires_action"], false);
}

#[tokio::test]
async fn ssl_purchase_validation_can_go_another_way_and_may_count_only_when_asked_for() {
    let bench = Bench::with(with(|settings| {
        settings.validation = Validation::Manual;
        settings.counts_when_asked = true;
    }));
    let id = bench.ordered("a").await;
    let validate =
        async |body: Value| bench.post(&format!("ssl-certificate/{id}/validate"), &body).await;
    bench.site.act(&id, &Action::Meet { domain: None }).unwrap();
    bench.pass(60.0);
    assert_eq!(bench.status(&id).await, "pending", "nobody has looked");
    assert!(bench.record(0).checks[0].is_met && !bench.record(0).checks[0].counts);
    let wrong = json!({"dcv_type": "FILE", "domain": "another.org"});
    assert_eq!(validate(wrong).await.failure().0, 400);
    let file = json!({"dcv_type": "FILE", "domain": "example.org"});
    assert_eq!(validate(file).await.result()["status"], "pending");
    let details = bench.details(&id).await;
    let domain = &details["dcv"]["domains"][0];
    let location = domain["file_location"].as_str().unwrap();
    assert!(location.starts_with("example.org/.well-known/pki-validation/"), "{location}");
    assert!(domain["file_contents"].is_string());
    bench.pass(0.5);
    assert_eq!(bench.status(&id).await, "active");
    let again = json!({"dcv_type": "DNS"});
    assert_eq!(validate(again).await.failure(), (409, "invalid_state".to_owned()));
    assert_eq!(bench.site.references().of("a").validates, 1);

    let id = bench.ordered("b").await;
    let path = format!("ssl-certificate/{id}/validate");
    let body = json!({"dcv_type": "EMAIL", "email_address": "admin@example.org"});
    bench.post(&path, &body).await.result();
    assert_eq!(bench.details(&id).await["dcv"]["domains"][0]["dcv_email"], "admin@example.org");
}

#[tokio::test]
async fn ssl_purchase_organisations_are_checked_too() {
    let bench = Bench::with(with(|settings| settings.validation = Validation::Manual));
    let further = json!({"plan": bench.plan(3), "chamber_of_commerce": "1", "department": "IT",
        "approver_first_name": "A", "approver_last_name": "B", "company_name": "Example BV"});
    let id = bench.create(&["a.org"], further).await.result()["id"].as_str().unwrap().to_owned();
    let details = bench.details(&id).await;
    assert_eq!(details["organization"]["status_detail"], -1);
    assert_eq!(details["phone"]["status"], false);
    bench.site.act(&id, &Action::Meet { domain: Some("a.org".to_owned()) }).unwrap();
    bench.pass(9.0);
    assert_eq!(bench.status(&id).await, "pending");
    let subjects: Vec<Subject> = bench.record(0).checks.iter().map(|one| one.subject).collect();
    assert_eq!(subjects, [Subject::Domain, Subject::Organization, Subject::Phone]);
    bench.site.act(&id, &Action::Meet { domain: None }).unwrap();
    bench.pass(0.5);
    let leaf = bench.leaf(&id).await;
    assert_eq!(leaf.tbs_certificate().subject().to_string(), "CN=a.org,O=Example BV");
}

#[tokio::test]
async fn ssl_purchase_plans_and_lifetimes_are_settings() {
    let bench = Bench::with(with(|settings| {
        let ev = Plan {
            name: "EV".to_owned(),
            interval: 1,
            renew_days_before_expiration: 40,
            validation_level: ValidationLevel::Ev,
            multi_domain: true,
            grace_days: 0,
            ..Plan::default()
        };
        settings.plans = vec![ev.clone(), ev];
        settings.certificate_days = 47;
        settings.token_lifetime_seconds = 1;
        let reseller = settings.resellers.get_mut("demo-reseller").unwrap();
        reseller.api_key = "another".to_owned();
    }));
    assert_ne!(bench.plan(0), bench.plan(1), "equal names get different ids");
    assert_eq!(bench.get("ssl-certificate").await.status, 401);
    bench.change(|settings| {
        settings.resellers.get_mut("demo-reseller").unwrap().api_key = "changeme".to_owned();
    });
    let further = json!({"chamber_of_commerce": "1", "department": "IT",
        "approver_first_name": "A", "approver_last_name": "B"});
    let reply = bench.create(&["a.org", "b.org"], further.clone()).await;
    let id = reply.result()["id"].as_str().unwrap().to_owned();
    assert_eq!(bench.details(&id).await["brand_validation"], true);
    assert_eq!(bench.details(&id).await["docs"]["status_detail"], -1);
    bench.pass(1.0);
    let leaf = bench.leaf(&id).await;
    assert_eq!(days(&leaf), 30, "the subscription of a month cuts it short");
    let subject = leaf.tbs_certificate().subject().to_string();
    assert_eq!(subject, "CN=a.org,O=Internet Widgits Pty Ltd", "the organisation of the CSR");
    bench.delete(&id).await.result();
    assert!(!bench.record(0).is_refunded, "there is no grace");

    bench.change(|settings| settings.plans[0].interval = 12);
    let reply = bench.create(&["a.org"], further).await;
    bench.pass(1.0);
    let id = reply.result()["id"].as_str().unwrap().to_owned();
    assert_eq!(days(&bench.leaf(&id).await), 47);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = "client_id=demo-client&client_secret=changeme-too&grant_type=client_credentials";
    let token = bench.bare(Method::POST, "token", &form, body.to_owned()).await.json();
    assert_eq!(token["expires_in"], 1);
}

#[tokio::test]
async fn ssl_purchase_orders_take_any_way_that_is_set() {
    let message = Some("No luck".to_owned());
    let states = vec![
        Step::passing("wait_for_approval", 1.0),
        Step { message: message.clone(), ..Step::waiting("In-Progress") },
        Step::waiting("completed"),
    ];
    let bench = Bench::with(with(|settings| settings.states = Some(states)));
    let id = bench.ordered("a").await;
    assert_eq!(bench.status(&id).await, "wait_for_approval");
    bench.pass(1.0);
    let order = bench.order(&id).await;
    assert_eq!(
        (&order["status"], &order["status_message"]),
        (&json!("In-Progress"), &json!(message))
    );
    bench.pass_days(9);
    assert_eq!(bench.status(&id).await, "In-Progress");
    bench.site.act(&id, &Action::Set { state: "odd".to_owned() }).unwrap();
    assert_eq!(bench.status(&id).await, "odd");
    bench.site.act(&id, &Action::Advance).unwrap();
    assert_eq!(bench.status(&id).await, "completed");
    bench.leaf(&id).await;
    assert!(matches!(
        bench.site.act(&id, &Action::Advance),
        Err(NotDone::WrongState { done: "advanced", .. })
    ));

    for (action, state) in [
        (Action::Fail { message: message.clone() }, "failed"),
        (Action::Cancel { message: message.clone() }, "cancelled"),
    ] {
        let id = bench.ordered("b").await;
        bench.site.act(&id, &action).unwrap();
        bench.pass_days(1);
        let order = bench.order(&id).await;
        assert_eq!((&order["status"], &order["status_message"]), (&json!(state), &json!(message)));
        assert_eq!(bench.file(&id, "crt").await.status, 404);
    }
    assert!(matches!(bench.site.act("nothing", &Action::Advance), Err(NotDone::NoSuchOrder(_))));
}

#[tokio::test]
async fn ssl_purchase_credit_can_be_used_up() {
    let bench = Bench::with(with(|settings| {
        let reseller = Reseller { credit: Some(1), ..Reseller::default() };
        settings.resellers.insert("demo-reseller".to_owned(), reseller);
    }));
    let id = bench.ordered("a").await;
    let further = json!({"client_reference": "b"});
    let reply = bench.create(&["example.org"], further).await;
    assert_eq!(reply.failure(), (402, "insufficient_funds".to_owned()));
    assert_eq!(bench.site.references().of("b").creates, 0);
    assert_eq!(bench.delete(&id).await.result(), Value::Null);
    bench.ordered("c").await;
    assert_eq!(bench.site.references().paid, 2, "the refund has paid for it");
}

#[tokio::test]
async fn ssl_purchase_references_are_no_keys_unless_that_is_set() {
    let bench = Bench::new();
    bench.ordered("a").await;
    bench.ordered("a").await;
    assert_eq!(bench.site.references().of("a").creates, 2);
    bench.change(|settings| settings.duplicate_next = true);
    let id = bench.ordered("b").await;
    bench.ordered("c").await;
    let references = bench.site.references();
    assert_eq!((references.of("b").creates, references.of("c").creates), (2, 1), "once");
    let list = bench.get("ssl-certificate?client_reference=b").await.result();
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(bench.record(2).id, id, "the first is the answer");
    assert_eq!(bench.record(2).purchases[0].delivery, Delivery::Delivered);
    assert_eq!(bench.record(3).purchases[0].delivery, Delivery::Dropped);
    bench.change(|settings| settings.refuses_known_references = true);
    let reply = bench.create(&["example.org"], json!({"client_reference": "a"})).await;
    assert_eq!(reply.failure(), (409, "conflict".to_owned()));
    bench.create(&["example.org"], json!({})).await.result();
    bench.create(&["example.org"], json!({})).await.result();
    assert_eq!(bench.site.references().of("").creates, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ssl_purchase_orders_of_the_same_moment_are_one_after_the_other() {
    let bench = Bench::with(with(|settings| settings.refuses_known_references = true));
    let body = bench.body(&key(), &["example.org"], json!({"client_reference": "a"}));
    let replies = (0..16).map(|_| bench.post("ssl-certificate", &body));
    let replies = futures::future::join_all(replies).await;
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert_eq!(bench.site.references().of("a").creates, 1);
    assert_eq!(bench.site.requests().total("create"), 16);
}

#[tokio::test(start_paused = true)]
async fn ssl_purchase_answers_get_lost_before_and_after_an_order_is_made() {
    let bench = Bench::new();
    let reset = Kind::Status { status: 503, body: None, retry_after: Some(7), html: false };
    let api = |after_commit| Kind::ApiError {
        code: "provisioner_down".to_owned(),
        status: 502,
        messages: vec!["Sorry.".to_owned()],
        after_commit,
    };
    let rows = [
        (Kind::DropBeforeCommit, 0),
        (reset, 0),
        (Kind::HtmlBody, 0),
        (api(false), 0),
        (Kind::DropAfterCommit, 1),
        (Kind::TruncatedBody, 1),
        (Kind::EmptyBody, 1),
        (api(true), 1),
    ];
    for (index, (kind, made)) in rows.into_iter().enumerate() {
        let reference = format!("r{index}");
        bench.site.inject(Fault::next(Operation::Create, kind.clone())).unwrap();
        let reply = bench.create(&["a.org"], json!({"client_reference": reference})).await;
        let is_good = reply.is_whole && !reply.is_disconnected && reply.text().contains("\"id\"");
        assert!(!is_good, "{kind:?}");
        assert_eq!(bench.site.references().of(&reference).creates, made, "{kind:?}");
        if matches!(kind, Kind::ApiError { .. }) {
            assert_eq!(reply.failure(), (502, "provisioner_down".to_owned()));
        }
        let found = bench.get(&format!("ssl-certificate?client_reference={reference}")).await;
        assert_eq!(found.result().as_array().unwrap().len() as u64, made, "{kind:?}");
    }
    for order in bench.site.orders().unwrap() {
        assert_eq!(order.purchases[0].delivery, Delivery::Dropped);
    }
    let delay = Kind::Delay { seconds: 30.0, after_commit: false };
    bench.site.inject(Fault::next(Operation::List, delay)).unwrap();
    let begin = tokio::time::Instant::now();
    bench.get("ssl-certificate").await.result();
    assert!(begin.elapsed().as_secs() >= 30);
    assert_eq!(bench.site.faults(), []);
}

#[tokio::test]
async fn ssl_purchase_every_operation_can_lose_its_answer() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let change = json!({"csr": csr_for(&key(), &["example.org"]), "dcv_type": "DNS"});
    let again = bench.body(&key(), &["example.org"], json!({}));
    let retry = json!({"dcv_type": "DNS"});
    bench.pass_days(340);
    bench.change(|settings| settings.validation = Validation::Manual);
    let of = |rest: &str| format!("ssl-certificate/{id}{rest}");
    let token = "token".to_owned();
    let rows = [
        (Operation::Token, Method::POST, token, None),
        (Operation::List, Method::GET, "ssl-certificate".to_owned(), None),
        (Operation::Read, Method::GET, of(""), None),
        (Operation::Reissue, Method::POST, of("/reissue"), Some(&change)),
        (Operation::ValidationDetails, Method::GET, of("/validation-details"), None),
        (Operation::DownloadZip, Method::GET, of("/download-zip"), None),
        (Operation::DownloadPkcs7, Method::GET, of("/download-pkcs7"), None),
        (Operation::DownloadCrt, Method::GET, of("/download-crt"), None),
        (Operation::DownloadCsr, Method::GET, of("/download-csr"), None),
        (Operation::DownloadCa, Method::GET, of("/download-ca"), None),
        (Operation::Plans, Method::GET, "ssl-certificate-plan".to_owned(), None),
        (Operation::Plan, Method::GET, format!("ssl-certificate-plan/{}", bench.plan), None),
        (Operation::Renew, Method::POST, of("/renew"), Some(&again)),
        (Operation::Validate, Method::POST, of("/validate"), Some(&retry)),
        (Operation::Delete, Method::DELETE, of(""), None),
    ];
    for (operation, method, path, body) in rows {
        bench.site.inject(Fault::next(operation, Kind::DropAfterCommit)).unwrap();
        let reply = bench.call(method, &path, body).await;
        assert!(reply.is_disconnected, "{operation:?}");
        assert_eq!(bench.site.requests().count(operation.label(), "disconnected"), 1);
    }
    let tally = bench.site.references().of("a");
    let done = (tally.creates, tally.renews, tally.reissues, tally.validates, tally.deletes);
    assert_eq!(done, (1, 1, 1, 1, 1), "all was done");
}

#[tokio::test]
async fn ssl_purchase_certificates_are_spoiled_on_request() {
    let bench = Bench::new();
    let spoiled = async |kind: Kind| {
        bench.site.inject(Fault::next(Operation::Create, kind)).unwrap();
        let own = key();
        let id = bench.ordered_with(&own, "a").await;
        bench.pass(1.0);
        let leaf = bench.leaf(&id).await;
        let ca = Certificate::load_pem_chain(&bench.file(&id, "ca").await.body).unwrap();
        let verified = bench.verify(&leaf, &ca).map_err(|error| format!("{error:?}"));
        (is_for(&leaf, &own), verified, ca)
    };
    let (is_own, verified, _) = spoiled(Kind::WrongKey).await;
    assert!(!is_own && verified.is_ok());
    for kind in [Kind::UnrelatedChain, Kind::ForgedSignature] {
        let (is_own, verified, _) = spoiled(kind.clone()).await;
        assert!(is_own && verified.is_err(), "{kind:?}: {verified:?}");
    }
    let (_, verified, _) = spoiled(Kind::Expired).await;
    assert!(verified.unwrap_err().contains("CertExpired"));
    let (_, verified, _) = spoiled(Kind::NotYetValid { seconds: 60 }).await;
    assert!(verified.unwrap_err().contains("CertNotValidYet"));
    let (_, verified, ca) = spoiled(Kind::WrongChainOrder).await;
    let root = ca[0].tbs_certificate();
    assert_eq!((verified, root.issuer()), (Ok(()), root.subject()), "the root is first");
    let refused = bench.site.inject(Fault::next(Operation::DownloadCrt, Kind::WrongKey));
    assert!(refused.is_err());
}

#[test]
fn ssl_purchase_settings_that_contradict_themselves_are_refused() {
    let site = Bench::new().site;
    type Change = fn(&mut chancery::simulator::ssl_purchase::SiteSettings);
    let rows: [(Change, &str); 8] = [
        (|s| s.pending_seconds = -1.0, "pendingSeconds"),
        (|s| s.validation = Validation::After { seconds: f64::NAN }, "validation"),
        (|s| s.files_missing_status = 200, "filesMissingStatus"),
        (|s| s.page_limit = 0, "pageLimit"),
        (|s| s.states = Some(Vec::new()), "states"),
        (|s| s.header = "no header".to_owned(), "header"),
        (|s| s.plans[0].id = Some("x".to_owned()), "UUID"),
        (
            |s| {
                s.envelope = chancery::simulator::ssl_purchase::Envelope::Bare;
                s.failures_with_200 = true;
            },
            "envelope",
        ),
    ];
    for (change, named) in rows {
        let mut settings = quick();
        change(&mut settings);
        let objection = site.configure(settings).unwrap_err().to_string();
        assert!(objection.contains(named), "{objection}");
    }
}
