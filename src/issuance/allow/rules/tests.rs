use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::{Wait, WaitsFor};
use crate::issuance::certificate::key::{BroughtCsr, CsrReference};
use crate::issuance::decide::decide;
use crate::issuance::fixtures::{
    absent, account, days, fresh, issued, kept, key, names, now, opened, with,
};
use crate::issuance::{Key, Read};
use crate::pki::csr::build;

fn cluster(allow: Value) -> Allowed {
    Allowed {
        kind: IssuerKind::ClusterIssuer,
        allow: Some(Arc::new(serde_json::from_value(allow).expect("an allow"))),
        labels: Some(BTreeMap::from([("team".to_owned(), "shop".to_owned())])),
        suspended: false,
    }
}

fn namespaced(allow: Value) -> Allowed {
    Allowed { kind: IssuerKind::Issuer, ..cluster(allow) }
}

/// What a ClusterIssuer with `more` beside every namespace and the names of the request allows.
fn strict(more: Value) -> Allowed {
    let mut allow = json!({"namespaces": {}, "dnsNames": ["*.example.org"]});
    allow.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    cluster(allow)
}

fn said(allowed: &Allowed, seen: &Observation) -> String {
    refusal(allowed, seen, Stage::Submit)
        .map_or_else(String::new, |refusal| format!("{}: {}", refusal.reason, refusal.message))
}

type Row = (&'static str, Allowed, Observation, &'static str);

fn check(rows: impl IntoIterator<Item = Row>) {
    for (name, allowed, seen, expected) in rows {
        let said = said(&allowed, &seen);
        match expected {
            "" => assert_eq!(said, "", "{name}"),
            expected => assert!(said.contains(expected), "{name}: {said}"),
        }
    }
}

fn asks(change: impl FnOnce(&mut Observation)) -> Observation {
    with(opened(), change)
}

#[test]
fn namespaces_are_served_by_their_labels() {
    let team = |team: &str| strict(json!({"namespaces": {"matchLabels": {"team": team}}}));
    check([
        ("every namespace", strict(json!({})), opened(), ""),
        (
            "every namespace, whose labels nobody knows",
            Allowed { labels: None, ..strict(json!({})) },
            opened(),
            "",
        ),
        ("a namespace that is selected", team("shop"), opened(), ""),
        (
            "one that is not",
            team("bank"),
            opened(),
            "NamespaceNotAllowed: Issuer house does not serve namespace shop",
        ),
        (
            "one whose labels are not known yet",
            Allowed { labels: None, ..team("shop") },
            opened(),
            "NamespaceNotAllowed: the labels of namespace shop are not known yet",
        ),
    ]);
    let unknown = Allowed { labels: None, ..team("shop") };
    let refusal = refusal(&unknown, &opened(), Stage::Submit).expect("it waits");
    assert!(!refusal.needs_person, "it passes by itself");
}

/// Each kind, with an observation that asks for it, what allows it, and what is said where nothing does.
fn rows_of_kinds() -> Vec<(&'static str, Observation, Value, &'static str)> {
    let attribute = Attribute { kind: AttributeType::Organization, value: "Bank".to_owned() };
    vec![
        (
            "another DNS name",
            asks(|seen| seen.request.names.dns_names = vec!["shop.example.com".to_owned()]),
            json!({"dnsNames": ["*.example.com", "*.example.org"]}),
            "spec.allow.dnsNames",
        ),
        (
            "a wildcard name",
            asks(|seen| seen.request.names.dns_names = vec!["*.example.org".to_owned()]),
            json!({"dnsNames": ["*.example.org", "[*].example.org"]}),
            "DNS name *.example.org (spec.dnsNames)",
        ),
        (
            "an IP address",
            asks(|seen| seen.request.names.ip_addresses = vec!["192.0.2.7".parse().unwrap()]),
            json!({"ipAddresses": ["192.0.2.0/24"]}),
            "IP address 192.0.2.7 (spec.ipAddresses)",
        ),
        (
            "a URI",
            asks(|seen| seen.request.names.uris = vec!["spiffe://a/b".to_owned()]),
            json!({"uris": ["spiffe://a/*"]}),
            "URI spiffe://a/b (spec.uris)",
        ),
        (
            "an e-mail address",
            asks(|seen| seen.request.names.email_addresses = vec!["a@example.org".to_owned()]),
            json!({"emailAddresses": ["*@example.org"]}),
            "e-mail address a@example.org (spec.emailAddresses)",
        ),
        (
            "a common name",
            asks(|seen| seen.request.names.common_name = Some("Jane Doe".to_owned())),
            json!({"commonNames": ["Jane *"]}),
            "common name Jane Doe (spec.commonName)",
        ),
        (
            "an attribute of the subject",
            asks(|seen| seen.request.names.subject = vec![attribute]),
            json!({"subject": {"organizations": ["Bank"]}}),
            "spec.allow.subject.organizations",
        ),
        (
            "a usage",
            asks(|seen| seen.request.names.usages = vec![Usage::CodeSigning]),
            json!({"usages": ["code signing"]}),
            "usage code signing (spec.usages)",
        ),
        (
            "a lifetime",
            asks(|seen| seen.request.duration = Some(days(90))),
            json!({"maxDuration": "2160h"}),
            "spec.allow.maxDuration",
        ),
        (
            "a kind of key",
            asks(|seen| seen.request.key_kind = Some(KeyKind::EcdsaP384)),
            json!({"keyTypes": ["ECDSA P-384"]}),
            "a key of the kind ECDSA P-384 (spec.privateKey)",
        ),
        (
            "a product",
            asks(|seen| {
                let product = ("Gold EV".to_owned(), "spec.houseCa.product".to_owned());
                seen.request.overrides.product = Some(product);
            }),
            json!({"products": ["Gold *"]}),
            "product Gold EV (spec.houseCa.product)",
        ),
        (
            "credentials of its own",
            asks(|seen| {
                let field = "spec.houseCa.credentialsSecretRef".to_owned();
                seen.request.overrides.credentials = Some(field);
            }),
            json!({"ownCredentials": true}),
            "(spec.houseCa.credentialsSecretRef)",
        ),
    ]
}

#[test]
fn what_a_cluster_issuer_leaves_out_it_does_not_allow_and_an_issuer_does() {
    check([("what is allowed", strict(json!({})), opened(), "")]);
    for (name, seen, allow, expected) in rows_of_kinds() {
        let (left_out, listed) = (strict(json!({})), strict(allow));
        check([(name, left_out, seen.clone(), expected), (name, listed, seen.clone(), "")]);
        check([(name, namespaced(json!({})), seen.clone(), "")]);
        check([(name, Allowed::default(), seen, "")]);
    }
}

/// The lines of the documents that have a ClusterIssuer serve everybody.
fn documented() -> Value {
    let text = include_str!("../../../../docs/allow.md");
    let part = text.split("## Everything").nth(1).expect("the part");
    let yaml = part.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let block: Value = serde_yaml::from_str(yaml.expect("a block")).expect("YAML");
    block["spec"]["allow"].clone()
}

#[test]
fn the_lines_of_the_documents_allow_everything_as_before() {
    let everything = documented();
    let schema = serde_json::to_value(schemars::schema_for!(Allow)).expect("a schema");
    for field in schema["properties"].as_object().expect("its fields").keys() {
        assert!(!everything[field].is_null(), "{field} is left out");
    }
    let usages = schemars::schema_for!(KeyUsage);
    let usages = serde_json::to_value(usages).expect("a schema").to_string();
    for usage in everything["usages"].as_array().expect("usages") {
        assert!(usages.contains(&usage.to_string()), "{usage} is none");
    }
    assert_eq!(everything["usages"].as_array().map(Vec::len), Some(19));
    assert_eq!(everything["subject"].as_object().map(serde_json::Map::len), Some(19));
    let allows = || cluster(everything.clone());
    for (name, seen, ..) in rows_of_kinds() {
        check([(name, allows(), seen, "")]);
    }
    for kind in [KeyKind::Rsa2048, KeyKind::Rsa4096, KeyKind::EcdsaP521, KeyKind::Ed25519] {
        check([("a key", allows(), asks(|seen| seen.request.key_kind = Some(kind)), "")]);
    }
    check([("a CSR", allows(), brings(&names()), "")]);
}

#[test]
fn what_an_issuer_lists_is_all_that_it_allows() {
    let more = |allow: Value| namespaced(allow);
    check([
        ("another name", more(json!({"dnsNames": ["a.example.org"]})), opened(), "b.example.org"),
        ("which are told", more(json!({"dnsNames": ["a.example.org"]})), opened(), "which has a."),
        ("no name at all", more(json!({"dnsNames": []})), opened(), "which is empty"),
        (
            "another network",
            more(json!({"ipAddresses": ["192.0.2.7"]})),
            asks(|seen| seen.request.names.ip_addresses = vec!["192.0.2.8".parse().unwrap()]),
            "192.0.2.8",
        ),
        ("another kind of key", more(json!({"keyTypes": ["RSA 2048"]})), opened(), "ECDSA P-256"),
        (
            "the kind that the CA prefers, where it is not listed",
            more(json!({"keyTypes": ["RSA 2048"]})),
            asks(|seen| seen.request.key_kind = None),
            "ECDSA P-256",
        ),
        (
            "a longer lifetime",
            more(json!({"maxDuration": "24h"})),
            asks(|seen| seen.request.duration = Some(days(2))),
            "maxDuration",
        ),
        (
            "credentials",
            more(json!({"ownCredentials": false})),
            asks(|seen| seen.request.overrides.credentials = Some("spec.x".to_owned())),
            "ownCredentials",
        ),
    ]);
    let others = strict(json!({"dnsNames": ["secret-project.example.org"]}));
    assert!(!said(&others, &opened()).contains("secret-project"), "nobody is told what others may");
}

#[test]
fn a_common_name_that_is_another_kind_of_name_is_one() {
    let named = |name: &str| {
        asks(|seen| {
            seen.request.names = Names { common_name: Some(name.to_owned()), ..Names::default() };
        })
    };
    let any = || strict(json!({"commonNames": ["**"]}));
    check([
        ("the name of a server that is allowed", strict(json!({})), named("a.example.org"), ""),
        ("of one that is not", any(), named("bank.example.com"), "spec.allow.dnsNames"),
        ("a wildcard", any(), named("*.example.org"), "spec.allow.dnsNames"),
        ("an address", any(), named("192.0.2.1"), "spec.allow.ipAddresses"),
        ("a mailbox", any(), named("a@example.org"), "spec.allow.emailAddresses"),
        ("a person", any(), named("Jane Doe"), ""),
        ("a host without a dot", strict(json!({"dnsNames": ["db"]})), named("db"), ""),
    ]);
}

/// A CSR that asks for all of `names`, with the key that the CA prefers.
fn brings(names: &Names) -> Observation {
    let der = build(&key(0), names).expect("a CSR");
    let csr = Csr::from_der(&der).expect("a CSR");
    let asked = csr.asked().expect("it can be read");
    asks(|seen| {
        seen.request.names = Names::default();
        seen.request.key_kind = None;
        seen.request.csr = Some(CsrReference {
            secret: "csr".to_owned(),
            entry: "tls.csr".to_owned(),
            version: None,
        });
        let key = Key::Public(csr.spki_der.clone().into());
        seen.csr = Some(Arc::new(BroughtCsr { der, key, names: csr.names, asked }));
    })
}

#[test]
fn a_csr_is_judged_by_what_is_in_it() {
    let usages = Names { usages: vec![Usage::ServerAuth], ..names() };
    let stranger = Names { dns_names: vec!["bank.example.com".to_owned()], ..names() };
    let other = |what: &str| {
        let mut seen = brings(&names());
        let mut csr = BroughtCsr::clone(seen.csr.as_ref().expect("a CSR"));
        csr.asked.others = vec![what.to_owned()];
        seen.csr = Some(Arc::new(csr));
        seen
    };
    let no_names = |mut seen: Observation| {
        let account = seen.account.as_mut().expect("an account");
        account.capabilities.names = false;
        seen
    };
    check([
        ("names that are allowed", strict(json!({})), brings(&names()), ""),
        ("one that is not", strict(json!({})), brings(&stranger), "bank.example.com (the CSR)"),
        ("a usage", strict(json!({})), brings(&usages), "usage server auth (the CSR)"),
        (
            "what no field allows",
            strict(json!({})),
            other("an alternative name of kind 0"),
            "no field of an issuer allows it",
        ),
        ("which an Issuer lets pass", namespaced(json!({})), other("the extension 1.2.3"), ""),
        (
            "another kind of key",
            strict(json!({"keyTypes": ["RSA 2048"]})),
            brings(&names()),
            "ECDSA P-256",
        ),
        ("at a CA that ignores names", strict(json!({})), no_names(brings(&stranger)), ""),
    ]);
}

#[test]
fn a_cluster_issuer_that_says_nothing_renews_what_it_delivered_and_nothing_else() {
    let silent = || Allowed { kind: IssuerKind::ClusterIssuer, ..Allowed::default() };
    let due = || {
        with(kept(), |seen| {
            seen.now = now() + days(25);
            seen.account = Some(account());
            let target = crate::issuance::fixtures::delivered_target();
            seen.target = Some(Read::Present(target));
        })
    };
    let new = "takes nothing new";
    check([
        ("a renewal", silent(), due(), ""),
        ("a first certificate", silent(), opened(), new),
        (
            "an edit",
            silent(),
            with(due(), |seen| seen.request.names.dns_names.push("c.example.org".to_owned())),
            new,
        ),
        (
            "a forged pair of a CA of one's own",
            silent(),
            with(due(), |seen| seen.account.as_mut().unwrap().anchors.clear()),
            new,
        ),
        ("an allow without namespaces", cluster(json!({"dnsNames": ["**"]})), opened(), new),
        ("an empty selector", cluster(json!({"namespaces": {}, "dnsNames": ["**"]})), opened(), ""),
    ]);
    let forged = with(due(), |seen| {
        let stranger = issued(&key(0), now());
        let Some(Read::Present(target)) = &mut seen.target else { panic!("a target") };
        target.chain = stranger[..1].to_vec();
    });
    assert!(said(&silent(), &forged).contains(new), "a chain that ends nowhere");
}

fn rests(seen: &Observation) -> Option<Reason> {
    let Step::Rest(Rest::NotAllowed(refusal)) = decide(seen) else { return None };
    Some(refusal.reason)
}

#[test]
fn what_is_not_allowed_ends_a_run_before_anything_is_asked() {
    let refused = || strict(json!({"dnsNames": []}));
    let seen = |seen: Observation, allowed: Allowed| with(seen, |seen| seen.allowed = allowed);
    let suspended = Allowed { suspended: true, ..Allowed::default() };
    let cases = [
        ("before the Secret is read", fresh(), Some(Reason::NotAllowed)),
        ("before the account is opened", absent(), Some(Reason::NotAllowed)),
        ("before a key is made", opened(), Some(Reason::NotAllowed)),
        ("what is delivered stays", kept(), None),
    ];
    for (name, start, expected) in cases {
        assert_eq!(rests(&seen(start, refused())), expected, "{name}");
    }
    assert_eq!(rests(&seen(opened(), suspended)), Some(Reason::IssuerSuspended));
    let waits = with(seen(opened(), strict(json!({}))), |seen| {
        seen.previous.wait = Some(Wait { on: WaitsFor::Permission, needs_person: true });
    });
    assert_eq!(rests(&waits), None, "once it is allowed, it goes on");
}

#[test]
fn a_hostile_name_stays_in_its_line() {
    let line = shown("a\nb\u{1b}[31m");
    assert_eq!(line, "a\\nb\\u{1b}[31m");
    assert_eq!(shown("x".repeat(1000)).len(), 253);
}
