//! Which orders at the CA are ours: by the name among their tags, by the tag of the key, and once a
//! certificate is there by its key. Pure: what was found is passed in.

use jiff::{SignedDuration, Timestamp};

use super::states::{self, Stage};
use super::wire::{KEY_TAG, NAME_TAG, Order, key_tag};
use crate::ca::KeyEvidence;
use crate::pki::Certificate;

/// Clocks differ: an order may seem to be older than its record.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// What tells our order from others.
pub(super) struct Ours<'a> {
    /// Its name.
    pub(super) reference: &'a str,
    /// The client it was made for.
    pub(super) client: &'a str,
    pub(super) product: &'a str,
    /// Its key, as SubjectPublicKeyInfo.
    pub(super) spki_der: &'a [u8],
    /// Nothing of it can be older.
    pub(super) since: Option<Timestamp>,
}

/// What an order that was not found by its name may be.
#[derive(Debug, PartialEq)]
pub(super) enum Likeness {
    /// Ours.
    Ours,
    /// Another's.
    Another,
    /// It has a certificate, which was not served with it.
    TellsByItsCertificate,
    /// It could be ours, and nothing tells.
    Doubtful,
}

impl Ours<'_> {
    /// It carries the name, and is of the same client. A filter that the API reads in another way
    /// than we do finds more than that.
    pub(super) fn carries_name(&self, order: &Order) -> bool {
        order.has_tag(self.reference)
            && order.client_reference.as_deref().is_none_or(|client| client == self.client)
    }

    /// What is known of the key of an order. A certificate counts for more than a tag, which
    /// somebody can write.
    pub(super) fn evidence(&self, order: &Order, chain: &[Certificate]) -> KeyEvidence {
        if !chain.is_empty() {
            let is_ours = chain.iter().any(|one| one.spki_der() == self.spki_der);
            return if is_ours { KeyEvidence::Ours } else { KeyEvidence::Foreign };
        }
        if let Some(certificate) = order.certificate() {
            return self.evidence(&Order::default(), &[certificate]);
        }
        if order.has_tag(&key_tag(self.spki_der)) {
            KeyEvidence::Ours
        } else if order.tags().iter().any(|tag| tag.starts_with(KEY_TAG)) {
            KeyEvidence::Foreign
        } else {
            KeyEvidence::None
        }
    }

    /// Whether an order that the search for the name did not give is ours all the same: the account
    /// may not keep tags.
    pub(super) fn likeness(&self, order: &Order) -> Likeness {
        if self.carries_name(order) {
            return Likeness::Ours;
        }
        // Before the key is looked at: where keys are kept, earlier orders have the same one.
        let is_named = order.tags().iter().any(|tag| tag.starts_with(NAME_TAG));
        if is_named || !self.is_of_this_product(order) || !self.is_recent(order) {
            return Likeness::Another;
        }
        match self.evidence(order, &[]) {
            KeyEvidence::Ours => return Likeness::Ours,
            KeyEvidence::Foreign => return Likeness::Another,
            KeyEvidence::None => {}
        }
        match states::read(order.status.as_deref().unwrap_or_default()).1 {
            Stage::Issued | Stage::Failed(crate::ca::FailedKind::Revoked, _) => {
                Likeness::TellsByItsCertificate
            }
            Stage::Open { .. } | Stage::Failed(..) => Likeness::Doubtful,
        }
    }

    fn is_of_this_product(&self, order: &Order) -> bool {
        order.client_reference.as_deref().is_none_or(|client| client == self.client)
            && order.product_reference.as_deref().is_none_or(|product| product == self.product)
    }

    fn is_recent(&self, order: &Order) -> bool {
        match (order.created(), self.since) {
            (Some(created), Some(since)) => created >= since.checked_sub(SKEW).unwrap_or(since),
            (None, _) | (_, None) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use crate::ca::swisssign::wire::IssuedCertificate;

    const REFERENCE: &str = "chancery-0f0e0d0c-0b0a-4908-8706-050403020100-1";
    const CLIENT: &str = "cli-00000000-0000-4000-8000-000000000001";
    const PRODUCT: &str = "pma-00000000-0000-4000-8000-000000000001";

    fn certificate() -> Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        Certificate::from_der(made.self_signed(&key).unwrap().der()).unwrap()
    }

    fn with_certificate(order: &mut Order, certificate: &Certificate) {
        let certificate = Some(STANDARD.encode(certificate.der()));
        order.certificate = Some(IssuedCertificate { certificate });
        order.status = Some("ISSUED".to_owned());
    }

    #[test]
    fn an_order_without_our_name_is_ours_anothers_or_doubtful() {
        let (mine, theirs) = (certificate(), certificate());
        let since: Timestamp = "2026-05-28T12:00:00Z".parse().unwrap();
        let ours = Ours {
            reference: REFERENCE,
            client: CLIENT,
            product: PRODUCT,
            spki_der: mine.spki_der(),
            since: Some(since),
        };
        let tagged = |order: &mut Order, tags: &[&str]| {
            let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
            order.tags = Some(tags.into());
        };
        let my_tag = key_tag(mine.spki_der());
        type Change<'a> = Box<dyn Fn(&mut Order) + 'a>;
        let cases: Vec<(&str, Change<'_>, Likeness)> = vec![
            ("open and without a name", Box::new(|_| {}), Likeness::Doubtful),
            ("our name", Box::new(|o| tagged(o, &["x", REFERENCE])), Likeness::Ours),
            (
                "another name of Chancery",
                Box::new(|o| tagged(o, &["chancery-x-1"])),
                Likeness::Another,
            ),
            (
                "a tag that begins like our name",
                Box::new(|o| tagged(o, &[&format!("{REFERENCE}0")])),
                Likeness::Another,
            ),
            ("our key among the tags", Box::new(|o| tagged(o, &[&my_tag])), Likeness::Ours),
            (
                "another key among the tags",
                Box::new(|o| tagged(o, &["spki-0011223344556677"])),
                Likeness::Another,
            ),
            ("a tag of a person", Box::new(|o| tagged(o, &["shop"])), Likeness::Doubtful),
            (
                "another product",
                Box::new(|o| o.product_reference = Some(PRODUCT.replace('1', "2"))),
                Likeness::Another,
            ),
            (
                "another client",
                Box::new(|o| o.client_reference = Some(CLIENT.replace('1', "2"))),
                Likeness::Another,
            ),
            (
                "half an hour before",
                Box::new(|o| o.created_on = Some("2026-05-28T11:30:00Z".to_owned())),
                Likeness::Doubtful,
            ),
            (
                "two hours before",
                Box::new(|o| o.created_on = Some("2026-05-28T10:00:00Z".to_owned())),
                Likeness::Another,
            ),
            ("at no readable time", Box::new(|o| o.created_on = None), Likeness::Doubtful),
            ("our certificate", Box::new(|o| with_certificate(o, &mine)), Likeness::Ours),
            (
                "our key, from before: it was kept",
                Box::new(|o| {
                    with_certificate(o, &mine);
                    o.created_on = Some("2020-05-28T10:00:00Z".to_owned());
                }),
                Likeness::Another,
            ),
            (
                "our key under another name: it was kept",
                Box::new(|o| {
                    tagged(o, &["chancery-x-1", &my_tag]);
                    with_certificate(o, &mine);
                }),
                Likeness::Another,
            ),
            ("another certificate", Box::new(|o| with_certificate(o, &theirs)), Likeness::Another),
            (
                "issued, and the certificate is not there",
                Box::new(|o| o.status = Some("ISSUED".to_owned())),
                Likeness::TellsByItsCertificate,
            ),
            ("failed", Box::new(|o| o.status = Some("FAILED".to_owned())), Likeness::Doubtful),
            ("in a state nobody knows", Box::new(|o| o.status = None), Likeness::Doubtful),
        ];
        for (name, change, expected) in cases {
            let mut order = Order {
                uuid: Some("ord-00000000-0000-4000-8000-000000000001".to_owned()),
                created_on: Some("2026-05-28T12:00:01Z".to_owned()),
                status: Some("NEW".to_owned()),
                client_reference: Some(CLIENT.to_owned()),
                product_reference: Some(PRODUCT.to_owned()),
                ..Order::default()
            };
            change(&mut order);
            assert_eq!(ours.likeness(&order), expected, "{name}");
        }
    }

    #[test]
    fn a_certificate_counts_for_more_than_a_tag() {
        let (mine, theirs) = (certificate(), certificate());
        let ours = Ours {
            reference: REFERENCE,
            client: CLIENT,
            product: PRODUCT,
            spki_der: mine.spki_der(),
            since: None,
        };
        let tag = Some(vec![key_tag(mine.spki_der())].into());
        let mut order = Order { tags: tag, ..Order::default() };
        assert_eq!(ours.evidence(&order, &[]), KeyEvidence::Ours);
        assert_eq!(ours.evidence(&order, std::slice::from_ref(&theirs)), KeyEvidence::Foreign);
        with_certificate(&mut order, &theirs);
        assert_eq!(ours.evidence(&order, &[]), KeyEvidence::Foreign);
        assert_eq!(ours.evidence(&order, &[theirs, mine.clone()]), KeyEvidence::Ours);
        assert_eq!(ours.evidence(&Order::default(), &[]), KeyEvidence::None);
    }
}
