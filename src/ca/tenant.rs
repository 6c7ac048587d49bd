//! The tenant at a CA: whom certificates are bought for.
//!
//! It stays the same while people rotate credentials, write an address in other words, or rename an
//! Issuer. It is kept as one line of text, in records, Secrets and statuses:
//!
//! | line | written |
//! | --- | --- |
//! | `URL as USER, client ID (NAME)` | where a CA has clients: the user is no part of the tenant |
//! | `URL as USER, client NAME` | as long as the name alone is known, and by earlier versions |
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
    /// A customer at the CA, and who asks for it.
    Client(Client, Option<String>),
    /// The user whose credentials are sent, if any.
    User(Option<String>),
}

/// A customer at a CA, as far as it is known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Client {
    /// Its id.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
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

impl Client {
    /// From its words in a line.
    fn parse(words: &str) -> Self {
        let (id, rest) = words.split_once(' ').unwrap_or((words, ""));
        if !is_id(id) {
            return Self { id: None, name: Some(words.to_owned()) };
        }
        let name = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
        Self { id: Some(id.to_owned()), name: name.map(str::to_owned) }
    }

    /// With what another knows of the same client.
    fn with(self, other: &Self) -> Self {
        match self.relation(other) {
            // What a person wrote is kept.
            Relation::Same => Self {
                id: self.id.or_else(|| other.id.clone()),
                name: self.name.or_else(|| other.name.clone()),
            },
            Relation::Moved | Relation::Other | Relation::Unknown => self,
        }
    }

    /// As if both were at one address.
    fn relation(&self, other: &Self) -> Relation {
        match (&self.id, &other.id) {
            (Some(one), Some(two)) if one == two => Relation::Same,
            (Some(_), Some(_)) => Relation::Other,
            _ if self.name.is_some() && self.name == other.name => Relation::Same,
            _ => Relation::Unknown,
        }
    }
}

impl Tenant {
    /// A customer of the CA at `site`, and the user who asks for it.
    #[must_use]
    pub fn client(site: &str, client: Client, user: Option<&str>) -> Self {
        Self { site: site.to_owned(), who: Who::Client(client, user.map(str::to_owned)) }
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
            Some((user, client)) => {
                Self::client(site, Client::parse(client), user.strip_prefix(" as "))
            }
            None => Self::user(site, rest.strip_prefix(" as ")),
        }
    }

    /// The same, with what the CA says of its client.
    #[must_use]
    pub fn with_client(self, told: Option<&Client>) -> Self {
        let who = match (self.who, told) {
            (Who::Client(client, user), Some(told)) => Who::Client(client.with(told), user),
            (who, _) => who,
        };
        Self { site: self.site, who }
    }

    /// The same, with what `line` says of the same client at the same address.
    #[must_use]
    pub fn with_client_of(self, line: &str) -> Self {
        match Self::parse(line) {
            Self { site, who: Who::Client(known, _) } if same_site(&site, &self.site) => {
                self.with_client(Some(&known))
            }
            _ => self,
        }
    }

    /// How it stands to another.
    #[must_use]
    pub fn relation(&self, other: &Self) -> Relation {
        let is_same_site = same_site(&self.site, &other.site);
        match (&self.who, &other.who) {
            (Who::Client(one, _), Who::Client(two, _)) => match one.relation(two) {
                Relation::Same if is_same_site => Relation::Same,
                Relation::Same if one.id.is_some() && two.id.is_some() => Relation::Moved,
                // Two customers of different CAs may have one name.
                Relation::Same => Relation::Unknown,
                relation @ (Relation::Moved | Relation::Other | Relation::Unknown) => relation,
            },
            (Who::User(one), Who::User(two)) if one == two => {
                if is_same_site {
                    Relation::Same
                } else {
                    Relation::Moved
                }
            }
            (Who::User(_), Who::User(_)) => Relation::Other,
            (Who::Client(..), Who::User(_)) | (Who::User(_), Who::Client(..)) => Relation::Other,
        }
    }

    /// The user who asks, if any.
    fn login(&self) -> Option<&str> {
        match &self.who {
            Who::Client(_, user) | Who::User(user) => user.as_deref(),
        }
    }

    /// Who asks, at which address, whatever the words: what a CA asks to be left alone by.
    #[must_use]
    pub fn caller(&self) -> String {
        format!("{} {}", plain(&self.site), self.login().unwrap_or_default())
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

/// Whether two lines name one tenant and one user: what one user sees at a CA, another may not.
#[must_use]
pub fn is_same_login(one: &str, other: &str) -> bool {
    let (one, other) = (Tenant::parse(one), Tenant::parse(other));
    one.relation(&other) == Relation::Same && one.login() == other.login()
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.id, &self.name) {
            (Some(id), Some(name)) => write!(f, "{id} ({name})"),
            (Some(one), None) | (None, Some(one)) => f.write_str(one),
            (None, None) => f.write_str("none"),
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.site)?;
        if let Some(user) = self.login() {
            write!(f, " as {user}")?;
        }
        match &self.who {
            Who::Client(client, _) => write!(f, ", client {client}"),
            Who::User(_) => Ok(()),
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
    one == other || plain(one) == plain(other)
}

fn plain(site: &str) -> String {
    let address = url::Url::parse(site).map_or_else(|_| site.to_owned(), String::from);
    address.trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITE: &str = "https://ra.example/ra";
    const ID: &str = "cli-11111111-2222-4333-8444-555555555555";
    const OTHER_ID: &str = "cli-11111111-2222-4333-8444-666666666666";

    fn client(id: Option<&str>, name: Option<&str>) -> Client {
        Client { id: id.map(str::to_owned), name: name.map(str::to_owned) }
    }

    #[test]
    fn who_is_the_same() {
        use Relation::{Moved, Other, Same, Unknown};
        let by_id =
            |site: &str, id: &str| Tenant::client(site, client(Some(id), None), None).to_string();
        let named = |site: &str, name: &str| {
            Tenant::client(site, client(None, Some(name)), None).to_string()
        };
        let whole =
            |name: &str| Tenant::client(SITE, client(Some(ID), Some(name)), Some("c")).to_string();
        let old = |user: &str, client: &str| format!("{SITE} as {user}, client {client}");
        let user = |user| Tenant::user(SITE, user).to_string();
        let ours = by_id(SITE, ID);
        let rows = [
            ("the same", ours.clone(), ours.clone(), Same),
            ("another user of before", old("a", ID), ours.clone(), Same),
            ("by name before, by id and name now", old("a", "Shop AG"), whole("Shop AG"), Same),
            ("a name with brackets", old("a", "Shop (AG)"), whole("Shop (AG)"), Same),
            ("renamed at the CA", whole("Shop AG"), whole("Store AG"), Same),
            ("two users of before", old("a", "Shop AG"), old("b", "Shop AG"), Same),
            ("a user with a comma", old("a, client x", ID), ours.clone(), Same),
            ("a slash at the end", by_id("https://ra.example/ra/", ID), ours.clone(), Same),
            ("the default port", by_id("https://ra.example:443/ra", ID), ours.clone(), Same),
            ("another case", by_id("HTTPS://RA.Example/ra", ID), ours.clone(), Same),
            ("another host", by_id("https://ra2.example/ra", ID), ours.clone(), Moved),
            ("another port", by_id("https://ra.example:8443/ra", ID), ours.clone(), Moved),
            ("another path", by_id("https://ra.example/b", ID), ours.clone(), Moved),
            ("another client", by_id(SITE, OTHER_ID), ours.clone(), Other),
            ("a name, and an id", named(SITE, "Shop AG"), ours.clone(), Unknown),
            ("two names", named(SITE, "Shop AG"), named(SITE, "Shop GmbH"), Unknown),
            (
                "one name at two CAs",
                named("https://ra2.example/ra", "Shop AG"),
                named(SITE, "Shop AG"),
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
    fn what_one_user_has_seen_another_may_not_see() {
        let line = |user| Tenant::client(SITE, client(Some(ID), None), user).to_string();
        assert!(is_same_login(&line(Some("a")), &line(Some("a"))));
        assert!(!is_same_login(&line(Some("a")), &line(Some("b"))));
        assert!(is_same(&line(Some("a")), &line(Some("b"))), "and it is the same tenant");
        let caller = |line: &str| Tenant::parse(line).caller();
        let spelt = Tenant::client("HTTPS://RA.example:443/ra/", Client::default(), Some("a"));
        assert_eq!(caller(&line(Some("a"))), spelt.caller());
        assert_ne!(caller(&line(Some("a"))), caller(&line(Some("b"))));
    }

    #[test]
    fn an_id_is_learned_and_never_exchanged() {
        let at_site = |id, name| Tenant::client(SITE, client(id, name), None);
        let named = at_site(None, Some("Shop AG"));
        let whole = at_site(Some(ID), Some("Shop AG"));
        let told = client(Some(ID), Some("Shop AG"));
        assert_eq!(named.clone().with_client(Some(&told)), whole);
        assert_eq!(named.clone().with_client(None), named);
        assert_eq!(at_site(Some(ID), None).with_client(Some(&told)), whole);
        let other = client(Some(OTHER_ID), Some("Shop AG"));
        assert_eq!(at_site(Some(ID), None).with_client(Some(&other)), at_site(Some(ID), None));
        assert_eq!(named.clone().with_client_of(&whole.to_string()), whole);
        let elsewhere = Tenant::client("https://ra2.example/", told, None).to_string();
        assert_eq!(named.clone().with_client_of(&elsewhere), named, "that of another CA");
        let user = Tenant::user(SITE, Some("jdoe"));
        assert_eq!(user.clone().with_client_of(&whole.to_string()), user);
    }
}
