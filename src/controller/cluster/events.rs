//! Events for people: on transitions only, and never in the way of the work.
//!
//! One after the other, by a task of their own: in a burst they come a little later, and the
//! certificates do not wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;

use crate::controller::caught::caught;
use crate::controller::process::Process;
use crate::issuance::Notice;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;

/// So many may wait. State is in the status; an Event more or less changes nothing.
const WAITING: usize = 8192;
/// An Event is not worth a longer wait, and all that wait at the end are not worth more than twice
/// this.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the Events of ClusterIssuers are.
const OF_THE_CLUSTER: &str = "default";

/// Where notices are left.
pub(in crate::controller) struct Events {
    /// Where they may be written.
    namespaces: Namespaces,
    waiting: Sender<(ObjectReference, Notice)>,
    metrics: Arc<Metrics>,
    /// The log was told that there are too many.
    is_told: AtomicBool,
}

/// Writes what was left, until nobody can leave anything any more.
pub(in crate::controller) struct Publisher(JoinHandle<()>);

impl Events {
    pub(in crate::controller) fn start(
        client: Client,
        process: &Process,
        metrics: Arc<Metrics>,
        namespaces: Namespaces,
    ) -> (Self, Publisher) {
        let (waiting, receiver) = channel(WAITING);
        let publishing = publish(client, receiver, Arc::clone(&metrics));
        let publisher = Publisher(tokio::spawn(process.within(publishing)));
        (Self { namespaces, waiting, metrics, is_told: AtomicBool::new(false) }, publisher)
    }

    /// Leaves what happened to be written. Nothing where the operator works in chosen namespaces and the
    /// Event's is none of them.
    pub(in crate::controller) fn publish(&self, object: &ObjectReference, notices: Vec<Notice>) {
        if !self.namespaces.has(object.namespace.as_deref().unwrap_or(OF_THE_CLUSTER)) {
            return;
        }
        for notice in notices {
            let is_left = self.waiting.try_send((object.clone(), notice)).is_ok();
            if !is_left {
                self.metrics.event_dropped();
            }
            let was_told = self.is_told.swap(!is_left, Ordering::AcqRel);
            if !is_left && !was_told {
                tracing::warn!(
                    "more than {WAITING} Events wait to be written, and further ones are dropped: what happened is in the status of each object"
                );
            }
        }
    }
}

impl Publisher {
    /// Waits until what was left is written, for a while.
    pub(in crate::controller) async fn finish(self) {
        if tokio::time::timeout(2 * TIMEOUT, self.0).await.is_err() {
            tracing::debug!("some Events were not written");
        }
    }
}

async fn publish(
    client: Client,
    mut notices: Receiver<(ObjectReference, Notice)>,
    metrics: Arc<Metrics>,
) {
    let reporter = Reporter { controller: "chancery".to_owned(), instance: None };
    while let Some((object, notice)) = notices.recv().await {
        // A recorder that is kept counts up its first Event of that reason and drops the words of
        // all later ones: revision 7 would be told as revision 1.
        let recorder = Recorder::new(client.clone(), reporter.clone());
        let event = Event {
            type_: if notice.warning { EventType::Warning } else { EventType::Normal },
            reason: notice.reason.into_owned(),
            note: Some(truncated(notice.message)),
            action: "Issuing".to_owned(),
            secondary: None,
        };
        let publishing = tokio::time::timeout(TIMEOUT, recorder.publish(&event, &object));
        match caught(&metrics, "events", publishing).await {
            Some(Ok(Ok(()))) => continue,
            Some(Ok(Err(error))) => tracing::debug!(%error, "an Event was not written"),
            Some(Err(_elapsed)) => tracing::debug!("an Event was not written in time"),
            None => {}
        }
        metrics.event_dropped();
    }
}

/// The API server takes 1,024 bytes.
fn truncated(mut note: String) -> String {
    if note.len() > 1024 {
        note.truncate(note.floor_char_boundary(1021));
        note.push('…');
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice() -> Notice {
        Notice { warning: false, reason: "Issued".into(), message: "revision 1".to_owned() }
    }

    fn events(
        room: usize,
        namespaces: Namespaces,
    ) -> (Events, Receiver<(ObjectReference, Notice)>) {
        let (waiting, receiver) = channel(room);
        let metrics = Arc::new(Metrics::default());
        (Events { namespaces, waiting, metrics, is_told: AtomicBool::default() }, receiver)
    }

    #[tokio::test]
    async fn each_event_that_is_dropped_is_counted() {
        let (events, mut receiver) = events(2, Namespaces::All);
        events.publish(&ObjectReference::default(), (0..5).map(|_| notice()).collect());
        assert!(events.metrics.encode().contains("chancery_events_dropped_total 3\n"));
        receiver.recv().await.expect("the first");
        events.publish(&ObjectReference::default(), vec![notice()]);
        assert!(
            events.metrics.encode().contains("chancery_events_dropped_total 3\n"),
            "there was room"
        );
    }

    #[test]
    fn events_are_written_only_where_the_operator_works() {
        let left = |chosen: &str, namespace: Option<&str>| {
            let (events, mut receiver) = events(1, chosen.parse().expect("names"));
            let namespace = namespace.map(str::to_owned);
            let object = ObjectReference { namespace, ..ObjectReference::default() };
            events.publish(&object, vec![notice()]);
            assert!(events.metrics.encode().contains("chancery_events_dropped_total 0\n"));
            receiver.try_recv().is_ok()
        };
        assert!(left("shop,web", Some("shop")));
        assert!(!left("shop,web", Some("other")));
        assert!(!left("shop,web", None), "of a ClusterIssuer");
        assert!(left("default,shop", None), "where its Events are, is one of them");
        assert!(left("", None) && left("", Some("other")), "everywhere");
    }
}
