//! Where credentials may be sent, by the word of whoever owns their Secret.
//!
//! # Guarantees
//! - A host stands for its port 443; another port is named.
//! - Roots that an issuer brings count for a connection that carries credentials where the Secret lists
//!   their fingerprints. Roots that are added to a bundle break nothing, and open nothing.

use crate::pki::Certificate;

/// The hosts and the roots that a Secret allows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OptIn {
    hosts: Vec<String>,
    anchors: Vec<String>,
}

impl OptIn {
    /// From what stands in the annotations, by commas: hosts with or without a port, and SHA-256
    /// fingerprints of certificates, hexadecimal, with or without colons.
    #[must_use]
    pub fn read(hosts: &str, anchors: &str) -> Self {
        let entries = |text: &str| -> Vec<String> {
            let entries = text.split(',').map(|entry| entry.trim().to_ascii_lowercase());
            entries.filter(|entry| !entry.is_empty()).collect()
        };
        let hosts = entries(hosts).into_iter().map(|host| without_default_port(&host)).collect();
        let anchors = entries(anchors).iter().map(|entry| entry.replace(':', "")).collect();
        Self { hosts, anchors }
    }

    /// Those of `hosts` that are not allowed. Each is as [`host_and_port`] writes it.
    #[must_use]
    pub fn lacks<'a>(&self, hosts: &'a [String]) -> Vec<&'a str> {
        let is_allowed = |host: &&String| !host.is_empty() && self.hosts.contains(*host);
        hosts.iter().filter(|host| !is_allowed(host)).map(String::as_str).collect()
    }

    /// Those of `bundle` that are allowed.
    #[must_use]
    pub fn trusted(&self, bundle: &[Certificate]) -> Vec<Certificate> {
        let is_listed = |one: &&Certificate| {
            self.anchors.iter().any(|listed| listed == one.fingerprint_sha256())
        };
        bundle.iter().filter(is_listed).cloned().collect()
    }

    /// What is allowed already, for an annotation that is to allow more: what cannot be a host is
    /// left out.
    #[must_use]
    pub fn hosts(&self) -> Vec<&str> {
        let may_be = |c: u8| c.is_ascii_alphanumeric() || b".-:[]".contains(&c);
        let hosts = self.hosts.iter().filter(|host| host.bytes().all(may_be));
        hosts.map(String::as_str).collect()
    }

    /// The same of fingerprints.
    #[must_use]
    pub fn anchors(&self) -> Vec<&str> {
        let is_one = |text: &&String| {
            text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit())
        };
        self.anchors.iter().filter(is_one).map(String::as_str).collect()
    }
}

/// Host and port of a URL, in lower case, and without the port where it is 443; empty where it has no
/// host, which no Secret lists.
#[must_use]
pub fn host_and_port(url: &str) -> String {
    let Some(uri) = url.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some()) else {
        return String::new();
    };
    without_default_port(&super::transport::authority(&uri).to_ascii_lowercase())
}

fn without_default_port(host: &str) -> String {
    host.strip_suffix(":443").unwrap_or(host).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_for_one_port() {
        let rows = [
            ("the port of https", "ca.example", "https://ca.example/x", true),
            ("by its number", "ca.example:443", "https://ca.example/x", true),
            ("named in the URL", "ca.example", "https://ca.example:443/x", true),
            ("in other letters, among others", "x, CA.example ,", "https://ca.Example", true),
            ("another port", "ca.example", "https://ca.example:31234/", false),
            ("that port", "ca.example:31234", "https://ca.example:31234/", true),
            ("that port alone", "ca.example:31234", "https://ca.example/", false),
            ("another host", "ca.example", "https://cb.example/", false),
            ("a name below it", "ca.example", "https://x.ca.example/", false),
            ("an address", "[::1]:8443", "https://[::1]:8443/", true),
            ("a proxy", "proxy.example:3128", "http://proxy.example:3128", true),
            ("a proxy without its port", "proxy.example", "http://proxy.example:3128", false),
            ("plain HTTP", "ca.example", "http://ca.example/", false),
            ("no URL", "", "", false),
            ("a user in front of it", "ca.example", "https://ca.example@evil.example/", false),
        ];
        for (name, listed, url, is_allowed) in rows {
            let hosts = [host_and_port(url)];
            let lacks = OptIn::read(listed, "").lacks(&hosts).len();
            assert_eq!(lacks == 0, is_allowed, "{name}");
        }
    }

    #[test]
    fn only_listed_roots_count() {
        let root = || {
            let key = rcgen::KeyPair::generate().unwrap();
            let root = rcgen::CertificateParams::default().self_signed(&key).unwrap();
            Certificate::from_der(root.der()).unwrap()
        };
        let bundle = [root(), root()];
        let fingerprint = bundle[1].fingerprint_sha256();
        let pairs: Vec<String> = fingerprint
            .as_bytes()
            .chunks(2)
            .map(|two| String::from_utf8_lossy(two).into())
            .collect();
        let with_colons = pairs.join(":").to_uppercase();
        for listed in [fingerprint, &with_colons, &format!("{}, {fingerprint}", "0".repeat(64))] {
            let trusted = OptIn::read("", listed).trusted(&bundle);
            assert_eq!(trusted, [bundle[1].clone()], "{listed}");
        }
        assert!(OptIn::read("", "").trusted(&bundle).is_empty());
    }
}
