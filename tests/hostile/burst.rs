//! Many requests at once, at servers that never answer.

use futures::StreamExt as _;
use serde_json::json;

use crate::tenant::Tenant;

const ISSUERS: usize = 10;
const REQUESTS: usize = 1200;

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_never_answer_hold_up_no_neighbour() {
    let tenant = Tenant::new("burst").await;
    let test = &tenant.test;
    for number in 0..ISSUERS {
        let mut issuer = test.issuer().await;
        issuer["metadata"]["name"] = json!(format!("ca{number}"));
        issuer["spec"]["onlineCa"]["keyAlgorithms"] = json!(["ECDSA"]);
        test.put(issuer).await;
        test.until_issuer_ready(&format!("ca{number}")).await;
    }
    test.site.fault(json!({"operation": "certificate", "kind": "hang", "times": 0})).await;
    let request = |number: usize| {
        let mut request = test.request(&format!("r{number}"));
        request["spec"]["issuerRef"]["name"] = json!(format!("ca{}", number % ISSUERS));
        test.create(request)
    };
    let create = futures::stream::iter(0..REQUESTS).map(request).buffer_unordered(32);
    let created = create.for_each(|created| async { created.map(drop).expect("it is taken") });
    let served = async {
        for _ in 0..8 {
            tenant.neighbour_is_served().await;
        }
    };
    tokio::join!(created, served);
    for _ in 0..4 {
        tenant.neighbour_is_served().await;
    }
    test.site.clear_faults().await;
    tenant.neighbour_is_served().await;
}
