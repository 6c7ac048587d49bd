//! Which orders at the reseller are ours, and whose key they are for. Pure: what was found is passed
//! in.

use crate::ca::KeyEvidence;
use crate::pki::Certificate;
use crate::pki::csr::Csr;

use super::wire::Sold;

/// What an order of a list is to a search for one of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Likeness {
    /// It carries our name.
    Named,
    /// It carries another.
    Another,
    /// The API shows no name of it, or one that ours may have become: its key tells.
    Nameless,
}

/// By the name alone: the API may read its filter in another way, as the beginning of a name, or not
/// at all.
pub(super) fn likeness(sold: &Sold, reference: &str) -> Likeness {
    match sold.reference.as_deref() {
        Some(name) if name == reference => Likeness::Named,
        Some(name) if may_come_of(name, reference) => Likeness::Nameless,
        Some(_) => Likeness::Another,
        None => Likeness::Nameless,
    }
}

/// Whether a name may be what the API made of ours: in another case, or cut.
fn may_come_of(name: &str, ours: &str) -> bool {
    const LEAST: usize = 20;
    let begins = ours.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
    begins && (name.len() == ours.len() || name.len() >= LEAST)
}

/// Whose key a CSR is for, in PEM or DER; nothing where it cannot be read. A CSR that is for the key
/// `before` may be the one of the order that is followed, which tells nothing.
pub(super) fn by_csr(csr: &[u8], ours: &[u8], before: Option<&[u8]>) -> KeyEvidence {
    let Ok(csr) = Csr::from_pem(csr).or_else(|_| Csr::from_der(csr)) else {
        return KeyEvidence::None;
    };
    if csr.spki_der == ours {
        KeyEvidence::Ours
    } else if before == Some(csr.spki_der.as_slice()) {
        KeyEvidence::None
    } else {
        KeyEvidence::Foreign
    }
}

/// Whose key certificates are for.
pub(super) fn by_certificates(certificates: &[Certificate], ours: &[u8]) -> KeyEvidence {
    match certificates.iter().any(|one| one.spki_der() == ours) {
        true => KeyEvidence::Ours,
        false => KeyEvidence::Foreign,
    }
}

/// Whether what is served is still this certificate, to the byte: it is there, and no other one that is
/// no CA's. A serial number alone can be in a certificate that somebody made.
pub(super) fn is_before(certificates: &[Certificate], before: &Certificate) -> bool {
    is_only(certificates, |one| one == before)
}

/// The same for a serial number, where no more is known and nothing is bought by it.
pub(super) fn has_serial(certificates: &[Certificate], serial: &str) -> bool {
    is_only(certificates, |one| one.serial_number() == serial)
}

fn is_only(certificates: &[Certificate], is_it: impl Fn(&Certificate) -> bool) -> bool {
    let mut leaves = certificates.iter().filter(|one| !one.is_ca()).peekable();
    leaves.peek().is_some() && leaves.all(is_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{self, KeyKind, Names, PrivateKey};

    const REFERENCE: &str = "chancery-0f0e0d0c-0b0a-4908-8706-050403020100-1";

    #[test]
    fn an_order_is_ours_by_its_whole_name() {
        let named = |reference: Option<&str>| Sold {
            id: "a".to_owned(),
            reference: reference.map(str::to_owned),
            ..Sold::default()
        };
        let longer = format!("{REFERENCE}0");
        let upper = REFERENCE.to_uppercase();
        let rows = [
            (Some(REFERENCE), Likeness::Named),
            (Some(longer.as_str()), Likeness::Another),
            (Some("shop"), Likeness::Another),
            (REFERENCE.get(..40), Likeness::Nameless),
            (REFERENCE.get(..32), Likeness::Nameless),
            (REFERENCE.get(..19), Likeness::Another),
            (Some(upper.as_str()), Likeness::Nameless),
            (upper.get(..32), Likeness::Nameless),
            (None, Likeness::Nameless),
        ];
        for (reference, expected) in rows {
            assert_eq!(likeness(&named(reference), REFERENCE), expected, "{reference:?}");
        }
    }

    #[test]
    fn a_csr_tells_whose_key_an_order_is_for() {
        let key = || PrivateKey::generate(KeyKind::EcdsaP256).unwrap();
        let (mine, theirs, before) = (key(), key(), key());
        let csr = |key: &PrivateKey| {
            let names = Names { dns_names: vec!["a.example".to_owned()], ..Names::default() };
            pki::csr::build(key, &names).unwrap()
        };
        let pem = |key: &PrivateKey| pki::csr::to_pem(&csr(key)).into_bytes();
        let rows = [
            ("ours", pem(&mine), KeyEvidence::Ours),
            ("ours in DER", csr(&mine), KeyEvidence::Ours),
            ("another", pem(&theirs), KeyEvidence::Foreign),
            ("the one before", pem(&before), KeyEvidence::None),
            ("none", b"soon".to_vec(), KeyEvidence::None),
        ];
        for (name, csr, expected) in rows {
            let told = by_csr(&csr, mine.spki_der(), Some(before.spki_der()));
            assert_eq!(told, expected, "{name}");
        }
        assert_eq!(by_csr(&pem(&before), mine.spki_der(), None), KeyEvidence::Foreign);
    }

    #[test]
    fn a_certificate_is_the_one_before_to_the_byte() {
        let made = |serial: u64| {
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.serial_number = Some(serial.into());
            Certificate::from_der(params.self_signed(&key).unwrap().der()).unwrap()
        };
        let (one, two, forged) = (made(0x11), made(0x12), made(0x11));
        let serial = one.serial_number().to_owned();
        assert!(is_before(std::slice::from_ref(&one), &one));
        assert!(!is_before(std::slice::from_ref(&forged), &one), "with the same serial number");
        assert!(has_serial(std::slice::from_ref(&forged), &serial));
        assert!(!has_serial(std::slice::from_ref(&two), &serial));
        assert!(!is_before(&[one.clone(), two], &one), "the new one is there too");
        assert!(!is_before(&[], &one));
        assert_eq!(by_certificates(std::slice::from_ref(&one), one.spki_der()), KeyEvidence::Ours);
        assert_eq!(by_certificates(&[one], b"x"), KeyEvidence::Foreign);
    }
}
