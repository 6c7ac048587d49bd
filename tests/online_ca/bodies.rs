//! Whatever comes back: no panic, and no text that is long, on several lines or gives away what
//! nobody may read.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::ca::Submitted;
use chancery::outside::Error;
use chancery::outside::transport::Failure;
use chancery::pki::KeyKind;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;

use crate::bench::{PASSWORD, USER, basic, key, open, spec, submit};
use crate::router_transport::Canned;

/// Passwords of the kinds that a careless scrubber misses.
const PASSWORDS: [&str; 5] = [
    PASSWORD,
    "correct horse  battery",
    "p<b>w & \"q\"",
    " leading-and-trailing ",
    "Pässwört-ß日本",
];

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().unwrap())
}

fn key_pem(kind: KeyKind) -> String {
    key(kind).to_pkcs8_pem().expose_secret().to_owned()
}

/// An answer, and the password of the request it answers.
#[derive(Clone, Debug)]
struct Case {
    password: &'static str,
    answer: Result<Response<Bytes>, Failure>,
}

fn html_escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A piece of a body; secrets come as servers repeat them.
fn piece(password: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let rsa = key_pem(KeyKind::Rsa2048);
    let ecdsa = key_pem(KeyKind::EcdsaP256);
    let fixed: Vec<String> = vec![
        password.to_owned(),
        html_escaped(password),
        format!("Authorization: Basic {}", STANDARD.encode(format!("{USER}:{password}"))),
        rsa.replace('\n', "\r\n"),
        ecdsa.replace('\n', "\\n"),
        ecdsa.replace('\n', "<br>"),
        rsa[..rsa.len() / 2].to_owned(),
        ecdsa[40..].to_owned(),
        rsa[100..].to_owned(),
        ecdsa,
        rsa,
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned(),
        "-----BEGIN CERTIFICATE-----".to_owned(),
        "-----END".to_owned(),
        "<html><head><title>".to_owned(),
        "</head><body>".to_owned(),
        "<script>".to_owned(),
        "<".to_owned(),
        "\r\n\0\u{7f}\u{85}\u{2028}".to_owned(),
        "=".to_owned(),
        "\na.0=".to_owned(),
        "\n../../x=TUlJ\n".to_owned(),
        "TRUSTED_CERTS=a.0,b.0\n".to_owned(),
        "the server says no ".to_owned(),
        "日本語".repeat(60),
    ];
    prop_oneof![
        6 => select(fixed).prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..60),
        1 => "\\PC{0,60}".prop_map(String::into_bytes),
        1 => (0_usize..17_000).prop_map(|length| vec![b' '; length]),
    ]
}

fn headers() -> impl Strategy<Value = HeaderMap> {
    let name = select(vec![
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::LOCATION,
        header::RETRY_AFTER,
        header::WWW_AUTHENTICATE,
        HeaderName::from_static("x-other"),
    ]);
    vec((name, vec(any::<u8>(), 0..40)), 0..4).prop_map(|pairs| {
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, HeaderValue::from_bytes(&value).ok()?)))
            .collect()
    })
}

fn case() -> impl Strategy<Value = Case> {
    select(PASSWORDS.to_vec()).prop_flat_map(|password| {
        let status = prop_oneof![2 => Just(200_u16), 3 => 100..=999_u16];
        (status, headers(), vec(piece(password), 0..8)).prop_map(
            move |(status, headers, pieces)| {
                let mut response = Response::new(Bytes::from(pieces.concat()));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                *response.headers_mut() = headers;
                Case { password, answer: Ok(response) }
            },
        )
    })
}

/// As long as admission lets an address be.
fn long_url(operation: &str) -> String {
    let url = format!("https://ca.example/{}/{operation}/", "p".repeat(990));
    assert!(url.len() <= 1024);
    url
}

fn client(case: Case) -> Arc<dyn chancery::ca::CertificateAuthority> {
    let spec = spec(&long_url("certificate"), &long_url("trustroots"));
    let spec =
        chancery::api::OnlineCa { basic_split: chancery::api::BasicSplit::FirstColon, ..spec };
    open(spec, Some(basic(USER, case.password)), Arc::new(Canned(case.answer)))
}

/// What must hold for every text that can get into a condition, an event or a log.
fn is_fit(text: &str, password: &str) -> Result<(), TestCaseError> {
    prop_assert!(text.len() <= 2048, "{} bytes: {text}", text.len());
    prop_assert!(
        !text.contains(|c: char| c.is_control() || "\u{2028}\u{2029}".contains(c)),
        "{text:?}"
    );
    let collapsed = password.split_whitespace().collect::<Vec<_>>().join(" ");
    for secret in [password, &collapsed, &STANDARD.encode(format!("{USER}:{password}"))] {
        prop_assert!(!text.contains(secret), "gives away {secret:?}: {text}");
    }
    let gives_away = text.as_bytes().windows(RUN).any(|run| runs_of_keys().contains(run));
    prop_assert!(!gives_away, "gives away a private key: {text}");
    Ok(())
}

/// So many characters of a key in a row are not there by chance.
const RUN: usize = 20;

fn runs_of_keys() -> &'static HashSet<Vec<u8>> {
    static RUNS: OnceLock<HashSet<Vec<u8>>> = OnceLock::new();
    RUNS.get_or_init(|| {
        let pems = [KeyKind::Rsa2048, KeyKind::EcdsaP256].map(key_pem);
        let lines = pems.iter().flat_map(|pem| pem.lines());
        let lines = lines.filter(|line| !line.starts_with("-----"));
        lines.flat_map(|line| line.as_bytes().windows(RUN)).map(<[u8]>::to_vec).collect()
    })
}

fn is_fit_error(error: &Error, password: &str) -> Result<(), TestCaseError> {
    is_fit(&error.to_string(), password)?;
    is_fit(&error.message, password)
}

/// Nothing secret is sent with a check, so only private keys can come back.
const UNSENT: &str = "a password that no body holds";

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_to_a_submit_gets_more_than_a_readable_line_into_an_error(case in case()) {
        let password = case.password;
        let is_refusal = case.answer.as_ref().is_ok_and(|answer| {
            (300..500).contains(&answer.status().as_u16())
        });
        let submitted = runtime().block_on(submit(&*client(case)));
        let submitted_certificates = submitted.issued().map_or(0, <[_]>::len);
        match submitted {
            Submitted::Accepted(_) => prop_assert!(submitted_certificates > 0),
            Submitted::Refused(error) => {
                prop_assert!(is_refusal, "{error}");
                is_fit_error(&error, password)?;
            }
            Submitted::Unknown(error) => {
                prop_assert!(!is_refusal, "{error}");
                is_fit_error(&error, password)?;
            }
        }
    }

    #[test]
    fn no_answer_to_a_check_gets_more_than_readable_lines_into_errors_and_remarks(case in case()) {
        match runtime().block_on(client(case).check()) {
            Ok(report) => {
                let remarks = report.remarks.join("; ");
                prop_assert!(remarks.len() <= 2048, "{} bytes of remarks", remarks.len());
                is_fit(&remarks, UNSENT)?;
            }
            Err(error) => {
                prop_assert!(error.message.len() <= 2048);
                prop_assert!(!error.message.contains(char::is_control), "{error}");
                is_fit(&error.message, UNSENT)?;
            }
        }
    }
}

#[test]
fn a_password_is_not_seen_in_part_where_the_excerpt_ends() {
    for fill in 150..220 {
        let body = format!("{}{PASSWORD} and more {}", "x ".repeat(fill / 2), "y ".repeat(200));
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = StatusCode::BAD_REQUEST;
        let case = Case { password: PASSWORD, answer: Ok(response) };
        let Submitted::Refused(error) = runtime().block_on(submit(&*client(case))) else {
            panic!("400 is a refusal");
        };
        assert!(!error.message.contains(&PASSWORD[..4]), "{error}");
    }
}
