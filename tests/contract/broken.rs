//! The rules notice: a client that breaks one of them does not pass.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use chancery::ca::kind::AccountSettings;
use chancery::ca::{
    AccountReport, Answer, Capabilities, CertificateAuthority, Challenge, Claim, Failed,
    FailedKind, Lookup, OpenOrder, Order, Permit, Phase, Previous, Progress, RevocationReason,
    Submitted,
};
use chancery::outside::{Disposition, Error};
use chancery::pki::Certificate;
use chancery::reason::Reason;

use crate::authority::Bend;
use crate::reseller::Reseller;
use crate::rules::{self, Row};
use crate::wire::{Trouble, Wire};

/// What is wrong with a client.
const SAYS_REFUSED: usize = 0;
const SAYS_UNKNOWN: usize = 1;
const TRIES_AGAIN: usize = 2;
const NEEDS_NO_CLAIM: usize = 3;
const TELLS_SECRETS: usize = 4;
const FINDS_NOTHING: usize = 5;
const GIVES_UP: usize = 6;
const HAS_A_MEMORY: usize = 7;
const CANCELS_NOTHING: usize = 8;
const REVOKES_NOTHING: usize = 9;
const SWALLOWS: usize = 10;
const CHECKS_NOTHING: usize = 11;
const CANNOT_SEARCH: usize = 12;
const FORGETS_WHEN: usize = 13;

/// The reseller with a client that does one thing wrong.
struct Broken<const FAULT: usize>(Reseller);

struct Client<const FAULT: usize> {
    right: Arc<dyn CertificateAuthority>,
    has_submitted: AtomicBool,
}

#[async_trait]
impl<const FAULT: usize> CertificateAuthority for Client<FAULT> {
    fn capabilities(&self) -> &Capabilities {
        self.right.capabilities()
    }

    async fn check(&self) -> Result<AccountReport, Error> {
        match self.right.check().await {
            Err(error)
                if FAULT == CHECKS_NOTHING
                    && error.reason == Reason::CredentialsRefused
                    && error.message.contains("401") =>
            {
                Ok(AccountReport::default())
            }
            Err(Error { disposition: Disposition::Retry { .. }, reason, message })
                if FAULT == FORGETS_WHEN =>
            {
                Err(Error { disposition: Disposition::Retry { after: None }, reason, message })
            }
            answer => answer,
        }
    }

    async fn submit(&self, order: &Order<'_>, permit: Permit) -> Submitted {
        self.has_submitted.store(true, Ordering::Relaxed);
        let claim = || Permit::Claimed(Claim::of_a_test(order.reference));
        let permit = if FAULT == NEEDS_NO_CLAIM { claim() } else { permit };
        match (self.right.submit(order, permit).await, FAULT) {
            (Submitted::Unknown(error), SAYS_REFUSED) => Submitted::Refused(error),
            (Submitted::Refused(error), SAYS_UNKNOWN) => Submitted::Unknown(error),
            (Submitted::Unknown(_), TRIES_AGAIN) => self.right.submit(order, claim()).await,
            (Submitted::Unknown(mut error), TELLS_SECRETS) => {
                error.message.push_str(&Reseller::secrets()[0]);
                Submitted::Unknown(error)
            }
            (submitted, _) => submitted,
        }
    }

    async fn find(&self, order: &Order<'_>) -> Result<Lookup, Error> {
        if FAULT == FINDS_NOTHING {
            return Ok(Lookup::Absent { complete: true, doubt: None });
        }
        match self.right.find(order).await {
            Err(_) if FAULT == CANNOT_SEARCH => Ok(Lookup::Unsupported),
            answer => answer,
        }
    }

    async fn poll(&self, orders: &[OpenOrder]) -> Vec<(String, Result<Progress, Error>)> {
        let mut answers = self.right.poll(orders).await;
        for (_, answer) in &mut answers {
            let failed = || {
                let state = "gone".to_owned();
                let kind = FailedKind::Forgotten;
                let phase = Phase::Failed(Failed { state, kind, message: String::new() });
                Progress { id: None, named: true, phase }
            };
            if FAULT == GIVES_UP && answer.is_err()
                || FAULT == HAS_A_MEMORY && !self.has_submitted.load(Ordering::Relaxed)
            {
                *answer = Ok(failed());
            }
        }
        answers
    }

    async fn advance(
        &self,
        order: &OpenOrder,
        met: &[Challenge],
    ) -> Result<Answer<Progress>, Error> {
        self.right.advance(order, met).await
    }

    async fn cancel(&self, order: &OpenOrder) -> Result<Answer<()>, Error> {
        if FAULT == CANCELS_NOTHING {
            return Ok(Answer::Done(()));
        }
        self.right.cancel(order).await
    }

    async fn revoke(&self, old: &Previous, why: RevocationReason) -> Result<Answer<()>, Error> {
        if FAULT == REVOKES_NOTHING {
            return Ok(Answer::Done(()));
        }
        self.right.revoke(old, why).await
    }

    async fn trust_anchors(&self) -> Result<Vec<Certificate>, Error> {
        match self.right.trust_anchors().await {
            Err(_) if FAULT == SWALLOWS => Ok(Vec::new()),
            answer => answer,
        }
    }
}

impl<const FAULT: usize> Row for Broken<FAULT> {
    fn start() -> Self {
        Self(Reseller::start())
    }

    fn wire(&self) -> &Arc<Wire> {
        self.0.wire()
    }

    fn settings(&self) -> Box<dyn AccountSettings> {
        self.0.settings()
    }

    fn secret() -> Vec<(&'static str, String)> {
        Reseller::secret()
    }

    fn open(&self) -> Arc<dyn CertificateAuthority> {
        let has_submitted = AtomicBool::new(false);
        Arc::new(Client::<FAULT> { right: self.0.open(), has_submitted })
    }

    fn made(&self) -> usize {
        self.0.made()
    }

    fn finish(&self) {
        self.0.finish();
    }

    fn bend(&self, bend: Bend) {
        self.0.bend(bend);
    }

    fn withdrawn(&self) -> Option<Vec<String>> {
        self.0.withdrawn()
    }

    fn revoked(&self) -> Option<Vec<String>> {
        self.0.revoked()
    }

    fn anchors(&self) -> Vec<Certificate> {
        self.0.anchors()
    }

    fn secrets() -> Vec<String> {
        Reseller::secrets()
    }

    fn proves_refusal(trouble: Trouble) -> bool {
        Reseller::proves_refusal(trouble)
    }
}

macro_rules! noticed {
    ($($name:ident: $fault:ident, $expected:literal;)*) => {
        $(
            #[tokio::test(start_paused = true)]
            #[should_panic(expected = $expected)]
            async fn $name() {
                rules::hold::<Broken<{ $fault }>>().await;
            }
        )*
    };
}

noticed! {
    that_calls_unknown_refused: SAYS_REFUSED, "LostBefore: Refused";
    that_calls_refused_unknown: SAYS_UNKNOWN, "a claim on another order: Unknown";
    that_submits_again: TRIES_AGAIN, "LostBefore: [true, true]";
    that_submits_without_a_claim: NEEDS_NO_CLAIM, "a claim on another order: Accepted";
    that_tells_secrets: TELLS_SECRETS, "is given away";
    that_does_not_find_what_it_made: FINDS_NOTHING, "LostAfter";
    that_gives_an_order_up_after_an_error: GIVES_UP, "ends nothing";
    that_passes_something_by_a_back_door: HAS_A_MEMORY, "Forgotten";
    that_does_not_cancel: CANCELS_NOTHING, "(\"cancel\", None) is said to be done";
    that_does_not_revoke: REVOKES_NOTHING, "(\"revoke\", None) is said to be done";
    that_swallows_errors: SWALLOWS, "\"anchors\") is not told";
    that_calls_a_refused_token_good: CHECKS_NOTHING, "Unauthorized, \"check\") is not told";
    that_says_it_cannot_search_after_an_error: CANNOT_SEARCH, "it says that it can be searched";
    that_forgets_when_to_come_back: FORGETS_WHEN, "TooManyRequests";
}
