//! The files that are downloaded, in every form.

use std::fs;
use std::io::{Cursor, Read};
use std::process::Command;

use chancery::simulator::ssl_purchase::Files;
use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use der::{Decode, DecodePem, Encode};
use serde_json::json;
use x509_cert::Certificate;

use crate::bench::{Bench, csr_for, key};

fn set(bench: &Bench, change: impl FnOnce(&mut Files)) {
    bench.change(|settings| {
        settings.files = Files::default();
        change(&mut settings.files);
    });
}

/// The certificates of a PKCS#7 bag, in an order that says nothing.
fn bag(content: ContentInfo) -> Vec<Certificate> {
    let signed: SignedData = content.content.decode_as().unwrap();
    let found = signed.certificates.unwrap().0;
    let certificate = |choice: &CertificateChoices| {
        let CertificateChoices::Certificate(certificate) = choice else {
            unreachable!("a certificate of another kind")
        };
        Certificate::from_der(&certificate.to_der().unwrap()).unwrap()
    };
    sorted(found.iter().map(certificate).collect())
}

fn sorted(mut certificates: Vec<Certificate>) -> Vec<Certificate> {
    certificates.sort_by_key(|certificate| certificate.to_der().unwrap());
    certificates
}

#[tokio::test]
async fn ssl_purchase_files_are_attachments_in_the_forms_that_are_set() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let reply = bench.file(&id, "crt").await;
    assert_eq!(reply.headers["content-type"], "application/octet-stream");
    assert_eq!(reply.headers["content-disposition"], "attachment; filename=\"example_org.crt\"");
    let leaf = bench.leaf(&id).await;
    let chain =
        async |kind: &str| Certificate::load_pem_chain(&bench.file(&id, kind).await.body).unwrap();
    let above = chain("ca").await;
    assert_eq!(above.len(), 2);
    assert_eq!(leaf.tbs_certificate().issuer(), above[0].tbs_certificate().subject());
    set(&bench, |files| files.root_first = true);
    assert_eq!(chain("ca").await, [above[1].clone(), above[0].clone()]);
    set(&bench, |files| files.root = false);
    assert_eq!(chain("ca").await, [above[0].clone()]);
    set(&bench, |files| files.crt_chain = true);
    assert_eq!(chain("crt").await, [leaf.clone(), above[0].clone(), above[1].clone()]);
    set(&bench, |files| files.crt_der = true);
    assert_eq!(Certificate::from_der(&bench.file(&id, "crt").await.body).unwrap(), leaf);
    let all = sorted(vec![leaf, above[0].clone(), above[1].clone()]);
    set(&bench, |files| files.pkcs7_der = true);
    let body = bench.file(&id, "pkcs7").await.body;
    assert_eq!(bag(ContentInfo::from_der(&body).unwrap()), all);
    set(&bench, |_| {});
    let reply = bench.file(&id, "pkcs7").await;
    assert!(reply.text().starts_with("-----BEGIN PKCS7-----\n"));
    let parsed = pem::parse(reply.text()).unwrap();
    assert_eq!(parsed.tag(), "PKCS7");
    assert_eq!(bag(ContentInfo::from_der(parsed.contents()).unwrap()), all);
}

#[tokio::test]
async fn ssl_purchase_text_has_marks_and_ends_of_lines_as_set() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let plain = bench.file(&id, "crt").await.text().to_owned();
    assert!(plain.ends_with("-----END CERTIFICATE-----\n") && !plain.contains('\r'));
    set(&bench, |files| files.crlf = true);
    assert_eq!(bench.file(&id, "crt").await.text(), plain.replace('\n', "\r\n"));
    set(&bench, |files| files.byte_order_mark = true);
    assert_eq!(bench.file(&id, "crt").await.text(), format!("\u{feff}{plain}"));
    set(&bench, |files| files.no_final_newline = true);
    assert_eq!(bench.file(&id, "crt").await.text(), plain.trim_end());
}

#[tokio::test]
async fn ssl_purchase_archives_hold_the_usual_files() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let body = bench.file(&id, "zip").await.body;
    assert_eq!(&body[..4], b"PK\x03\x04");
    let mut archive = zip::ZipArchive::new(Cursor::new(body)).unwrap();
    let mut names: Vec<String> =
        archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.sort();
    assert_eq!(
        names,
        ["example_org.ca-bundle", "example_org.crt", "example_org.p7b", "readme.txt"]
    );
    let mut content = |name: &str| {
        let mut bytes = Vec::new();
        archive.by_name(name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert_eq!(content("example_org.crt"), bench.file(&id, "crt").await.body);
    assert_eq!(content("example_org.ca-bundle"), bench.file(&id, "ca").await.body);
    assert_eq!(content("example_org.p7b"), bench.file(&id, "pkcs7").await.body);
    set(&bench, |files| files.zip_apart = true);
    let body = bench.file(&id, "zip").await.body;
    let archive = zip::ZipArchive::new(Cursor::new(body)).unwrap();
    let mut names: Vec<String> =
        archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    names.sort();
    let wanted = ["authority_0.crt", "authority_1.crt", "example_org.pem", "readme.txt"];
    assert_eq!(names, wanted.map(|name| format!("example_org/{name}")));
}

#[tokio::test]
async fn ssl_purchase_files_may_lag_behind_active() {
    let bench = Bench::new();
    bench.change(|settings| settings.files_lag_seconds = 10.0);
    let id = bench.active("a").await;
    assert_eq!(bench.status(&id).await, "active");
    for kind in ["crt", "ca", "pkcs7", "zip"] {
        assert_eq!(bench.file(&id, kind).await.failure(), (404, "not_available".to_owned()));
    }
    bench.change(|settings| settings.files_missing_status = 425);
    assert_eq!(bench.file(&id, "crt").await.status, 425);
    bench.pass(10.0);
    bench.leaf(&id).await;
}

#[tokio::test]
async fn ssl_purchase_csr_is_handed_out_as_it_came() {
    let bench = Bench::new();
    let csr = csr_for(&key(), &["a.org"]);
    let id = bench.create(&["a.org"], json!({ "csr": csr })).await.result()["id"].clone();
    let reply = bench.file(id.as_str().unwrap(), "csr").await;
    let wanted = x509_cert::request::CertReq::from_pem(&csr).unwrap();
    assert_eq!(x509_cert::request::CertReq::from_pem(reply.text()).unwrap(), wanted);
}

/// Readers that share nothing with this project.
#[tokio::test]
async fn ssl_purchase_files_are_read_by_openssl_and_unzip() {
    let bench = Bench::new();
    let id = bench.active("a").await;
    let folder = tempfile::tempdir().unwrap();
    for kind in ["crt", "ca", "pkcs7", "zip"] {
        fs::write(folder.path().join(kind), bench.file(&id, kind).await.body).unwrap();
    }
    set(&bench, |files| files.pkcs7_der = true);
    fs::write(folder.path().join("p7b"), bench.file(&id, "pkcs7").await.body).unwrap();
    fs::write(folder.path().join("root"), bench.site.issuers().unwrap().root_pem).unwrap();
    let run = |program: &str, arguments: &str| {
        let mut command = Command::new(program);
        let output =
            command.args(arguments.split(' ')).current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{program} {arguments}: {output:?}");
        text
    };
    let verified = run("openssl", "verify -no_check_time -CAfile root -untrusted ca crt");
    assert_eq!(verified, "crt: OK\n");
    for arguments in ["pkcs7 -print_certs -in pkcs7", "pkcs7 -inform DER -print_certs -in p7b"] {
        let printed = run("openssl", arguments);
        assert_eq!(printed.matches("-----BEGIN CERTIFICATE-----").count(), 3, "{arguments}");
    }
    let unpacked = run("unzip", "-p zip example_org.crt");
    assert_eq!(unpacked.as_bytes(), fs::read(folder.path().join("crt")).unwrap());

    run("openssl", "req -new -newkey rsa:1024 -nodes -keyout small.key -subj /CN=a.org -out small");
    let small = fs::read_to_string(folder.path().join("small")).unwrap();
    let reply = bench.create(&["a.org"], json!({ "csr": small })).await;
    assert!(reply.json()["error"]["message"]["csr"].is_array(), "{}", reply.text());
}
