//! Whether the next step may take long to decide: chains are verified for it, and others wrote them.

use super::observation::{Observation, Read};
use crate::ca::{Lookup, Phase, Progress};
use crate::pki::Certificate;

/// What is decided in no time: the chain of a certificate is shorter.
const OF_CHAINS: Size = Size { certificates: 8, bytes: 16 * 1024 };

/// The roots of a system are fewer. They are compared, and few of them verify anything.
const OF_ANCHORS: Size = Size { certificates: 256, bytes: 512 * 1024 };

/// How many certificates there may be, and how large together.
struct Size {
    certificates: usize,
    bytes: usize,
}

impl Size {
    fn holds<'a>(&self, all: impl Iterator<Item = &'a Certificate>) -> bool {
        let (certificates, bytes) =
            all.fold((0, 0), |(number, bytes), one| (number + 1, bytes + one.der().len()));
        certificates <= self.certificates && bytes <= self.bytes
    }
}

impl Observation {
    /// Whether the next step may take long to decide.
    #[must_use]
    pub fn may_take_long(&self) -> bool {
        let target =
            if let Some(Read::Present(target)) = &self.target { Some(target) } else { None };
        let before =
            if let Some(Ok(Lookup::Found(found))) = &self.order.before { &found[..] } else { &[] };
        let ordered = before.iter().map(|one| &one.progress).chain(&self.order.progress);
        let candidates = self.obtained.iter().flat_map(|obtained| &obtained.candidates);
        let chains = candidates
            .chain(ordered.flat_map(issued))
            .chain(target.iter().flat_map(|target| &target.chain));
        let anchors = self.account.iter().flat_map(|account| &account.anchors);
        let anchors = anchors
            .chain(target.iter().flat_map(|target| &target.anchors))
            .chain(self.served.iter().flatten());
        !(OF_CHAINS.holds(chains) && OF_ANCHORS.holds(anchors))
    }
}

fn issued(progress: &Progress) -> &[Certificate] {
    if let Phase::Issued(candidates) = &progress.phase { candidates } else { &[] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuance::fixtures::{account, delivered_target, fresh, kept, obtained, pki};
    use crate::issuance::observation::{Account, Target};

    fn many(number: usize) -> Vec<Certificate> {
        vec![pki().root.certificate(); number]
    }

    #[test]
    fn what_others_wrote_takes_long_where_it_is_much() {
        let issued = |number| {
            let mut seen = obtained();
            seen.obtained.as_mut().expect("it is obtained").candidates = many(number);
            seen
        };
        let delivered = |chain, anchors| {
            let target =
                Target { chain: many(chain), anchors: many(anchors), ..delivered_target() };
            Observation { target: Some(Read::Present(target)), ..kept() }
        };
        let trusted = |number| {
            let account = Account { anchors: many(number), ..account() };
            Observation { account: Some(account), ..fresh() }
        };
        let served = |number| Observation { served: Some(many(number)), ..fresh() };
        let ordered = |number| {
            let mut seen = fresh();
            seen.order.progress = Some(progress(many(number)));
            seen
        };
        let cases = [
            ("nothing was read yet", fresh(), false),
            ("a chain as CAs issue them", obtained(), false),
            ("eight certificates of a CA", issued(8), false),
            ("more", issued(9), true),
            ("eight certificates of an order", ordered(8), false),
            ("more of an order", ordered(9), true),
            ("a Secret as delivered", delivered(3, 1), false),
            ("a Secret with a long chain", delivered(9, 1), true),
            ("a Secret with the roots of a system", delivered(3, 150), false),
            ("a Secret with more", delivered(3, 257), true),
            ("the roots of a system", trusted(150), false),
            ("a large bundle", trusted(257), true),
            ("a CA that serves many roots", served(257), true),
        ];
        for (name, seen, expected) in cases {
            assert_eq!(seen.may_take_long(), expected, "{name}");
        }
        let large = Size { certificates: 8, bytes: 10 };
        assert!(!large.holds(many(1).iter()), "few certificates may be large");
    }

    fn progress(candidates: Vec<Certificate>) -> Progress {
        Progress { id: None, named: true, phase: Phase::Issued(candidates) }
    }
}
