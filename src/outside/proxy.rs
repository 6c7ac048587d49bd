//! The way through an HTTP proxy: for which addresses it is taken, and what is told where the proxy
//! lets nothing through.
//!
//! # Guarantees
//! - Whatever a proxy did before the tunnel was there, nothing was sent to the other side: none of
//!   these errors leaves open whether it acted.
//! - No text holds the credentials.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;

use super::credentials::Basic;
use super::{Disposition, Error};
use crate::reason::Reason;

/// A proxy that is asked for a tunnel by HTTP CONNECT (RFC 9110, section 9.3.6).
#[derive(Clone)]
pub struct Proxy {
    url: String,
    credentials: Option<Basic>,
    /// What is reached without it, by commas.
    exceptions: String,
    matcher: Arc<Matcher>,
}

impl Proxy {
    /// The proxy at `url`, an address in plain HTTP, for all hosts but `exceptions`: names with all
    /// that is below them, IP addresses and networks.
    ///
    /// # Errors
    /// When `url` is no such address.
    pub fn new(
        url: &str,
        credentials: Option<Basic>,
        exceptions: &[String],
    ) -> Result<Self, Error> {
        let parsed = url.parse::<http::Uri>().ok().filter(|uri| {
            let authority = uri.authority().map_or("", http::uri::Authority::as_str);
            uri.scheme() == Some(&http::uri::Scheme::HTTP)
                && uri.port().is_some()
                && !authority.contains('@')
        });
        // It may hold a password, and is not quoted.
        if parsed.is_none() {
            return Err(Error {
                disposition: Disposition::BlameIssuer,
                reason: Reason::AddressInvalid,
                message: "spec.proxy.url is no address of a proxy: write http, a host and a port into it, such as http://proxy.example.org:3128".to_owned(),
            });
        }
        let exceptions = exceptions.join(",");
        let matcher = Matcher::builder().https(url.to_owned()).no(exceptions.clone()).build();
        Ok(Self { url: url.to_owned(), credentials, exceptions, matcher: Arc::new(matcher) })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it is shown.
    #[must_use]
    pub fn credentials(&self) -> Option<&Basic> {
        self.credentials.as_ref()
    }

    /// Whether the way to `uri` leads through it. Of a plain HTTP address it never does: nothing is
    /// sent that the proxy could read.
    #[must_use]
    pub fn is_for(&self, uri: &http::Uri) -> bool {
        self.matcher.intercept(uri).is_some()
    }

    /// Its host and port.
    pub(in crate::outside) fn address(&self) -> &str {
        let address = self.url.strip_prefix("http://").unwrap_or(&self.url);
        address.trim_end_matches('/')
    }

    /// A tunnel is asked for by name or IPv4 address: what is at the end of one to an IPv6 address
    /// cannot be verified by the HTTP client, which takes the brackets for a part of its name.
    #[must_use]
    pub fn unnameable(&self, target: &str) -> Error {
        Error {
            disposition: Disposition::BlameIssuer,
            reason: Reason::AddressInvalid,
            message: format!(
                "{target} was not called: an IPv6 address is not reached through the proxy {}: write the CA's name into its address, or list the IPv6 address in spec.proxy.noProxy of the issuer",
                self.address()
            ),
        }
    }

    /// What is said of a server behind it that could not be verified. A proxy that opens TLS shows a
    /// certificate of its own, and the advice to trust it would be a bad one.
    #[must_use]
    pub fn in_between(&self, target: &str, why: &str) -> String {
        format!(
            "{why} (seen through the proxy {}: if it opens TLS and shows a certificate of its own, have it leave {target} alone)",
            self.address()
        )
    }

    /// No connection to it came about, or it did not answer; `target` is the host and port behind it.
    #[must_use]
    pub fn unreachable(&self, target: &str, why: &str) -> Error {
        Error {
            disposition: Disposition::Retry { after: None },
            reason: Reason::ProxyUnreachable,
            message: format!(
                "{target} was not called: the proxy {} could not be reached: {why}; check spec.proxy.url of the issuer, or list the host in spec.proxy.noProxy",
                self.address()
            ),
        }
    }

    /// Within this time nothing came about. Whether the proxy is silent or what is behind it cannot
    /// be told apart from here.
    #[must_use]
    pub fn silent(&self, target: &str, within: Duration) -> Error {
        Error {
            disposition: Disposition::Retry { after: None },
            reason: Reason::ProxyUnreachable,
            message: format!(
                "{target} was not called: the proxy {} opened no way there within {} s; find out whether the proxy answers (spec.proxy.url of the issuer), and whether {target} answers the proxy",
                self.address(),
                within.as_secs_f32()
            ),
        }
    }

    /// It answered the wish for a tunnel with something else than 200, or not at all.
    #[must_use]
    pub fn refused(&self, target: &str, why: &str) -> Error {
        Error {
            disposition: Disposition::Retry { after: None },
            reason: Reason::ProxyRefused,
            message: format!(
                "{target} was not called: the proxy {} opens no tunnel there ({why}): have CONNECT to {target} allowed in the proxy, or list the host in spec.proxy.noProxy of the issuer",
                self.address()
            ),
        }
    }

    /// It answered 407. Other credentials are needed, or any at all.
    #[must_use]
    pub fn denied(&self, target: &str) -> Error {
        let address = self.address();
        let Some(credentials) = &self.credentials else {
            return Error {
                disposition: Disposition::BlameIssuer,
                reason: Reason::CredentialsMissing,
                message: format!(
                    "{target} was not called: the proxy {address} asks for credentials (407), and there are none: name a Secret with username and password in spec.proxy.credentialsSecretRef of the issuer"
                ),
            };
        };
        // The same as those of an account: sent again and again, they could lock it.
        Error {
            disposition: Disposition::BlameCredentials,
            reason: Reason::CredentialsRefused,
            message: format!(
                "{target} was not called: the proxy {address} did not accept the credentials (407): check username and password in {} (spec.proxy.credentialsSecretRef)",
                credentials.place()
            ),
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("url", &self.url)
            .field("credentials", &self.credentials)
            .field("exceptions", &self.exceptions)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Proxy {
    fn eq(&self, other: &Self) -> bool {
        (&self.url, &self.credentials, &self.exceptions)
            == (&other.url, &other.credentials, &other.exceptions)
    }
}

impl Eq for Proxy {}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(exceptions: &[&str]) -> Proxy {
        let exceptions: Vec<String> = exceptions.iter().map(|one| (*one).to_owned()).collect();
        Proxy::new("http://proxy.example:3128", None, &exceptions).unwrap()
    }

    #[test]
    fn what_is_listed_is_reached_without_the_proxy() {
        let rows: [(&str, &[&str], &str, bool); 16] = [
            ("nothing is listed", &[], "https://ca.example/x", true),
            ("the host", &["ca.example"], "https://ca.example/x", false),
            ("in other letters", &["CA.example"], "https://ca.EXAMPLE:8443/x", false),
            ("another host", &["cb.example"], "https://ca.example/x", true),
            ("a name above it", &["example"], "https://ca.example/x", false),
            ("a suffix", &[".example"], "https://ca.example/x", false),
            ("the name of a suffix itself", &[".ca.example"], "https://ca.example/x", false),
            ("a name that only ends alike", &["a.example"], "https://ca.example/x", true),
            ("a name below it", &["www.ca.example"], "https://ca.example/x", true),
            ("an address", &["192.0.2.7"], "https://192.0.2.7/x", false),
            ("a network", &["10.0.0.0/8", "192.0.2.0/24"], "https://192.0.2.7/x", false),
            ("another network", &["10.0.0.0/8"], "https://192.0.2.7/x", true),
            ("a network of IPv6", &["2001:db8::/32"], "https://[2001:db8::7]:8443/x", false),
            ("an address of IPv6", &["2001:db8::7"], "https://[2001:db8::7]/x", false),
            ("a name is not resolved", &["127.0.0.0/8"], "https://localhost/x", true),
            ("plain HTTP goes through no proxy", &[], "http://ca.example/x", false),
        ];
        for (name, exceptions, uri, through) in rows {
            assert_eq!(proxy(exceptions).is_for(&uri.parse().unwrap()), through, "{name}");
        }
    }

    #[test]
    fn what_is_no_address_of_a_proxy_is_refused_and_not_quoted() {
        for url in [
            "https://proxy.example:3128",
            "socks5://proxy.example:1080",
            "http://jdoe:canary@proxy.example:3128",
            "http://proxy.example",
            "proxy.example:3128",
            "",
        ] {
            let error = Proxy::new(url, None, &[]).unwrap_err();
            assert_eq!(error.disposition, Disposition::BlameIssuer, "{url}");
            assert!(error.message.contains("spec.proxy.url"), "{error}");
            assert!(!error.message.contains("canary"), "{error}");
        }
    }

    #[test]
    fn each_fault_of_a_proxy_is_told_with_the_next_move_and_without_the_password() {
        let basic = Basic::new("jdoe".to_owned(), "canary".to_owned().into());
        let basic = basic.kept_in("shop/proxy");
        let with = Proxy::new("http://proxy.example:3128/", Some(basic), &[]).unwrap();
        let target = "ca.example:443";
        let rows = [
            (with.unreachable(target, "Connection refused"), "ProxyUnreachable", "spec.proxy.url"),
            (with.silent(target, Duration::from_secs(10)), "ProxyUnreachable", "within 10 s"),
            (with.refused(target, "no"), "ProxyRefused", "CONNECT to ca.example:443"),
            (with.unnameable(target), "AddressInvalid", "spec.proxy.noProxy"),
            (with.denied(target), "CredentialsRefused", "Secret shop/proxy"),
            (proxy(&[]).denied(target), "CredentialsMissing", "spec.proxy.credentialsSecretRef"),
        ];
        for (error, reason, says) in rows {
            assert_eq!(error.reason.word(), reason, "{error}");
            for says in [says, "ca.example:443 was not called", "the proxy proxy.example:3128"] {
                assert!(error.message.contains(says), "{says}: {error}");
            }
            assert!(!error.message.contains("canary"), "{error}");
        }
        assert!(!format!("{with:?}").contains("canary"));
    }

    #[test]
    fn another_way_is_another_proxy() {
        let basic = |password: &str| Basic::new("jdoe".to_owned(), password.to_owned().into());
        let with = |password, exceptions: &[String]| {
            Proxy::new("http://proxy.example:3128", Some(basic(password)), exceptions).unwrap()
        };
        assert_eq!(with("a", &[]), with("a", &[]));
        assert_ne!(with("a", &[]), with("b", &[]));
        assert_ne!(with("a", &[]), with("a", &["ca.example".to_owned()]));
        assert_ne!(with("a", &[]), proxy(&[]));
    }
}
