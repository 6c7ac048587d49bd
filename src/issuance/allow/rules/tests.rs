use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::api::{Wait, WaitsFor, annotation};
use crate::ca::{Blocks, OrderKind};
use crate::issuance::certificate::key::{BroughtCsr, CsrReference};
use crate::issuance::decide::decide;
use crate::issuance::fixtures::{
    absent, account, days, fresh, issued, kept, key, names, now, opened, with,
};
use crate::issuance::observation::Target;
use crate::issuance::order::record::{Mark, NewOrder, Record, RecordRead, Slot, StoredOrder};
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
        (
            "a contact of its own",
            asks(|seen| {
                seen.request.overrides.contact = Some("spec.houseCa.contact".to_owned());
            }),
            json!({"ownContact": true}),
            "(spec.houseCa.contact)",
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
        (
            "contact",
            more(json!({"ownContact": false})),
            asks(|seen| seen.request.overrides.contact = Some("spec.x".to_owned())),
            "ownContact",
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
        ("a URL", any(), named("https://bank.example.com/"), "spec.allow.uris"),
        ("a name with a blank behind it", any(), named("bank.example.com "), "a blank at an end"),
        ("with a wide one before it", any(), named("\u{a0}bank.example.com"), "a blank at an end"),
        ("with a NUL", any(), named("bank.example.com\0"), "a control character"),
        (
            "with a blank, at an Issuer that lists names",
            namespaced(json!({"dnsNames": [], "commonNames": ["**"]})),
            named("bank.example.com "),
            "spec.allow.dnsNames",
        ),
        ("a person", any(), named("Jane Doe"), ""),
        ("a host without a dot", strict(json!({"dnsNames": ["db"]})), named("db"), ""),
    ]);
}

/// A CSR that asks for all of `names`, with the key that the CA prefers.
fn brings(names: &Names) -> Observation {
    brings_by(0, names)
}

fn brings_by(n: usize, names: &Names) -> Observation {
    let der = build(&key(n), names).expect("a CSR");
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

fn silent() -> Allowed {
    Allowed { kind: IssuerKind::ClusterIssuer, ..Allowed::default() }
}

/// A renewal is due.
fn due() -> Observation {
    with(kept(), |seen| {
        seen.now = now() + days(25);
        seen.account = Some(account());
        seen.target = Some(Read::Present(crate::issuance::fixtures::delivered_target()));
    })
}

fn target(seen: &mut Observation) -> &mut Target {
    let Some(Read::Present(target)) = &mut seen.target else { panic!("a target") };
    target
}

/// The same, where a tenant took away what the certificate was requested with.
fn forged(change: impl FnOnce(&mut Observation)) -> Observation {
    with(due(), |seen| {
        let requested = annotation::REQUESTED.to_owned();
        target(seen).metadata.annotations.insert(requested, "{}".to_owned());
        change(seen);
    })
}

const NEW: &str = "takes nothing new";

#[test]
fn a_cluster_issuer_that_says_nothing_renews_what_it_delivered_and_nothing_else() {
    check([
        ("a renewal", silent(), due(), ""),
        ("a first certificate", silent(), opened(), NEW),
        (
            "an edit",
            silent(),
            with(due(), |seen| seen.request.names.dns_names.push("c.example.org".to_owned())),
            NEW,
        ),
        (
            "a forged pair of a CA of one's own",
            silent(),
            with(due(), |seen| seen.account.as_mut().unwrap().anchors.clear()),
            NEW,
        ),
        ("an allow without namespaces", cluster(json!({"dnsNames": ["**"]})), opened(), NEW),
        ("an empty selector", cluster(json!({"namespaces": {}, "dnsNames": ["**"]})), opened(), ""),
        (
            "a chain that ends nowhere",
            silent(),
            with(due(), |seen| target(seen).chain = issued(&key(0), now())[..1].to_vec()),
            NEW,
        ),
    ]);
}

#[test]
fn what_the_certificate_does_not_show_is_new_whatever_the_secret_says() {
    let organization = Attribute { kind: AttributeType::Organization, value: "Bank".to_owned() };
    let product = ("Gold EV".to_owned(), "spec.houseCa.product".to_owned());
    let own = "spec.houseCa.credentialsSecretRef".to_owned();
    let rows: Vec<(&'static str, Observation, &'static str)> = vec![
        ("nothing else", forged(|_| {}), ""),
        (
            "a name",
            forged(|seen| seen.request.names.dns_names.push("c.example.org".to_owned())),
            "new is the certificate",
        ),
        (
            "an attribute of the subject",
            forged(|seen| seen.request.names.subject = vec![organization]),
            "new is O in the subject",
        ),
        (
            "a usage",
            forged(|seen| seen.request.names.usages = vec![Usage::CodeSigning]),
            "new is usage code signing",
        ),
        (
            "another kind of key",
            forged(|seen| seen.request.key_kind = Some(KeyKind::EcdsaP384)),
            "new is a key of the kind ECDSA P-384",
        ),
        (
            "a longer lifetime",
            forged(|seen| seen.request.duration = Some(days(31))),
            "new is a lifetime of",
        ),
        ("one as before", forged(|seen| seen.request.duration = Some(days(30))), ""),
        (
            "a product",
            forged(|seen| seen.request.overrides.product = Some(product)),
            "new is spec.houseCa.product",
        ),
        (
            "credentials of its own",
            forged(|seen| seen.request.overrides.credentials = Some(own)),
            "new is spec.houseCa.credentialsSecretRef",
        ),
    ];
    check(rows.into_iter().map(|(name, seen, expected)| (name, silent(), seen, expected)));
}

/// A renewal with a CSR by key `n` for `names`, where only the certificate is in the Secret.
fn forged_with_csr(n: usize, names: &Names) -> Observation {
    let csr = brings_by(n, names);
    forged(|seen| {
        seen.request = csr.request;
        seen.csr = csr.csr;
        let target = target(seen);
        target.kind = "Opaque".to_owned();
        target.key = None;
    })
}

#[test]
fn a_csr_is_renewed_by_the_key_of_the_certificate_and_for_all_that_is_in_it() {
    let more = Names { dns_names: vec!["bank.example.com".to_owned()], ..names() };
    let usages = Names { usages: vec![Usage::ServerAuth], ..names() };
    let changed = |change: fn(&mut Asked)| {
        let mut seen = forged_with_csr(0, &names());
        let mut csr = BroughtCsr::clone(seen.csr.as_ref().expect("a CSR"));
        change(&mut csr.asked);
        seen.csr = Some(Arc::new(csr));
        seen
    };
    check([
        ("the same", silent(), forged_with_csr(0, &names()), ""),
        (
            "a certificate of somebody else, which everybody can see",
            silent(),
            forged_with_csr(1, &names()),
            "new is the key of the CSR",
        ),
        ("another name", silent(), forged_with_csr(0, &more), "new is DNS name bank.example.com"),
        ("a usage", silent(), forged_with_csr(0, &usages), "new is usage server auth"),
        (
            "a further common name",
            silent(),
            changed(|asked| asked.common_names.insert(0, "bank.example.com".to_owned())),
            "new is common name bank.example.com",
        ),
        (
            "what has no field",
            silent(),
            changed(|asked| asked.others.push("the extension 1.2.3".to_owned())),
            "new is the extension 1.2.3",
        ),
    ]);
}

/// The record of an order, for what is wanted in `seen`.
fn recorded(seen: &Observation, names: &Names) -> RecordRead {
    let order = StoredOrder::new(NewOrder {
        uid: &seen.request.uid,
        number: 1,
        account: "https://ca.example/ as house",
        since: now(),
        csr_der: &build(&key(0), names).expect("a CSR"),
        names,
        intent: seen.wanted(),
        parameters: Value::Null,
        kind: &OrderKind::New,
    });
    RecordRead::Present(Box::new(Record {
        uid: "record-uid".to_owned(),
        resource_version: "7".to_owned(),
        next: Slot { order, private: Some(key(0)), kind: OrderKind::New },
        issued: None,
        mark: Mark::default(),
    }))
}

fn names_product(seen: &mut Observation, product: &str) {
    seen.request.blocks = Blocks::default().with("houseCa", json!({"product": {"name": product}}));
    let field = "spec.houseCa.product".to_owned();
    seen.request.overrides.product = Some((product.to_owned(), field));
}

#[test]
fn what_was_ordered_before_is_no_news() {
    let ordered = |change: fn(&mut Observation)| {
        forged(|seen| {
            names_product(seen, "gold");
            seen.request.duration = Some(days(90));
            seen.order.record = Some(recorded(seen, &names()));
            change(seen);
        })
    };
    check([
        ("the very same", silent(), ordered(|_| {}), ""),
        ("without the record", silent(), ordered(|seen| seen.order.record = None), "lifetime"),
        ("another product", silent(), ordered(|seen| names_product(seen, "gold-ev")), "new is"),
        (
            "another lifetime",
            silent(),
            ordered(|seen| seen.request.duration = Some(days(91))),
            "new is",
        ),
    ]);
}

#[test]
fn an_order_that_is_stored_is_judged_before_it_is_submitted() {
    let stored = |names: &Names, change: fn(&mut Observation)| {
        let mut before = opened();
        change(&mut before);
        let record = recorded(&before, names);
        asks(|seen| seen.order.record = Some(record))
    };
    let said_of = |seen: &Observation, stage| {
        refusal(&strict(json!({})), seen, stage).map_or_else(String::new, |one| one.message)
    };
    let stranger = Names { dns_names: vec!["bank.example.com".to_owned()], ..names() };
    let rows: [(&str, Observation, &str); 6] = [
        ("what is allowed", stored(&names(), |_| {}), ""),
        ("a name", stored(&stranger, |_| {}), "bank.example.com"),
        ("a product", stored(&names(), |seen| names_product(seen, "gold")), "product gold (order "),
        (
            "a lifetime",
            stored(&names(), |seen| seen.request.duration = Some(days(90))),
            "spec.allow.maxDuration",
        ),
        (
            "credentials",
            stored(&names(), |seen| seen.request.credentials = Some("own".to_owned())),
            "spec.allow.ownCredentials",
        ),
        (
            "contact",
            stored(&names(), |seen| {
                let block = json!({"contact": {"person": {"phone": "1"}}});
                seen.request.blocks = Blocks::none().clone().with("houseCa", block);
            }),
            "spec.allow.ownContact",
        ),
    ];
    for (name, seen, expected) in rows {
        let said = said_of(&seen, Stage::Stored);
        assert!(
            said.contains(expected) && said.is_empty() == expected.is_empty(),
            "{name}: {said}"
        );
        assert_eq!(said_of(&seen, Stage::Submit), "", "{name}: another order takes its place");
    }
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
