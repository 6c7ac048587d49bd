//! Faults on request: which ones exist, when they apply and how often.
//!
//! It keeps the queue and decides which fault meets which request; it does not know how a system
//! answers. Whoever adds a system chooses from these kinds and refuses the rest when the fault is
//! injected, so that a test never waits for a fault that cannot happen.

use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::simulator::lock;

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Kind {
    /// The answer takes longer; it is otherwise the normal one, or that of the next fault in the
    /// queue.
    Delay {
        /// How long.
        seconds: f64,
        /// Whether the request is carried out before the wait rather than after it.
        #[serde(default)]
        after_commit: bool,
    },
    /// The request is read and the connection closed; nothing was done.
    DropBeforeCommit,
    /// The request is carried out and recorded, then the connection is closed without an answer.
    DropAfterCommit,
    /// This status instead of doing anything.
    Status {
        /// From 200 to 599.
        status: u16,
        /// The body; a short sentence if absent.
        #[serde(default)]
        body: Option<String>,
        /// The value of a Retry-After header, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
        /// Whether the body is labelled `text/html` rather than `text/plain`.
        #[serde(default)]
        html: bool,
    },
    /// 200 with a page for people, as a captive portal or a maintenance proxy sends it; nothing was
    /// done.
    HtmlBody,
    /// The request is carried out; Content-Length promises the whole body, half of it comes, the
    /// connection closes.
    TruncatedBody,
    /// The request is carried out; the body of the answer is empty.
    EmptyBody,
    /// 200 with so many bytes that begin like an answer and never are one; nothing was done.
    HugeBody {
        /// How many.
        bytes: u64,
    },
    /// 200 with the same text so many times between two others, such as a list of nothing without
    /// end; nothing was done.
    RepeatedBody {
        /// What comes first.
        #[serde(default)]
        begin: String,
        /// What comes again and again.
        text: String,
        /// How often.
        repeats: u64,
        /// What comes last.
        #[serde(default)]
        end: String,
    },
    /// The request is read and then nothing happens until the client goes away; nothing was done.
    Hang,
    /// 302 to this place instead of doing anything.
    Redirect {
        /// The Location header.
        location: String,
    },
    /// The certificate is for another key than the request's.
    WrongKey,
    /// The chain comes first, the leaf last.
    WrongChainOrder,
    /// The certificate is signed by an authority that is not the site's, whose certificate is
    /// attached.
    UnrelatedChain,
    /// The certificate names the site's authority as its issuer but is signed by another key.
    ForgedSignature,
    /// The certificate expired a minute ago.
    Expired,
    /// The certificate begins to be valid so many seconds from now.
    NotYetValid {
        /// How many.
        seconds: u32,
    },
    /// An error as the API of the system spells it. Not for the online CA.
    ApiError {
        /// The error code as it is sent, such as `<011.350.0239>`.
        code: String,
        /// From 400 to 599.
        status: u16,
        /// Texts for people.
        #[serde(default)]
        messages: Vec<String>,
        /// Whether the request is carried out before it is answered like this.
        #[serde(default)]
        after_commit: bool,
    },
}

/// The point of a request at which a kind of fault applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Wait, then go on.
    DelayBefore,
    /// Answer this instead of carrying the request out.
    Instead,
    /// Issue another certificate than the right one.
    Issuing,
    /// The request was carried out: wait, then go on.
    DelayAfter,
    /// The request was carried out: damage the answer.
    Answering,
}

impl Kind {
    /// When this kind applies.
    pub(crate) fn moment(&self) -> Moment {
        match self {
            Self::Delay { after_commit: false, .. } => Moment::DelayBefore,
            Self::Delay { after_commit: true, .. } => Moment::DelayAfter,
            Self::DropBeforeCommit
            | Self::Status { .. }
            | Self::HtmlBody
            | Self::HugeBody { .. }
            | Self::RepeatedBody { .. }
            | Self::Hang
            | Self::Redirect { .. }
            | Self::ApiError { after_commit: false, .. } => Moment::Instead,
            Self::DropAfterCommit
            | Self::TruncatedBody
            | Self::EmptyBody
            | Self::ApiError { after_commit: true, .. } => Moment::Answering,
            Self::WrongKey
            | Self::WrongChainOrder
            | Self::UnrelatedChain
            | Self::ForgedSignature
            | Self::Expired
            | Self::NotYetValid { .. } => Moment::Issuing,
        }
    }

    /// Why these values make no sense, if they do not.
    fn objection(&self) -> Option<&'static str> {
        match self {
            Self::Delay { seconds, .. } => (!(0.0..=86_400.0).contains(seconds))
                .then_some("seconds must be between 0 and 86400"),
            Self::Status { status, .. } => {
                (!(200..600).contains(status)).then_some("status must be between 200 and 599")
            }
            Self::ApiError { status, .. } => {
                (!(400..600).contains(status)).then_some("status must be between 400 and 599")
            }
            Self::Redirect { location } => http::HeaderValue::from_str(location)
                .is_err()
                .then_some("location must be a header value"),
            Self::DropBeforeCommit
            | Self::DropAfterCommit
            | Self::HtmlBody
            | Self::TruncatedBody
            | Self::EmptyBody
            | Self::HugeBody { .. }
            | Self::RepeatedBody { .. }
            | Self::Hang
            | Self::WrongKey
            | Self::WrongChainOrder
            | Self::UnrelatedChain
            | Self::ForgedSignature
            | Self::Expired
            | Self::NotYetValid { .. } => None,
        }
    }
}

/// A fault as it is injected: what goes wrong, in which operation, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault<Operation> {
    /// The operation it meets.
    pub operation: Operation,
    /// How many requests it meets; 0 means until cleared.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    #[serde(flatten)]
    pub kind: Kind,
}

fn once() -> u32 {
    1
}

impl<Operation> Fault<Operation> {
    /// This fault for the next request of the operation.
    pub fn next(operation: Operation, kind: Kind) -> Self {
        Self { operation, times: 1, kind }
    }

    /// This fault for every request of the operation until faults are cleared.
    pub fn always(operation: Operation, kind: Kind) -> Self {
        Self { operation, times: 0, kind }
    }
}

/// The system cannot produce this fault in this operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this fault is not possible here: {0}")]
pub struct Impossible(pub(crate) &'static str);

/// The faults of one site, met in the order in which they were injected.
#[derive(Debug)]
pub(crate) struct Queue<Operation>(Mutex<Vec<Fault<Operation>>>);

impl<Operation> Default for Queue<Operation> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<Operation: Copy + PartialEq> Queue<Operation> {
    /// Adds a fault.
    pub(crate) fn inject(&self, fault: Fault<Operation>) -> Result<(), Impossible> {
        match fault.kind.objection() {
            Some(objection) => Err(Impossible(objection)),
            None => {
                lock(&self.0).push(fault);
                Ok(())
            }
        }
    }

    /// Forgets all faults.
    pub(crate) fn clear(&self) {
        lock(&self.0).clear();
    }

    /// The faults that are still to come.
    pub(crate) fn pending(&self) -> Vec<Fault<Operation>> {
        lock(&self.0).clone()
    }

    /// The first fault for this operation and moment; it is used up once it was taken `times`
    /// times.
    pub(crate) fn take(&self, operation: Operation, moment: Moment) -> Option<Kind> {
        let mut faults = lock(&self.0);
        let index = faults
            .iter()
            .position(|fault| fault.operation == operation && fault.kind.moment() == moment)?;
        let kind = faults[index].kind.clone();
        match faults[index].times {
            0 => {}
            1 => drop(faults.remove(index)),
            more => faults[index].times = more - 1,
        }
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_used_up_after_its_times_and_zero_means_until_cleared() {
        let queue = Queue::default();
        let twice = Fault { operation: 'a', times: 2, kind: Kind::HtmlBody };
        for fault in [twice, Fault::next('a', Kind::Hang), Fault::always('b', Kind::Hang)] {
            assert_eq!(queue.inject(fault), Ok(()));
        }
        let taken: Vec<_> = (0..4).map(|_| queue.take('a', Moment::Instead)).collect();
        assert_eq!(taken, [Some(Kind::HtmlBody), Some(Kind::HtmlBody), Some(Kind::Hang), None]);
        for _ in 0..9 {
            assert_eq!(queue.take('b', Moment::Instead), Some(Kind::Hang));
        }
        queue.clear();
        assert_eq!(queue.take('b', Moment::Instead), None);
    }

    #[test]
    fn values_that_make_no_sense_are_refused_when_the_fault_is_injected() {
        let senseless = [
            Kind::Delay { seconds: -1.0, after_commit: false },
            Kind::Delay { seconds: f64::NAN, after_commit: true },
            Kind::Status { status: 101, body: None, retry_after: None, html: false },
            Kind::Redirect { location: "a\nb".to_owned() },
        ];
        for kind in senseless {
            assert!(Queue::default().inject(Fault::next((), kind.clone())).is_err(), "{kind:?}");
        }
    }
}
