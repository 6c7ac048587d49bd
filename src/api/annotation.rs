//! Labels and annotations by which Chancery recognises objects that are its own, or that someone
//! opened to it.

/// Label on every Secret that Chancery delivered: what its metadata-only watch selects.
pub const MANAGED_LABEL: &str = "chancery.dev/managed";
/// Label on every Secret that Chancery makes, as other tools read it. Nobody here does, and Secrets of
/// before are not given it: that would write them all at an upgrade.
pub const MADE_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "chancery");
/// Annotation on a delivered Secret: the name of the `CertificateRequest` it belongs to. It names
/// the request and not its uid, so that a request that is deleted and created again finds its
/// certificate.
pub const REQUEST: &str = "chancery.dev/certificate-request";
/// Annotation on a delivered Secret: what the certificate in it was requested with, as JSON.
pub const REQUESTED: &str = "chancery.dev/requested";
/// Annotation on a delivered Secret: the keys that came from `secretTemplate`, as JSON, so that a
/// key which leaves the template leaves the Secret too.
pub const TEMPLATE_KEYS: &str = "chancery.dev/template-keys";
/// Annotation on a delivered Secret: SHA-256 of the certificate that was delivered, hexadecimal. A
/// certificate that is neither this one nor the one in the request's status was put there by
/// somebody else, however good its chain.
pub const FINGERPRINT: &str = "chancery.dev/certificate-sha256";
/// Annotation on a `CertificateRequest`: any new value asks for one renewal. A value in Git asks
/// once, however often it is applied.
pub const RENEW: &str = "chancery.dev/renew";
/// Label by which a Secret with credentials, or with a CSR, opts in to being read by Chancery.
pub const CREDENTIALS_LABEL: &str = "chancery.dev/credentials";
/// Label by which a ConfigMap with trust anchors is watched, so that a change of it is noticed at once
/// and not only at the next look.
pub const TRUST_LABEL: &str = "chancery.dev/trust";
/// Annotation on a credentials Secret: the hosts its content may be sent to, separated by commas. A host
/// stands for its port 443; another port is written behind it, as in `ca.example.org:8443`.
pub const HOSTS: &str = "chancery.dev/hosts";
/// Annotation on a credentials Secret: SHA-256 fingerprints of the roots that may vouch for servers its
/// content is sent to, where an issuer brings roots of its own; hexadecimal, separated by commas.
pub const ANCHORS: &str = "chancery.dev/trust-anchors";
/// Label on the record of an order, the Secret `<request>.order`: what the admission policy guards.
pub const ORDER_LABEL: &str = "chancery.dev/order";
/// Annotation on a delivered Secret: the reference of the order its certificate came from; on a
/// record, that of the order in it, for people and logs.
pub const ORDER_REFERENCE: &str = "chancery.dev/order-reference";
/// Annotation on a record: how often the order was claimed.
pub const ORDER_ATTEMPT: &str = "chancery.dev/order-attempt";
/// Annotation on a record: the process that has the claim on the order.
pub const ORDER_CLAIM: &str = "chancery.dev/order-claim";
/// Annotation on a record: what became of the order.
pub const ORDER_STATE: &str = "chancery.dev/order-state";
/// Annotation on a record: the order's id, where the CA cannot find it by its reference. On a
/// delivered Secret: the id of the order its certificate came from, where the next order goes by
/// it.
pub const ORDER_ID: &str = "chancery.dev/order-id";
/// Annotation on a record: when orders were made for the request within the last day, for
/// `limits.ordersPerRequestPerDay`.
pub const ORDERS_MADE: &str = "chancery.dev/orders-made";
/// Annotation on a record: SHA-256 over its data, which shows edits by hand.
pub const ORDER_DIGEST: &str = "chancery.dev/order-digest";
/// Annotation on a delivered Secret: SHA-256 over the trust anchors that its `ca.crt` was made from.
pub const TRUST_ANCHORS: &str = "chancery.dev/trust-anchors-sha256";
/// Annotation on a Secret that is never made: a dry run with it shows that the records' admission policy is
/// in force.
pub const PROBE: &str = "chancery.dev/probe";
/// Annotation on a Secret with a pair that was obtained elsewhere: the name of the
/// `CertificateRequest` that it is given to.
pub const ADOPT: &str = "chancery.dev/adopt";
/// Annotation on a `CertificateRequest`: the reference of an order that is given up. A new order
/// may then be made in its place. On a record whose request is gone, any value allows its deletion.
pub const RELEASE: &str = "chancery.dev/release";
