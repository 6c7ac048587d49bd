use super::*;
use crate::api::IssuerKind;

const SMALL: Bounds = Bounds { all: 6, namespace: 4, issuer: 2, sure: 1 };

fn issuer(namespace: &str, name: &str) -> IssuerKey {
    let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    let kind = if namespace.is_some() { IssuerKind::Issuer } else { IssuerKind::ClusterIssuer };
    IssuerKey { kind, namespace, name: name.to_owned() }
}

fn share(namespace: &str, name: &str) -> Share {
    Share { namespace: namespace.to_owned(), issuer: issuer(namespace, name) }
}

fn entry<W>(who: W, namespace: &str, issuer: &str, due: Option<Timestamp>) -> Entry<W> {
    Entry { who, share: share(namespace, issuer), due, due_in: None }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Lets these come, each `namespace/issuer/name`; who has a place.
fn come(table: &mut Table<String>, all: &[&str]) -> Vec<String> {
    let has_place = |who: &&&str| {
        let mut parts = who.split('/');
        let (namespace, name) = (parts.next().unwrap(), parts.next().unwrap());
        let entry = entry((**who).to_owned(), namespace, name, None);
        table.enter(entry, |_| true).0.is_some()
    };
    all.iter().filter(has_place).map(|who| (*who).to_owned()).collect()
}

#[test]
fn who_has_a_place_at_once() {
    let cases: [(&str, &[&str], &str, bool); 7] = [
        ("the first", &[], "a/x/1", true),
        ("another at the same issuer", &["a/x/1"], "a/x/2", true),
        ("not one more than an issuer may have", &["a/x/1", "a/x/2"], "a/x/3", false),
        ("at another issuer", &["a/x/1", "a/x/2"], "a/y/1", true),
        (
            "not one more than a namespace may have",
            &["a/x/1", "a/x/2", "a/y/1", "a/y/2"],
            "a/z/1",
            false,
        ),
        (
            "the first of a namespace, however many others there are",
            &["a/x/1", "a/x/2", "a/y/1", "a/y/2", "b/x/1", "b/x/2"],
            "c/x/1",
            true,
        ),
        (
            "not the second where all places are taken",
            &["a/x/1", "a/x/2", "a/y/1", "a/y/2", "b/x/1", "c/x/1"],
            "b/x/2",
            false,
        ),
    ];
    for (name, before, who, expected) in cases {
        let mut table = Table::new(SMALL);
        assert_eq!(come(&mut table, before).len(), before.len(), "{name}");
        assert_eq!(!come(&mut table, &[who]).is_empty(), expected, "{name}");
    }
}

#[test]
fn a_free_place_is_for_who_came_first_and_nobody_overtakes() {
    let mut table = Table::new(SMALL);
    come(&mut table, &["a/x/1", "a/x/2", "a/x/3", "a/x/4"]);
    assert!(table.call(|_| true).is_empty(), "nothing is free");
    table.leave(&share("a", "x"));
    assert_eq!(table.call(|_| true), ["a/x/3"]);
    assert!(come(&mut table, &["a/x/5", "a/x/4"]).is_empty(), "the place is kept");
    assert_eq!(come(&mut table, &["a/x/3"]), ["a/x/3"]);
    table.leave(&share("a", "x"));
    assert_eq!(table.call(|_| true), ["a/x/4"], "who asks again keeps its place in the line");
}

#[test]
fn namespaces_take_turns_and_their_issuers_do() {
    let mut table = Table::new(Bounds { all: 2, namespace: 2, issuer: 2, sure: 0 });
    come(&mut table, &["a/x/1", "a/x/2"]);
    let waiting = ["a/x/3", "a/x/4", "a/x/5", "a/y/1", "b/x/1", "b/x/2", "c/x/1"];
    assert!(come(&mut table, &waiting).is_empty());
    let (mut order, mut last) = (Vec::new(), share("a", "x"));
    while order.len() < waiting.len() {
        table.leave(&last);
        for called in table.call(|_| true) {
            let (namespace, rest) = called.split_once('/').unwrap();
            last = share(namespace, &rest[..1]);
            order.push(called);
        }
    }
    let expected = ["a/x/3", "b/x/1", "c/x/1", "a/y/1", "b/x/2", "a/x/4", "a/x/5"];
    assert_eq!(order, expected);
}

#[test]
fn renewals_that_are_due_go_first_by_the_end_of_their_certificates() {
    let mut table = Table::new(SMALL);
    come(&mut table, &["a/x/1", "a/x/2", "a/x/new"]);
    for (who, end) in [("a/x/late", 200), ("a/x/soon", 100)] {
        let entry = entry(who.to_owned(), "a", "x", Some(at(end)));
        assert!(table.enter(entry, |_| true).0.is_none());
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        table.leave(&share("a", "x"));
        order.extend(table.call(|_| true));
    }
    assert_eq!(order, ["a/x/soon", "a/x/late", "a/x/new"]);
}

#[test]
fn who_waits_waits_as_what_it_is_by_now() {
    let (x, y) = (share("a", "x"), share("a", "y"));
    let again = |table: &mut Table<String>, issuer: &Share, due: Option<i64>| {
        let (who, share) = ("a/x/2".to_owned(), issuer.clone());
        let entry = Entry { who, share, due: due.map(self::at), due_in: None };
        let (place, called) = table.enter(entry, |_| true);
        (place.map(|place| place.issuer.name), called)
    };
    // Of three that wait at x, and one that waits at y, the second comes again.
    let cases = [
        ("as it was", (&x, None), [&["a/x/1", "a/x/2", "a/x/3"][..], &["a/y/1"]]),
        ("its renewal is due by now", (&x, Some(100)), [&["a/x/2", "a/x/1", "a/x/3"], &["a/y/1"]]),
        ("it is at another issuer", (&y, None), [&["a/x/1", "a/x/3"], &["a/y/1", "a/x/2"]]),
        ("both", (&y, Some(100)), [&["a/x/1", "a/x/3"], &["a/x/2", "a/y/1"]]),
    ];
    for (name, (at, due), [at_x, at_y]) in cases {
        let mut table = Table::new(Bounds { all: 9, namespace: 9, issuer: 1, sure: 0 });
        come(&mut table, &["a/x/0", "a/y/0", "a/x/1", "a/x/2", "a/x/3", "a/y/1"]);
        assert_eq!(again(&mut table, at, due), (None, vec![]), "{name}: there is no room");
        for (share, expected) in [(&x, at_x), (&y, at_y)] {
            for who in expected {
                table.leave(share);
                assert_eq!(table.call(|_| true), [*who], "{name}");
            }
        }
        assert!(table.lines.is_empty(), "{name}: {table:?}");
    }
    let mut table = Table::new(Bounds { all: 9, namespace: 9, issuer: 1, sure: 0 });
    come(&mut table, &["a/x/0", "a/x/2"]);
    assert_eq!(again(&mut table, &y, None).0.as_deref(), Some("y"), "there is room");
    table.leave(&x);
    assert!(table.call(|_| true).is_empty() && table.standing.is_empty(), "it waits nowhere");
    // It was called to a place at x before it comes again.
    let next = || vec!["a/x/3".to_owned()];
    let cases = [
        ("it is where it was called", &["a/x/0"][..], &x, (Some("x"), vec![])),
        ("it is at another issuer, which has room", &["a/x/0"], &y, (Some("y"), next())),
        ("it is at another, which has none", &["a/x/0", "a/y/0"], &y, (None, next())),
    ];
    for (name, before, at, (place, called)) in cases {
        let mut table = Table::new(Bounds { all: 9, namespace: 9, issuer: 1, sure: 0 });
        come(&mut table, before);
        come(&mut table, &["a/x/2", "a/x/3"]);
        table.leave(&x);
        assert_eq!(table.call(|_| true), ["a/x/2"], "{name}");
        assert_eq!(again(&mut table, at, None), (place.map(str::to_owned), called), "{name}");
        assert_eq!((table.of_issuers[&x.issuer], table.under_way > 2), (1, false), "{name}");
    }
}

#[test]
fn who_comes_from_another_issuer_than_it_was_called_to_has_the_next_woken() {
    let woken = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&woken);
    let wake = move |who: &u32| told.lock().unwrap().push(*who);
    let bounds = Bounds { all: 9, namespace: 9, issuer: 1, sure: 0 };
    let places = Arc::new(Places::new(bounds, wake, |_| true));
    let first = places.enter(entry(1, "a", "x", None));
    assert!(places.enter(entry(2, "a", "x", None)).is_err());
    assert!(places.enter(entry(3, "a", "x", None)).is_err());
    drop(first);
    let moved = places.enter(entry(2, "a", "y", None)).expect("a place where it is now");
    assert_eq!(*woken.lock().unwrap(), [2, 3]);
    drop(moved);
}

#[test]
fn whose_renewal_becomes_due_while_it_waits_comes_again_then_and_goes_first() {
    let woken = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&woken);
    let wake = move |who: &u32| told.lock().unwrap().push(*who);
    let bounds = Bounds { all: 1, namespace: 1, issuer: 1, sure: 0 };
    let places = Arc::new(Places::new(bounds, wake, |_| true));
    let first = places.enter(entry(1, "a", "x", None)).expect("a place");
    let no_place = |entry| places.enter(entry).err().expect("no place");
    assert_eq!(no_place(entry(2, "a", "x", None)), None, "it is woken when there is a place");
    let wait = Some(Duration::from_secs(3600));
    assert_eq!(no_place(Entry { due_in: wait, ..entry(3, "a", "x", None) }), wait);
    assert_eq!(no_place(entry(3, "a", "x", Some(at(100)))), None, "it is due");
    drop(first);
    assert_eq!(*woken.lock().unwrap(), [3]);
}

#[test]
fn who_is_gone_holds_no_place() {
    let mut table = Table::new(SMALL);
    come(&mut table, &["a/x/1", "a/x/2", "a/x/3", "a/x/4", "a/x/5", "a/x/6"]);
    table.forget(&"a/x/3".to_owned());
    table.leave(&share("a", "x"));
    let gone = |who: &String| who != "a/x/4";
    assert_eq!(table.call(gone), ["a/x/5"], "neither who went nor who is not there any more");
    table.forget(&"a/x/5".to_owned());
    assert_eq!(table.call(gone), ["a/x/6"], "what was kept for somebody is free again");
    come(&mut table, &["a/x/6"]);
    table.leave(&share("a", "x"));
    table.leave(&share("a", "x"));
    let left = (table.under_way, table.standing.len(), table.lines.len());
    assert_eq!(left, (0, 0, 0), "nothing is left: {table:?}");
    assert!(table.of_namespaces.is_empty() && table.of_issuers.is_empty());
}

#[test]
fn a_place_is_free_when_its_run_has_ended_and_the_next_is_woken() {
    let woken = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&woken);
    let wake = move |who: &u32| told.lock().unwrap().push(*who);
    let bounds = Bounds { all: 1, namespace: 1, issuer: 1, sure: 0 };
    let places = Arc::new(Places::new(bounds, wake, |_| true));
    let first = places.enter(entry(1, "a", "x", None));
    assert!(places.enter(entry(2, "b", "x", None)).is_err());
    drop(first);
    assert_eq!(*woken.lock().unwrap(), [2]);
    assert!(places.enter(entry(3, "c", "x", None)).is_err(), "it is kept");
    assert!(places.enter(entry(2, "b", "x", None)).is_ok());
    assert_eq!(*woken.lock().unwrap(), [2, 3]);
}
