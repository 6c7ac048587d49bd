//! Where a tenant may have credentials sent, what an issuer of theirs reaches, and what they are told
//! of issuers that are not theirs.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::control_plane::client;
use crate::tenant::Tenant;
use crate::world::{assert_says, world};

/// An address of the tenant's own, where nobody has called so far.
struct Trap(TcpListener);

impl Trap {
    async fn set() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/", self.0.local_addr().expect("an address").port())
    }

    /// Nobody called.
    fn is_untouched(&self) -> bool {
        use futures::FutureExt as _;
        self.0.accept().now_or_never().is_none()
    }
}

/// Issuer `name` of the tenant with what else it says.
async fn issuer(tenant: &Tenant, name: &str, edit: impl FnOnce(&mut Value)) -> Value {
    let mut issuer = tenant.test.issuer().await;
    issuer["metadata"]["name"] = json!(name);
    edit(&mut issuer["spec"]);
    issuer
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_go_to_no_other_port() {
    let tenant = Tenant::new("where-port").await;
    let trap = Trap::set().await;
    let url = trap.url();
    let stealing = issuer(&tenant, "trap", |spec| {
        spec["onlineCa"]["certificateUrl"] = json!(url);
        spec["onlineCa"]["trustRootsUrl"] = json!(url);
    });
    tenant.test.put(stealing.await).await;
    let message = tenant.test.until_issuer_fails("trap", "CredentialsUnusable").await;
    let place = url.trim_start_matches("https://").trim_end_matches('/');
    assert_says(&message, &["does not allow its content", &format!("to be sent to {place}")]);
    let mut request = tenant.test.request("portal");
    request["spec"]["issuerRef"] = json!({"name": "trap"});
    tenant.test.put(request).await;
    tenant.test.until_issuing_says("portal", "IssuerNotReady", &["kubectl annotate"]).await;
    tenant.neighbour_is_served().await;
    assert!(trap.is_untouched(), "somebody called");
}

#[tokio::test(flavor = "multi_thread")]
async fn roots_of_a_tenant_open_no_way_for_credentials() {
    let tenant = Tenant::new("where-roots").await;
    let other = tenant.test.site.root_pem().await;
    let right = world().simulator.tls_root();
    let with = |pem: String| {
        issuer(&tenant, "roots", move |spec| spec["tls"]["caBundle"]["pem"] = json!(pem))
    };
    tenant.test.put(with(other.clone()).await).await;
    let message = tenant.test.until_issuer_fails("roots", "CredentialsUnusable").await;
    assert_says(&message, &["only the roots in spec.tls.caBundle", "chancery.dev/trust-anchors="]);
    // A root that is added breaks nothing, and the one that is listed goes on to count.
    tenant.test.put(with(format!("{other}{right}")).await).await;
    tenant.test.until_issuer_ready("roots").await;
    tenant.neighbour_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_of_a_tenant_does_not_reach_the_inside() {
    let tenant = Tenant::new("where-inside").await;
    let rows = [
        ("metadata", "https://169.254.169.254/latest/", "link-local"),
        ("mapped", "https://[::ffff:169.254.169.254]/", "link-local"),
        ("private", "https://10.0.0.1/", "--tenant-issuers-may-reach=private"),
        ("spelled", "https://0xa.1/", "--tenant-issuers-may-reach=private"),
        ("service", "https://kubernetes.default.svc/", "--tenant-issuers-may-reach=cluster"),
        ("network", "https://203.0.113.7/", "--tenant-issuers-may-reach=cluster"),
        ("network6", "https://[2001:db8:1::7]/", "--tenant-issuers-may-reach=cluster"),
    ];
    for (name, url, says) in rows {
        let inside = issuer(&tenant, name, |spec| {
            // The check asks for the roots alone, without credentials.
            spec["onlineCa"]["trustRootsUrl"] = json!(url);
        });
        tenant.test.put(inside.await).await;
        let message = tenant.test.until_issuer_fails(name, "AddressRefused").await;
        assert_says(&message, &["was not called", says]);
    }
    tenant.neighbour_is_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_told_nothing_of_the_operator_s_namespace() {
    let tenant = Tenant::new("where-told").await;
    let admin = client(&world().plane.kubeconfig()).await;
    let mut shared = tenant.test.issuer().await;
    shared["kind"] = json!("ClusterIssuer");
    shared["metadata"] = json!({"name": "where-told"});
    shared["spec"]["allow"] = json!({"namespaces": {}, "keyTypes": ["RSA 2048", "ECDSA P-256"]});
    shared["spec"]["onlineCa"]["credentialsSecretRef"] = json!({"name": "marker-of-the-platform"});
    world().plane.put(shared).expect("a ClusterIssuer");
    let mut request = tenant.test.request("portal");
    request["spec"]["issuerRef"] = json!({"kind": "ClusterIssuer", "name": "where-told"});
    tenant.test.put(request).await;
    let says = ["CredentialsUnusable", "kubectl describe clusterissuers.chancery.dev where-told"];
    tenant.test.until_issuing_says("portal", "IssuerNotReady", &says).await;
    let told = tenant.test.read("CertificateRequest", "portal").await.expect("the request");
    assert!(!told.to_string().contains("marker-of-the-platform"), "{told}");
    let issuers: kube::Api<chancery::api::ClusterIssuer> = kube::Api::all(admin);
    let issuer = issuers.get("where-told").await.expect("the ClusterIssuer");
    let details = serde_json::to_string(&issuer.status).expect("JSON");
    assert!(details.contains("Secret chancery/marker-of-the-platform does not exist"), "{details}");
    issuers.delete("where-told", &kube::api::DeleteParams::default()).await.expect("it goes");
    tenant.neighbour_is_served().await;
}
