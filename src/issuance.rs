//! The pure core: from what was observed to the one next step, and to the status that describes
//! it. No client, no clock, no randomness, nothing asynchronous.
//!
//! # A run
//! The shell observes, then repeats [`decide`] → perform → [`Observation::after`] until the step
//! is a [`Rest`], and writes what [`describe`] says. One run never submits twice.
//!
//! # Effects, in order, and what a process that dies after each leaves behind
//! 1. *Read the target Secret.* Nothing.
//! 2. *Open the account* (credentials and trust bundles are read). Nothing.
//!    So is a CSR that the request brings.
//! 3. *Submit.* At a free CA, a certificate nobody has the key for. The target is still absent, or
//!    still holds the old pair: the next run submits again. This is the one step that can cost a
//!    certificate: at most one per crash for each request that was under way.
//! 4. *Read the roots the CA serves* (only to complete a chain, or by opt-in). As after 3.
//! 5. *Deliver*: create the target, or change it on the condition of uid and resourceVersion. The
//!    next run reads it, finds the marker, the pair and what it was requested with, and only
//!    writes the status.
//! 6. *Write the status.* Nothing is left to do.
//!
//! An order that costs money has effects of its own between 2 and 5: see [`order`].
//!
//! A late writer loses: 5 fails where the target moved, 6 where the request moved. Unreadable is
//! not absent: a target that cannot be read ends the run before 3.

pub mod allow;
mod attempt;
mod certificate;
mod decide;
mod describe;
mod effort;
#[cfg(test)]
mod fixtures;
mod former;
pub mod issuer;
#[cfg(feature = "mutants")]
mod mutants;
mod observation;
pub mod order;
mod previous;
pub mod quota;
pub mod stalled;
mod step;
mod trouble;
pub mod trust;
#[cfg(test)]
mod world;

pub use self::attempt::repair_pause;
pub use self::certificate::delivery::Delivery;
pub use self::certificate::key::{BroughtCsr, CsrReference, Key};
pub use self::certificate::purchase::{Products, Purchase};
pub use self::certificate::reissue::Reissue;
pub use self::certificate::renewal;
pub use self::certificate::renewal::RenewBefore;
pub use self::certificate::requested::Requested;
pub use self::certificate::template_keys::TemplateKeys;
#[cfg(not(feature = "mutants"))]
pub use self::decide::decide;
pub use self::describe::{Description, Notice, Requeue, describe};
#[cfg(feature = "mutants")]
pub use self::mutants::decide;
pub use self::observation::{
    Account, CachedTarget, IssuerState, Observation, Obtained, Outcome, Read, Request, StandsFor,
    Target, Template,
};
pub use self::order::following::{Following, following};
pub use self::order::hold::Hold;
pub use self::order::purchases;
pub use self::order::record;
pub use self::order::record::{
    Mark, OrderDraft, OrderState, RawRecord, Record, RecordRead, Slot, record_name,
};
pub use self::order::seen::{
    OrderAndClaim, OrderSeen, OrderStage, Prepared, Sent, Sought, UnusedClaim, adopt, others,
};
pub use self::previous::{Previous, waits_for};
pub use self::quota::{Limits, QuotaSeen, Withheld};
pub use self::step::{KeyPlan, Rest, Step};
pub use self::trouble::Trouble;
