//! "Get trust roots" in all its spellings, through the router.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::outside::Disposition;
use chancery::pki::Certificate;
use chancery::simulator::online_ca::{Flavour, Manifest, TrustRoots};
use http::Response;

use crate::bench::{Bench, one_certificate, open, settings, spec};
use crate::router_transport::Canned;

fn nothing() -> TrustRoots {
    TrustRoots {
        root: false,
        intermediate: false,
        tls_root: false,
        expired: false,
        old_hash_names: false,
        signing_policies: false,
        ..TrustRoots::default()
    }
}

fn names(certificates: &[Certificate]) -> Vec<String> {
    let mut names: Vec<String> =
        certificates.iter().map(|one| one.common_name().unwrap_or_default().to_owned()).collect();
    names.sort_unstable();
    names
}

const ALL: [&str; 4] =
    ["Chancery Simulator TLS Root CA", "demo Expired CA", "demo Issuing CA", "demo Root CA"];

#[tokio::test]
async fn every_spelling_gives_each_ca_certificate_once() {
    for flavour in [Flavour::Contrail, Flavour::Django] {
        for manifest in [Manifest::None, Manifest::Plain, Manifest::Base64] {
            for old_hash_names in [false, true] {
                for signing_policies in [false, true] {
                    let bench = Bench::with(settings(flavour));
                    bench.set(|site| {
                        site.trust_roots = TrustRoots {
                            manifest,
                            old_hash_names,
                            signing_policies,
                            ..TrustRoots::default()
                        };
                    });
                    let ca = bench.open();
                    let anchors = ca.trust_anchors().await.unwrap();
                    assert_eq!(names(&anchors), ALL, "{flavour:?} {manifest:?} {old_hash_names}");
                    assert!(anchors.contains(&bench.root()));
                    assert!(anchors.contains(&bench.intermediate()));
                    let remarks = ca.check().await.unwrap().remarks;
                    assert!(remarks.is_empty(), "{flavour:?} {manifest:?}: {remarks:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_leaked_key_is_told_and_nothing_of_it_kept() {
    let bench = Bench::new();
    bench.set(|site| site.trust_roots.leaked_key = true);
    let ca = bench.open();
    let remarks = ca.check().await.unwrap().remarks;
    assert_eq!(
        remarks,
        [
            "test-ca.key holds a PRIVATE KEY, served to anybody who asks: tell the operator of the CA"
        ]
    );
    assert_eq!(names(&ca.trust_anchors().await.unwrap()), ALL);
}

#[tokio::test]
async fn only_ca_certificates_are_taken() {
    let bench = Bench::new();
    let (root, intermediate) = (bench.root().to_pem(), bench.intermediate().to_pem());
    let leaf = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
    let crl = "-----BEGIN X509 CRL-----\nMIIB\n-----END X509 CRL-----\n";
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    const KEY_TOLD: &str =
        "b.0 holds a PRIVATE KEY, served to anybody who asks: tell the operator of the CA";
    type Words = &'static [&'static str];
    let cases: [(&str, &str, String, Words, Words); 12] = [
        ("a server's certificate", "b.0", leaf.clone(), &[], &[]),
        ("a revocation list", "b.r0", crl.to_owned(), &[], &[]),
        ("an address", "b.crl_url", "http://ca.example/ca.crl\n".to_owned(), &[], &[]),
        ("information", "b.info", "alias = demo\nsubjectdn = \"/O=x\"\n".to_owned(), &[], &[]),
        ("an empty file", "b.pem", String::new(), &[], &[]),
        (
            "text around, CRLF",
            "b.0",
            format!("Root:\n{root}\nend").replace('\n', "\r\n"),
            &["demo Root CA"],
            &[],
        ),
        (
            "several in one file, one twice, one no CA",
            "bundle.pem",
            format!("{root}{leaf}{crl}{intermediate}{root}"),
            &["demo Issuing CA", "demo Root CA"],
            &[],
        ),
        ("a key behind a certificate", "b.0", format!("{root}{key}"), &[], &[KEY_TOLD]),
        ("an encrypted key", "b.0", key.replace("RSA", "ENCRYPTED"), &[], &[KEY_TOLD]),
        (
            "half a certificate",
            "b.0",
            root[..200].to_owned(),
            &[],
            &[
                "b.0: block 1 of the PEM text is truncated: it has no END line of its own, and is left out",
            ],
        ),
        (
            "half a certificate before a whole one",
            "b.0",
            format!("{}\n{root}", &root[..200]),
            &["demo Root CA"],
            &[
                "b.0: block 1 of the PEM text is truncated: it has no END line of its own, and is left out",
            ],
        ),
        (
            "no certificate in the frame",
            "b.0",
            root.replace("MII", "AAA"),
            &[],
            &["b.0: block 1 of the PEM text is not an X.509 certificate, and is left out"],
        ),
    ];
    for (name, file, content, certificates, remarks) in cases {
        for manifest in [Manifest::None, Manifest::Plain, Manifest::Base64] {
            bench.set(|site| {
                site.trust_roots = TrustRoots {
                    files: [(file.to_owned(), content.clone())].into(),
                    manifest,
                    ..nothing()
                };
            });
            let ca = bench.open();
            assert_eq!(names(&ca.trust_anchors().await.unwrap()), certificates, "{name}");
            assert_eq!(ca.check().await.unwrap().remarks, remarks, "{name}");
        }
    }
}

#[tokio::test]
async fn hostile_names_are_not_repeated_and_their_files_not_taken() {
    let bench = Bench::new();
    let root = bench.root().to_pem();
    let hostile = [
        "../../etc/x.0",
        "/etc/x.0",
        ".hidden",
        "a b.0",
        "a\tb.0",
        "<script>alert(1)</script>",
        "a;rm -rf.0",
        "ä.0",
        &"n".repeat(129),
    ];
    let files = hostile.iter().map(|name| ((*name).to_owned(), root.clone()));
    bench.set(|site| site.trust_roots = TrustRoots { files: files.collect(), ..nothing() });
    let ca = bench.open();
    // Nothing but files with such names: that is not what this operation answers with.
    let error = ca.check().await.unwrap_err();
    assert_eq!(
        (error.reason.word(), error.disposition),
        ("UnexpectedAnswer", Disposition::BlameIssuer)
    );
    bench.set(|site| site.trust_roots.intermediate = true);
    assert_eq!(names(&ca.trust_anchors().await.unwrap()), ["demo Issuing CA"]);
    let remarks = ca.check().await.unwrap().remarks;
    assert_eq!(remarks, ["an entry has a file name that is not allowed"]);
}

async fn canned(
    body: impl Into<Bytes>,
) -> Result<(Vec<Certificate>, Vec<String>), chancery::outside::Error> {
    let canned = Canned(Ok(Response::new(body.into())));
    let spec = spec("https://a.example/certificate/", "https://a.example/trustroots/");
    let ca = open(spec, None, std::sync::Arc::new(canned));
    Ok((ca.trust_anchors().await?, ca.check().await?.remarks))
}

#[tokio::test]
async fn odd_line_ends_and_spaces_do_not_matter() {
    let bench = Bench::new();
    let (root, intermediate) =
        (STANDARD.encode(bench.root().to_pem()), STANDARD.encode(bench.intermediate().to_pem()));
    for body in [
        format!("a.0={root}\nb.0={intermediate}\n"),
        format!("a.0={root}\r\nb.0={intermediate}"),
        format!("\n\n  a.0 = {root} \n\r\n\tb.0={intermediate}\n\n"),
        format!("FILEDATA_a.0={root}\nb.0={intermediate}\n"),
        format!("TRUSTED_CERTS=a.0, b.0 ,\nFILEDATA_a.0={root}\nFILEDATA_b.0={intermediate}\n"),
        format!(
            "FILEDATA_a.0={root}\nFILEDATA_b.0={intermediate}\nTRUSTED_CERTS={}\n",
            STANDARD.encode("a.0,b.0")
        ),
    ] {
        let (certificates, remarks) = canned(body.clone()).await.unwrap();
        assert_eq!(names(&certificates), ["demo Issuing CA", "demo Root CA"], "{body}");
        assert!(remarks.is_empty(), "{remarks:?}");
    }
    let (_, remarks) = canned(format!("TRUSTED_CERTS=a.0,b.0,../x\na.0={root}\n")).await.unwrap();
    assert_eq!(remarks, ["b.0 is listed but not served"]);
}

#[tokio::test]
async fn what_is_no_list_of_files_is_told() {
    for body in [
        "",
        "\n \r\n",
        "<html><body>We will be back soon</body></html>",
        "TRUSTED_CERTS=a.0\n",
        "no such thing",
    ] {
        let error = canned(body).await.unwrap_err();
        assert_eq!(error.reason, "UnexpectedAnswer", "{body}");
        assert!(error.message.contains("https://a.example/trustroots/"), "{error}");
        assert!(error.message.ends_with("check spec.onlineCa.trustRootsUrl"), "{error}");
    }
}

/// A server that can answer at all can answer up to the cap: that must cost neither minutes nor a
/// status without end.
#[tokio::test]
async fn a_hostile_list_costs_little_time_and_few_words() {
    let key = STANDARD.encode("-----BEGIN PRIVATE KEY-----");
    let bad_names = "/=x\n".repeat(50_000);
    let bad_values: String = (0..50_000).map(|n| format!("f{n}=%\n")).collect();
    let listed: String = (0..60_000).map(|n| format!("m{n}.0,")).collect();
    let many: String = (0..60_000).map(|n| format!("f{n}.0=\n")).collect();
    for (name, body) in [
        ("names", format!("a.0=eA==\n{bad_names}")),
        ("values", format!("{bad_values}ca.key={key}")),
        ("a list", format!("TRUSTED_CERTS={listed}\n{many}")),
    ] {
        assert!(body.len() <= 5 * 1024 * 1024);
        let start = Instant::now();
        let (certificates, remarks) = canned(body).await.unwrap();
        assert!(certificates.is_empty());
        assert!(start.elapsed() < Duration::from_secs(10), "{name}: {:?}", start.elapsed());
        let words = remarks.join("; ");
        assert!(words.len() <= 1024, "{name}: {} bytes of remarks", words.len());
        assert!(!remarks.is_empty(), "{name}");
        let told_first = remarks[0].starts_with("ca.key holds a PRIVATE KEY");
        assert_eq!(told_first, name == "values", "{name}: {remarks:?}");
    }
}

#[test]
fn the_certificates_of_the_bench_are_what_they_are_called() {
    let bench = Bench::new();
    assert_eq!(one_certificate(&bench.root().to_pem()), bench.root());
}
