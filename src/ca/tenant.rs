//! The tenant at a CA: whom certificates are bought for.
//!
//! It stays the same while people rotate credentials, write an address in other words, or rename an
//! Issuer. It is kept as one line of text, in records, Secrets and statuses:
//!
//! | line | written |
//! | --- | --- |
//! | `URL, client ID` | where a CA has clients, once the id is known |
//! | `URL, client NAME` | as long as the name alone is known |
//! | `URL as USER, client ID or NAME` | by earlier versions: the user is no part of the tenant |
//! | `URL as USER` | where the user is whom certificates are for |

use std::fmt;

/// A tenant at one CA.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tenant {
    /// Address of the CA, in the words of the Issuer.
    site: String,
    who: Who,
}

/// Whom certificates are for.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Who {
    /// A customer at the CA, by its id, or by its name where the id is not known.
    Client(String),
    /// The user whose credentials are sent, if any.
    User(Option<String>),
}

/// How two tenants stand to each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Relation {
    /// They are the same.
    Same,
    /// The same tenant at another address. The CA there may be another one.
    Moved,
    /// They are not the same.
    Other,
    /// Not enough is known of one of them.
    Unknown,
}

impl Tenant {
    /// A customer of the CA at `site`, by id or name.
    #[must_use]
    pub fn client(site: &str, client: &str) -> Self {
        Self { site: site.to_owned(), who: Who::Client(client.to_owned()) }
    }

    /// The user of the CA at `site`, who is whom certificates are for.
    #[must_use]
    pub fn user(site: &str, user: Option<&str>) -> Self {
        Self { site: site.to_owned(), who: Who::User(user.map(str::to_owned)) }
    }

    /// From its line; any text is one.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        const CLIENT: &str = ", client ";
        let (site, rest) = match line.find([' ', ',']) {
            Some(end) => line.split_at(end),
            None => (line, ""),
        };
        match rest.rsplit_once(CLIENT) {
            Some((_, client)) => Self::client(site, client),
            None => Self::user(site, rest.strip_prefix(" as ")),
        }
    }

    /// The same, with the id of its client where only the name was known.
    #[must_use]
    pub fn with_id(self, id: Option<&str>) -> Self {
        match (&self.who, id) {
            (Who::Client(client), Some(id)) if !is_id(client) => Self::client(&self.site, id),
            _ => self,
        }
    }

    /// The same, with the id that `line` has for the same client.
    #[must_use]
    pub fn with_id_of(self, line: &str) -> Self {
        let known = Self::parse(line);
        match known.who {
            Who::Client(id) if is_id(&id) && same_site(&known.site, &self.site) => {
                self.with_id(Some(&id))
            }
            Who::Client(_) | Who::User(_) => self,
        }
    }

    /// How it stands to another.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        let is_same_site = same_site(&self.site, &other.site);
        match (&self.who, &other.who) {
            (Who::Client(one), Who::Client(two)) if one == two => {
                match (is_same_site, is_id(one)) {
                    (true, _) => Relation::Same,
                    (false, true) => Relation::Moved,
                    // Two customers of different CAs may have one name.
                    (false, false) => Relation::Unknown,
                }
            }
            (Who::Client(one), Who::Client(two)) if is_id(one) && is_id(two) => Relation::Other,
            (Who::Client(_), Who::Client(_)) => Relation::Unknown,
            (Who::User(one), Who::User(two)) if one == two => {
                if is_same_site {
                    Relation::Same
                } else {
                    Relation::Moved
                }
            }
            (Who::User(_), Who::User(_)) => Relation::Other,
            (Who::Client(_), Who::User(_)) | (Who::User(_), Who::Client(_)) => Relation::Other,
        }
    }

    /// Whether the user is whom certificates are for.
    #[must_use]
    pub fn is_user(&self) -> bool {
        matches!(self.who, Who::User(_))
    }
}

/// How the tenants of two lines stand to each other.
#[must_use]
pub fn relation(one: &str, other: &str) -> Relation {
    if one == other {
        return Relation::Same;
    }
    Tenant::parse(one).relation(&Tenant::parse(other))
}

/// Whether two lines name one tenant, as far as both say.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    relation(one, other) == Relation::Same
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.site)?;
        match &self.who {
            Who::Client(client) => write!(f, ", client {client}"),
            Who::User(Some(user)) => write!(f, " as {user}"),
            Who::User(None) => Ok(()),
        }
    }
}

/// An id as CAs give them: a short prefix and a UUID. No name that a person gives looks like one.
fn is_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(prefix, uuid)| {
        (1..=8).contains(&prefix.len())
            && prefix.bytes().all(|byte| byte.is_ascii_lowercase())
            && uuid.len() == 36
            && uuid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
    })
}

/// The same address: case of scheme and host, the default port and a slash at the end are none of
/// its meaning (RFC 3986, section 6.2).
fn same_site(one: &str, other: &str) -> bool {
    let plain = |text: &str| {
        let address = url::Url::parse(text).map_or_else(|_| text.to_owned(), String::from);
        address.trim_end_matches('/').to_owned()
    };
    one == other || plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "https://ra.example/ra";
    const ID: &str = "cli-11111111-2222-4333-8444-555555555555";
    const OTHER_ID: &str = "cli-11111111-2222-4333-8444-666666666666";

    #[test]
    fn who_is_the_same() {
        use Relation::{Moved, Other, Same, Unknown};
        let client = |site: &str, client: &str| Tenant::client(site, client).to_string();
        let old = |user: &str, client: &str| format!("{SITE} as {user}, client {client}");
        let user = |user| Tenant::user(SITE, user).to_string();
        let ours = client(SITE, ID);
        let rows = [
            ("the same", ours.clone(), ours.clone(), Same),
            ("another user of before", old("a", ID), ours.clone(), Same),
            ("two users of before", old("a", "Shop AG"), old("b", "Shop AG"), Same),
            ("a user with a comma", old("a, client x", ID), ours.clone(), Same),
            ("a slash at the end", client("https://ra.example/ra/", ID), ours.clone(), Same),
            ("the default port", client("https://ra.example:443/ra", ID), ours.clone(), Same),
            ("another case", client("HTTPS://RA.Example/ra", ID), ours.clone(), Same),
            ("another host", client("https://ra2.example/ra", ID), ours.clone(), Moved),
            ("another port", client("https://ra.example:8443/ra", ID), ours.clone(), Moved),
            ("another path", client("https://ra.example/b", ID), ours.clone(), Moved),
            ("another client", client(SITE, OTHER_ID), ours.clone(), Other),
            ("a name, and an id", client(SITE, "Shop AG"), ours.clone(), Unknown),
            ("two names", client(SITE, "Shop AG"), client(SITE, "Shop GmbH"), Unknown),
            (
                "one name at two CAs",
                client("https://ra2.example/ra", "Shop AG"),
                client(SITE, "Shop AG"),
                Unknown,
            ),
            ("a user and a client", user(Some("jdoe")), ours, Other),
            ("a user", user(Some("jdoe")), user(Some("jdoe")), Same),
            ("another user", user(Some("jdoe")), user(Some("ann")), Other),
            ("nobody", user(None), user(Some("ann")), Other),
            (
                "a user elsewhere",
                user(Some("jdoe")),
                Tenant::user("https://b.example/", Some("jdoe")).to_string(),
                Moved,
            ),
        ];
        for (name, one, two, expected) in rows {
            assert_eq!(relation(&one, &two), expected, "{name}");
            assert_eq!(relation(&two, &one), expected, "{name}, turned round");
            for line in [one, two] {
                let tenant = Tenant::parse(&line);
                assert_eq!(Tenant::parse(&tenant.to_string()), tenant, "{line}");
            }
        }
    }

    #[test]
    fn an_id_is_learned_and_never_exchanged() {
        let named = Tenant::client(SITE, "Shop AG");
        assert_eq!(named.clone().with_id(Some(ID)), Tenant::client(SITE, ID));
        assert_eq!(named.clone().with_id(None), named);
        assert_eq!(Tenant::client(SITE, ID).with_id(Some(OTHER_ID)), Tenant::client(SITE, ID));
        let line = Tenant::client(SITE, ID).to_string();
        assert_eq!(named.clone().with_id_of(&line), Tenant::client(SITE, ID));
        let elsewhere = Tenant::client("https://ra2.example/", ID).to_string();
        assert_eq!(named.clone().with_id_of(&elsewhere), named, "that of another CA");
        let user = Tenant::user(SITE, Some("jdoe"));
        assert_eq!(user.clone().with_id_of(&line), user);
    }
}
