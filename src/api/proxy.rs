//! The block `spec.proxy` of an issuer.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::reference::SecretReference;

/// The HTTP proxy that the CA is reached through.
#[derive(KubeSchema, Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proxy {
    /// Address of the proxy, such as `http://proxy.example.org:3128`. It is asked for a tunnel (HTTP
    /// CONNECT, RFC 9110 section 9.3.6) to the CA's host and port; TLS is spoken within, from end to
    /// end, so that the proxy sees which host is called and nothing else.
    #[schemars(length(max = 1024))]
    #[x_kube(validation = Rule::new("self.matches('^http://([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\\\\[[0-9A-Fa-f:.]+\\\\]):[1-9][0-9]{0,4}/?$')").message("proxy.url must be http, a host and a port, such as http://proxy.example.org:3128: user and password go into the Secret of proxy.credentialsSecretRef, and proxies that are spoken to in TLS or SOCKS are not supported"))]
    pub url: String,
    /// Secret with the keys `username` and `password`, where the proxy asks for them (HTTP Basic).
    /// They are sent to the proxy as they are: it is for networks where that is right. It must carry
    /// the label `chancery.dev/credentials: "true"` and list the proxy's host and port in the
    /// annotation `chancery.dev/hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,
    /// Hosts of the CA that are called without the proxy: names, which stand for all names below
    /// them too (`example.org` and `.example.org` are the same), IP addresses, and networks such as
    /// `10.0.0.0/8` or `fd00::/8`, which are compared with addresses that stand in a URL; names are
    /// not resolved for it. A CA whose URL has an IPv6 address must be among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 253)))]
    #[x_kube(validation = Rule::new("self.all(host, host.matches('^[A-Za-z0-9.:/_-]+$'))").message("proxy.noProxy lists hosts, IP addresses and networks such as 10.0.0.0/8, each an entry of its own, without port, brackets or wildcard"))]
    pub no_proxy: Vec<String>,
}
