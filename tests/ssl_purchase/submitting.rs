//! What a submit is told for, whatever happens to it.

use chancery::ca::{Phase, Submitted};
use chancery::outside::Disposition;
use chancery::reason::Reason;
use chancery::simulator::Kind;
use chancery::simulator::ssl_purchase::{Action, Envelope, Messages, Operation};

use crate::bench::{Bench, REFERENCE, RESELLER, Stored, key, told};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Refused,
    Unknown,
}

fn outcome(submitted: &Submitted) -> (Told, chancery::outside::Error) {
    match submitted {
        Submitted::Refused(error) => (Told::Refused, error.clone()),
        Submitted::Unknown(error) => (Told::Unknown, error.clone()),
        Submitted::Accepted(progress) => panic!("accepted: {progress:?}"),
    }
}

fn page(status: u16) -> Kind {
    Kind::Status { status, body: None, retry_after: None, html: true }
}

fn api(code: &str, status: u16, after_commit: bool) -> Kind {
    let messages = vec!["Because it is so".to_owned()];
    Kind::ApiError { code: code.to_owned(), status, messages, after_commit }
}

#[tokio::test(start_paused = true)]
async fn a_spoilt_submit_is_told_for_what_it_is_and_never_repeated() {
    use Told::{Refused, Unknown};
    let rows = [
        (page(400), Unknown),
        (page(401), Refused),
        (page(403), Unknown),
        (page(404), Unknown),
        (page(405), Refused),
        (page(409), Unknown),
        (page(422), Unknown),
        (page(429), Unknown),
        (page(500), Unknown),
        (page(501), Refused),
        (page(503), Unknown),
        (page(204), Unknown),
        (api("request_validation_failed", 400, false), Refused),
        (api("odd_thing", 422, false), Refused),
        (api("permission_denied", 403, false), Refused),
        (api("insufficient_funds", 402, false), Refused),
        (api("not_found", 404, false), Unknown),
        (api("conflict", 409, true), Unknown),
        (api("internal_error", 500, true), Unknown),
        (Kind::HtmlBody, Unknown),
        (Kind::EmptyBody, Unknown),
        (Kind::TruncatedBody, Unknown),
        (Kind::DropAfterCommit, Unknown),
        (Kind::DropBeforeCommit, Unknown),
        (Kind::Redirect { location: "https://elsewhere.example/".to_owned() }, Unknown),
        (Kind::Delay { seconds: 31.0, after_commit: true }, Unknown),
    ];
    for (kind, expected) in rows {
        let bench = Bench::new();
        let ca = bench.open();
        let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
        bench.fault(Operation::Create, kind.clone());
        let submitted = stored.submit(&*ca).await;
        let (told, error) = outcome(&submitted);
        assert_eq!(told, expected, "{kind:?}: {error}");
        assert_eq!(bench.lines(), ["POST ssl-certificate"], "{kind:?}");
        let bought = bench.bought();
        assert!(bought == 0 || told == Unknown, "{kind:?}: something was bought");
        assert!(error.message.len() <= 2048 && !error.message.contains(char::is_control));
    }
}

#[tokio::test]
async fn errors_are_understood_in_every_envelope_and_with_200() {
    for envelope in [Envelope::Success, Envelope::Status, Envelope::Bare] {
        for messages in [Messages::Coded, Messages::Plain, Messages::Nested, Messages::Sentence] {
            for with_200 in [false, true] {
                if envelope == Envelope::Bare && with_200 {
                    continue;
                }
                let bench = Bench::with(|site| {
                    site.envelope = envelope;
                    site.messages = messages;
                    site.failures_with_200 = with_200;
                    site.refuses_ecdsa = true;
                });
                let ca = bench.open();
                let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
                let (told, error) = outcome(&stored.submit(&*ca).await);
                let when = format!("{envelope:?} {messages:?} {with_200}: {error}");
                assert_eq!(told, Told::Refused, "{when}");
                assert_eq!(error.disposition, Disposition::Reject, "{when}");
                assert!(error.message.contains("csr: "), "{when}");
                bench.set(|site| site.refuses_ecdsa = false);
                let submitted = stored.submit(&*ca).await;
                assert!(matches!(submitted, Submitted::Accepted(_)), "{when}: {submitted:?}");
            }
        }
    }
}

#[tokio::test]
async fn without_credit_nothing_is_bought_and_it_is_said_loudly() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    bench.set(|site| site.resellers.get_mut(RESELLER).unwrap().credit = Some(0));
    let (told, error) = outcome(&stored.submit(&*ca).await);
    assert_eq!((told, error.reason), (Told::Refused, Reason::CreditInsufficient));
    assert_eq!(error.disposition, Disposition::BlameIssuer, "a person has to act");
    bench.set(|site| site.resellers.get_mut(RESELLER).unwrap().credit = Some(1));
    assert!(matches!(stored.submit(&*ca).await, Submitted::Accepted(_)));
}

#[tokio::test]
async fn no_message_repeats_the_numbers_of_people_and_companies() {
    let bench = Bench::new();
    let ca = bench.open_with(serde_json::json!({
        "contact": { "phone": "+31.612345678" }, "company": { "chamberOfCommerce": "12345678" },
    }));
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    let messages = vec!["No company 12345678 answers at +31.612345678".to_owned()];
    let code = "request_validation_failed".to_owned();
    let kind = Kind::ApiError { code, status: 400, messages, after_commit: false };
    bench.fault(Operation::Create, kind);
    let (_, error) = outcome(&stored.submit(&*ca).await);
    assert!(error.message.contains("No company […] answers at […]"), "{error}");
}

#[tokio::test]
async fn no_later_message_repeats_addresses_and_numbers_of_people() {
    let bench = Bench::new();
    let ca = bench.open();
    let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
    let open = stored.open(&stored.submit(&*ca).await);
    let words = "Mail <ann@bee.example> or (call +31.612345678): plan +1 is a@b, 12.5";
    bench.fault(Operation::Read, api_with("odd_thing", words));
    let error = ca.poll(std::slice::from_ref(&open)).await.remove(0).1.unwrap_err();
    assert!(error.message.contains("or (call […]): plan +1 is a@b, 12.5"), "{error}");
    assert!(!error.message.contains("ann") && !error.message.contains("bee"), "{error}");
    bench.act(&Action::Fail { message: Some("Nobody at +31.612345678.".to_owned()) });
    let phase = crate::bench::polled(&*ca, &open).await;
    assert!(told(&phase).ends_with("Nobody at […]."), "{}", told(&phase));
}

fn api_with(code: &str, words: &str) -> Kind {
    let messages = vec![words.to_owned()];
    Kind::ApiError { code: code.to_owned(), status: 400, messages, after_commit: false }
}

#[tokio::test]
async fn an_order_is_taken_whatever_its_answer_looks_like() {
    type Change = fn(&mut chancery::simulator::ssl_purchase::SiteSettings);
    let rows: [(&str, Change, bool); 7] = [
        ("as it is", |_| {}, true),
        ("bare", |site| site.envelope = Envelope::Bare, true),
        ("an old envelope", |site| site.envelope = Envelope::Status, true),
        ("a number for an id", |site| site.numeric_ids = true, true),
        (
            "next to nothing in it",
            |site| {
                let fields = ["status", "client_reference", "csr", "plan", "created_at"];
                site.omits = fields.map(str::to_owned).into();
            },
            true,
        ),
        (
            "other names of fields",
            |site| {
                let names = [("id", "uuid"), ("status", "state")];
                let owned = |(one, two): (&str, &str)| (one.to_owned(), two.to_owned());
                site.renames = names.map(owned).into();
            },
            true,
        ),
        ("without an id", |site| site.answers_without_id = true, false),
    ];
    for (name, change, is_taken) in rows {
        let bench = Bench::with(change);
        let ca = bench.open();
        let stored = Stored::new(&*ca, REFERENCE, &key(0)).await;
        match stored.submit(&*ca).await {
            Submitted::Accepted(progress) => {
                assert!(is_taken && progress.named, "{name}");
                assert!(matches!(progress.phase, Phase::Pending(_)), "{}", told(&progress.phase));
            }
            Submitted::Unknown(_) => assert!(!is_taken, "{name}"),
            Submitted::Refused(error) => panic!("{name}: {error}"),
        }
        assert_eq!(bench.bought(), 1, "{name}");
    }
}
