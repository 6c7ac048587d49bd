//! Through a proxy, and past it: what it sees, and that nothing was ordered where it let nothing
//! through.

use std::sync::Arc;
use std::time::Duration;

use chancery::ca::{CertificateAuthority, Submitted};
use chancery::outside::Disposition;
use chancery::outside::credentials::Basic;
use chancery::outside::proxy::Proxy;
use chancery::outside::transport::Failure;
use rcgen::string::Ia5String;

use crate::bench::{PASSWORD, USER, basic, open, submit};
use crate::network::{LONG, Served, ask, network_by};
use crate::peer::{Act, Identity, Peer, http};
use crate::test_proxy::{Manner, TestProxy};

/// The password that the proxy asks for; no text may hold it.
const CANARY: &str = "canary-3128";
/// `proxy-user` and [`CANARY`], as HTTP Basic writes them.
const SHOWN: &str = "Basic cHJveHktdXNlcjpjYW5hcnktMzEyOA==";

fn settings(proxy: &TestProxy, credentials: Option<Basic>, exceptions: &[&str]) -> Proxy {
    let exceptions: Vec<String> = exceptions.iter().map(|one| (*one).to_owned()).collect();
    Proxy::new(&proxy.url(), credentials, &exceptions).unwrap()
}

fn user(password: &str) -> Option<Basic> {
    let basic = Basic::new("proxy-user".to_owned(), password.to_owned().into());
    Some(basic.kept_in("shop/proxy"))
}

fn through(served: &Served, proxy: Proxy, deadline: Duration) -> Arc<dyn CertificateAuthority> {
    let transport = network_by(&served.root, Some(proxy), deadline);
    open(served.spec.clone(), Some(basic(USER, PASSWORD)), transport)
}

/// Host and port of the simulator.
fn target(served: &Served) -> String {
    let uri: http::Uri = served.spec.certificate_url.parse().unwrap();
    uri.authority().unwrap().to_string()
}

#[tokio::test]
async fn a_certificate_comes_through_a_tunnel_that_is_encrypted_from_end_to_end() {
    let served = Served::start().await;
    let proxy = TestProxy::start(Manner::Opens).await;
    let ca = through(&served, settings(&proxy, None, &[]), LONG);
    assert_eq!(ca.check().await.unwrap().remarks, Vec::<String>::new());
    assert!(submit(&*ca).await.issued().is_some());
    assert_eq!(served.bench.asked(), 1);
    assert_eq!(proxy.asked()[0], target(&served), "by name: the proxy resolves it");
    assert!(proxy.heads().iter().all(|head| head.starts_with("CONNECT ")), "{:?}", proxy.heads());
    let secret = |head: &String| head.to_ascii_lowercase().contains("authorization");
    assert!(!proxy.heads().iter().any(secret), "the CA's password is not for the proxy");
    // A TLS record of type handshake (RFC 8446, section 5.1).
    assert!(proxy.within().iter().all(|first| *first == 22), "{:?}", proxy.within());
    // Who sits in between is no more trusted than anybody else.
    let stranger = network_by(&Identity::good().root, Some(settings(&proxy, None, &[])), LONG);
    let ca = open(served.spec.clone(), Some(basic(USER, PASSWORD)), stranger);
    let error = ca.check().await.unwrap_err();
    assert_eq!(error.reason, "ServerNotTrusted");
    let through = format!("seen through the proxy 127.0.0.1:{}", proxy.port);
    let alone = format!("leave {} alone", target(&served));
    for says in ["spec.tls.caBundle", through.as_str(), alone.as_str()] {
        assert!(error.message.contains(says), "{says}: {error}");
    }
}

#[tokio::test]
async fn a_proxy_that_asks_for_credentials_is_shown_its_own_and_the_ca_sees_none_of_them() {
    let identity = Identity::good();
    let peer = Peer::start(&identity, &[Act::Answer(http("200 OK", "", "yes"))]).await;
    let proxy = TestProxy::start(Manner::Asks(SHOWN.to_owned())).await;
    let settings = settings(&proxy, user(CANARY), &[]);
    let transport = network_by(&identity.root, Some(settings), LONG);
    assert_eq!(ask(&*transport, &peer.url()).await.unwrap(), "200 OK yes");
    let request = peer.requests()[0].to_ascii_lowercase();
    assert!(!request.contains("proxy-authorization"), "{request}");
    assert_eq!(proxy.asked(), [format!("localhost:{}", peer.port)]);
}

#[tokio::test]
async fn where_the_proxy_lets_nothing_through_nothing_is_ordered_and_the_fault_has_its_name() {
    let served = Served::start().await;
    let proxy = TestProxy::start(Manner::Opens).await;
    let asks = || Manner::Asks(SHOWN.to_owned());
    let retry = Disposition::Retry { after: None };
    let refused: &[&str] = &["opens no tunnel there", "allowed in the proxy", "noProxy"];
    let rows = [
        ("it refuses", Manner::Refuses("403 Forbidden"), None, "ProxyRefused", retry, refused),
        (
            "it finds no CA",
            Manner::Refuses("502 Bad Gateway"),
            None,
            "ProxyRefused",
            retry,
            refused,
        ),
        (
            "it takes the CONNECT for something else",
            Manner::Refuses("302 Found\r\nLocation: http://login.example/"),
            None,
            "ProxyRefused",
            retry,
            refused,
        ),
        ("it hangs up", Manner::HangsUp, None, "ProxyRefused", retry, &["ended the connection"]),
        ("it babbles", Manner::Babbles, None, "ProxyRefused", retry, &["has no end"]),
        (
            "it asks for credentials",
            asks(),
            None,
            "CredentialsMissing",
            Disposition::BlameIssuer,
            &["asks for credentials (407)", "spec.proxy.credentialsSecretRef"],
        ),
        (
            "it asks for others",
            asks(),
            user(&format!("{CANARY}-of-last-year")),
            "CredentialsRefused",
            Disposition::BlameCredentials,
            &["did not accept the credentials (407)", "Secret shop/proxy"],
        ),
        (
            "it hangs",
            Manner::Hangs,
            None,
            "ProxyUnreachable",
            retry,
            &["opened no way there within 1 s", "spec.proxy.url"],
        ),
    ];
    for (name, manner, credentials, reason, disposition, says) in rows {
        proxy.set(manner);
        // Half of it is for the connection.
        let deadline = Duration::from_secs(2);
        let ca = through(&served, settings(&proxy, credentials, &[]), deadline);
        let submitted = submit(&*ca).await;
        let Submitted::Refused(error) = submitted else { panic!("{name}: {submitted:?}") };
        assert_eq!(error.reason.word(), reason, "{name}: {error}");
        assert_eq!(error.disposition, disposition, "{name}: {error}");
        let address = format!("the proxy 127.0.0.1:{}", proxy.port);
        let not_called = format!("{} was not called", target(&served));
        for says in says.iter().copied().chain([address.as_str(), not_called.as_str()]) {
            assert!(error.message.contains(says), "{name} does not say {says:?}: {error}");
        }
        for secret in [CANARY, PASSWORD] {
            assert!(!error.message.contains(secret), "{name}: {error}");
        }
    }
    assert_eq!(served.bench.site.requests().operations, [].into(), "the CA was never asked");
    assert_eq!(proxy.within(), [] as [u8; 0]);
    proxy.set(Manner::Opens);
    let ca = through(&served, settings(&proxy, None, &[]), LONG);
    assert!(submit(&*ca).await.issued().is_some(), "the proxy lets it through");
}

#[tokio::test]
async fn a_proxy_that_is_not_there_is_named_with_its_port() {
    let served = Served::start().await;
    let proxy = TestProxy::start(Manner::Opens).await;
    let gone = settings(&proxy, None, &[]);
    let address = format!("the proxy 127.0.0.1:{}", proxy.port);
    drop(proxy);
    tokio::task::yield_now().await;
    let submitted = submit(&*through(&served, gone, LONG)).await;
    let Submitted::Refused(error) = submitted else { panic!("{submitted:?}") };
    assert_eq!(error.reason, "ProxyUnreachable");
    for says in [address.as_str(), "could not be reached", "refused", "spec.proxy.url"] {
        assert!(error.message.contains(says), "{says}: {error}");
    }
    assert_eq!(served.bench.asked(), 0);
}

#[tokio::test]
async fn a_ca_that_is_listed_is_called_past_the_proxy() {
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![
        rcgen::SanType::DnsName(Ia5String::try_from("localhost").unwrap()),
        rcgen::SanType::IpAddress([127, 0, 0, 1].into()),
    ];
    let identity = Identity::of(params, 2040);
    let peer = Peer::start(&identity, &[Act::Answer(http("200 OK", "", "yes"))]).await;
    let proxy = TestProxy::start(Manner::Opens).await;
    let (by_name, by_address) = (peer.url(), peer.url().replace("localhost", "127.0.0.1"));
    let rows: [(&str, &[&str], &str, bool); 8] = [
        ("no exception", &[], &by_name, true),
        ("no exception for an address", &[], &by_address, true),
        ("the host", &["localhost"], &by_name, false),
        ("the host by its suffix", &[".localhost"], &by_name, false),
        ("another suffix", &[".example.org"], &by_name, true),
        ("a network", &["127.0.0.0/8"], &by_address, false),
        ("another network", &["10.0.0.0/8"], &by_address, true),
        ("a name is not resolved for it", &["127.0.0.0/8"], &by_name, true),
    ];
    for (name, exceptions, url, through) in rows {
        let before = proxy.asked().len();
        let settings = settings(&proxy, None, exceptions);
        let transport = network_by(&identity.root, Some(settings), LONG);
        assert_eq!(ask(&*transport, url).await.unwrap(), "200 OK yes", "{name}");
        assert_eq!(proxy.asked().len() > before, through, "{name}");
    }
}

#[tokio::test]
async fn an_ipv6_address_is_called_past_the_proxy_or_not_at_all() {
    let proxy = TestProxy::start(Manner::Opens).await;
    let settings = settings(&proxy, None, &[]);
    let transport = network_by(&Identity::good().root, Some(settings), LONG);
    let failure = ask(&*transport, "https://[::1]:4443/certificate/").await.unwrap_err();
    let says = "[::1]:4443 was not called: an IPv6 address is not reached through the proxy";
    assert!(matches!(failure, Failure::Blocked(_)), "{failure:?}");
    assert!(failure.to_string().starts_with(says), "{failure}");
    assert_eq!(proxy.heads(), [] as [String; 0]);
}

/// A proxy would read it, and change it.
#[tokio::test]
async fn a_plain_http_address_is_refused_and_no_proxy_sees_it() {
    let proxy = TestProxy::start(Manner::Opens).await;
    let settings = settings(&proxy, None, &[]);
    let transport = network_by(&Identity::good().root, Some(settings), LONG);
    let failure = ask(&*transport, "http://ca.example/certificate/").await.unwrap_err();
    assert!(matches!(failure, Failure::NotSent(_)), "{failure:?}");
    assert_eq!(proxy.heads(), [] as [String; 0]);
}
