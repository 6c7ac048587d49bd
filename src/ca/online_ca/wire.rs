//! The bodies as the service spells them.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::pki::{self, Bundle, Certificate};

/// The form of "get certificate": one field, the CSR in PEM. The parser of form bodies turns a
/// bare `+` into a space, so everything is percent-encoded.
pub(super) fn certificate_form(csr_der: &[u8]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .append_pair("certificate_request", &pki::csr::to_pem(csr_der))
        .finish()
}

/// The certificates of a successful answer: the issued one, then what the server's operator
/// configured, raw files in any spelling.
pub(super) fn certificates(body: &[u8]) -> Result<Vec<Certificate>, String> {
    let certificates = pki::parse_pem(body).map_err(|error| error.to_string())?;
    match certificates.len() {
        0 => Err("its body holds no certificate".to_owned()),
        too_many if too_many > CERTIFICATES => Err(format!(
            "its body holds {too_many} certificates, and at most {CERTIFICATES} are taken"
        )),
        _ => Ok(certificates),
    }
}

/// So many certificates are taken of an answer: more than any bundle of roots holds that a server may
/// send along.
const CERTIFICATES: usize = 300;
/// So many files are looked at, and so many certificates taken from them: trust directories of grids
/// hold hundreds.
const FILES: usize = 4096;
const ROOTS: usize = 1024;

/// What "get trust roots" serves, without what has no business there.
#[derive(Debug, Default)]
pub(super) struct TrustRoots {
    /// CA certificates, each once.
    pub(super) certificates: Vec<Certificate>,
    /// What the CA's operator should know of.
    pub(super) remarks: Vec<String>,
    seen: HashSet<Certificate>,
}

impl TrustRoots {
    /// Notes what is odd, the first few hundred times. That a key is served is told in any case.
    fn remark(&mut self, remark: String) {
        const NOTED: usize = 500;
        let is_worth_more = remark.contains("PRIVATE KEY");
        if self.remarks.len() < NOTED || is_worth_more && self.remarks.len() < 2 * NOTED {
            self.remarks.push(remark);
        }
    }
}

/// Reads lines of `<file name>=<base64 of the file>`.
///
/// The vendor's page also gives a manifest line `TRUSTED_CERTS=` and names with the prefix
/// `FILEDATA_`, which no known server sends; both are understood. `None` where nothing at all looks
/// like that.
pub(super) fn trust_roots(body: &[u8]) -> Option<TrustRoots> {
    let text = String::from_utf8_lossy(body);
    let mut roots = TrustRoots::default();
    let mut manifest: Vec<String> = Vec::new();
    let mut names: HashSet<&str> = HashSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if names.len() >= FILES {
            roots.remark(format!("more than {FILES} files are served, and the rest is not read"));
            break;
        }
        // Padding is made of the same character: the first one separates.
        let Some((name, value)) = line.split_once('=') else {
            roots.remark("a line is not of the form name=base64".to_owned());
            continue;
        };
        let (name, value) = (name.trim(), value.trim());
        if name == "TRUSTED_CERTS" {
            manifest = listed(value);
            continue;
        }
        let name = name.strip_prefix("FILEDATA_").unwrap_or(name);
        if !is_safe_name(name) {
            roots.remark("an entry has a file name that is not allowed".to_owned());
            continue;
        }
        names.insert(name);
        match STANDARD.decode(value) {
            Ok(content) => add_file(&mut roots, name, &content),
            Err(_) => roots.remark(format!("{name} is not base64")),
        }
    }
    for name in manifest.iter().filter(|listed| !names.contains(listed.as_str())) {
        if is_safe_name(name) {
            roots.remark(format!("{name} is listed but not served"));
        }
    }
    roots.remarks = in_few_words(roots.remarks);
    (!names.is_empty()).then_some(roots)
}

/// So many remarks are worth reading.
const REMARKS: usize = 5;

/// Each remark once, leaked keys first, and no more than fit into a condition: a hostile server
/// could cause hundreds of thousands.
fn in_few_words(remarks: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut few: Vec<String> =
        remarks.into_iter().filter(|remark| seen.insert(remark.clone())).collect();
    few.sort_by_key(|remark| !remark.contains("PRIVATE KEY"));
    if few.len() > REMARKS {
        let more = few.len() - REMARKS;
        few.truncate(REMARKS);
        few.push(format!("{more} more remarks"));
    }
    few
}

/// The manifest is a comma list, plain or in base64.
fn listed(value: &str) -> Vec<String> {
    let decoded = STANDARD.decode(value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded
        .as_deref()
        .unwrap_or(value)
        .split(',')
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

/// The reference clients write files of that name; so might those who read what we keep.
fn is_safe_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && !name.starts_with('.')
        // All real ones have an extension, and base64 has no dot: the last line of a private key that
        // a server sends by mistake is not taken for a name, and not told.
        && name.contains('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// Keeps CA certificates. The real server dumps a whole directory, and its sample configuration
/// names the one that holds the CA's private key.
fn add_file(roots: &mut TrustRoots, name: &str, content: &[u8]) {
    if pki::contains_private_key(content) {
        roots.remark(format!(
            "{name} holds a PRIVATE KEY, served to anybody who asks: tell the operator of the CA"
        ));
        return;
    }
    if !contains(content, b"-----BEGIN") {
        return;
    }
    let Bundle { anchors, remarks } = Bundle::from_pem(content);
    for certificate in anchors.into_iter().filter(Certificate::is_ca) {
        if roots.seen.contains(&certificate) {
            continue;
        }
        if roots.certificates.len() == ROOTS {
            roots.remark(format!(
                "more than {ROOTS} certificates are served, and the others are left out"
            ));
            break;
        }
        roots.seen.insert(certificate.clone());
        roots.certificates.push(certificate);
    }
    remarks.into_iter().for_each(|remark| roots.remark(format!("{name}: {remark}")));
}

fn contains(content: &[u8], needle: &[u8]) -> bool {
    content.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plus_and_newlines_of_the_csr_are_encoded() {
        let form = certificate_form(&[0xfb, 0xef, 0xbe, 0xff]);
        assert!(
            form.starts_with("certificate_request=-----BEGIN+CERTIFICATE+REQUEST-----%0A"),
            "{form}"
        );
        assert!(form.contains("%2B%2B%2B%2B%2Fw%3D%3D%0A"), "{form}");
    }

    #[test]
    fn trust_root_lines_are_read_in_every_known_spelling() {
        let file = |text: &str| STANDARD.encode(text);
        let cases = [
            (
                "a policy is no certificate",
                format!("a.signing_policy={}\n", file("access_id_CA X509 'x'")),
                Some(vec![]),
            ),
            (
                "CRLF, blank lines and no last newline",
                format!("\r\na.info={}\r\n\r\nb.info={}", file("x"), file("y")),
                Some(vec![]),
            ),
            (
                "the prefix of the vendor's page",
                format!("FILEDATA_a.info={}", file("x")),
                Some(vec![]),
            ),
            (
                "a path that climbs out",
                format!("../x={}\na.info={}", file("x"), file("y")),
                Some(vec!["an entry has a file name that is not allowed"]),
            ),
            (
                "a manifest, plain, with a gap",
                format!("TRUSTED_CERTS=a.info,b.0\na.info={}", file("x")),
                Some(vec!["b.0 is listed but not served"]),
            ),
            (
                "a manifest in base64",
                format!("TRUSTED_CERTS={}\na.info={}", file("a.info,c.0"), file("x")),
                Some(vec!["c.0 is listed but not served"]),
            ),
            (
                "a leaked key is dropped and told",
                format!("ca.key={}", file("-----BEGIN PRIVATE KEY-----\nx")),
                Some(vec![
                    "ca.key holds a PRIVATE KEY, served to anybody who asks: tell the operator of the CA",
                ]),
            ),
            ("a value that is not base64", "a.0=%%%".to_owned(), Some(vec!["a.0 is not base64"])),
            ("a page", "<html>\n<body>hello</body></html>".to_owned(), None),
            ("nothing", String::new(), None),
        ];
        for (name, body, expected) in cases {
            let remarks = trust_roots(body.as_bytes()).map(|roots| roots.remarks);
            let expected =
                expected.map(|list| list.into_iter().map(str::to_owned).collect::<Vec<_>>());
            assert_eq!(remarks, expected, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let _ = trust_roots(&body);
            let _ = certificates(&body);
        }
    }
}
