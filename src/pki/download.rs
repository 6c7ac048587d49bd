//! What a certificate authority gives to download: certificates in any form that is in use, told
//! apart by what they are and not by a name or a media type.
//!
//! # Guarantees
//! - What it costs is bounded by constants, whatever is served: the length of what is looked at, of
//!   what is unpacked, and the number of files and certificates.
//! - No private key is kept, and no text quotes what was served.

mod archive;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use self::archive::{Archive, Spent};
use super::certificate::{Certificate, PemError, from_block};
use super::{pem, pkcs7};

/// So many bytes are looked at: [`MOST`] certificates of the usual length take half of them in PEM.
const LONGEST: usize = 1024 * 1024;
/// So many certificates are taken: a chain has four, and the largest bundles of roots have half as
/// many.
const MOST: usize = 300;
/// So many are read to find them: archives have the same ones in several forms.
const READ: usize = 4 * MOST;
/// Remarks for so many files; what is more is counted.
const TOLD: usize = 5;

/// The certificates of a download, and what of it was left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Download {
    /// Each once, in the order in which they are served. There is at least one.
    pub certificates: Vec<Certificate>,
    /// What is left out and why: private keys, and files of an archive that cannot be read. Few,
    /// and without a word of what was served.
    pub remarks: Vec<String>,
}

/// Why there are no certificates in a download. No text quotes what was served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The answer is empty.
    #[error("nothing is served yet")]
    Nothing,
    /// The answer is longer than any download of certificates.
    #[error("more than {most} bytes are served", most = LONGEST)]
    TooLong,
    /// An answer of an API, such as an error.
    #[error("JSON is served in place of certificates")]
    Json,
    /// A page for people, such as an error of a proxy.
    #[error("an HTML page is served in place of certificates")]
    Html,
    /// An answer of an API, or a page.
    #[error("XML is served in place of certificates")]
    Xml,
    /// Nothing that certificates come in.
    #[error("what is served is neither PEM, DER, PKCS #7 nor ZIP")]
    Unknown,
    /// DER of something else, or a part of it.
    #[error(
        "what is served is DER, but neither a whole certificate nor a PKCS #7 with certificates"
    )]
    Der,
    /// PEM that cannot be read.
    #[error("{0}")]
    Pem(PemError),
    /// PEM with a PKCS #7 that is none.
    #[error("block {block} of the PEM text is not a PKCS #7 with certificates")]
    Pkcs7 {
        /// Its place among all blocks of the text, from 1.
        block: usize,
    },
    /// There are more certificates than anybody needs.
    #[error("more than {most} certificates are served")]
    TooMany {
        /// So many are taken, or read.
        most: usize,
    },
    /// The archive has no directory, or one that cannot be read.
    #[error("the ZIP archive is damaged or cut off")]
    DamagedArchive,
    /// It is no archive of a few certificates.
    #[error("the ZIP archive has more than {most} entries", most = archive::ENTRIES)]
    ManyEntries,
    /// Files of the archive share bytes with each other: such ones unpack to more than any memory
    /// holds.
    #[error("the ZIP archive has files that overlap")]
    Overlap,
    /// The archive unpacks to more than anybody needs.
    #[error("the ZIP archive unpacks to more than {most} bytes", most = archive::UNPACKED)]
    Bomb,
    /// Files of the archive cannot be read, and no other one has certificates.
    #[error("the ZIP archive has no certificate that can be read; of entry {number}: {why}")]
    LeftOut {
        /// The place of the first of them among all entries, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It can be read, and no certificate is in it.
    #[error("what is served has no certificate in it")]
    NoCertificate,
    /// A private key is in it, and no certificate.
    #[error("a PRIVATE KEY is served, and no certificate")]
    KeyAlone,
}

impl Download {
    /// Reads one certificate or several from what was served: PEM, DER, PKCS #7 in PEM or DER, any
    /// of them in base64 alone, and ZIP archives of all of these.
    ///
    /// Takes a byte order mark, CRLF, a missing last newline, text around PEM blocks, and chains in
    /// any order. Of an archive, names and paths of the files mean nothing; folders and files that
    /// hold no certificate are passed over, and files that cannot be read are left out with a
    /// remark as long as certificates are in others.
    ///
    /// # Errors
    /// Says what was served in place of certificates, or what is wrong with it.
    pub fn read(body: &[u8]) -> Result<Self, Error> {
        let mut reading = Reading::default();
        reading.body(body)?;
        reading.finish()
    }
}

/// What bytes look like from their beginning.
enum Form {
    Nothing,
    Json,
    Html,
    Xml,
    Archive,
    Sequence,
    Text,
}

impl Form {
    fn of(bytes: &[u8]) -> Self {
        let head = &bytes[..bytes.len().min(16)].to_ascii_lowercase();
        match head.as_slice() {
            [] => Self::Nothing,
            [b'{' | b'[' | b'"', ..] => Self::Json,
            [b'<', rest @ ..] if rest.starts_with(b"!doctype html") => Self::Html,
            [b'<', rest @ ..] if rest.starts_with(b"html") => Self::Html,
            [b'<', ..] => Self::Xml,
            // A file, or the end of an archive that has none.
            [b'p', b'k', 3, 4, ..] | [b'p', b'k', 5, 6, ..] => Self::Archive,
            [0x30, ..] => Self::Sequence,
            _ => Self::Text,
        }
    }
}

/// What was found so far, and what it has cost.
#[derive(Default)]
struct Reading {
    certificates: Vec<Certificate>,
    seen: HashSet<Certificate>,
    has_key: bool,
    left_out: Vec<(usize, String)>,
    read: usize,
    spent: Spent,
}

impl Reading {
    fn body(&mut self, body: &[u8]) -> Result<(), Error> {
        if body.len() > LONGEST {
            return Err(Error::TooLong);
        }
        let body = without_mark(body);
        match Form::of(body) {
            Form::Nothing => Err(Error::Nothing),
            Form::Json => Err(Error::Json),
            Form::Html => Err(Error::Html),
            Form::Xml => Err(Error::Xml),
            Form::Archive => self.archive(body),
            Form::Sequence | Form::Text => self.file(body),
        }
    }

    fn archive(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for file in Archive::of(bytes)?.files() {
            let file = file?;
            let told = match file.unpack(&mut self.spent)? {
                Ok(bytes) => self.file_of_archive(&bytes)?,
                Err(fault) => Some(fault.to_string()),
            };
            self.left_out.extend(told.map(|why| (file.number, why)));
        }
        Ok(())
    }

    /// Reads a file of an archive, and says what is wrong with it where that is all that is wrong.
    fn file_of_archive(&mut self, bytes: &[u8]) -> Result<Option<String>, Error> {
        let bytes = without_mark(bytes);
        match Form::of(bytes) {
            Form::Archive => return Ok(Some("it is an archive itself".to_owned())),
            Form::Nothing | Form::Json | Form::Html | Form::Xml => return Ok(None),
            Form::Sequence | Form::Text => {}
        }
        match self.file(bytes) {
            Ok(()) | Err(Error::Unknown) => Ok(None),
            Err(Error::Der) => Ok(Some("it is DER, but no certificate".to_owned())),
            Err(error @ (Error::Pem(_) | Error::Pkcs7 { .. })) => Ok(Some(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Reads anything but an archive.
    fn file(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // A text may begin with the same byte, which is the digit 0.
        let is_sequence = bytes.first() == Some(&0x30);
        if is_sequence && self.der(bytes)? {
            return Ok(());
        }
        if self.pem(bytes)? {
            return Ok(());
        }
        if is_sequence {
            return Err(Error::Der);
        }
        // What begins a SEQUENCE begins with an M in base64.
        let decoded = if bytes.first() == Some(&b'M') { pem::from_base64(bytes) } else { None };
        let decoded = decoded.ok_or(Error::Unknown)?;
        if self.der(&decoded)? { Ok(()) } else { Err(Error::Unknown) }
    }

    /// Reads a certificate, or a PKCS #7. `false` where it is neither.
    fn der(&mut self, der: &[u8]) -> Result<bool, Error> {
        let alone =
            Certificate::from_der(der).or_else(|_| Certificate::from_der(der.trim_ascii_end()));
        if let Ok(certificate) = alone {
            self.keep(certificate)?;
            return Ok(true);
        }
        self.pkcs7(der)
    }

    fn pkcs7(&mut self, der: &[u8]) -> Result<bool, Error> {
        let Some(ders) = pkcs7::certificates(der) else { return Ok(false) };
        for der in ders {
            let Ok(certificate) = Certificate::from_der(der) else { return Ok(false) };
            self.keep(certificate)?;
        }
        Ok(true)
    }

    /// Reads all blocks. `false` where there is none.
    fn pem(&mut self, text: &[u8]) -> Result<bool, Error> {
        let mut is_pem = false;
        for block in pem::blocks(text) {
            is_pem = true;
            let truncated = |block: pem::Truncated| PemError::Truncated { block: block.number };
            let block = block.map_err(|block| Error::Pem(truncated(block)))?;
            self.block(&block)?;
        }
        Ok(is_pem)
    }

    fn block(&mut self, block: &pem::Block<'_>) -> Result<(), Error> {
        let number = block.number;
        if block.is_private_key() {
            self.has_key = true;
        } else if matches!(block.label, b"PKCS7" | b"PKCS #7 SIGNED DATA" | b"CMS") {
            let der = block.decode().ok_or(Error::Pem(PemError::Undecodable { block: number }))?;
            if !self.pkcs7(&der)? {
                return Err(Error::Pkcs7 { block: number });
            }
        } else if let Some(certificate) = from_block(block).map_err(Error::Pem)? {
            self.keep(certificate)?;
        }
        Ok(())
    }

    fn keep(&mut self, certificate: Certificate) -> Result<(), Error> {
        self.read += 1;
        if self.read > READ {
            return Err(Error::TooMany { most: READ });
        }
        if self.seen.insert(certificate.clone()) {
            self.certificates.push(certificate);
        }
        if self.certificates.len() > MOST {
            return Err(Error::TooMany { most: MOST });
        }
        Ok(())
    }

    fn finish(self) -> Result<Download, Error> {
        if self.certificates.is_empty() {
            return Err(match self.left_out.into_iter().next() {
                Some((number, why)) => Error::LeftOut { number, why },
                None if self.has_key => Error::KeyAlone,
                None => Error::NoCertificate,
            });
        }
        let mut remarks = Vec::new();
        if self.has_key {
            remarks.push("a PRIVATE KEY is served, and is left out".to_owned());
        }
        let more = self.left_out.len().saturating_sub(TOLD);
        let told = self.left_out.into_iter().take(TOLD);
        remarks.extend(told.map(|(number, why)| format!("entry {number} is left out: {why}")));
        if more > 0 {
            remarks.push(format!("{more} more entries are left out"));
        }
        Ok(Download { certificates: self.certificates, remarks })
    }
}

/// Leaves out what editors put before a text, and blank lines.
fn without_mark(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.trim_ascii_start();
    bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes).trim_ascii_start()
}
