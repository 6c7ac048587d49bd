//! The process dies between two named effects, in a first issuance and in a renewal: what is left
//! is enough, the old pair stays whole, and at most one certificate is lost.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::operator::Operator;
use crate::support::root;
use crate::world::{PATIENCE, Test, revision};

/// What `abort` ends a process with, as a shell sees it.
const ABORTED: Option<i32> = Some(128 + 6);

/// A place in the sources where a test may end the process.
struct Point {
    name: &'static str,
    /// Certificates that nobody has a key for afterwards.
    lost: usize,
    /// The Secret holds the new pair already.
    is_delivered: bool,
}

macro_rules! failpoints {
    ($($module:ident = $point:expr;)*) => {
        /// Every failpoint has its tests.
        const TESTED: &[&str] = &[$($point.name),*];

        $(mod $module {
            use super::Point;

            #[tokio::test]
            async fn in_a_first_issuance() {
                super::first_issuance(&$point).await;
            }

            #[tokio::test]
            async fn in_a_renewal() {
                super::renewal(&$point).await;
            }
        })*
    };
}

failpoints! {
    after_read_target = Point { name: "after-read-target", lost: 0, is_delivered: false };
    before_submit = Point { name: "before-submit", lost: 0, is_delivered: false };
    after_submit = Point { name: "after-submit", lost: 1, is_delivered: false };
    before_deliver = Point { name: "before-deliver", lost: 1, is_delivered: false };
    after_deliver = Point { name: "after-deliver", lost: 0, is_delivered: true };
    after_status = Point { name: "after-status", lost: 0, is_delivered: true };
}

async fn first_issuance(point: &Point) {
    let test = Test::new(&format!("first-{}", point.name)).await;
    let operator = test.spawn(&[("CHANCERY_KILL_AT", point.name)]);
    operator.wait_until_ready();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.apply(test.request("portal"));
    dies(operator, point.name);

    assert_eq!(test.pair("portal").await.is_some(), point.is_delivered, "a Secret in between");
    let issued = point.lost + usize::from(point.is_delivered);
    assert_eq!(test.issued().await, issued, "certificates in between");

    let operator = test.start();
    let request = test.until_ready(&operator, "portal").await;
    test.until_idle(&operator);
    test.good_pair("portal").await;
    assert_eq!(revision(&request), 1);
    assert_eq!(test.issued().await, 1 + point.lost, "certificates at the CA");
    println!("first issuance, {}: {} certificate(s)", point.name, 1 + point.lost);
}

async fn renewal(point: &Point) {
    let test = Test::new(&format!("renewal-{}", point.name)).await;
    let operator = test.start();
    test.with_issuer(&["RSA", "ECDSA"]).await;
    test.apply(test.request("portal"));
    test.until_ready(&operator, "portal").await;
    let old = test.good_pair("portal").await;
    assert_eq!(operator.process.stop(), Some(0));

    test.kubectl(&["annotate", "certificaterequest", "portal", "chancery.dev/renew=now"]);
    dies(test.spawn(&[("CHANCERY_KILL_AT", point.name)]), point.name);

    let between = test.good_pair("portal").await;
    assert_eq!(between != old, point.is_delivered, "the pair in between");
    let issued = 1 + point.lost + usize::from(point.is_delivered);
    assert_eq!(test.issued().await, issued, "certificates in between");

    let operator = test.start();
    test.until(&operator, "portal", "at revision 2", |request| revision(request) == 2).await;
    test.until_idle(&operator);
    let new = test.good_pair("portal").await;
    assert_ne!(new.key, old.key);
    assert_eq!(new == between, point.is_delivered, "a delivered pair is not delivered again");
    assert_eq!(revision(&test.get("portal").await), 2);
    assert_eq!(test.issued().await, 2 + point.lost, "certificates at the CA");
    println!("renewal, {}: {} certificate(s)", point.name, 2 + point.lost);
}

/// The operator ends at the failpoint of this name.
pub fn dies(mut operator: Operator, point: &str) {
    assert_eq!(operator.process.wait(PATIENCE), ABORTED, "{}", operator.process.log());
    let log = operator.process.log();
    assert!(log.contains("failpoint reached") && log.contains(point), "{log}");
}

#[test]
fn every_failpoint_in_the_sources_has_its_tests() {
    let mut found = BTreeSet::new();
    collect(&root().join("src"), &mut found);
    let tested = TESTED
        .iter()
        .copied()
        .chain(crate::orders::tested())
        .chain(crate::orders::limits::tested());
    let tested: BTreeSet<String> = tested.map(str::to_owned).collect();
    assert_eq!(found, tested, "add the new one to the list above");
}

fn collect(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let calls = text.split("failpoint(\"").skip(1);
            found.extend(calls.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
}
