//! What a CA issued with its answer and does not give out again.

use crate::ca::Progress;
use crate::issuance::observation::Observation;

impl Observation {
    /// The certificate of an order that has no id to ask the CA by, with the order's reference. Until
    /// it is delivered it exists nowhere but here.
    #[must_use]
    pub fn in_hand(&self) -> Option<(&str, &Progress)> {
        let progress = self.order.progress.as_ref();
        let progress = progress.filter(|progress| progress.is_issued() && progress.id.is_none())?;
        let record = self.record().filter(|_| self.delivered.is_none())?;
        Some((&record.next.order.reference, progress))
    }
}
