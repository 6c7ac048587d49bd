//! Lists of orders and plans: filters, pages and what is missing in them.

use chancery::simulator::ssl_purchase::{Action, ReferenceFilter};
use http::Method;
use serde_json::{Value, json};

use crate::bench::Bench;

/// The references that a list has.
async fn listed(bench: &Bench, query: &str) -> Vec<String> {
    let list = bench.get(&format!("ssl-certificate{query}")).await.result();
    let mut found: Vec<String> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["client_reference"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn ssl_purchase_lists_are_filtered_exactly_by_prefix_or_not() {
    let bench = Bench::new();
    for reference in ["a#1", "a#12", "b"] {
        bench.ordered(reference).await;
    }
    let query = "?client_reference=a%231";
    assert_eq!(listed(&bench, query).await, ["a#1"]);
    assert_eq!(listed(&bench, "").await, ["a#1", "a#12", "b"]);
    assert_eq!(listed(&bench, "?client_reference=").await.len(), 3, "an empty filter is none");
    bench.change(|settings| settings.reference_filter = ReferenceFilter::Prefix);
    assert_eq!(listed(&bench, query).await, ["a#1", "a#12"]);
    bench.change(|settings| settings.reference_filter = ReferenceFilter::Ignored);
    assert_eq!(listed(&bench, query).await, ["a#1", "a#12", "b"]);
    assert_eq!(listed(&bench, &format!("?plan={}", bench.plan)).await.len(), 3);
    assert_eq!(listed(&bench, &format!("?plan={}", bench.plan(1))).await.len(), 0);
}

#[tokio::test]
async fn ssl_purchase_lists_come_in_pages() {
    let bench = Bench::new();
    for index in 0..5 {
        bench.ordered(&format!("r{index}")).await;
    }
    bench.change(|settings| settings.page_limit = 2);
    let ids = async |query: &str| {
        let page = bench.get(&format!("ssl-certificate{query}")).await.json();
        assert_eq!((&page["total"], &page["limit"]), (&json!(5), &json!(2)), "{query}");
        let items = page["result"].as_array().unwrap();
        items.iter().map(|order| order["id"].clone()).collect::<Vec<Value>>()
    };
    let mut all = ids("").await;
    assert_eq!(all.len(), 2);
    all.extend(ids("?offset=2&limit=2").await);
    all.extend(ids("?offset=4&limit=100").await);
    assert_eq!(ids("?offset=6").await, [] as [Value; 0]);
    all.sort_by_key(Value::to_string);
    all.dedup();
    assert_eq!(all.len(), 5, "every order is on one page");
    assert_eq!(bench.get("ssl-certificate?offset=-1").await.failure().0, 400);
    bench.change(|settings| settings.ignores_offset = true);
    assert_eq!(ids("?offset=2").await, ids("").await);
}

#[tokio::test]
async fn ssl_purchase_lists_may_lack_orders_and_fields() {
    let bench = Bench::new();
    bench.ordered("a").await;
    bench.change(|settings| settings.list_lag_seconds = 5.0);
    assert!(listed(&bench, "").await.is_empty());
    bench.pass(5.0);
    bench.ordered("b").await;
    assert_eq!(listed(&bench, "").await, ["a"]);
    bench.change(|settings| {
        settings.list_lag_seconds = 0.0;
        settings.list_omits_pending = true;
    });
    assert_eq!(listed(&bench, "").await, ["a"]);
    bench.pass(1.0);
    assert_eq!(listed(&bench, "").await, ["a", "b"]);
    bench.change(|settings| {
        settings.list_omits = ["client_reference", "csr"].map(str::to_owned).into();
    });
    let list = bench.get("ssl-certificate").await.result();
    assert!(list[0].get("client_reference").is_none() && list[0].get("csr").is_none());
    let id = list[0]["id"].as_str().unwrap();
    assert!(bench.order(id).await["csr"].is_string(), "the order by itself has them");
    bench.site.act(id, &Action::Forget).unwrap();
    assert_eq!(bench.get(&format!("ssl-certificate/{id}")).await.status, 404);
    bench.change(|settings| settings.lone_item_bare = true);
    assert!(bench.get("ssl-certificate").await.result().is_object());
    bench.change(|settings| settings.list_forgets = true);
    assert_eq!(bench.get("ssl-certificate").await.result(), json!([]));
}

#[tokio::test]
async fn ssl_purchase_an_order_may_be_missing_for_a_while() {
    let bench = Bench::new();
    bench.change(|settings| settings.missing_seconds = 2.0);
    let id = bench.ordered("a").await;
    let path = format!("ssl-certificate/{id}");
    assert_eq!(bench.get(&path).await.failure(), (404, "not_found".to_owned()));
    assert_eq!(listed(&bench, "").await, ["a"]);
    bench.pass(2.0);
    assert_eq!(bench.status(&id).await, "active");
}

#[tokio::test]
async fn ssl_purchase_plans_can_be_read_unless_that_is_forbidden() {
    let bench = Bench::new();
    let names = async |query: &str| {
        let list = bench.get(&format!("ssl-certificate-plan{query}")).await.result();
        let items = list.as_array().unwrap().iter();
        items.map(|plan| plan["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names("").await, ["Demo DV", "Demo DV multi", "Demo DV wildcard", "Demo OV"]);
    assert_eq!(names("?name=wild").await, ["Demo DV wildcard"]);
    let both = format!("?id={},{}", bench.plan(0), bench.plan(3));
    assert_eq!(names(&both).await, ["Demo DV", "Demo OV"]);
    assert_eq!(bench.get("ssl-certificate-plan?id=x").await.failure().0, 400);
    let path = format!("ssl-certificate-plan/{}", bench.plan);
    let plan = bench.get(&path).await.result();
    let fields: Vec<&String> = plan.as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        [
            "actions",
            "brand",
            "description",
            "id",
            "interval",
            "name",
            "product",
            "provisioner",
            "renew_days_before_expiration"
        ],
        "and nothing of what is internal"
    );
    assert_eq!(
        (&plan["interval"], &plan["renew_days_before_expiration"]),
        (&json!(12), &json!(30))
    );
    assert!(plan["provisioner"]["id"].is_string());
    bench.change(|settings| settings.numbers_as_text = true);
    assert_eq!(bench.get(&path).await.result()["interval"], "12");
    let written = bench.call(Method::PUT, &path, Some(&json!({}))).await;
    assert_eq!(written.failure(), (403, "permission_denied".to_owned()));
    bench.change(|settings| settings.plans_forbidden = true);
    for path in [path.as_str(), "ssl-certificate-plan"] {
        assert_eq!(bench.get(path).await.failure(), (403, "permission_denied".to_owned()));
    }
    bench.ordered("a").await;
}
