//! What a certificate is asked to say: for whom it is, and what its key is for.
//!
//! Names are compared as RFC 5280 section 7 asks, so that a certificate authority that writes
//! `Shop.Example.org.` as `shop.example.org`, or an address in its shortest form, has not dropped a
//! name.

use std::fmt;
use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc4519, rfc5280, rfc5912};
use der::asn1::AnyRef;
use der::{Decode as _, Tag, TagNumber, Tagged as _};
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use serde::{Deserialize, Serialize};
use x509_cert::ext::pkix::KeyUsages;

use super::certificate::Certificate;
use super::name;

/// What a certificate is asked to carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Names {
    /// The common name of the subject, which comes last in it.
    pub common_name: Option<String>,
    /// The other attributes of the subject in the order in which they are written, the most general
    /// first. A type may occur several times.
    pub subject: Vec<Attribute>,
    /// DNS names, `*.example.org` among them. Internationalised ones may be written as people write
    /// them; certificates carry their A-labels.
    pub dns_names: Vec<String>,
    /// IP addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// URIs, such as `spiffe://example.org/shop`.
    pub uris: Vec<String>,
    /// E-mail addresses, such as `shop@example.org`.
    pub email_addresses: Vec<String>,
    /// What the key is to be used for: asked for in the request and not looked for in the
    /// certificate, where the profile of the certificate authority decides.
    pub usages: Vec<Usage>,
}

impl Names {
    /// Is there nothing that says for whom the certificate is?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self {
            common_name,
            subject,
            dns_names,
            ip_addresses,
            uris,
            email_addresses,
            usages: _,
        } = self;
        common_name.is_none()
            && subject.is_empty()
            && dns_names.is_empty()
            && ip_addresses.is_empty()
            && uris.is_empty()
            && email_addresses.is_empty()
    }

    /// The common name, where it is the name of a server and stands nowhere else.
    ///
    /// TLS clients look at alternative names only (RFC 9525 section 2), so that it has to stand
    /// there too. A single label may be anybody's name and is none; neither is what is asked for
    /// with an e-mail address and no server, or for purposes among which `server auth` is not.
    #[must_use]
    pub fn server_name_alone(&self) -> Option<String> {
        let name = server_name(self.common_name.as_deref()?)?;
        let is_there = self.dns_names.iter().any(|one| comparable(one) == name);
        (!is_there && self.may_be_of_a_server()).then_some(name)
    }

    /// Whether nothing that is asked for says that the certificate is for somebody else than a
    /// server.
    #[must_use]
    pub fn may_be_of_a_server(&self) -> bool {
        let is_of_a_mailbox = !self.email_addresses.is_empty()
            && self.dns_names.is_empty()
            && self.ip_addresses.is_empty();
        let is_purpose = |usage: &Usage| matches!(usage.code(), UsageCode::Purpose(_));
        let mut purposes = self.usages.iter().copied().filter(is_purpose).peekable();
        let is_for_servers = purposes.peek().is_none()
            || purposes.any(|usage| matches!(usage, Usage::Any | Usage::ServerAuth));
        !is_of_a_mailbox && is_for_servers
    }

    /// Returns what `certificate` lacks, each with its kind, such as `IP address 192.0.2.1`.
    ///
    /// Further names are fine, and so is a common name that stands among the alternative names only.
    /// The other attributes of the subject are not looked for: certificate authorities write there
    /// what they have validated.
    #[must_use]
    pub fn missing_from(&self, certificate: &Certificate) -> Vec<String> {
        let there = certificate.alternative_names();
        let missing_common_name = self.common_name.iter().filter(|asked| {
            !certificate.common_names().iter().any(|one| one.eq_ignore_ascii_case(asked))
                && !there.carry(asked)
                && !self.dns_names.contains(asked)
        });
        let missing_common_name = missing_common_name.map(|name| format!("common name {name}"));
        let missing = [
            missing("DNS name", &self.dns_names, |asked| there.has_dns_name(asked)),
            missing("IP address", &self.ip_addresses, |asked| there.ip_addresses.contains(asked)),
            missing("URI", &self.uris, |asked| has(&there.uris, asked, same_uri)),
            missing("e-mail address", &self.email_addresses, |asked| {
                has(&there.email_addresses, asked, same_email_address)
            }),
        ];
        missing_common_name.chain(missing.into_iter().flatten()).collect()
    }
}

fn missing<T: ToString>(kind: &str, asked: &[T], is_there: impl Fn(&T) -> bool) -> Vec<String> {
    let missing = asked.iter().filter(|name| !is_there(name));
    missing.map(|name| format!("{kind} {}", name.to_string())).collect()
}

fn has(there: &[String], asked: &str, same: impl Fn(&str, &str) -> bool) -> bool {
    there.iter().any(|one| same(one, asked))
}

/// The names of a subject alternative name extension that can be asked for, as they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AlternativeNames {
    pub(super) dns_names: Vec<String>,
    pub(super) ip_addresses: Vec<IpAddr>,
    pub(super) uris: Vec<String>,
    pub(super) email_addresses: Vec<String>,
}

impl AlternativeNames {
    /// Reads GeneralNames (RFC 5280 section 4.2.1.6). What is of another kind or cannot be read is
    /// left out.
    pub(super) fn read(value: &[u8]) -> Self {
        let general_names = AnyRef::from_der(value)
            .and_then(|sequence| name::elements(sequence.value()))
            .unwrap_or_default();
        let mut names = Self::default();
        for general_name in general_names {
            let tag = general_name.tag();
            if !tag.is_context_specific() || tag.is_constructed() {
                continue;
            }
            let text = || String::from_utf8_lossy(general_name.value()).into_owned();
            match tag.number() {
                TagNumber(1) => names.email_addresses.push(text()),
                TagNumber(2) => names.dns_names.push(text()),
                TagNumber(6) => names.uris.push(text()),
                TagNumber(7) => names.ip_addresses.extend(ip_address(general_name.value())),
                _ => {}
            }
        }
        names
    }

    /// Reads GeneralNames and leaves nothing out: what is of another kind is told in words. `None`
    /// where one cannot be read.
    pub(super) fn read_all(value: &[u8]) -> Option<(Self, Vec<String>)> {
        let general_names = AnyRef::from_der(value).ok()?;
        general_names.tag().assert_eq(Tag::Sequence).ok()?;
        let mut others = Vec::new();
        for general_name in name::elements(general_names.value()).ok()? {
            let tag = general_name.tag();
            let octets = general_name.value();
            let is_text = || !octets.is_empty() && octets.iter().all(u8::is_ascii_graphic);
            let is_read = match tag.number() {
                _ if !tag.is_context_specific() => false,
                TagNumber(1 | 2 | 6) => !tag.is_constructed() && is_text(),
                TagNumber(7) => !tag.is_constructed() && ip_address(octets).is_some(),
                TagNumber(number) => {
                    others.push(format!("an alternative name of kind {number}"));
                    true
                }
            };
            if !is_read {
                return None;
            }
        }
        Some((Self::read(value), others))
    }

    fn has_dns_name(&self, asked: &str) -> bool {
        let asked = comparable(asked);
        has(&self.dns_names, &asked, str::eq_ignore_ascii_case)
    }

    /// Does a common name stand here, as whatever it is?
    fn carry(&self, common_name: &str) -> bool {
        self.has_dns_name(common_name)
            || common_name.parse().is_ok_and(|address| self.ip_addresses.contains(&address))
            || has(&self.uris, common_name, same_uri)
            || has(&self.email_addresses, common_name, same_email_address)
    }
}

/// Four octets or sixteen, in network byte order.
fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// Returns a DNS name as certificates carry it: lower-case A-labels without a dot at the end.
/// `None` for what is no DNS name, as wildcards are in any but the first place.
#[must_use]
pub fn dns_name_to_ascii(name: &str) -> Option<String> {
    /// Everything in ASCII but letters, digits, the hyphen, the dot and the underscore, which names
    /// of services have.
    const DENIED: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");
    let name = name.strip_suffix('.').unwrap_or(name);
    let (star, rest) = name.strip_prefix("*.").map_or(("", name), |rest| ("*.", rest));
    let ascii =
        Uts46::new().to_ascii(rest.as_bytes(), DENIED, Hyphens::CheckFirstLast, DnsLength::Verify);
    ascii.ok().map(|ascii| format!("{star}{ascii}"))
}

/// The same for what is the name of a server without doubt: it has a dot, and does not end in a
/// number, as addresses do.
#[must_use]
pub fn server_name(text: &str) -> Option<String> {
    let name = dns_name_to_ascii(text)?;
    let (_, last) = name.rsplit_once('.')?;
    (!last.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// The same for comparing; what is no DNS name is compared as it stands. Done to what was asked for
/// alone: of a name in a certificate clients ignore the case and nothing else, so that one with a dot
/// at its end, or not in A-labels, is there for nobody.
fn comparable(name: &str) -> String {
    dns_name_to_ascii(name).unwrap_or_else(|| name.to_ascii_lowercase())
}

/// Returns an e-mail address as certificates carry it: the host as A-labels (RFC 5280 section 7.5).
/// `None` for what is no address, and for a local part beyond ASCII, which only the rarely supported
/// form of RFC 9598 could hold.
#[must_use]
pub fn email_address_to_ascii(address: &str) -> Option<String> {
    let (local, host) = address.rsplit_once('@')?;
    let is_printable = local.bytes().all(|byte| byte.is_ascii_graphic());
    // "Name <name@example.org>" is what a person writes into a mail.
    if local.is_empty() || !is_printable || local.contains(['<', '>', '@', ',', ';']) {
        return None;
    }
    let host = dns_name_to_ascii(host).filter(|host| !host.starts_with('*'))?;
    Some(format!("{local}@{host}"))
}

/// Returns the URI if certificates can carry it: with a scheme, something behind it, and in ASCII.
#[must_use]
pub fn absolute_uri(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_uri = !rest.is_empty() && uri.bytes().all(|byte| byte.is_ascii_graphic());
    (is_scheme && is_uri).then_some(uri)
}

/// Scheme and host in either case, the rest as it stands (RFC 5280 section 7.4).
fn same_uri(one: &str, other: &str) -> bool {
    uri_parts(one) == uri_parts(other)
}

/// Scheme, user, host with port, and the rest.
fn uri_parts(uri: &str) -> (String, &str, String, &str) {
    let (scheme, rest) = uri.split_once(':').unwrap_or(("", uri));
    let Some(hierarchical) = rest.strip_prefix("//") else {
        return (scheme.to_ascii_lowercase(), "", String::new(), rest);
    };
    let end = hierarchical.find(['/', '?', '#']).unwrap_or(hierarchical.len());
    let (authority, path) = hierarchical.split_at(end);
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    (scheme.to_ascii_lowercase(), user, host.to_ascii_lowercase(), path)
}

/// The local part as it stands, the host in either case (RFC 5280 section 7.5). `one` is what the
/// certificate has.
fn same_email_address(one: &str, asked: &str) -> bool {
    let asked = email_address_to_ascii(asked).unwrap_or_else(|| asked.to_owned());
    match (one.rsplit_once('@'), asked.rsplit_once('@')) {
        (Some((local, host)), Some((asked_local, asked_host))) => {
            local == asked_local && host.eq_ignore_ascii_case(asked_host)
        }
        _ => one == asked,
    }
}

/// One attribute of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attribute {
    /// What it says.
    pub kind: AttributeType,
    /// Its value.
    pub value: String,
}

/// The types of attribute that subjects are made of, the common name apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AttributeType {
    /// DC (RFC 4519 section 2.4).
    DomainComponent,
    /// C, two letters of ISO 3166.
    Country,
    /// ST.
    StateOrProvince,
    /// L.
    Locality,
    /// postalCode.
    PostalCode,
    /// street.
    Street,
    /// O.
    Organization,
    /// organizationIdentifier (X.520, ETSI EN 319 412-1).
    OrganizationIdentifier,
    /// OU.
    OrganizationalUnit,
    /// Country of incorporation (CA/Browser Forum EV guidelines section 9.2.4).
    JurisdictionCountry,
    /// State or province of incorporation.
    JurisdictionStateOrProvince,
    /// Locality of incorporation.
    JurisdictionLocality,
    /// businessCategory.
    BusinessCategory,
    /// serialNumber, of the subject and not of the certificate.
    SerialNumber,
    /// title.
    Title,
    /// SN.
    Surname,
    /// GN.
    GivenName,
    /// UID (RFC 4519 section 2.39).
    UserId,
    /// emailAddress (PKCS#9), which RFC 5280 wants in the alternative names instead.
    EmailAddress,
}

impl AttributeType {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::DomainComponent,
        Self::Country,
        Self::StateOrProvince,
        Self::Locality,
        Self::PostalCode,
        Self::Street,
        Self::Organization,
        Self::OrganizationIdentifier,
        Self::OrganizationalUnit,
        Self::JurisdictionCountry,
        Self::JurisdictionStateOrProvince,
        Self::JurisdictionLocality,
        Self::BusinessCategory,
        Self::SerialNumber,
        Self::Title,
        Self::Surname,
        Self::GivenName,
        Self::UserId,
        Self::EmailAddress,
    ];

    pub(super) const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::BusinessCategory => rfc4519::BUSINESS_CATEGORY,
            Self::Country => rfc4519::COUNTRY_NAME,
            Self::DomainComponent => rfc4519::DC,
            Self::EmailAddress => ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1"),
            Self::GivenName => rfc4519::GIVEN_NAME,
            Self::JurisdictionCountry => name::JURISDICTION_COUNTRY,
            Self::JurisdictionLocality => name::JURISDICTION_LOCALITY,
            Self::JurisdictionStateOrProvince => name::JURISDICTION_STATE,
            Self::Locality => rfc4519::LOCALITY_NAME,
            Self::Organization => rfc4519::ORGANIZATION_NAME,
            Self::OrganizationIdentifier => ObjectIdentifier::new_unwrap("2.5.4.97"),
            Self::OrganizationalUnit => rfc4519::ORGANIZATIONAL_UNIT_NAME,
            Self::PostalCode => rfc4519::POSTAL_CODE,
            Self::SerialNumber => rfc4519::SERIAL_NUMBER,
            Self::StateOrProvince => rfc4519::ST,
            Self::Street => rfc4519::STREET,
            Self::Surname => rfc4519::SN,
            Self::Title => rfc4519::TITLE,
            Self::UserId => rfc4519::UID,
        }
    }

    /// The string type: RFC 5280 appendix A.1 has PrintableString for countries and serial numbers
    /// and IA5String for domain components and e-mail addresses; section 4.1.2.4 wants UTF8String
    /// for the rest.
    pub(super) const fn string_type(self) -> Tag {
        match self {
            Self::Country | Self::JurisdictionCountry | Self::SerialNumber => Tag::PrintableString,
            Self::DomainComponent | Self::EmailAddress => Tag::Ia5String,
            Self::BusinessCategory
            | Self::GivenName
            | Self::JurisdictionLocality
            | Self::JurisdictionStateOrProvince
            | Self::Locality
            | Self::Organization
            | Self::OrganizationIdentifier
            | Self::OrganizationalUnit
            | Self::PostalCode
            | Self::StateOrProvince
            | Self::Street
            | Self::Surname
            | Self::Title
            | Self::UserId => Tag::Utf8String,
        }
    }
}

impl fmt::Display for AttributeType {
    /// The keyword by which subjects are shown, such as `OU`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name::keyword(self.oid()))
    }
}

/// What a key may be asked to be used for, and what an end entity's key can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Usage {
    /// digitalSignature.
    DigitalSignature,
    /// nonRepudiation, which newer editions call contentCommitment.
    ContentCommitment,
    /// keyEncipherment.
    KeyEncipherment,
    /// dataEncipherment.
    DataEncipherment,
    /// keyAgreement.
    KeyAgreement,
    /// encipherOnly.
    EncipherOnly,
    /// decipherOnly.
    DecipherOnly,
    /// anyExtendedKeyUsage.
    Any,
    /// id-kp-serverAuth.
    ServerAuth,
    /// id-kp-clientAuth.
    ClientAuth,
    /// id-kp-codeSigning.
    CodeSigning,
    /// id-kp-emailProtection.
    EmailProtection,
    /// id-kp-timeStamping.
    TimeStamping,
    /// id-kp-OCSPSigning.
    OcspSigning,
    /// id-kp-ipsecEndSystem.
    IpsecEndSystem,
    /// id-kp-ipsecTunnel.
    IpsecTunnel,
    /// id-kp-ipsecUser.
    IpsecUser,
}

/// Where a usage stands in a certificate.
pub(super) enum UsageCode {
    /// In the key usage extension (RFC 5280 section 4.2.1.3).
    Bit(KeyUsages),
    /// In the extended key usage extension (RFC 5280 section 4.2.1.12).
    Purpose(ObjectIdentifier),
}

impl Usage {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::DigitalSignature,
        Self::ContentCommitment,
        Self::KeyEncipherment,
        Self::DataEncipherment,
        Self::KeyAgreement,
        Self::EncipherOnly,
        Self::DecipherOnly,
        Self::Any,
        Self::ServerAuth,
        Self::ClientAuth,
        Self::CodeSigning,
        Self::EmailProtection,
        Self::TimeStamping,
        Self::OcspSigning,
        Self::IpsecEndSystem,
        Self::IpsecTunnel,
        Self::IpsecUser,
    ];

    pub(super) const fn code(self) -> UsageCode {
        use UsageCode::{Bit, Purpose};
        match self {
            Self::Any => Purpose(rfc5280::ANY_EXTENDED_KEY_USAGE),
            Self::ClientAuth => Purpose(rfc5912::ID_KP_CLIENT_AUTH),
            Self::CodeSigning => Purpose(rfc5912::ID_KP_CODE_SIGNING),
            Self::ContentCommitment => Bit(KeyUsages::NonRepudiation),
            Self::DataEncipherment => Bit(KeyUsages::DataEncipherment),
            Self::DecipherOnly => Bit(KeyUsages::DecipherOnly),
            Self::DigitalSignature => Bit(KeyUsages::DigitalSignature),
            Self::EmailProtection => Purpose(rfc5912::ID_KP_EMAIL_PROTECTION),
            Self::EncipherOnly => Bit(KeyUsages::EncipherOnly),
            Self::IpsecEndSystem => Purpose(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.5")),
            Self::IpsecTunnel => Purpose(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.6")),
            Self::IpsecUser => Purpose(ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.7")),
            Self::KeyAgreement => Bit(KeyUsages::KeyAgreement),
            Self::KeyEncipherment => Bit(KeyUsages::KeyEncipherment),
            Self::OcspSigning => Purpose(rfc5912::ID_KP_OCSP_SIGNING),
            Self::ServerAuth => Purpose(rfc5912::ID_KP_SERVER_AUTH),
            Self::TimeStamping => Purpose(rfc5912::ID_KP_TIME_STAMPING),
        }
    }
}

impl fmt::Display for Usage {
    /// In cert-manager's words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::ClientAuth => "client auth",
            Self::CodeSigning => "code signing",
            Self::ContentCommitment => "content commitment",
            Self::DataEncipherment => "data encipherment",
            Self::DecipherOnly => "decipher only",
            Self::DigitalSignature => "digital signature",
            Self::EmailProtection => "email protection",
            Self::EncipherOnly => "encipher only",
            Self::IpsecEndSystem => "ipsec end system",
            Self::IpsecTunnel => "ipsec tunnel",
            Self::IpsecUser => "ipsec user",
            Self::KeyAgreement => "key agreement",
            Self::KeyEncipherment => "key encipherment",
            Self::OcspSigning => "ocsp signing",
            Self::ServerAuth => "server auth",
            Self::TimeStamping => "timestamping",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dns_names_are_written_in_lower_case_a_labels() {
        let cases = [
            ("a name", "a.example.org", Some("a.example.org")),
            ("upper case", "A.Example.ORG", Some("a.example.org")),
            ("a dot at the end", "a.example.org.", Some("a.example.org")),
            ("a wildcard", "*.Example.org", Some("*.example.org")),
            ("a service", "_acme.example.org", Some("_acme.example.org")),
            ("an umlaut", "Müller.example", Some("xn--mller-kva.example")),
            ("an umlaut in two characters", "mu\u{308}ller.example", Some("xn--mller-kva.example")),
            ("an ideographic full stop", "例え。テスト", Some("xn--r8jz45g.xn--zckzah")),
            ("an A-label", "xn--mller-kva.example", Some("xn--mller-kva.example")),
            ("no A-label", "xn--a.example", None),
            ("nothing", "", None),
            ("a dot", ".", None),
            ("a star", "*", None),
            ("a star inside", "a.*.example", None),
            ("an empty label", "a..example", None),
            ("a space", "a b.example", None),
            ("a hyphen first", "-a.example", None),
            ("a URL", "https://a.example/", None),
        ];
        for (name, written, expected) in cases {
            assert_eq!(dns_name_to_ascii(written).as_deref(), expected, "{name}");
        }
        let label = "x".repeat(63);
        assert!(dns_name_to_ascii(&label).is_some());
        assert_eq!(dns_name_to_ascii(&format!("{label}x")), None);
    }

    #[test]
    fn addresses_and_uris_are_told_from_what_is_none() {
        let addresses = [
            ("Shop@Example.org", Some("Shop@example.org")),
            ("a.b+c@müller.example", Some("a.b+c@xn--mller-kva.example")),
            ("example.org", None),
            ("@example.org", None),
            ("shop@", None),
            ("Shop <shop@example.org>", None),
            ("<shop@example.org", None),
            ("jürg@example.org", None),
            ("a@b@example.org", None),
            ("a@*.example.org", None),
        ];
        for (written, expected) in addresses {
            assert_eq!(email_address_to_ascii(written).as_deref(), expected, "{written}");
        }
        for uri in ["spiffe://example.org/shop", "urn:uuid:0", "https://u@example.org:1/?q#f"] {
            assert_eq!(absolute_uri(uri), Some(uri));
        }
        for none in ["", "example.org", "/path", "spiffe:", "1a:b", "a b:c", "http://a b/", "x:ü"]
        {
            assert_eq!(absolute_uri(none), None, "{none}");
        }
    }

    #[test]
    fn uris_and_addresses_are_compared_in_the_case_that_counts() {
        let uris = [
            ("HTTPS://Example.org/A", "https://example.ORG/A", true),
            ("https://example.org/A", "https://example.org/a", false),
            ("https://U@example.org/", "https://u@example.org/", false),
            ("URN:uuid:A", "urn:uuid:A", true),
            ("urn:uuid:A", "urn:uuid:a", false),
            ("https://example.org", "https://example.org/", false),
            ("https:example.org", "https://example.org", false),
        ];
        for (one, other, expected) in uris {
            assert_eq!(same_uri(one, other), expected, "{one} {other}");
        }
        assert!(same_email_address("a@Example.org", "a@example.org"));
        assert!(same_email_address("a@xn--mller-kva.example", "a@müller.example"));
        assert!(!same_email_address("a@müller.example", "a@xn--mller-kva.example"));
        assert!(!same_email_address("A@example.org", "a@example.org"));
    }

    #[test]
    fn a_server_that_is_named_by_the_common_name_alone_is_told_from_everybody_else() {
        let named = |name: &str| Names { common_name: Some(name.to_owned()), ..Names::default() };
        let shop = || named("Shop.example.org");
        let texts = |text: &str| vec![text.to_owned()];
        let cases = [
            ("a server", shop(), Some("shop.example.org")),
            ("a wildcard", named("*.example.org"), Some("*.example.org")),
            ("an umlaut", named("müller.example"), Some("xn--mller-kva.example")),
            (
                "one that stands there",
                Names { dns_names: texts("shop.example.org."), ..shop() },
                None,
            ),
            (
                "another name stands there",
                Names { dns_names: texts("b.example.org"), ..shop() },
                Some("shop.example.org"),
            ),
            ("a user", named("jdoe"), None),
            ("a person", named("Jane Doe"), None),
            ("an address", named("192.0.2.1"), None),
            ("a mailbox", Names { email_addresses: texts("j@example.org"), ..shop() }, None),
            ("a client", Names { usages: vec![Usage::ClientAuth], ..shop() }, None),
            (
                "a client that is a server too",
                Names { usages: vec![Usage::ClientAuth, Usage::ServerAuth], ..shop() },
                Some("shop.example.org"),
            ),
            (
                "no purpose",
                Names { usages: vec![Usage::DigitalSignature], ..shop() },
                Some("shop.example.org"),
            ),
            ("nobody", Names::default(), None),
        ];
        for (name, names, expected) in cases {
            assert_eq!(names.server_name_alone().as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn nobody_is_nobody_whatever_the_usages() {
        let nobody = Names { usages: vec![Usage::ServerAuth], ..Names::default() };
        assert!(nobody.is_empty());
        let attribute = Attribute { kind: AttributeType::Country, value: "CH".to_owned() };
        assert!(!Names { subject: vec![attribute], ..Names::default() }.is_empty());
        let ip_addresses = vec![IpAddr::from([192, 0, 2, 1])];
        assert!(!Names { ip_addresses, ..Names::default() }.is_empty());
    }

    proptest! {
        #[test]
        fn no_text_makes_comparing_panic_and_what_is_written_is_stable(text in ".{0,80}") {
            if let Some(ascii) = dns_name_to_ascii(&text) {
                prop_assert_eq!(dns_name_to_ascii(&ascii), Some(ascii));
            }
            if let Some(ascii) = email_address_to_ascii(&text) {
                prop_assert_eq!(email_address_to_ascii(&ascii), Some(ascii));
            }
            let _ = absolute_uri(&text);
            prop_assert!(same_uri(&text, &text));
            prop_assert!(same_email_address(&text, &text));
        }

        #[test]
        fn no_bytes_make_reading_alternative_names_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let _ = AlternativeNames::read(&bytes);
        }
    }
}
