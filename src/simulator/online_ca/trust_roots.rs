//! The trust root directory and its serialisation.
//!
//! Pure: which files there are follows from the settings, and how they are sent from their names.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::settings::{Manifest, TrustRoots};
use crate::simulator::authority::{CertificateAuthority, pem, sha256_hex};

/// A file of the directory: name and content.
pub(super) type File = (String, Vec<u8>);

/// The files of these authorities under their hash names, then whatever else the settings ask for.
pub(super) fn files(
    settings: &TrustRoots,
    authorities: &[&CertificateAuthority],
    leaked_key_der: Option<&[u8]>,
) -> Vec<File> {
    let mut files: Vec<File> = Vec::new();
    for authority in authorities {
        let old = settings.old_hash_names.then(|| authority.name.old_hash());
        for hash in [Some(authority.name.hash()), old].into_iter().flatten() {
            let suffix = (0..10)
                .find(|n| !files.iter().any(|(name, _)| *name == format!("{hash}.{n}")))
                .unwrap_or_default();
            files.push((format!("{hash}.{suffix}"), authority.pem().into_bytes()));
            if settings.signing_policies {
                files.push((
                    format!("{hash}.signing_policy"),
                    signing_policy(authority).into_bytes(),
                ));
            }
        }
    }
    if let Some(key_der) = leaked_key_der {
        files.push(("test-ca.key".to_owned(), pem("PRIVATE KEY", key_der).into_bytes()));
    }
    files.extend(
        settings.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())),
    );
    files
}

/// A Globus signing policy that allows the authority everything below its own organisation and
/// ours.
fn signing_policy(authority: &CertificateAuthority) -> String {
    let subject = authority.name.slash_form();
    let policy = [
        "# EACL of the authority below".to_owned(),
        format!(" access_id_CA      X509         '{subject}'"),
        " pos_rights        globus        CA:sign".to_owned(),
        " cond_subjects     globus     '\"/O=NDG/*\" \"/O=Chancery Simulator/*\"'".to_owned(),
    ];
    policy.join("\n") + "\n"
}

/// One line per file, each ended by LF, in an order that is arbitrary yet always the same, as a
/// directory's is.
pub(super) fn serialise(mut files: Vec<File>, manifest: Manifest) -> String {
    files.sort_by_key(|(name, _)| sha256_hex(name.as_bytes()));
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    let (head, prefix) = match manifest {
        Manifest::None => (String::new(), ""),
        Manifest::Base64 => {
            (format!("TRUSTED_CERTS={}\n", STANDARD.encode(names.join(","))), "FILEDATA_")
        }
        Manifest::Plain => (format!("TRUSTED_CERTS={}\n", names.join(",")), "FILEDATA_"),
    };
    let lines: String = files
        .iter()
        .map(|(name, content)| format!("{prefix}{name}={}\n", STANDARD.encode(content)))
        .collect();
    head + &lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_files() -> Vec<File> {
        vec![("a.0".to_owned(), b"one".to_vec()), ("b.0".to_owned(), b"x".to_vec())]
    }

    #[test]
    fn the_service_sends_plain_lines_and_the_vendor_document_lists_them_first() {
        let plain = serialise(two_files(), Manifest::None);
        let mut lines: Vec<&str> = plain.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["a.0=b25l", "b.0=eA=="]);
        assert!(plain.ends_with('\n'));

        let listed = serialise(two_files(), Manifest::Plain);
        let first = listed.lines().next().map(str::to_owned);
        assert!(
            first.is_some_and(
                |line| line == "TRUSTED_CERTS=a.0,b.0" || line == "TRUSTED_CERTS=b.0,a.0"
            )
        );
        assert!(listed.contains("\nFILEDATA_a.0=b25l\n"));
        assert!(serialise(two_files(), Manifest::Base64).lines().count() == 3);
    }
}
