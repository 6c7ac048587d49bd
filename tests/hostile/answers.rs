//! A CA that means harm: megabytes where a few bytes are expected. A tenant's Issuer names it, so that
//! whoever may create one can have the operator read what they like.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chancery::api::CertificateRequest;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::tenant::Tenant;
use crate::world::{assert_says, issuing, world};

/// The most that all answers of one tenant may add to the operator's memory at once, in MiB.
const MOST: u64 = 96;
/// What a CA of these tests repeats, and nobody is to repeat after it.
const MARKER: &str = "m4rk3r";
const MIB: usize = 1024 * 1024;
/// So many issuers of a kind ask at once.
const ISSUERS: usize = 8;

/// The operator's memory in MiB, by a line of its status.
fn memory(line: &str) -> u64 {
    let path = format!("/proc/{}/status", world().operator.process.pid());
    let status = std::fs::read_to_string(path).expect("the process is there");
    let line = status.lines().find(|one| one.starts_with(line)).expect("it is told");
    let kibibytes: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("one");
    kibibytes / 1024
}

/// Has the peak begin at what the operator has now, which is returned.
fn forget_peak() -> u64 {
    let path = format!("/proc/{}/clear_refs", world().operator.process.pid());
    std::fs::write(path, "5").expect("the process is ours");
    memory("VmRSS:")
}

/// The most that the operator has had at once since is little more than `before`.
fn assert_bounded(before: u64) {
    let more = memory("VmHWM:").saturating_sub(before);
    assert!(more < MOST, "{more} MiB more than {before}");
}

/// Answers each time with `text` between two others, so often that it takes `bytes`.
fn endless(operation: &str, begin: &str, text: &str, bytes: usize, end: &str) -> Value {
    json!({
        "operation": operation, "times": 0, "kind": "repeatedBody",
        "begin": begin, "text": text, "repeats": bytes / text.len(), "end": end,
    })
}

/// What the tenant is told does not repeat what the CA said.
async fn assert_silent(tenant: &Tenant, kind: &str, name: &str) {
    let told = tenant.test.read(kind, name).await.expect("it is there")["status"].to_string();
    assert!(!told.contains(MARKER) && told.len() < 16 * 1024, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_bodies_without_end_take_a_bounded_part_of_the_memory() {
    let tenant = Tenant::new("answers").await;
    let test = &tenant.test;
    let element = format!("{{\"{MARKER}\":0}},");
    let begin = "{\"recordsFiltered\":9999999,\"data\":[";
    let of_a_client = format!("{begin}{{\"products\":[");
    let rows: [(&str, &str, &str, &str, usize, &str); 4] = [
        ("nothing", begin, "{},", "{}]}", 8 * MIB - 100, "more than 300 elements"),
        ("elements", begin, &element, "{}]}", 8 * MIB - 100, "more than 300 elements"),
        ("products", &of_a_client, "{},", "{}]}]}", 8 * MIB - 100, "elements"),
        ("a body without end", begin, &element, "", 1 << 40, "longer than 8388608 bytes"),
    ];
    let lines = format!("{MARKER}.0=AAAA\n");
    let mut names = Vec::new();
    let before = forget_peak();
    for (number, (what, begin, text, end, bytes, says)) in rows.into_iter().enumerate() {
        for copy in 0..ISSUERS {
            let name = format!("list{number}-{copy}");
            let ra = world().simulator.swisssign(&format!("answers-{name}"));
            ra.configure(json!({"keyAlgorithm": "ECDSA"})).await;
            ra.fault(endless("clientsPaged", begin, text, bytes, end)).await;
            let [credentials, mut issuer] = ra.issuer(&test.namespace).await;
            issuer["metadata"]["name"] = json!(name);
            if copy == 0 {
                test.put(credentials).await;
            }
            test.put(issuer).await;
            names.push((name, what, says));
        }
        tenant.neighbour_is_served().await;
    }
    // The roots that an Online CA serves, of which the check of an Issuer asks.
    test.site.fault(endless("trustroots", "", &lines, 1 << 40, "")).await;
    for copy in 0..ISSUERS {
        let name = format!("roots-{copy}");
        let mut issuer = test.issuer().await;
        issuer["metadata"]["name"] = json!(name);
        test.put(issuer).await;
        names.push((name, "roots without end", "longer than 4194304 bytes"));
    }
    tenant.neighbour_is_served().await;
    for (name, what, says) in &names {
        let message = test
            .issuer_condition(name, |status, reason, _| status == "False" && reason != "Pending")
            .await;
        assert!(message.contains(says), "{what}: {message}");
        assert_silent(&tenant, "Issuer", name).await;
    }
    tenant.neighbour_is_served().await;
    assert_bounded(before);
}

/// A certificate of a CA with these names, signed by `signer`.
fn authority(subject: &str, issuer: &str, signer: &KeyPair) -> String {
    let own = KeyPair::generate().expect("a key");
    let issuer = rcgen::Issuer::new(named(issuer), signer);
    named(subject).signed_by(&own, &issuer).expect("a certificate").pem()
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// The certificate that the CSR asks for, and a megabyte of certificates that could stand above it in
/// more ways than anybody can look at: each level of names has as many as there is room for.
fn bag(leaf_key: &KeyPair, name_length: usize, most: usize) -> String {
    let signer = KeyPair::generate().expect("a key");
    let long = |level: usize| format!("L{level}{}", "x".repeat(name_length));
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, "leaf");
    let issuer = rcgen::Issuer::new(named(&long(0)), &signer);
    let mut bag = leaf.signed_by(leaf_key, &issuer).expect("a certificate").pem();
    let mut count = 1;
    while count < most {
        let level = count % 6;
        let next = authority(&long(level), &long(level + 1), &signer);
        if bag.len() + next.len() > MIB {
            break;
        }
        bag.push_str(&next);
        count += 1;
    }
    assert!(count > 200 && bag.len() > MIB / 2, "{count} certificates in {} bytes", bag.len());
    bag
}

#[tokio::test(flavor = "multi_thread")]
async fn a_megabyte_of_certificates_holds_up_no_neighbour() {
    let tenant = Tenant::new("bags").await;
    let test = &tenant.test;
    let key = KeyPair::generate().expect("a key");
    let csr = CertificateParams::default().serialize_request(&key).expect("a CSR");
    test.put(json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {
            "name": "own", "namespace": test.namespace,
            "labels": {"chancery.dev/credentials": "true"},
        },
        "stringData": {"tls.csr": csr.pem().expect("PEM"), "tls.key": key.serialize_pem()},
    }))
    .await;
    let before = forget_peak();
    let rows = [
        ("many", bag(&key, 0, usize::MAX), "at most 300 are taken"),
        ("as-many-as-are-read", bag(&key, 950, 300), "was not delivered"),
    ];
    for (name, bag, says) in rows {
        test.site.clear_faults().await;
        let answer = json!({
            "operation": "certificate", "times": 0, "kind": "status", "status": 200, "body": bag,
        });
        test.site.fault(answer).await;
        // The roots that are served are looked through as well where no path is found.
        let root = STANDARD.encode(authority("Stranger", "Stranger", &key));
        test.site.fault(endless("trustroots", "", &format!("a.0={root}\n"), 3 * MIB, "")).await;
        for copy in 0..ISSUERS {
            let mut request = test.request(&format!("{name}-{copy}"));
            request["spec"]["csrSecretRef"] = json!({"name": "own"});
            request["spec"].as_object_mut().expect("fields").remove("privateKey");
            test.put(request).await;
        }
        for _ in 0..4 {
            tenant.neighbour_is_served().await;
        }
        for copy in 0..ISSUERS {
            let name = format!("{name}-{copy}");
            let has_failed = |request: &CertificateRequest| {
                issuing(request).is_some_and(|(_, message)| message.contains("failed attempt"))
            };
            let request = test.until(&name, "refused", has_failed).await;
            let (_, message) = issuing(&request).expect("it is told");
            assert_says(&message, &[says]);
            assert!(test.read("Secret", &format!("{name}-tls")).await.is_none(), "{name}");
            test.delete("CertificateRequest", &name).await;
        }
        tenant.neighbour_is_served().await;
    }
    assert_bounded(before);
}
