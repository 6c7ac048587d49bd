//! The safeguards that keep an order from being made twice, its key from being lost and a target from
//! being spoilt, each of which a test can take away: what nobody notices the absence of is either no
//! safeguard or not tested. docs/proof.md lists them by name, each with the rule it is.
//!
//! All are in place unless built with the feature `mutants`, which the operator's image never is.
//! Each is taken away at a seam, by doctoring what crosses it: what the core is shown and what it
//! says (`issuance::mutants`), what the shell performs a step with (in
//! `controller::certificate_request`), and the calls of the API server and of the CA
//! (`tests/schedules/doctored.rs`, where the world does it). Nothing of it stands in the code itself.

#[cfg(feature = "mutants")]
use std::cell::{Cell, RefCell};
#[cfg(feature = "mutants")]
use std::collections::BTreeSet;

/// A safeguard that can be taken away.
macro_rules! mutants {
    ($($(#[$doc:meta])* $variant:ident $name:literal)*) => {
        /// A safeguard that a test takes away.
        #[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
        pub enum Mutant {
            $($(#[$doc])* $variant,)*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in docs/proof.md and in reports, such as `write-ahead`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

mutants! {
    // What is ordered: the record.
    /// The record is written before the submit. Without it, only after the CA has answered.
    WriteAhead "write-ahead"
    /// A new order takes the place of one that has ended. Without it, also of one that is open, as
    /// soon as something else is wanted.
    TerminalCheck "terminal-check"
    /// A record is written for a request that still asks for what it did when the run began. Without
    /// it, for whatever a run once saw.
    RequestAsSeen "request-as-seen"
    /// What was bought is put aside for what the API server says is wanted. Without it, for what a
    /// cache may have said long ago.
    RequestAsStored "request-as-stored"
    /// A record that was edited is acted on by nobody. Without it, its digest is not compared.
    RecordDigest "record-digest"
    /// Where the record is gone, or older than the order made last, a person is asked. Without it,
    /// another order is made.
    LostRecord "lost-record"

    // Who may order it: the claim, and the lease.
    /// A claim is won by a write on the condition that nobody else wrote the record. Without it,
    /// whoever writes has won.
    ClaimCompareAndSwap "claim-compare-and-swap"
    /// Each process is somebody else. Without it, all have one name, and what is claimed under it
    /// and was not used by this process counts as unused.
    IncarnationId "incarnation-id"
    /// A claim is used once. Without it, a process that has submitted keeps it.
    ClaimOnce "claim-once"
    /// A claim is used soon after it was won, before another process may take the order for lost.
    /// Without it, at any time.
    ClaimAge "claim-age"
    /// Before a submit the status says who submits what, on the condition that the request is as it
    /// was seen. Without it, nothing is written, and a withdrawal is not seen.
    Announcement "announcement"
    /// What became of an order is noted on the condition that nobody else wrote the record. Without
    /// it, also over another's claim.
    MarkVersion "mark-version"
    /// Only the holder of the lease acts. Without it, every process does, and nothing worse comes of
    /// that than conflicts: the lease is liveness, not safety.
    LeaseCheck "lease-check"

    // Whether it was ordered: the CA's word.
    /// The CA is searched right before every submit. Without it, only for what may have been lost.
    FindFirst "find-first"
    /// An order whose answer was lost is looked for during the whole settle window. Without it, until
    /// three answers say that there is none.
    SettleWindow "settle-window"
    /// Three answers "there is none", spread over the settle window, make an order absent. Without
    /// it, one.
    ThreeAnswers "three-answers"
    /// What was looked for under an earlier claim says nothing of a later one. Without it, it counts.
    SearchPerClaim "search-per-claim"
    /// A search that did not see everything says nothing. Without it, it says that there is none.
    EveryPage "every-page"
    /// Where an answer was lost, an order at the CA that carries no name may be ours. Without it, only
    /// those with our name are looked at.
    UnnamedOrders "unnamed-orders"
    /// "There is none" counts at an account whose search has found an order of ours. Without it, at
    /// any.
    PositiveControl "positive-control"
    /// What carries our name is ours if it is for our key. Without it, whatever its key is.
    KeyEvidence "key-evidence"
    /// An order is made and looked for at the account in its record. Without it, at the one that the
    /// issuer speaks for now.
    AccountCheck "account-check"
    /// A submit counts as refused only where nothing can have been ordered. Without it, wherever no
    /// answer says "taken".
    UnknownIsRefused "unknown-is-refused"
    /// What is made again is the same to the byte. Without it, it has another key.
    SameCsr "same-csr"
    /// An order whose certificate was delivered was made, whatever the CA has forgotten. Without it,
    /// it is made again.
    DeliveredOnce "delivered-once"

    // What is wanted now.
    /// What came to nothing is not bought again by itself. Without it, it is.
    EndedHold "ended-hold"
    /// A certificate that was bought and does not fit waits for a person. Without it, another one is
    /// bought.
    UnusableHold "unusable-hold"
    /// Giving an order up names the order. Without it, each order is given up while the annotation is
    /// there.
    ReleaseByName "release-by-name"
    /// While `suspend` is set nothing is submitted. Without it, it is not looked at.
    Suspend "suspend"
    /// Nothing is submitted for whom the issuer does not serve, and nothing while it is suspended.
    /// Without it, what it says of that is not looked at.
    Permission "permission"

    // How much: the limits.
    /// What is drawn of a day's orders was reserved in the issuer's status before. Without it, each
    /// process counts for itself.
    DayBudget "day-budget"
    /// What each namespace has of a day's orders is counted. Without it, nobody counts.
    NamespaceShare "namespace-share"
    /// Open orders are counted before there is another. Without it, nobody counts.
    OpenOrders "open-orders"
    /// The orders for a request are counted in its record. Without it, nobody counts.
    ChurnBreaker "churn-breaker"

    // What is read and written in the cluster.
    /// A Secret that must not be read is not taken for absent. Without it, a 403 is taken for a 404.
    ForbiddenIsAbsent "forbidden-is-absent"
    /// No run begins before the caches have what the last one wrote. Without it, a run may decide on
    /// the past.
    Expectations "expectations"
    /// The target is changed on the condition that it is the version that was read. Without it,
    /// whatever is there is overwritten.
    TargetVersion "target-version"
    /// A Secret that is not this request's is left alone, and that before money is spent. Without it,
    /// it is taken for ours.
    ForeignTarget "foreign-target"
    /// Of two requests for one Secret the first has it, and the other orders nothing. Without it, both
    /// order.
    Rival "rival"
    /// The certificate that is delivered is for the key of its order. Without it, for any key.
    IssuedKey "issued-key"
    /// A valid certificate that fits gives way to no worse one. Without it, to any that verifies.
    NeverWorse "never-worse"
    /// A certificate in hand that could not be delivered is kept for the next run. Without it,
    /// another one is issued.
    Undelivered "undelivered"
}

#[cfg(feature = "mutants")]
thread_local! {
    static REMOVED: Cell<Option<Mutant>> = const { Cell::new(None) };
    /// Which process has submitted which order.
    static SUBMITTED: RefCell<BTreeSet<(String, String)>> = const { RefCell::new(BTreeSet::new()) };
}

/// Takes one safeguard away, for what runs on this thread; `None` puts it back.
#[cfg(feature = "mutants")]
pub fn set(mutant: Option<Mutant>) {
    REMOVED.set(mutant);
    SUBMITTED.take();
}

/// The safeguard that was taken away on this thread.
#[cfg(feature = "mutants")]
#[must_use]
pub fn removed() -> Option<Mutant> {
    REMOVED.get()
}

/// Whether this safeguard was taken away, on this thread.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_removed(mutant: Mutant) -> bool {
    removed() == Some(mutant)
}

/// Notes that a process has submitted an order.
#[cfg(feature = "mutants")]
pub(crate) fn submitted(incarnation: &str, reference: &str) {
    let entry = (incarnation.to_owned(), reference.to_owned());
    SUBMITTED.with_borrow_mut(|all| all.insert(entry));
}

/// Whether a process has submitted an order.
#[cfg(feature = "mutants")]
pub(crate) fn has_submitted(incarnation: &str, reference: &str) -> bool {
    let entry = (incarnation.to_owned(), reference.to_owned());
    SUBMITTED.with_borrow(|all| all.contains(&entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proof_lists_them_all_and_no_others() {
        let text = include_str!("../docs/proof.md");
        let table = text.split_once("\n## The safeguards\n").expect("a section").1;
        let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
        let names: Vec<&str> = rows.map(|(name, _)| name).collect();
        let all: Vec<&str> = Mutant::ALL.iter().map(|mutant| mutant.name()).collect();
        assert_eq!(names, all);
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn one_is_taken_away_on_one_thread() {
        set(Some(Mutant::FindFirst));
        assert!(is_removed(Mutant::FindFirst) && !is_removed(Mutant::WriteAhead));
        let elsewhere = std::thread::spawn(removed).join();
        assert_eq!(elsewhere.expect("it answers"), None);
        set(None);
        assert_eq!(removed(), None);
    }
}
