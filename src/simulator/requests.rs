//! Counts requests: how many of each operation ended in which status, and how many ran at once.
//!
//! A request counts once, when its answer is handed to the connection, or when the client went away
//! before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use crate::simulator::lock;

/// What a site has seen so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// Operation to outcome to count. An outcome is a status, `disconnected` where the simulator
    /// closed the connection instead of answering, or `abandoned` where the client went away first.
    pub operations: BTreeMap<String, BTreeMap<String, u64>>,
    /// Requests that have no answer yet.
    pub in_flight: u64,
    /// The most that ever had no answer at the same time.
    pub peak_in_flight: u64,
}

impl Requests {
    /// How often this operation ended in this outcome.
    pub fn count(&self, operation: &str, outcome: &str) -> u64 {
        self.operations
            .get(operation)
            .and_then(|outcomes| outcomes.get(outcome))
            .copied()
            .unwrap_or_default()
    }

    /// How often this operation was asked for and came to an end.
    pub fn total(&self, operation: &str) -> u64 {
        self.operations.get(operation).map_or(0, |outcomes| outcomes.values().sum())
    }
}

/// The counter of one site.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<Mutex<Requests>>);

impl Counter {
    /// A request of this operation has arrived.
    pub(crate) fn begin(&self, operation: &'static str) -> InFlight {
        let mut requests = lock(&self.0);
        requests.in_flight += 1;
        requests.peak_in_flight = requests.peak_in_flight.max(requests.in_flight);
        InFlight { counter: self.clone(), operation, outcome: None }
    }

    /// The numbers so far.
    pub(crate) fn snapshot(&self) -> Requests {
        lock(&self.0).clone()
    }
}

/// A request without an answer; dropping it counts it.
#[derive(Debug)]
pub(crate) struct InFlight {
    counter: Counter,
    operation: &'static str,
    outcome: Option<String>,
}

impl InFlight {
    /// The request has come to this end.
    pub(crate) fn finish(mut self, outcome: String) {
        self.outcome = Some(outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| "abandoned".to_owned());
        let mut requests = lock(&self.counter.0);
        requests.in_flight -= 1;
        *requests
            .operations
            .entry(self.operation.to_owned())
            .or_default()
            .entry(outcome)
            .or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_stays_and_a_lost_client_is_counted() {
        let counter = Counter::default();
        let (first, second) = (counter.begin("certificate"), counter.begin("certificate"));
        first.finish("200".to_owned());
        drop(second);
        let seen = counter.snapshot();
        assert_eq!((seen.in_flight, seen.peak_in_flight), (0, 2));
        assert_eq!(
            (seen.count("certificate", "200"), seen.count("certificate", "abandoned")),
            (1, 1)
        );
        assert_eq!(seen.total("certificate"), 2);
    }
}
