//! What the issuers of tenants reach: what lies outside, and of what lies inside only what the
//! platform team allows.
//!
//! # Guarantees
//! - Names are judged before anything is sent, addresses as they are connected to: what a name
//!   resolves to is looked up once, and what is connected to was judged.
//! - An address within an address (IPv4 in IPv6 in any of its forms) is judged by the inner one.
//! - Link-local addresses, where clouds hand out their machines' credentials, are never reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

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
    /// Services and pods by their names and in the networks that were named, and the API server.
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
        /// What is the cluster's beside its names.
        cluster: Cluster,
    },
}

/// What is the cluster's and cannot be told from its looks.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cluster {
    /// Networks of services, pods and nodes, and addresses of the API server.
    pub networks: Vec<IpNet>,
    /// Names of the API server, in lower case and without a dot at the end.
    pub names: Vec<String>,
}

impl Cluster {
    /// Adds the host of an API server. One on this machine goes on to be this machine's.
    pub fn add_api_server(&mut self, host: &str) {
        let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
        match host.parse::<IpAddr>() {
            Ok(ip) => self.add_address(ip),
            Err(_) if host.is_empty() || is_below(&host, "localhost") => {}
            Err(_) => self.names.push(host),
        }
    }

    /// Adds an address of the API server, with the same exception.
    pub fn add_address(&mut self, ip: IpAddr) {
        let ip = meant(ip);
        if kind(ip) != Kind::Inside(Inside::Loopback) {
            self.networks.push(ip.into());
        }
    }

    fn has(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip))
    }
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
                "write the CA's name into its URL, or use a ClusterIssuer".to_owned(),
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
        let unknown = by_proxy && self.is_limited();
        refused.or_else(|| unknown.then_some(Refusal::ByAddress))
    }

    fn refuses_name(&self, name: &str) -> Option<Refusal> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let is_below = |zone| is_below(&name, zone);
        let is_api_server = || match self {
            Self::Anywhere => false,
            Self::Outside { cluster, .. } => cluster.names.contains(&name),
        };
        let inside = if is_below("localhost") || is_below("localdomain") {
            Inside::Loopback
        } else if is_below("svc")
            || is_below("cluster.local")
            || !name.contains('.')
            || is_api_server()
        {
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
        let Self::Outside { cluster, .. } = self else { return None };
        let meant = meant(ip);
        let inside = match kind(meant) {
            Kind::Never => return Some(Refusal::Never),
            _ if cluster.has(ip) || cluster.has(meant) => Inside::Cluster,
            Kind::Inside(inside) => inside,
            Kind::Outside => return None,
        };
        (!self.allows(inside)).then_some(Refusal::Inside(inside))
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

fn is_below(name: &str, zone: &str) -> bool {
    name.strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
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

/// The IPv4 address within an IPv6 address, where there is one.
fn meant(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let inner = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // The machine itself, and what an IPv6 socket binds to.
        (0, 0) if [c, d, e, f, g] == [0; 5] && h <= 1 => ip,
        // Mapped, compatible, and translated (RFC 4291 and RFC 2765).
        (0, 0) if [c, d, e] == [0; 3] && (f == 0xffff || f == 0) => inner(g, h),
        (0, 0) if [c, d, f] == [0; 3] && e == 0xffff => inner(g, h),
        // NAT64 (RFC 6052), the well-known prefix.
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => inner(g, h),
        // 6to4 (RFC 3056).
        (0x2002, _) => inner(b, c),
        // Teredo (RFC 4380) hides the client's address by turning its bits over.
        (0x2001, 0) => inner(!g, !h),
        _ => ip,
    }
}

fn kind_v6(ip: Ipv6Addr) -> Kind {
    let [a, b, ..] = ip.segments();
    match (a, b) {
        (0, 0) if ip.is_loopback() || ip.is_unspecified() => Kind::Inside(Inside::Loopback),
        // NAT64 with the prefix for local use (RFC 8215): what is within is where its length says.
        (0x64, 0xff9b) => Kind::Inside(Inside::Private),
        (0xfc00..=0xfdff, _) | (0xfec0..=0xfeff, _) => Kind::Inside(Inside::Private),
        (0xfe80..=0xfebf, _) | (0xff00..=0xffff, _) => Kind::Never,
        _ => Kind::Outside,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outside(and: &[Inside]) -> Reach {
        let networks = ["10.96.0.0/16", "2001:db8:1::/48", "203.0.113.0/24", "169.254.0.0/16"];
        let networks = networks.iter().map(|network| network.parse().unwrap()).collect();
        let mut cluster = Cluster { networks, names: Vec::new() };
        for host in ["198.51.100.1", "K8S.example.org.", "127.0.0.1", "localhost", ""] {
            cluster.add_api_server(host);
        }
        Reach::Outside { and: and.to_vec(), cluster }
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
            ("10.97.0.1", PRIVATE),
            ("[::ffff:10.96.0.1]", CLUSTER),
            ("[64:ff9b::a60:1]", CLUSTER),
            ("203.0.113.9", CLUSTER),
            ("[2001:db8:1::7]", CLUSTER),
            ("198.51.100.1", CLUSTER),
            ("198.51.100.2", None),
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
            ("k8s.example.org", CLUSTER),
            ("K8s.Example.Org.", CLUSTER),
            ("x.k8s.example.org", None),
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
        let all = [Inside::Loopback, Inside::Private, Inside::Cluster];
        assert_eq!(outside(&all).refuses(&ip, true), Some(Refusal::ByAddress));
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
