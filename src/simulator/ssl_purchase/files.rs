//! The files that are downloaded: certificate, chain, PKCS#7, archive and request, in the forms that
//! the settings ask for.
//!
//! The vendor's document names the files and none of their forms.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::operation::Operation;
use super::order::{Bought, Certificate};
use super::settings::{Files, SiteSettings};
use crate::simulator::authority::pem;
use crate::simulator::der;

/// pkcs7-data and pkcs7-signedData.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];

/// A file: its name and what is in it.
pub(super) type File = (String, Vec<u8>);

/// The file of a certificate that this operation downloads; `None` if it downloads none.
pub(super) fn of_certificate(
    settings: &SiteSettings,
    operation: Operation,
    bought: &Bought,
    certificate: &Certificate,
) -> Option<File> {
    let files = &settings.files;
    let named = |suffix: &str| format!("{}.{suffix}", stem(bought));
    Some(match operation {
        Operation::DownloadCrt => (named("crt"), crt(files, certificate)),
        Operation::DownloadCa => (named("ca-bundle"), ca(files, certificate)),
        Operation::DownloadPkcs7 => (named("p7b"), pkcs7(files, certificate)),
        Operation::DownloadZip => (named("zip"), archive(files, bought, certificate)?),
        Operation::DownloadCsr
        | Operation::Token
        | Operation::List
        | Operation::Create
        | Operation::Read
        | Operation::Renew
        | Operation::Reissue
        | Operation::Validate
        | Operation::Delete
        | Operation::ValidationDetails
        | Operation::Plans
        | Operation::Plan
        | Operation::WritePlan => return None,
    })
}

/// The file of a request.
pub(super) fn of_request(settings: &SiteSettings, bought: &Bought) -> File {
    let text = pem("CERTIFICATE REQUEST", &bought.asked.csr_der);
    (format!("{}.csr", stem(bought)), written(&settings.files, text))
}

/// The domain as a file's name.
fn stem(bought: &Bought) -> String {
    bought.asked.names.common_name.replace('*', "STAR").replace('.', "_")
}

/// Text in the form that is asked for.
fn written(files: &Files, text: String) -> Vec<u8> {
    let text = if files.no_final_newline { text.trim_end().to_owned() } else { text };
    let text = if files.crlf { text.replace('\n', "\r\n") } else { text };
    let mark = if files.byte_order_mark { "\u{feff}" } else { "" };
    format!("{mark}{text}").into_bytes()
}

/// The authorities, the issuer first.
fn above<'a>(files: &Files, certificate: &'a Certificate) -> Vec<&'a [u8]> {
    let kept = certificate.above.iter().filter(|(_, is_root)| files.root || !is_root);
    kept.map(|(der, _)| der.as_slice()).collect()
}

fn pems(ders: &[&[u8]]) -> String {
    ders.iter().map(|der| pem("CERTIFICATE", der)).collect()
}

fn chain<'a>(files: &Files, certificate: &'a Certificate) -> Vec<&'a [u8]> {
    let mut chain = vec![certificate.leaf.as_slice()];
    chain.extend(above(files, certificate));
    if certificate.is_reversed {
        chain.reverse();
    }
    chain
}

fn crt(files: &Files, certificate: &Certificate) -> Vec<u8> {
    match (files.crt_der, files.crt_chain) {
        (true, _) => certificate.leaf.clone(),
        (false, true) => written(files, pems(&chain(files, certificate))),
        (false, false) => written(files, pem("CERTIFICATE", &certificate.leaf)),
    }
}

fn ca(files: &Files, certificate: &Certificate) -> Vec<u8> {
    let mut above = above(files, certificate);
    if files.root_first != certificate.is_reversed {
        above.reverse();
    }
    written(files, pems(&above))
}

/// SignedData that nobody has signed (RFC 5652, section 5.1): a bag of certificates.
fn pkcs7(files: &Files, certificate: &Certificate) -> Vec<u8> {
    let empty = der::element(der::SET, &[]);
    let content = der::sequence(&[&der::element(der::OBJECT_IDENTIFIER, DATA)]);
    let certificates = der::element(der::CONTEXT_0, &chain(files, certificate).concat());
    let signed = der::sequence(&[&der::integer(&[1]), &empty, &content, &certificates, &empty]);
    let bag = der::sequence(&[
        &der::element(der::OBJECT_IDENTIFIER, SIGNED_DATA),
        &der::element(der::CONTEXT_0, &signed),
    ]);
    match files.pkcs7_der {
        true => bag,
        false => written(files, pem("PKCS7", &bag)),
    }
}

/// The usual files and something to read; `None` if the library fails.
fn archive(files: &Files, bought: &Bought, certificate: &Certificate) -> Option<Vec<u8>> {
    let stem = stem(bought);
    let readme = b"Your certificate and those of its authorities.\r\n".to_vec();
    let mut content = vec![
        (format!("{stem}.crt"), crt(files, certificate)),
        (format!("{stem}.ca-bundle"), ca(files, certificate)),
        (format!("{stem}.p7b"), pkcs7(files, certificate)),
        ("readme.txt".to_owned(), readme.clone()),
    ];
    if files.zip_apart {
        let mut apart: Vec<File> = above(files, certificate)
            .into_iter()
            .enumerate()
            .map(|(index, der)| {
                let text = written(files, pem("CERTIFICATE", der));
                (format!("{stem}/authority_{index}.crt"), text)
            })
            .collect();
        apart.push((format!("{stem}/{stem}.pem"), crt(files, certificate)));
        apart.push((format!("{stem}/readme.txt"), readme));
        content = apart;
    }
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in content {
        archive.start_file(name, options).ok()?;
        archive.write_all(&content).ok()?;
    }
    Some(archive.finish().ok()?.into_inner())
}
