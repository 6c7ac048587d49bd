use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};

use super::super::pkcs7::tests::signed_data;
use super::*;

/// Certificates of one key, each another.
fn certificates(count: u64) -> Vec<Certificate> {
    let key = KeyPair::generate().unwrap();
    let made = (0..count).map(|number| {
        let mut asked = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        asked.serial_number = Some((number + 1).into());
        Certificate::from_der(asked.self_signed(&key).unwrap().der()).unwrap()
    });
    made.collect()
}

fn private_key() -> String {
    KeyPair::generate().unwrap().serialize_pem()
}

fn pkcs7_of(all: &[Certificate]) -> Vec<u8> {
    signed_data(&all.iter().map(Certificate::der).collect::<Vec<_>>())
}

fn pem_of(all: &[Certificate]) -> String {
    all.iter().map(Certificate::to_pem).collect()
}

/// An entry as it stands in an archive, and what is claimed of it.
#[derive(Clone)]
struct Entry {
    name: String,
    packed: Vec<u8>,
    method: u16,
    flags: u16,
    crc: u32,
    length: u32,
    listed: usize,
}

fn stored(name: &str, contents: impl AsRef<[u8]>) -> Entry {
    let contents = contents.as_ref();
    Entry {
        name: name.to_owned(),
        packed: contents.to_vec(),
        method: 0,
        flags: 0,
        crc: rawzip::crc32(contents),
        length: contents.len().try_into().unwrap(),
        listed: 1,
    }
}

fn deflated(name: &str, contents: impl AsRef<[u8]>) -> Entry {
    let packed = miniz_oxide::deflate::compress_to_vec(contents.as_ref(), 6);
    Entry { packed, method: 8, ..stored(name, contents) }
}

fn archive_of(entries: &[Entry]) -> Vec<u8> {
    let (mut archive, mut directory, mut count) = (Vec::new(), Vec::new(), 0_usize);
    for entry in entries {
        let offset = u32::try_from(archive.len()).unwrap().to_le_bytes();
        let length = |of: usize| u32::try_from(of).unwrap().to_le_bytes();
        let name = entry.name.as_bytes();
        // The fields that both headers have: flags, method, a date, checksum and lengths.
        let shared = [
            &entry.flags.to_le_bytes()[..],
            &entry.method.to_le_bytes(),
            &[0, 0, 0x21, 0x5a],
            &entry.crc.to_le_bytes(),
            &length(entry.packed.len()),
            &entry.length.to_le_bytes(),
            &length(name.len())[..2],
            &[0, 0],
        ]
        .concat();
        archive.extend([b"PK\x03\x04\x14\x00", &shared[..], name, &entry.packed].concat());
        let record = [b"PK\x01\x02\x14\x03\x14\x00", &shared[..], &[0; 10], &offset, name].concat();
        directory.extend(record.repeat(entry.listed));
        count += entry.listed;
    }
    let count = u16::try_from(count).unwrap().to_le_bytes();
    let length = |of: usize| u32::try_from(of).unwrap().to_le_bytes();
    let (at, size) = (length(archive.len()), length(directory.len()));
    let end = [b"PK\x05\x06\0\0\0\0", &count[..], &count, &size, &at, &[0, 0]].concat();
    [archive, directory, end].concat()
}

/// What comes of it, and what it has cost.
fn costs(body: &[u8]) -> (Result<Download, Error>, Spent, usize) {
    let mut reading = Reading::default();
    let read = reading.body(body);
    let (spent, certificates) = (reading.spent, reading.read);
    (read.and_then(|()| reading.finish()), spent, certificates)
}

/// Each form, and the remarks on it. All have the same two certificates.
fn forms(two: &[Certificate]) -> Vec<(&'static str, Vec<u8>, Vec<&'static str>)> {
    let (pem, p7) = (pem_of(two), pkcs7_of(two));
    let base64 = |der: &[u8]| {
        let lines: Vec<String> = pem::encode("X", der).lines().map(str::to_owned).collect();
        lines[1..lines.len() - 1].join("\n")
    };
    let (one, other) = (two[0].to_pem(), two[1].to_pem());
    let key = private_key();
    let key_remark = "a PRIVATE KEY is served, and is left out";
    let readme = "Paste it:\r\n\r\nyour certificate\r\n\r\nand restart.";
    let row = |name, body: &[u8]| (name, body.to_vec(), vec![]);
    vec![
        row("PEM", pem.as_bytes()),
        row("CRLF", pem.replace('\n', "\r\n").as_bytes()),
        row("a byte order mark", format!("\u{feff}{pem}").as_bytes()),
        row("no last newline", pem.trim_end().as_bytes()),
        row("blank lines first", format!("\r\n\n{pem}").as_bytes()),
        row("text around", format!("subject=a\n{one}\n# the CA:\n{other}bye").as_bytes()),
        row("text that begins with a zero", format!("0: a\n{pem}").as_bytes()),
        row("the same twice", format!("{pem}{one}").as_bytes()),
        ("a key", format!("{key}{pem}").into_bytes(), vec![key_remark]),
        row("PKCS #7", &p7),
        row("PKCS #7 and a newline", &[&p7[..], b"\r\n"].concat()),
        row("PKCS #7 in PEM", pem::encode("PKCS7", &p7).as_bytes()),
        row("CMS in PEM", format!("\u{feff}{}", pem::encode("CMS", &p7).trim_end()).as_bytes()),
        row("PKCS #7 in OpenSSL's words", pem::encode("PKCS #7 SIGNED DATA", &p7).as_bytes()),
        row("PKCS #7 in base64 alone", base64(&p7).as_bytes()),
        row("both in PEM", format!("{one}{}", pem::encode("PKCS7", &p7)).as_bytes()),
        row("stored", &archive_of(&[stored("a.crt", &pem)])),
        row("deflated", &archive_of(&[deflated("a.crt", &one), deflated("b.ca-bundle", &other)])),
        row(
            "DER in an archive",
            &archive_of(&[
                deflated("a.cer", two[0].der()),
                stored("b.cer", [two[1].der(), b"\n"].concat()),
            ]),
        ),
        row("PKCS #7 in an archive", &archive_of(&[deflated("a.p7b", &p7)])),
        row(
            "several forms in an archive",
            &archive_of(&[
                deflated("a.crt", &one),
                deflated("a.p7b", pem::encode("PKCS7", &p7)),
                deflated("a.pem", &pem),
            ]),
        ),
        row(
            "no extension, and a path that climbs out",
            &archive_of(&[
                stored("a/", ""),
                deflated("../../etc/passwd", format!("\u{feff}{}", pem.replace('\n', "\r\n"))),
            ]),
        ),
        row(
            "other files",
            &archive_of(&[
                stored("empty.crt", ""),
                deflated("README.txt", readme),
                deflated("page.htm", "<html>no</html>"),
                deflated("order.json", "{}"),
                deflated("a.csr", pem::encode("CERTIFICATE REQUEST", b"\x30\x00")),
                deflated("a.crt", &pem),
            ]),
        ),
        (
            "what cannot be read beside what can",
            archive_of(&[
                deflated("a.key", &key),
                Entry { flags: 1, ..stored("b.crt", &one) },
                Entry { method: 12, ..stored("c.crt", &one) },
                deflated("d.zip", archive_of(&[stored("a.crt", &one)])),
                deflated("e.pfx", b"\x30\x03\x02\x01\x03"),
                deflated("f.crt", &one[..300]),
                Entry { crc: 1, ..deflated("g.crt", &one) },
                deflated("h.crt", &pem),
            ]),
            vec![
                key_remark,
                "entry 2 is left out: it is encrypted",
                "entry 3 is left out: it is compressed with BZIP2, and only Deflate is read",
                "entry 4 is left out: it is an archive itself",
                "entry 5 is left out: it is DER, but no certificate",
                "entry 6 is left out: block 1 of the PEM text is truncated: it has no END line of its own",
                "1 more entries are left out",
            ],
        ),
    ]
}

#[test]
fn certificates_are_found_in_every_form() {
    let two = certificates(2);
    for (name, body, remarks) in forms(&two) {
        let read = Download::read(&body).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(read.certificates, two, "{name}");
        assert_eq!(read.remarks, remarks, "{name}");
    }
    let one = &two[..1];
    for (name, body) in [
        ("DER", one[0].der().to_vec()),
        ("DER and a newline", [one[0].der(), b"\r\n"].concat()),
        ("DER in a trusted block", pem::encode("TRUSTED CERTIFICATE", one[0].der()).into_bytes()),
    ] {
        assert_eq!(Download::read(&body).map(|read| read.certificates), Ok(one.to_vec()), "{name}");
    }
}

#[test]
fn what_is_no_certificate_is_named() {
    let two = certificates(2);
    let (one, p7, pem) = (two[0].to_pem(), pkcs7_of(&two), pem_of(&two));
    let archive = archive_of(&[deflated("a.crt", &pem)]);
    let damaged = |change: &dyn Fn(&mut Entry)| {
        let mut entry = deflated("a.crt", &pem);
        change(&mut entry);
        archive_of(&[entry])
    };
    let of_entry = |why: &str| {
        format!("the ZIP archive has no certificate that can be read; of entry 1: {why}")
    };
    let other = "what is served is neither PEM, DER, PKCS #7 nor ZIP";
    let der =
        "what is served is DER, but neither a whole certificate nor a PKCS #7 with certificates";
    let none = "what is served has no certificate in it";
    let cut = "the ZIP archive is damaged or cut off";
    let many_entries = "the ZIP archive has more than 256 entries";
    let overlap = "the ZIP archive has files that overlap";
    let mut claims_more = archive.clone();
    let count = claims_more.len() - 12;
    claims_more[count..count + 2].copy_from_slice(&60_000_u16.to_le_bytes());
    let mut claims_less = archive_of(&vec![stored("a", ""); 300]);
    let count = claims_less.len() - 12;
    claims_less[count..count + 2].copy_from_slice(&1_u16.to_le_bytes());
    let mib = vec![b' '; 1024 * 1024];
    let cases: Vec<(&str, Vec<u8>, String)> = vec![
        ("nothing", vec![], "nothing is served yet".to_owned()),
        ("blanks", b"\xef\xbb\xbf \r\n".to_vec(), "nothing is served yet".to_owned()),
        ("too much", [&mib[..], b" "].concat(), "more than 1048576 bytes are served".to_owned()),
        (
            "JSON",
            br#"{"success":false}"#.to_vec(),
            "JSON is served in place of certificates".to_owned(),
        ),
        (
            "a certificate in JSON",
            serde_json::to_vec(&one).unwrap(),
            "JSON is served in place of certificates".to_owned(),
        ),
        (
            "HTML",
            format!("\u{feff}\n<!DOCTYPE html><pre>{one}</pre>").into_bytes(),
            "an HTML page is served in place of certificates".to_owned(),
        ),
        (
            "XML",
            b"<?xml version='1.0'?>".to_vec(),
            "XML is served in place of certificates".to_owned(),
        ),
        ("words", b"Not ready".to_vec(), other.to_owned()),
        ("base64 of words", b"Moreofthis".to_vec(), other.to_owned()),
        ("half a certificate", two[0].der()[..200].to_vec(), der.to_owned()),
        ("half a PKCS #7", p7[..200].to_vec(), der.to_owned()),
        (
            "half a block",
            one.as_bytes()[..200].to_vec(),
            "block 1 of the PEM text is truncated: it has no END line of its own".to_owned(),
        ),
        (
            "a block with something else",
            pem::encode("PKCS7", two[0].der()).into_bytes(),
            "block 1 of the PEM text is not a PKCS #7 with certificates".to_owned(),
        ),
        (
            "a block that is not base64",
            b"-----BEGIN CMS-----\n%\n-----END CMS-----\n".to_vec(),
            "block 1 of the PEM text is damaged: its contents are not base64".to_owned(),
        ),
        ("a PKCS #7 without any", signed_data(&[]), none.to_owned()),
        (
            "a request",
            pem::encode("CERTIFICATE REQUEST", b"\x30\x00").into_bytes(),
            none.to_owned(),
        ),
        ("an empty archive", archive_of(&[]), none.to_owned()),
        ("a folder", archive_of(&[stored("a.crt/", "")]), none.to_owned()),
        (
            "a key",
            private_key().into_bytes(),
            "a PRIVATE KEY is served, and no certificate".to_owned(),
        ),
        (
            "a key in an archive",
            archive_of(&[deflated("a.crt", private_key())]),
            "a PRIVATE KEY is served, and no certificate".to_owned(),
        ),
        ("the beginning of an archive", archive[..archive.len() / 2].to_vec(), cut.to_owned()),
        ("an archive without its end", archive[..archive.len() - 9].to_vec(), cut.to_owned()),
        ("an encrypted entry", damaged(&|entry| entry.flags = 1), of_entry("it is encrypted")),
        ("another checksum", damaged(&|entry| entry.crc ^= 1), of_entry("it is damaged")),
        ("a claim of less", damaged(&|entry| entry.length -= 1), of_entry("it is damaged")),
        ("a claim of more", damaged(&|entry| entry.length += 1), of_entry("it is damaged")),
        (
            "stored, of another length",
            damaged(&|entry| entry.method = 0),
            of_entry("it is damaged"),
        ),
        (
            "another method",
            damaged(&|entry| entry.method = 1234),
            of_entry("it is compressed with an unknown method, and only Deflate is read"),
        ),
        (
            "a long entry",
            damaged(&|entry| entry.length = 1024 * 1024 + 1),
            of_entry("it has more than 1048576 bytes"),
        ),
        ("many entries", archive_of(&vec![stored("a", ""); 257]), many_entries.to_owned()),
        ("a claim of many entries", claims_more, many_entries.to_owned()),
        ("more entries than claimed", claims_less, many_entries.to_owned()),
        ("one entry again and again", damaged(&|entry| entry.listed = 3), overlap.to_owned()),
        (
            "a bomb",
            archive_of(&vec![deflated("a.crt", &mib); 3]),
            "the ZIP archive unpacks to more than 2097152 bytes".to_owned(),
        ),
    ];
    for (name, body, expected) in cases {
        let error = Download::read(&body).expect_err(name);
        assert_eq!(error.to_string(), expected, "{name}");
    }
}

#[test]
fn there_is_an_end_to_certificates() {
    let mut many = certificates(301);
    let pem = pem_of(&many);
    let in_archive =
        archive_of(&[deflated("a", pem_of(&many[..200])), deflated("b", pem_of(&many[200..]))]);
    for body in [pem.as_bytes(), &pkcs7_of(&many), &in_archive] {
        assert_eq!(Download::read(body), Err(Error::TooMany { most: 300 }));
    }
    many.pop();
    let read = Download::read(pem_of(&many).as_bytes()).unwrap();
    assert_eq!(read.certificates, many);
}

/// What is counted is what takes time: bytes that are unpacked, bytes that come of it, and
/// certificates that are decoded. All else is done once for each byte of the body or of what was
/// unpacked.
#[test]
fn no_body_costs_more_than_is_allowed() {
    let one = certificates(1);
    let der = one[0].der();
    let mib = vec![0; 1024 * 1024];
    // Deflate blocks of no bytes: much to read, nothing that comes of it.
    let idle = [b"\x00\x00\x00\xff\xff".repeat(100_000), b"\x03\x00".to_vec()].concat();
    let idle = Entry { packed: idle, method: 8, ..stored("a", "") };
    let bomb = deflated("a", &mib);
    let times = |entry: &Entry, listed: usize| Entry { listed, ..entry.clone() };
    let pem = one[0].to_pem();
    let cases: Vec<(&str, Vec<u8>, Error)> = vec![
        ("an idle file, listed often", archive_of(&[times(&idle, 250)]), Error::Overlap),
        ("zeros, often", archive_of(&vec![bomb.clone(); 250]), Error::Bomb),
        ("zeros, listed often", archive_of(&[times(&bomb, 250)]), Error::Bomb),
        (
            "one certificate again and again in PEM",
            pem.repeat(mib.len() / pem.len()).into_bytes(),
            Error::TooMany { most: READ },
        ),
        (
            "one certificate again and again in DER",
            signed_data(&vec![der; mib.len() / der.len() - 1]),
            Error::TooMany { most: READ },
        ),
        (
            "one certificate again and again in an archive",
            archive_of(&vec![deflated("a", pem.repeat(900)); 2]),
            Error::TooMany { most: READ },
        ),
        ("elements of two bytes", signed_data(&[&b"\x30\x00".repeat(500_000)]), Error::Der),
        ("elements of no kind", signed_data(&[&b"\xa1\x00".repeat(500_000)]), Error::Der),
        ("folders", archive_of(&[times(&stored("a/", ""), 10_000)]), Error::ManyEntries),
    ];
    for (name, body, expected) in cases {
        assert!(body.len() <= LONGEST, "{name} is refused for its length");
        let (read, spent, certificates) = costs(&body);
        assert_eq!(read, Err(expected), "{name}");
        assert!(spent.packed <= body.len(), "{name}: {spent:?}");
        assert!(spent.unpacked <= archive::UNPACKED, "{name}: {spent:?}");
        assert!(certificates <= READ + 1, "{name}: {certificates}");
    }
    // Where nothing is wrong, everything is counted.
    let files = [stored("a", &pem), deflated("b", &pem)];
    let packed = files.iter().map(|entry| entry.packed.len()).sum();
    let (_, spent, certificates) = costs(&archive_of(&files));
    assert_eq!(spent, Spent { packed, unpacked: 2 * pem.len() });
    assert_eq!(certificates, 2);
}

#[test]
fn no_text_shows_a_key() {
    let key = private_key();
    let line = key.lines().nth(1).unwrap();
    let with_key = |rest: &str| format!("{key}{rest}");
    let bodies = [
        key.clone().into_bytes(),
        key.as_bytes()[..100].to_vec(),
        key.replace("PRIVATE KEY", "CERTIFICATE").into_bytes(),
        key.replace("PRIVATE KEY", "PKCS7").into_bytes(),
        with_key(&certificates(1)[0].to_pem()).into_bytes(),
        archive_of(&[deflated(line, &key), deflated("b", &key.as_bytes()[..100])]),
        archive_of(&[stored("a", &key), stored("b", certificates(1)[0].der())]),
        archive_of(&[Entry { flags: 1, ..stored(line, &key) }]),
    ];
    for body in bodies {
        let told = format!("{:?}", Download::read(&body).map(|read| read.remarks));
        assert!(!told.contains(&line[..8]), "{told}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Download::read(&bytes);
        let _ = Download::read(&[b"PK\x03\x04", &bytes[..]].concat());
        let _ = Download::read(&archive_of(&[Entry { method: 8, ..stored("a", &bytes) }]));
    }
}

/// Cut off anywhere, and with bits that are others.
#[test]
fn damage_makes_it_neither_panic_nor_cost_more() {
    let two = certificates(2);
    let forms = forms(&two);
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 0..4);
    let damage = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), changes);
    proptest!(ProptestConfig::with_cases(2000), |((form, end, changes) in damage)| {
        let mut body = forms[form.index(forms.len())].1.clone();
        // Most of them are left whole.
        body.truncate(end.index(2 * body.len()).max(1));
        for (at, bit) in &changes {
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
        }
        let (read, spent, certificates) = costs(&body);
        prop_assert!(spent.packed <= body.len() && spent.unpacked <= archive::UNPACKED);
        prop_assert!(certificates <= READ + 1);
        if let Ok(read) = read {
            prop_assert!(!read.certificates.is_empty() && read.remarks.len() <= TOLD + 2);
        }
    });
}
