//! What every certificate authority must keep, whatever it speaks.
//!
//! [`holds`] puts the rules one by one to a fresh [`Fixture`] each. A new CA writes a fixture and
//! calls it.

use std::collections::HashSet;
use std::sync::Arc;

use chancery::ca::{CertificateAuthority, Order, Permit, Submitted};
use chancery::outside::Error;
use chancery::outside::credentials::Credentials;
use chancery::pki::{KeyKind, PrivateKey};

use crate::bench::{csr_der, key};

/// An account at a CA that is played, with what the contract has to see of the other side.
pub(crate) trait Fixture {
    /// The client under test.
    fn ca(&self) -> Arc<dyn CertificateAuthority>;
    /// The request's own credentials, where it brings some.
    fn credentials(&self) -> Option<Credentials>;
    /// Requests that could have made a certificate, as the other side counted them.
    fn minting_requests(&self) -> u64;
    /// Certificates the other side made.
    fn minted(&self) -> usize;
    /// Makes the next request of this operation end like that; false where this CA cannot.
    fn spoil(&self, operation: Operation, trouble: Trouble) -> bool;
    /// Everything that must not be seen in any text.
    fn secrets(&self) -> Vec<String>;
}

/// What is spoilt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operation {
    /// The request that makes a certificate.
    Submit,
    /// What `check` asks for.
    Check,
    /// What `trust_anchors` asks for.
    TrustAnchors,
}

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    CredentialsRefused,
    RequestRefused,
    UnknownAddress,
    TooManyRequests,
    Redirect,
    ServerError,
    UnexpectedSuccess,
    LostBeforeCommit,
    LostAfterCommit,
    HalfAnswer,
    EmptyAnswer,
    AnotherServer,
    EndlessAnswer,
    Silence,
    /// Refused, with everything the request held in the answer.
    SecretsEchoed,
    /// A server error, with everything the request held in the answer.
    SecretsEchoedByError,
}

impl Trouble {
    const ALL: [Self; 16] = [
        Self::CredentialsRefused,
        Self::RequestRefused,
        Self::UnknownAddress,
        Self::TooManyRequests,
        Self::Redirect,
        Self::ServerError,
        Self::UnexpectedSuccess,
        Self::LostBeforeCommit,
        Self::LostAfterCommit,
        Self::HalfAnswer,
        Self::EmptyAnswer,
        Self::AnotherServer,
        Self::EndlessAnswer,
        Self::Silence,
        Self::SecretsEchoed,
        Self::SecretsEchoedByError,
    ];

    /// Whether the answer proves that nothing was ordered.
    fn proves_refusal(self) -> bool {
        match self {
            Self::CredentialsRefused
            | Self::RequestRefused
            | Self::UnknownAddress
            | Self::TooManyRequests
            | Self::Redirect
            | Self::SecretsEchoed => true,
            Self::ServerError
            | Self::UnexpectedSuccess
            | Self::LostBeforeCommit
            | Self::LostAfterCommit
            | Self::HalfAnswer
            | Self::EmptyAnswer
            | Self::AnotherServer
            | Self::EndlessAnswer
            | Self::Silence
            | Self::SecretsEchoedByError => false,
        }
    }
}

/// Puts all rules to fixtures made by `make`. Needs paused time: silence is waited out.
pub(crate) async fn holds<F: Fixture>(make: impl Fn() -> F) {
    capabilities_are_complete_and_stay(&make());
    a_good_submit_returns_a_leaf_for_the_key_of_the_csr(&make()).await;
    for trouble in Trouble::ALL {
        a_spoilt_submit_is_told_for_what_it_is(&make(), trouble).await;
    }
    check_and_trust_anchors_make_nothing(&make()).await;
    for trouble in Trouble::ALL {
        for operation in [Operation::Check, Operation::TrustAnchors] {
            a_spoilt_look_is_an_error_and_makes_nothing(&make(), operation, trouble).await;
        }
    }
}

fn capabilities_are_complete_and_stay(fixture: &impl Fixture) {
    let ca = fixture.ca();
    let can = ca.capabilities();
    assert!(!can.name.is_empty() && !can.key_kinds.is_empty());
    let distinct: HashSet<KeyKind> = can.key_kinds.iter().copied().collect();
    assert_eq!(distinct.len(), can.key_kinds.len(), "each kind of key once");
    assert_eq!(fixture.ca().capabilities(), can);
}

async fn a_good_submit_returns_a_leaf_for_the_key_of_the_csr(fixture: &impl Fixture) {
    let ca = fixture.ca();
    let key = key(ca.capabilities().key_kinds[0]);
    let submitted = submit(fixture, &key).await;
    let certificates = submitted.issued().expect("a good submit is answered with certificates");
    let leaves: Vec<_> =
        certificates.iter().filter(|one| one.spki_der() == key.spki_der()).collect();
    assert_eq!(leaves.len(), 1, "one certificate for the key, among {certificates:?}");
    assert!(!leaves[0].is_ca());
    assert_eq!((fixture.minting_requests(), fixture.minted()), (1, 1));
}

async fn a_spoilt_submit_is_told_for_what_it_is(fixture: &impl Fixture, trouble: Trouble) {
    if !fixture.spoil(Operation::Submit, trouble) {
        return;
    }
    let ca = fixture.ca();
    let key = key(ca.capabilities().key_kinds[0]);
    let error = match (submit(fixture, &key).await, trouble.proves_refusal()) {
        (Submitted::Refused(error), true) | (Submitted::Unknown(error), false) => error,
        (other, _) => panic!("{trouble:?} ended in {other:?}"),
    };
    is_fit_for_a_condition(fixture, &error, trouble);
    assert_eq!(fixture.minting_requests(), 1, "{trouble:?}: one request, never a second");
    let again = submit(fixture, &key).await;
    assert!(again.issued().is_some(), "{trouble:?} passed, and yet: {again:?}");
    assert_eq!(fixture.minting_requests(), 2, "{trouble:?}");
}

async fn check_and_trust_anchors_make_nothing(fixture: &impl Fixture) {
    let ca = fixture.ca();
    ca.check().await.unwrap();
    let anchors = ca.trust_anchors().await.unwrap();
    assert!(!anchors.is_empty());
    assert!(anchors.iter().all(chancery::pki::Certificate::is_ca), "{anchors:?}");
    let distinct: HashSet<_> = anchors.iter().collect();
    assert_eq!(distinct.len(), anchors.len(), "each certificate once");
    assert_eq!((fixture.minting_requests(), fixture.minted()), (0, 0));
}

async fn a_spoilt_look_is_an_error_and_makes_nothing(
    fixture: &impl Fixture,
    operation: Operation,
    trouble: Trouble,
) {
    if !fixture.spoil(operation, trouble) {
        return;
    }
    let ca = fixture.ca();
    let look = || async {
        match operation {
            Operation::TrustAnchors => ca.trust_anchors().await.map(drop),
            Operation::Check | Operation::Submit => ca.check().await.map(drop),
        }
    };
    let error = look().await.expect_err(&format!("{operation:?} after {trouble:?}"));
    is_fit_for_a_condition(fixture, &error, trouble);
    look().await.unwrap();
    assert_eq!((fixture.minting_requests(), fixture.minted()), (0, 0), "{trouble:?}");
}

fn is_fit_for_a_condition(fixture: &impl Fixture, error: &Error, trouble: Trouble) {
    let told = format!("{error} {error:?} {error:#?}");
    for secret in fixture.secrets() {
        assert!(!told.contains(&secret), "{trouble:?} gives away {secret}: {told}");
    }
    assert!(error.message.len() <= 2048 && !error.message.contains(char::is_control), "{error}");
    assert!(!error.message.is_empty(), "{trouble:?}");
}

async fn submit(fixture: &impl Fixture, key: &PrivateKey) -> Submitted {
    let credentials = fixture.credentials();
    let csr_der = csr_der(key);
    let order = Order {
        credentials: credentials.as_ref(),
        ..Order::unnamed(&csr_der, &serde_json::Value::Null)
    };
    fixture.ca().submit(&order, Permit::Free).await
}
