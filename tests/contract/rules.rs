//! The rules, put one by one to a fresh [`Row`] each.
//!
//! Nothing passes from one call to the next but what the operator stores: each call is made by a
//! client that was opened for it, with an order that was read back from text.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chancery::ca::kind::{AccountSettings, Opening};
use chancery::ca::{
    Answer, Blocks, CertificateAuthority, Claim, KeyEvidence, Lookup, OpenOrder, Order, OrderKind,
    Permit, Phase, Previous, Progress, RevocationReason, Submitted, Wanted,
};
use chancery::clock::Clock;
use chancery::outside::credentials::{ClientCertificate, Credentials};
use chancery::outside::remote_text::Reader;
use chancery::outside::transport::Transport;
use chancery::outside::{Disposition, Error};
use chancery::pki::chain::{self, Expected};
use chancery::pki::{Certificate, KeyKind, Names, PrivateKey, csr, parse_pem};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::authority::Bend;
use crate::judges::Delivered;
use crate::wire::{Target, Trouble, Wire};

/// A certificate authority whose other side is played.
pub(crate) trait Row: Sized {
    /// The other side, with nothing on it.
    fn start() -> Self;
    /// What lies between.
    fn wire(&self) -> &Arc<Wire>;
    /// Its field in an Issuer, where there is one.
    fn field() -> Option<&'static str> {
        None
    }
    /// The account, as an Issuer describes it.
    fn settings(&self) -> Box<dyn AccountSettings>;
    /// The data of the Secret with the credentials, those of the account or those of a request.
    fn secret() -> Vec<(&'static str, String)>;
    /// The way to the other side, for who shows this at its door.
    fn connect(&self, identity: Option<&ClientCertificate>) -> Arc<dyn Transport> {
        let _ = identity;
        self.wire().clone()
    }
    /// A client that was told nothing yet, opened as the operator does it.
    fn open(&self) -> Arc<dyn CertificateAuthority> {
        let settings = self.settings();
        let credentials = settings.credentials_secret().map(|_| self.read_secret());
        let identity = credentials.as_ref().and_then(Credentials::client_certificate).cloned();
        let opening = Opening {
            credentials,
            transport: self.connect(identity.as_ref()),
            deadline: Duration::from_secs(30),
            clock: Clock::new(now),
            reader: Reader::default(),
        };
        settings.open(opening).unwrap()
    }
    /// What the Secret comes to.
    fn read_secret(&self) -> Credentials {
        let data = Self::secret();
        let entry = |key: &str| {
            data.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_bytes())
        };
        self.settings().credentials_kind().read("shop/ca", entry).unwrap()
    }
    /// Orders, or certificates, that the other side has made.
    fn made(&self) -> usize;
    /// The other side does what it takes its time for.
    fn finish(&self) {}
    /// The next certificate is wrong in this way.
    fn bend(&self, bend: Bend);
    /// What chains end at.
    fn anchors(&self) -> Vec<Certificate>;
    /// What no text may hold.
    fn secrets() -> Vec<String>;
    /// Whether its answer proves that nothing was made, where each CA says that for itself: 400, 401,
    /// 404, 429, and 307.
    fn proves_refusal(trouble: Trouble) -> bool;
    /// Whether a token that is not accepted is replaced by another.
    const RENEWS_TOKENS: bool = false;
    /// Ids of the orders that were taken back, as the other side knows them; `None` where it takes none
    /// back.
    fn withdrawn(&self) -> Option<Vec<String>> {
        None
    }
    /// Serial numbers of what was revoked, as the other side knows them; `None` where it revokes none.
    fn revoked(&self) -> Option<Vec<String>> {
        None
    }
    /// The request's own credentials.
    fn own_credentials(&self) -> Option<Credentials> {
        None
    }
}

/// Puts all rules to it. Needs paused time: what hangs is waited out.
pub(crate) async fn hold<R: Row>() {
    it_describes_itself(&R::start());
    it_describes_its_account(&R::start());
    for word in words(&R::start()) {
        a_good_order_ends_in_a_certificate::<R>(word).await;
        wrong_certificates_are_told_from_badly_ordered_ones::<R>(word).await;
        without_what_it_needs_nothing_is_sent::<R>(word).await;
        for trouble in Trouble::ALL {
            a_spoilt_submit_is_told_for_what_it_is::<R>(word, trouble).await;
        }
    }
    for word in words(&R::start()) {
        for trouble in Trouble::ALL {
            a_spoilt_look_decides_nothing::<R>(word, trouble).await;
        }
    }
    what_ends_is_ended::<R>().await;
}

/// The kind of an order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    New,
    Renew,
    Reissue,
    UpdateKey,
}

fn words(row: &impl Row) -> Vec<Word> {
    let ca = row.open();
    let kinds = ca.capabilities().kinds;
    let further = [
        (kinds.renew, Word::Renew),
        (kinds.reissue, Word::Reissue),
        (kinds.update_key, Word::UpdateKey),
    ];
    let further = further.into_iter().filter(|(can, _)| *can).map(|(_, word)| word);
    std::iter::once(Word::New).chain(further).collect()
}

/// An order as it is stored: texts alone.
#[derive(Clone)]
struct Stored {
    reference: String,
    word: Word,
    previous: Option<Kept>,
    csr_der: Vec<u8>,
    parameters: String,
    /// Where the CA may have it.
    key: Option<String>,
    /// With which the certificate must be.
    spki_der: Vec<u8>,
    names: Names,
    since: Timestamp,
    may_exist: bool,
}

/// What is kept of the order before.
#[derive(Clone)]
struct Kept {
    id: Option<String>,
    certificate: String,
    key: Option<String>,
}

/// An order as a client is given it.
struct Revived {
    kind: OrderKind,
    parameters: Value,
    key: Option<PrivateKey>,
    credentials: Option<Credentials>,
}

fn private(pem: &str) -> PrivateKey {
    PrivateKey::from_pem(pem.as_bytes()).unwrap()
}

impl Kept {
    fn revive(&self) -> Previous {
        Previous {
            id: self.id.clone(),
            certificate: parse_pem(self.certificate.as_bytes()).unwrap().remove(0),
            key: self.key.as_deref().map(|pem| Arc::new(private(pem))),
        }
    }
}

impl Stored {
    fn revive<R: Row>(&self, row: &R) -> Revived {
        let previous = || Arc::new(self.previous.as_ref().unwrap().revive());
        Revived {
            kind: match self.word {
                Word::New => OrderKind::New,
                Word::Reissue => OrderKind::Reissue(previous()),
                Word::Renew => OrderKind::Renew(previous()),
                Word::UpdateKey => OrderKind::UpdateKey(previous()),
            },
            parameters: serde_json::from_str(&self.parameters).unwrap(),
            key: self.key.as_deref().map(private),
            credentials: row.own_credentials(),
        }
    }

    fn open_order(&self, id: &str) -> OpenOrder {
        let replaces = match self.word {
            Word::Reissue | Word::Renew => self.previous.as_ref(),
            Word::New | Word::UpdateKey => None,
        };
        OpenOrder {
            reference: self.reference.clone(),
            id: id.to_owned(),
            since: self.since,
            replaces: replaces.map(|kept| kept.revive().serial().to_owned()),
        }
    }
}

impl Revived {
    fn order<'a>(&'a self, stored: &'a Stored) -> Order<'a> {
        Order {
            reference: &stored.reference,
            kind: &self.kind,
            csr_der: &stored.csr_der,
            parameters: &self.parameters,
            key: self.key.as_ref(),
            credentials: self.credentials.as_ref(),
            since: Some(stored.since),
            id: None,
            may_exist: stored.may_exist,
        }
    }
}

/// When everything happens.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_780_000_000).unwrap()
}

/// Keys that are made once, in PEM: the first of a certificate, and that of the next.
fn key(kind: KeyKind, number: usize) -> &'static str {
    static RSA: [OnceLock<String>; 2] = [OnceLock::new(), OnceLock::new()];
    static ECDSA: [OnceLock<String>; 2] = [OnceLock::new(), OnceLock::new()];
    let keys = if kind == KeyKind::EcdsaP256 { &ECDSA } else { &RSA };
    keys[number].get_or_init(|| {
        PrivateKey::generate(kind).unwrap().to_pkcs8_pem().expose_secret().to_owned()
    })
}

/// Both.
pub(crate) fn keys(kind: KeyKind) -> [&'static str; 2] {
    [key(kind, 0), key(kind, 1)]
}

fn names() -> Names {
    Names { dns_names: vec!["shop.example.org".to_owned()], ..Names::default() }
}

async fn prepared<R: Row>(row: &R, word: Word, previous: Option<Kept>) -> Stored {
    let ca = row.open();
    let can = ca.capabilities();
    let pem = key(can.key_kinds[0], usize::from(previous.is_some()));
    let private = private(pem);
    let names = if can.names { names() } else { Names::default() };
    let mut stored = Stored {
        reference: format!(
            "chancery-0f0e0d0c-0b0a-4908-8706-050403020100-{}",
            1 + usize::from(previous.is_some())
        ),
        word,
        previous,
        csr_der: csr::build(&private, &names).unwrap(),
        parameters: Value::Null.to_string(),
        key: can.needs_private_key.then(|| pem.to_owned()),
        spki_der: private.spki_der().to_vec(),
        names,
        since: now(),
        may_exist: false,
    };
    let kind = stored.revive(row).kind;
    let wanted = Wanted {
        kind: &kind,
        names: &stored.names,
        key_kind: can.key_kinds[0],
        duration: None,
        blocks: Blocks::none(),
        is_requested: false,
    };
    let preparation = ca.prepare(&wanted).await.unwrap();
    assert_eq!(preparation.kind.word(), kind.word());
    stored.parameters = preparation.parameters.to_string();
    ca.preflight(&stored.revive(row).order(&stored)).await.unwrap();
    hides(row, &stored.parameters);
    stored
}

/// What an order of this kind follows: another, that ended in a certificate.
async fn stored<R: Row>(row: &R, word: Word) -> Stored {
    if word == Word::New {
        return prepared(row, word, None).await;
    }
    let first = prepared(row, Word::New, None).await;
    let submitted = submit(row, &first).await;
    let id = id(&submitted);
    let certificates = followed(row, &first, submitted).await;
    let leaf = certificates.iter().find(|one| one.spki_der() == first.spki_der).unwrap();
    let kind = row.open().capabilities().key_kinds[0];
    let key = (word == Word::UpdateKey).then(|| key(kind, 0).to_owned());
    prepared(row, word, Some(Kept { id, certificate: leaf.to_pem(), key })).await
}

fn id(submitted: &Submitted) -> Option<String> {
    match submitted {
        Submitted::Accepted(progress) => progress.id.clone(),
        Submitted::Refused(_) | Submitted::Unknown(_) => None,
    }
}

async fn submit<R: Row>(row: &R, stored: &Stored) -> Submitted {
    let ca = row.open();
    let permit = if ca.capabilities().has_records() {
        Permit::Claimed(Claim::of_a_test(&stored.reference))
    } else {
        Permit::Free
    };
    let revived = stored.revive(row);
    let order = revived.order(stored);
    hides(row, &format!("{order:?} {permit:?}"));
    let submitted = ca.submit(&order, permit).await;
    hides(row, &format!("{submitted:?} {submitted:#?}"));
    submitted
}

async fn poll<R: Row>(row: &R, order: &OpenOrder) -> Result<Progress, Error> {
    let mut answers = row.open().poll(std::slice::from_ref(order)).await;
    assert_eq!(answers.len(), 1, "what was asked for is answered");
    let (reference, answer) = answers.remove(0);
    assert_eq!(reference, order.reference);
    hides(row, &format!("{answer:?}"));
    answer
}

/// The certificates that an order comes to.
async fn followed<R: Row>(row: &R, stored: &Stored, submitted: Submitted) -> Vec<Certificate> {
    let Submitted::Accepted(mut progress) = submitted else { panic!("{submitted:?}") };
    let can = row.open().capabilities().clone();
    for _ in 0..5 {
        match progress.phase {
            Phase::Issued(certificates) => return certificates,
            Phase::Failed(failed) => panic!("{failed:?}"),
            Phase::Pending(waiting) => {
                assert!(can.asynchronous, "a CA that issues at once: {waiting:?}");
                let open = stored.open_order(&progress.id.expect("what is polled has an id"));
                if !waiting.challenges.is_empty() {
                    let advanced = row.open().advance(&open, &waiting.challenges).await.unwrap();
                    assert!(matches!(advanced, Answer::Done(_)), "it set challenges itself");
                }
                row.finish();
                progress = poll(row, &open).await.unwrap();
            }
        }
    }
    panic!("it does not end");
}

fn verifies<R: Row>(row: &R, stored: &Stored, certificates: &[Certificate]) -> bool {
    let expected = Expected {
        spki_der: &stored.spki_der,
        names: &stored.names,
        anchors: &row.anchors(),
        further_intermediates: &[],
        now: now(),
    };
    let Ok(chain) = chain::verify(certificates, &expected) else { return false };
    let (tls_crt, ca_crt) = (chain.tls_crt(), chain.ca_crt());
    let now = now().as_second();
    Delivered { tls_crt: &tls_crt, ca_crt: &ca_crt, now }.accepted(R::field().unwrap_or("a row"));
    true
}

fn it_describes_itself(row: &impl Row) {
    let ca = row.open();
    let can = ca.capabilities();
    assert!(!can.name.is_empty() && !can.key_kinds.is_empty());
    let twice = |at: usize| can.key_kinds[at + 1..].contains(&can.key_kinds[at]);
    assert!(!(0..can.key_kinds.len()).any(twice), "each kind of key once");
    assert_eq!(row.open().capabilities(), can);
    assert_eq!((row.made(), row.wire().requests()), (0, 0));
}

/// What is known of an account before it is opened.
fn it_describes_its_account<R: Row>(row: &R) {
    let settings = row.settings();
    let can = row.open().capabilities().clone();
    assert_eq!(settings.has_records(), can.has_records(), "the open account says otherwise");
    let own = settings.credentials_secret();
    assert_ne!(own.is_some(), row.own_credentials().is_some(), "whose credentials?");
    assert!(own.is_none_or(|name| settings.secrets().contains(&name)), "{own:?} is not watched");
    let hosts = settings.hosts();
    assert!(!hosts.is_empty());
    for host in hosts {
        assert!(!host.is_empty() && host == host.to_ascii_lowercase(), "{host}");
        assert!(!host.contains(['/', '@']), "{host} is no host with a port");
    }
    let credentials = row.read_secret();
    hides(row, &format!("{credentials:?} {credentials:#?}"));
    let tenant = settings.tenant(Some(&credentials)).to_string();
    hides(row, &tenant);
    assert!(!tenant.is_empty() && !tenant.contains(char::is_control), "{tenant}");
    let again = row.settings().tenant(Some(&row.read_secret())).to_string();
    assert_eq!(again, tenant, "it is the same account");
    assert_eq!(R::secret().len(), settings.credentials_kind().keys().len());
    for missing in settings.credentials_kind().keys() {
        let data = R::secret();
        let entry = |key: &str| {
            let found = data.iter().find(|(name, _)| *name == key && *name != missing);
            found.map(|(_, value)| value.as_bytes())
        };
        let error = settings.credentials_kind().read("shop/ca", entry).unwrap_err();
        assert!(error.message.contains(missing), "{missing}: {error}");
        is_fit_for_a_condition(row, &error, missing);
    }
}

async fn a_good_order_ends_in_a_certificate<R: Row>(word: Word) {
    let row = R::start();
    let stored = stored(&row, word).await;
    let (made, sent) = (row.made(), row.wire().submits().len());
    row.open().check().await.unwrap();
    let anchors = row.open().trust_anchors().await.unwrap();
    assert!(anchors.iter().all(Certificate::is_ca), "{anchors:?}");
    assert_eq!((row.made(), row.wire().submits().len()), (made, sent), "to look makes nothing");
    let submitted = submit(&row, &stored).await;
    let certificates = followed(&row, &stored, submitted).await;
    assert!(verifies(&row, &stored, &certificates), "{word:?}: {certificates:?}");
    assert_eq!((row.made(), row.wire().submits().len()), (made + 1, sent + 1), "{word:?}");
    let named = row.settings().hosts();
    let asked = row.wire().hosts();
    assert!(asked.iter().all(|host| named.contains(host)), "{asked:?} were asked, of {named:?}");
}

async fn wrong_certificates_are_told_from_badly_ordered_ones<R: Row>(word: Word) {
    for (bend, is_good) in [(Bend::WrongKey, false), (Bend::WrongOrder, true)] {
        let row = R::start();
        let stored = stored(&row, word).await;
        row.bend(bend);
        let submitted = submit(&row, &stored).await;
        let certificates = followed(&row, &stored, submitted).await;
        assert_eq!(verifies(&row, &stored, &certificates), is_good, "{word:?}, {bend:?}");
    }
}

async fn without_what_it_needs_nothing_is_sent<R: Row>(word: Word) {
    let row = R::start();
    let stored = stored(&row, word).await;
    let can = row.open().capabilities().clone();
    let sent = row.wire().requests();
    let refused = |submitted: Submitted, what: &str| {
        let Submitted::Refused(error) = submitted else { panic!("{what}: {submitted:?}") };
        assert_eq!(error.disposition, Disposition::Internal, "{what}: {error}");
        is_fit_for_a_condition(&row, &error, what);
    };
    if can.has_records() {
        let revived = stored.revive(&row);
        let order = revived.order(&stored);
        let other = Permit::Claimed(Claim::of_a_test("chancery-x-9"));
        refused(row.open().submit(&order, other).await, "a claim on another order");
        if can.billable {
            refused(row.open().submit(&order, Permit::Free).await, "no claim");
        }
    }
    if can.needs_private_key {
        let keyless = Stored { key: None, ..stored.clone() };
        refused(submit(&row, &keyless).await, "no key");
    }
    if word == Word::UpdateKey {
        let mut keyless = stored.clone();
        keyless.previous.as_mut().unwrap().key = None;
        refused(submit(&row, &keyless).await, "no key of the certificate before");
    }
    if matches!(word, Word::Renew | Word::Reissue) {
        let mut nameless = stored.clone();
        nameless.previous.as_mut().unwrap().id = None;
        refused(submit(&row, &nameless).await, "no id of the order before");
    }
    assert_eq!(row.wire().requests(), sent, "{word:?}");
}

async fn a_spoilt_submit_is_told_for_what_it_is<R: Row>(word: Word, trouble: Trouble) {
    let row = R::start();
    let mut stored = stored(&row, word).await;
    let can = row.open().capabilities().clone();
    let (before, sent) = (row.made(), row.wire().submits().len());
    row.wire().spoil(Target::Submit, trouble);
    let submitted = submit(&row, &stored).await;
    assert!(row.wire().is_quiet(), "{trouble:?} did not happen");
    let sent = row.wire().submits()[sent..].to_vec();
    let made = row.made() - before;
    assert!(sent.len() == 1 || trouble == Trouble::Unauthorized, "{trouble:?}: {sent:?}");
    assert!(!can.billable || sent.iter().all(|fresh| *fresh), "a purchase on a used connection");
    match (&submitted, is_refusal(trouble).unwrap_or_else(|| R::proves_refusal(trouble))) {
        (Submitted::Refused(_), true) | (Submitted::Unknown(_), false) => {}
        // With another token.
        (Submitted::Accepted(_), true) if sent.len() == 2 => {}
        _ => panic!("{trouble:?}: {submitted:?}"),
    }
    if let Submitted::Refused(error) | Submitted::Unknown(error) = &submitted {
        is_fit_for_a_condition(&row, error, trouble);
        has_the_disposition(error, trouble);
    }
    match &submitted {
        Submitted::Refused(_) => assert_eq!(made, 0, "{trouble:?} proves that nothing was made"),
        Submitted::Accepted(_) => assert_eq!((made, sent.len()), (1, 2), "{trouble:?}"),
        Submitted::Unknown(_) => assert!(made <= 1),
    }
    stored.may_exist = !matches!(submitted, Submitted::Refused(_));
    what_was_made_is_found(&row, &stored, made, trouble).await;
    if !can.billable && !can.asynchronous {
        let again = submit(&row, &stored).await;
        assert!(again.issued().is_some(), "{trouble:?} has passed, and yet: {again:?}");
    }
}

/// Whether it proves that nothing was made; `None` where each CA says that for itself.
fn is_refusal(trouble: Trouble) -> Option<bool> {
    match trouble {
        Trouble::Blocked
        | Trouble::ClientRefused
        | Trouble::NotSent
        | Trouble::Refusal
        | Trouble::Untrusted => Some(true),
        Trouble::EchoedByError
        | Trouble::Empty
        | Trouble::Hanging
        | Trouble::Html
        | Trouble::LostAfter
        | Trouble::LostBefore
        | Trouble::OtherSuccess
        | Trouble::Oversized
        | Trouble::ServerError => Some(false),
        Trouble::Echo
        | Trouble::NotFound
        | Trouble::Redirect
        | Trouble::TooManyRequests
        | Trouble::Unauthorized => None,
    }
}

fn has_the_disposition(error: &Error, trouble: Trouble) {
    let disposition = error.disposition;
    let retries = matches!(disposition, Disposition::Retry { .. });
    let after = |seconds| Disposition::Retry { after: Some(Duration::from_secs(seconds)) };
    let fits = match trouble {
        Trouble::ClientRefused | Trouble::Unauthorized => {
            disposition == Disposition::BlameCredentials
        }
        Trouble::NotFound | Trouble::Redirect | Trouble::Untrusted => {
            disposition == Disposition::BlameIssuer
        }
        Trouble::TooManyRequests => disposition == after(7),
        Trouble::Empty | Trouble::Html | Trouble::OtherSuccess => {
            disposition == Disposition::Internal
        }
        Trouble::Echo | Trouble::Refusal => !retries,
        Trouble::Blocked
        | Trouble::EchoedByError
        | Trouble::Hanging
        | Trouble::LostAfter
        | Trouble::LostBefore
        | Trouble::NotSent
        | Trouble::Oversized
        | Trouble::ServerError => retries,
    };
    assert!(fits, "{trouble:?}: {error:?}");
}

async fn what_was_made_is_found<R: Row>(row: &R, stored: &Stored, made: usize, trouble: Trouble) {
    let (before, sent) = (row.made(), row.wire().submits().len());
    let revived = stored.revive(row);
    let mut found = row.open().find(&revived.order(stored)).await.unwrap();
    hides(row, &format!("{found:?}"));
    if matches!(found, Lookup::Unchanged) {
        // That proves nothing: what is shown may lag behind.
        found = row.open().find(&revived.order(stored)).await.unwrap();
    }
    let can = row.open().capabilities().clone();
    match found {
        Lookup::Found(found) => {
            assert_eq!((found.len(), made), (1, 1), "{trouble:?}");
            assert_ne!(found[0].evidence, KeyEvidence::Foreign, "{trouble:?}");
        }
        Lookup::Absent { complete, doubt } => {
            assert_eq!((made, complete, doubt), (0, true, None), "{trouble:?}");
        }
        Lookup::Unchanged => {
            assert!(matches!(stored.word, Word::Renew | Word::Reissue), "{:?}", stored.word);
            assert_eq!(made, 0, "{trouble:?}");
        }
        Lookup::Unsupported => assert!(!can.searchable, "it says that it can be searched"),
    }
    assert_eq!((row.made(), row.wire().submits().len()), (before, sent), "to look makes nothing");
}

async fn a_spoilt_look_decides_nothing<R: Row>(word: Word, trouble: Trouble) {
    let row = R::start();
    let stored = stored(&row, word).await;
    let submitted = submit(&row, &stored).await;
    let made = row.made();
    for at_fault in ["check", "anchors", "find", "poll"] {
        spoilt_look(&row, &stored, &submitted, (at_fault, trouble)).await;
        row.wire().forget();
    }
    assert_eq!(row.made(), made, "{word:?}, {trouble:?}");
    let certificates = followed(&row, &stored, submitted).await;
    assert!(verifies(&row, &stored, &certificates), "{word:?}, {trouble:?} has passed");
}

async fn spoilt_look<R: Row>(
    row: &R,
    stored: &Stored,
    submitted: &Submitted,
    (at_fault, trouble): (&str, Trouble),
) {
    let can = row.open().capabilities().clone();
    let when = (stored.word, trouble, at_fault);
    let look = Spoilt::new(row, trouble);
    match at_fault {
        "check" => match row.open().check().await {
            Ok(_) => look.passed(when),
            Err(error) => look.told(&error, when),
        },
        "anchors" => match row.open().trust_anchors().await {
            Ok(_) => look.passed(when),
            Err(error) => look.told(&error, when),
        },
        "find" => match row.open().find(&stored.revive(row).order(stored)).await {
            Ok(Lookup::Absent { complete, .. }) => assert!(!complete, "{when:?}: it exists"),
            Ok(Lookup::Unsupported) => {
                assert!(!can.searchable, "{when:?}: it says that it can be searched");
                assert_eq!(look.sent(), 0, "{when:?}");
            }
            Ok(Lookup::Unchanged) => {
                assert!(stored.open_order("id").replaces.is_some(), "{when:?}: it renews nothing");
                look.passed(when);
            }
            Ok(Lookup::Found(found)) => {
                assert_eq!(found.len(), 1, "{when:?}");
                look.passed(when);
            }
            Err(error) => look.told(&error, when),
        },
        _ => {
            let Some(id) = id(submitted).filter(|_| can.asynchronous) else { return };
            match poll(row, &stored.open_order(&id)).await {
                Ok(progress) => {
                    let ended = matches!(progress.phase, Phase::Failed(_) | Phase::Issued(_));
                    assert!(!ended, "{when:?} ends nothing: {progress:?}");
                    look.passed(when);
                }
                Err(error) => look.told(&error, when),
            }
        }
    }
}

/// A call whose first request meets with trouble.
struct Spoilt<'a, R> {
    row: &'a R,
    trouble: Trouble,
    before: usize,
}

impl<'a, R: Row> Spoilt<'a, R> {
    fn new(row: &'a R, trouble: Trouble) -> Self {
        row.wire().spoil(Target::Look, trouble);
        Self { row, trouble, before: row.wire().requests() }
    }

    fn sent(&self) -> usize {
        self.row.wire().requests() - self.before
    }

    /// It may have worked where it sent nothing, or where it got a token in place of one that was not
    /// accepted.
    fn passed(&self, when: impl std::fmt::Debug) {
        let renewed = R::RENEWS_TOKENS && self.trouble == Trouble::Unauthorized;
        assert!(self.sent() == 0 || renewed && self.sent() >= 2, "{when:?} is not told");
    }

    fn told(&self, error: &Error, when: impl std::fmt::Debug) {
        is_fit_for_a_condition(self.row, error, &when);
        assert!(self.row.wire().is_quiet(), "{when:?}: {error:?} came of nothing");
        let is_page =
            matches!(self.trouble, Trouble::Empty | Trouble::Html | Trouble::OtherSuccess);
        // What is no answer to a question may come from a wrong address.
        if !(is_page && error.disposition == Disposition::BlameIssuer) {
            has_the_disposition(error, self.trouble);
        }
    }
}

async fn what_ends_is_ended<R: Row>() {
    an_order_is_taken_back::<R>(None).await;
    a_certificate_is_revoked::<R>(None).await;
    for trouble in Trouble::ALL {
        a_spoilt_advance_can_be_made_again::<R>(trouble).await;
        an_order_is_taken_back::<R>(Some(trouble)).await;
        a_certificate_is_revoked::<R>(Some(trouble)).await;
    }
}

/// Whether it was done, as it was told; `seen` is what the other side knows of it.
fn ended<R: Row>(
    row: &R,
    answer: Result<Answer<()>, Error>,
    spoilt: Option<&Spoilt<'_, R>>,
    (what, is_able, seen): (&str, bool, bool),
) {
    let when = (what, spoilt.map(|spoilt| spoilt.trouble));
    match answer {
        Ok(Answer::Done(())) => {
            assert!(seen, "{when:?} is said to be done, and the other side knows nothing of it");
            spoilt.into_iter().for_each(|spoilt| spoilt.passed(when));
        }
        Ok(Answer::Unsupported) => {
            assert!(!is_able, "{when:?}: this CA can do it");
            assert_eq!(spoilt.map_or(0, Spoilt::sent), 0, "{when:?}");
        }
        Err(error) => match spoilt {
            Some(spoilt) => spoilt.told(&error, when),
            None => panic!("{when:?}: {error:?}"),
        },
    }
    row.wire().forget();
}

async fn an_order_is_taken_back<R: Row>(trouble: Option<Trouble>) {
    let row = R::start();
    let placed = prepared(&row, Word::New, None).await;
    let submitted = submit(&row, &placed).await;
    let Submitted::Accepted(Progress { id: Some(id), phase: Phase::Pending(_), .. }) = &submitted
    else {
        assert_eq!(row.withdrawn(), None, "nothing waits there: {submitted:?}");
        return;
    };
    let made = row.made();
    let open = placed.open_order(id);
    let is_able = row.withdrawn().is_some();
    let seen = || row.withdrawn().is_some_and(|ids| ids.contains(id));
    assert!(!seen());
    if let Some(trouble) = trouble {
        let spoilt = Spoilt::new(&row, trouble);
        let answer = row.open().cancel(&open).await;
        ended(&row, answer, Some(&spoilt), ("cancel", is_able, seen()));
    }
    let answer = row.open().cancel(&open).await;
    ended(&row, answer, None, ("cancel", is_able, seen()));
    if is_able {
        let after = poll(&row, &open).await.unwrap();
        assert!(matches!(after.phase, Phase::Failed(_)), "{after:?}");
    }
    assert_eq!(row.made(), made, "to end makes nothing");
}

async fn a_certificate_is_revoked<R: Row>(trouble: Option<Trouble>) {
    let row = R::start();
    let placed = prepared(&row, Word::New, None).await;
    let submitted = submit(&row, &placed).await;
    let id = id(&submitted);
    let certificates = followed(&row, &placed, submitted).await;
    let certificate = certificates.iter().find(|one| one.spki_der() == placed.spki_der).unwrap();
    let kept = Kept { id, certificate: certificate.to_pem(), key: None };
    let made = row.made();
    let is_able = row.revoked().is_some();
    let serial = kept.revive().serial().to_owned();
    let seen = || row.revoked().is_some_and(|serials| serials.contains(&serial));
    assert!(!seen());
    let reason = RevocationReason::Superseded;
    if let Some(trouble) = trouble {
        let spoilt = Spoilt::new(&row, trouble);
        let answer = row.open().revoke(&kept.revive(), reason).await;
        ended(&row, answer, Some(&spoilt), ("revoke", is_able, seen()));
    }
    // What is revoked already is no error.
    for _ in 0..2 {
        let answer = row.open().revoke(&kept.revive(), reason).await;
        ended(&row, answer, None, ("revoke", is_able, seen()));
    }
    assert_eq!(row.made(), made, "to end makes nothing");
}

async fn a_spoilt_advance_can_be_made_again<R: Row>(trouble: Trouble) {
    let row = R::start();
    let placed = prepared(&row, Word::New, None).await;
    let submitted = submit(&row, &placed).await;
    let Submitted::Accepted(Progress { id: Some(id), phase: Phase::Pending(waiting), .. }) =
        &submitted
    else {
        return;
    };
    let made = row.made();
    if !waiting.challenges.is_empty() {
        let spoilt = Spoilt::new(&row, trouble);
        let when = ("advance", trouble);
        match row.open().advance(&placed.open_order(id), &waiting.challenges).await {
            Ok(Answer::Done(_)) => spoilt.passed(when),
            Ok(Answer::Unsupported) => panic!("{when:?}: it set challenges itself"),
            Err(error) => spoilt.told(&error, when),
        }
        row.wire().forget();
    }
    let certificates = followed(&row, &placed, submitted).await;
    assert!(verifies(&row, &placed, &certificates), "{trouble:?} has passed");
    assert_eq!(row.made(), made, "{trouble:?}");
}

fn hides<R: Row>(row: &R, text: &str) {
    let kind = row.open().capabilities().key_kinds[0];
    for secret in R::secrets().into_iter().chain(keys(kind).map(second_line)) {
        assert!(!text.contains(&secret), "{secret} is given away: {text}");
    }
}

/// A line of a key that is its alone.
pub(crate) fn second_line(pem: &str) -> String {
    pem.lines().nth(1).unwrap().to_owned()
}

pub(crate) fn is_fit_for_a_condition<R: Row>(row: &R, error: &Error, when: impl std::fmt::Debug) {
    hides(row, &format!("{error} {error:?} {error:#?}"));
    assert!(!error.message.is_empty(), "{when:?}");
    assert!(error.message.len() <= 2048 && !error.message.contains(char::is_control), "{error}");
}
