//! Certificates to download, as OpenSSL and the programs that people pack with write them.

use std::process::{Command, Stdio};

use chancery::pki::{Certificate, Download};

use crate::Bench;

fn found(bytes: &[u8]) -> Vec<Certificate> {
    let read = Download::read(bytes).map_err(|error| error.to_string()).unwrap();
    assert_eq!(read.remarks, Vec::<String>::new());
    read.certificates
}

/// A leaf and its CA, in `chain.pem` too.
fn chain(bench: &Bench) -> [Certificate; 2] {
    bench.build_chain("sha256");
    bench.write("chain.pem", [bench.read("leaf.pem"), bench.read("ca.pem")].concat());
    ["leaf.pem", "ca.pem"].map(|name| bench.certificate(name))
}

#[test]
fn every_form_that_openssl_writes_is_read() {
    let bench = Bench::new();
    let [leaf, ca] = chain(&bench);
    let both = [leaf.clone(), ca];
    for command in [
        "crl2pkcs7 -nocrl -certfile chain.pem",
        "crl2pkcs7 -nocrl -certfile chain.pem -outform DER",
        "crl2pkcs7 -nocrl -certfile leaf.pem -certfile ca.pem -outform DER",
        "cms -sign -in ca.ext -signer leaf.pem -inkey leaf.key -certfile ca.pem -outform DER",
        "cms -sign -in ca.ext -signer leaf.pem -inkey leaf.key -certfile ca.pem -outform PEM",
        // BER with indefinite lengths, in which the content is in pieces.
        "cms -sign -in ca.ext -signer leaf.pem -inkey leaf.key -certfile ca.pem -outform DER \
         -stream -nodetach",
    ] {
        assert_eq!(found(&bench.openssl(command)), both, "{command}");
    }
    assert_eq!(
        found(&bench.openssl("x509 -in leaf.pem -outform DER")),
        std::slice::from_ref(&leaf)
    );
    assert_eq!(found(&bench.openssl("x509 -in leaf.pem -text")), [leaf]);
    let with_key = [bench.read("leaf.key"), bench.read("chain.pem")].concat();
    let read = Download::read(&with_key).unwrap();
    assert_eq!(read.certificates, both);
    assert_eq!(read.remarks, ["a PRIVATE KEY is served, and is left out"]);
    bench.openssl(
        "pkcs12 -export -in leaf.pem -inkey leaf.key -certfile ca.pem -passout pass:x -out all.p12",
    );
    let error = Download::read(&bench.read("all.p12")).unwrap_err();
    assert!(error.to_string().contains("is DER, but neither"), "{error}");
}

/// By whatever of them is installed here; what they wrote elsewhere is kept, see the next test.
#[test]
fn archives_that_people_pack_are_read() {
    let bench = Bench::new();
    let both = chain(&bench);
    bench.openssl("crl2pkcs7 -nocrl -certfile chain.pem -out a.p7b");
    std::fs::create_dir(bench.path("folder")).unwrap();
    bench.write("folder/a.crt", bench.read("leaf.pem"));
    bench.write("README.txt", "Paste it.\r\n");
    bench.write("a.ca-bundle", bench.read("ca.pem"));
    for command in [
        "zip -r a.zip README.txt folder a.ca-bundle a.p7b",
        "zip -0 a.zip folder/a.crt a.ca-bundle",
        "zip -fd a.zip folder/a.crt a.ca-bundle",
        "python3 -m zipfile -c a.zip README.txt folder a.ca-bundle",
        "jar cfM a.zip folder a.ca-bundle",
    ] {
        let mut words = command.split(' ');
        let mut program = Command::new(words.next().unwrap());
        program.args(words).current_dir(bench.path(".")).stdin(Stdio::null());
        match program.output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            output => assert!(output.unwrap().status.success(), "{command}"),
        }
        let archive = bench.read("a.zip");
        std::fs::remove_file(bench.path("a.zip")).unwrap();
        assert_eq!(found(&archive), both, "{command}");
    }
}

/// Info-ZIP 3.0 and Python 3.11 wrote them, but for those that no program writes.
#[test]
fn archives_that_are_kept_are_read() {
    let kept = |name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/download");
        Download::read(&std::fs::read(format!("{folder}/{name}")).unwrap())
    };
    for (name, count) in [("zip", 3), ("zip-stored", 2), ("zip-streamed", 1), ("zip-python", 3)] {
        let read = kept(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((read.certificates.len(), read.remarks), (count, vec![]), "{name}");
    }
    let odd = kept("zip-odd").unwrap();
    assert_eq!(odd.certificates.len(), 1);
    let remarks = [
        "a PRIVATE KEY is served, and is left out",
        "entry 1 is left out: it is an archive itself",
    ];
    assert_eq!(odd.remarks, remarks);
    for (name, says) in [
        ("zip-70000", "the ZIP archive has more than 256 entries"),
        ("zip-bomb", "the ZIP archive unpacks to more than 2097152 bytes"),
        ("zip-bzip2", "it is compressed with BZIP2, and only Deflate is read"),
        ("zip-encrypted", "of entry 1: it is encrypted"),
        ("zip-overlap", "the ZIP archive has files that overlap"),
        ("zip-truncated", "the ZIP archive is damaged or cut off"),
    ] {
        let error = kept(name).unwrap_err().to_string();
        assert!(error.ends_with(says), "{name}: {error}");
    }
}
