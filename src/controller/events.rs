//! Events for people: on transitions only, and never in the way of the work.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};

use crate::issuance::Notice;

pub(super) struct Events {
    client: Client,
    reporter: Reporter,
}

impl Events {
    pub(super) fn new(client: Client) -> Self {
        let reporter = Reporter { controller: "chancery".to_owned(), instance: None };
        Self { client, reporter }
    }

    /// Publishes what happened. A lost Event changes nothing: the state is in the status.
    pub(super) async fn publish(&self, object: &ObjectReference, notices: Vec<Notice>) {
        for notice in notices {
            // A recorder that is kept counts up its first Event of that reason and drops the words
            // of all later ones: revision 7 would be told as revision 1.
            let recorder = Recorder::new(self.client.clone(), self.reporter.clone());
            let event = Event {
                type_: if notice.warning { EventType::Warning } else { EventType::Normal },
                reason: notice.reason.to_owned(),
                note: Some(truncated(notice.message)),
                action: "Issuing".to_owned(),
                secondary: None,
            };
            match tokio::time::timeout(TIMEOUT, recorder.publish(&event, object)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an Event was not written"),
                Err(_elapsed) => tracing::debug!("an Event was not written in time"),
            }
        }
    }
}

/// An Event is not worth a longer wait.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The API server takes 1,024 bytes.
fn truncated(mut note: String) -> String {
    if note.len() > 1024 {
        note.truncate(note.floor_char_boundary(1021));
        note.push('…');
    }
    note
}
