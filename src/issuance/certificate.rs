//! What there is of a certificate and what is wanted: whether what is delivered is ours and in order,
//! whether it is due, and what is to be delivered.

pub(super) mod adoption;
mod comparison;
pub(super) mod delivery;
pub(super) mod key;
pub(super) mod purchase;
pub(super) mod reissue;
pub mod renewal;
pub(super) mod requested;
pub(super) mod room;
pub(super) mod standing;
mod template;
pub(super) mod template_keys;
