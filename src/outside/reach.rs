//! What the issuers of tenants reach: what lies outside, and of what lies inside only what the
//! platform team allows.
//!
//! # Guarantees
//! - Names are judged before anything is sent, addresses as they are connected to: what a name
//!   resolves to is looked up once, and what is connected to was judged.
//! - An address within an address (IPv4 in IPv6 in any of its forms) is judged by the inner one.
//! - Link-local addresses, where clouds hand out their machines' credentials, are never reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Disposition, Error};
use crate::reason::Reason;

/// A part of the inside that the issuers of tenants may be allowed to reach.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Inside {
    /// The machine that the operator runs on.
    Loopback,
    /// Networks of one's own: 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7,
    /// and names below `internal` and `local`.
    Private,
    /// Services and pods by their names, and the API server.
    Cluster,
}

/// How far an issuer reaches.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Reach {
    /// Wherever the operator does.
    #[default]
    Anywhere,
    /// What lies outside the cluster and the networks around it.
    Outside {
        /// What of the inside is allowed.
        and: Vec<Inside>,
        /// The addresses of the API server.
        api_server: Vec<IpAddr>,
    },
}

/// Why something is not reached. It names no address: what a name resolves to is not for everybody.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{self:?}")]
pub enum Refusal {
    /// It is a part of the inside that was not allowed.
    Inside(Inside),
    /// Nobody may reach it.
    Never,
    /// A proxy is asked for an address, and what is there from where it stands nobody knows.
    ByAddress,
}

impl Refusal {
    /// In words for a condition; `what` was not called.
    #[must_use]
    pub fn told(self, what: &str) -> Error {
        let (is, advice) = match self {
            Self::Inside(Inside::Loopback) => {
                ("is the operator's own machine", allowed("loopback"))
            }
            Self::Inside(Inside::Private) => ("is in a private network", allowed("private")),
            Self::Inside(Inside::Cluster) => ("is in the cluster", allowed("cluster")),
            Self::Never => (
                "has an address that no issuer of a namespace reaches (link-local, multicast or reserved)",
                "use a ClusterIssuer".to_owned(),
            ),
            Self::ByAddress => (
                "is an address, which a proxy is not asked for",
                format!("write the CA's name into its URL; or {}", allowed("private")),
            ),
        };
        Error {
            disposition: Disposition::BlameIssuer,
            reason: Reason::AddressRefused,
            message: format!(
                "{what} was not called: it {is}, and issuers of a namespace do not reach that: {advice}"
            ),
        }
    }
}

fn allowed(inside: &str) -> String {
    format!(
        "have the platform team allow it (--tenant-issuers-may-reach={inside} of the operator), or use a ClusterIssuer"
    )
}

impl Reach {
    /// Whether anything is refused at all.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        matches!(self, Self::Outside { .. })
    }

    /// Why the host of a URL is not called; `by_proxy` where a proxy is asked for it.
    #[must_use]
    pub fn refuses(&self, host: &url::Host<&str>, by_proxy: bool) -> Option<Refusal> {
        let ip = match host {
            url::Host::Domain(name) => return self.refuses_name(name),
            url::Host::Ipv4(ip) => IpAddr::V4(*ip),
            url::Host::Ipv6(ip) => IpAddr::V6(*ip),
        };
        let refused = self.refuses_address(ip);
        // From where the proxy stands any address may be inside.
        let unknown = by_proxy && self.is_limited() && !self.allows(Inside::Private);
        refused.or_else(|| unknown.then_some(Refusal::ByAddress))
    }

    fn refuses_name(&self, name: &str) -> Option<Refusal> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_below = |zone: &str| {
            name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let inside = if is_below("localhost") || is_below("localdomain") {
            Inside::Loopback
        } else if is_below("svc") || is_below("cluster.local") || !name.contains('.') {
            Inside::Cluster
        } else if is_below("internal") || is_below("local") {
            Inside::Private
        } else {
            return None;
        };
        (self.is_limited() && !self.allows(inside)).then_some(Refusal::Inside(inside))
    }

    /// Why nothing connects to an address.
    #[must_use]
    pub fn refuses_address(&self, ip: IpAddr) -> Option<Refusal> {
        let Self::Outside { api_server, .. } = self else { return None };
        let kind = if api_server.contains(&ip) { Kind::Inside(Inside::Cluster) } else { kind(ip) };
        match kind {
            Kind::Outside => None,
            Kind::Inside(inside) => (!self.allows(inside)).then_some(Refusal::Inside(inside)),
            Kind::Never => Some(Refusal::Never),
        }
    }

    /// A name as it is looked up: where the cluster is not reached, without the domains that a pod's
    /// resolver puts behind it, which make services of names such as `ca.shop`.
    #[must_use]
    pub fn looked_up(&self, name: &str) -> String {
        let is_local = name.trim_end_matches('.').rsplit('.').next() == Some("localhost");
        let is_absolute = name.ends_with('.') || is_local;
        if !self.is_limited() || self.allows(Inside::Cluster) || is_absolute {
            return name.to_owned();
        }
        format!("{name}.")
    }

    fn allows(&self, inside: Inside) -> bool {
        match self {
            Self::Anywhere => true,
            Self::Outside { and, .. } => and.contains(&inside),
        }
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Outside,
    Inside(Inside),
    Never,
}

fn kind(ip: IpAddr) -> Kind {
    match ip {
        IpAddr::V4(ip) => kind_v4(ip),
        IpAddr::V6(ip) => kind_v6(ip),
    }
}

fn kind_v4(ip: Ipv4Addr) -> Kind {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        // A connection to 0.0.0.0 goes to the machine itself.
        (0 | 127, ..) => Kind::Inside(Inside::Loopback),
        (10, ..)
        | (192, 168, _)
        | (172, 16..=31, _)
        | (100, 64..=127, _)
        | (198, 18..=19, _)
        | (192, 0, 0) => Kind::Inside(Inside::Private),
        (169, 254, _) | (224..=255, ..) => Kind::Never,
        _ => Kind::Outside,
    }
}

fn kind_v6(ip: Ipv6Addr) -> Kind {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        (0, 0) if [c, d, e, f, g] == [0; 5] && h <= 1 => Kind::Inside(Inside::Loopback),
        // Mapped, compatible, and translated (RFC 4291 and RFC 2765).
        (0, 0) if [c, d, e] == [0; 3] && (f == 0xffff || f == 0) => inner(g, h),
        (0, 0) if [c, d, f] == [0; 3] && e == 0xffff => inner(g, h),
        // NAT64 (RFC 6052): the well-known prefix, and the one for local use, of whatever length.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => inner(g, h),
        (0x64, 0xff9b) => Kind::Inside(Inside::Private),
        // 6to4 (RFC 3056).
        (0x2002, _) => inner(b, c),
        // Teredo (RFC 4380) hides the client's address by turning its bits over.
        (0x2001, 0) => inner(!g, !h),
        (0xfc00..=0xfdff, _) | (0xfec0..=0xfeff, _) => Kind::Inside(Inside::Private),
        (0xfe80..=0xfebf, _) | (0xff00..=0xffff, _) => Kind::Never,
        _ => Kind::Outside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(and: &[Inside]) -> Reach {
        let api_server = vec!["10.96.0.1".parse().unwrap()];
        Reach::Outside { and: and.to_vec(), api_server }
    }

    fn host(url: &str) -> url::Url {
        url::Url::parse(url).unwrap()
    }

    const LOOPBACK: Option<Refusal> = Some(Refusal::Inside(Inside::Loopback));
    const PRIVATE: Option<Refusal> = Some(Refusal::Inside(Inside::Private));
    const CLUSTER: Option<Refusal> = Some(Refusal::Inside(Inside::Cluster));
    const NEVER: Option<Refusal> = Some(Refusal::Never);

    #[test]
    fn every_way_to_write_an_address_is_seen_through() {
        let rows = [
            ("127.0.0.1", LOOPBACK),
            ("127.9.9.9", LOOPBACK),
            ("0.0.0.0", LOOPBACK),
            ("2130706433", LOOPBACK),
            ("0x7f.1", LOOPBACK),
            ("0177.0.0.1", LOOPBACK),
            ("127.0.0.1.", LOOPBACK),
            ("%31%32%37.0.0.1", LOOPBACK),
            ("１２７.0.0.1", LOOPBACK),
            ("[::1]", LOOPBACK),
            ("[::]", LOOPBACK),
            ("[::ffff:127.0.0.1]", LOOPBACK),
            ("[::127.0.0.1]", LOOPBACK),
            ("[::ffff:0:127.0.0.1]", LOOPBACK),
            ("[64:ff9b::7f00:1]", LOOPBACK),
            ("[2002:7f00:1::]", LOOPBACK),
            ("[2001:0:1:2:3:4:80ff:fffe]", LOOPBACK),
            ("10.0.0.1", PRIVATE),
            ("172.31.255.255", PRIVATE),
            ("172.32.0.0", None),
            ("192.168.1.1", PRIVATE),
            ("100.64.0.1", PRIVATE),
            ("100.128.0.1", None),
            ("[fd00::1]", PRIVATE),
            ("[fec0::1]", PRIVATE),
            ("[::ffff:10.0.0.1]", PRIVATE),
            ("[64:ff9b:1::a00:1]", PRIVATE),
            ("10.96.0.1", CLUSTER),
            ("169.254.169.254", NEVER),
            ("[fe80::1]", NEVER),
            ("[::ffff:169.254.169.254]", NEVER),
            ("224.0.0.1", NEVER),
            ("255.255.255.255", NEVER),
            ("[ff02::1]", NEVER),
            ("192.0.2.7", None),
            ("[2001:db8::7]", None),
        ];
        for (written, expected) in rows {
            let url = host(&format!("https://{written}/x"));
            let found = url.host().and_then(|host| outside(&[]).refuses(&host, false));
            assert_eq!(found, expected, "{written}");
            let found = url.host().and_then(|host| Reach::Anywhere.refuses(&host, true));
            assert_eq!(found, None, "{written}: a ClusterIssuer");
        }
    }

    #[test]
    fn names_of_the_inside_are_not_called() {
        let rows = [
            ("localhost", LOOPBACK),
            ("LocalHost.", LOOPBACK),
            ("x.localhost", LOOPBACK),
            ("kubernetes", CLUSTER),
            ("kubernetes.default.svc", CLUSTER),
            ("kubernetes.default.svc.", CLUSTER),
            ("ca.shop.svc.cluster.local", CLUSTER),
            ("metadata.google.internal", PRIVATE),
            ("printer.local", PRIVATE),
            ("ca.example.org", None),
            ("notlocalhost.example.org", None),
            ("svc.example.org", None),
        ];
        for (name, expected) in rows {
            let url = host(&format!("https://{name}/x"));
            for by_proxy in [false, true] {
                let found = url.host().and_then(|host| outside(&[]).refuses(&host, by_proxy));
                assert_eq!(found, expected, "{name}");
            }
        }
    }

    #[test]
    fn what_is_allowed_is_reached_and_nothing_else() {
        let all = [
            (Inside::Loopback, "127.0.0.1", "localhost"),
            (Inside::Private, "10.0.0.1", "ca.internal"),
            (Inside::Cluster, "10.96.0.1", "ca.shop.svc"),
        ];
        for (allowed, ..) in all {
            for (inside, ip, name) in all {
                let is_refused = allowed != inside;
                let reach = outside(&[allowed]);
                let refused = |host: url::Host<&str>| reach.refuses(&host, false).is_some();
                assert_eq!(refused(url::Host::Ipv4(ip.parse().unwrap())), is_refused, "{ip}");
                assert_eq!(refused(url::Host::Domain(name)), is_refused, "{name}");
            }
        }
    }

    #[test]
    fn a_proxy_is_asked_for_names_alone() {
        let ip = url::Host::<&str>::Ipv4("192.0.2.7".parse().unwrap());
        assert_eq!(outside(&[]).refuses(&ip, false), None);
        assert_eq!(outside(&[]).refuses(&ip, true), Some(Refusal::ByAddress));
        assert_eq!(outside(&[Inside::Private]).refuses(&ip, true), None);
    }

    #[test]
    fn no_search_domain_makes_a_service_of_a_name() {
        let rows = [
            (outside(&[]), "ca.shop", "ca.shop."),
            (outside(&[Inside::Private]), "ca.shop.", "ca.shop."),
            (outside(&[Inside::Loopback]), "localhost", "localhost"),
            (outside(&[Inside::Cluster]), "ca.shop", "ca.shop"),
            (Reach::Anywhere, "ca.shop", "ca.shop"),
        ];
        for (reach, name, expected) in rows {
            assert_eq!(reach.looked_up(name), expected, "{reach:?}");
        }
    }

    #[test]
    fn a_refusal_says_who_can_allow_it() {
        for (refusal, says) in [
            (Refusal::Inside(Inside::Loopback), "--tenant-issuers-may-reach=loopback"),
            (Refusal::Inside(Inside::Private), "--tenant-issuers-may-reach=private"),
            (Refusal::Inside(Inside::Cluster), "--tenant-issuers-may-reach=cluster"),
            (Refusal::Never, "ClusterIssuer"),
            (Refusal::ByAddress, "write the CA's name"),
        ] {
            let error = refusal.told("ca.example:443");
            assert!(error.message.starts_with("ca.example:443 was not called"), "{error}");
            assert!(error.message.contains(says), "{error}");
            assert_eq!(error.reason, Reason::AddressRefused);
        }
    }
}
