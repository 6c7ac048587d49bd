//! Which namespaces the operator works in, and how somebody gives it the rights there. Plain values.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::terminal;

/// The namespaces whose requests, issuers, Secrets and ConfigMaps the operator sees.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Namespaces {
    /// Every namespace, by rights in the whole cluster.
    #[default]
    All,
    /// These, by rights in each of them. There is at least one.
    These(BTreeSet<String>),
}

/// Names by commas. Nothing at all is every namespace; a name that is there twice counts once.
impl FromStr for Namespaces {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::All);
        }
        text.split(',').map(|name| named(name.trim())).collect::<Result<_, _>>().map(Self::These)
    }
}

fn named(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Err("a name is empty: write namespaces with one comma between them, such as shop,web, and none at the end; for every namespace leave the whole list empty".to_owned());
    }
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_label = name.len() <= 63
        && name.bytes().all(|byte| is_inner(byte) || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_label {
        return Ok(name.to_owned());
    }
    let advice = if name.contains('*') {
        "; patterns are not taken, and for every namespace leave the whole list empty"
    } else {
        ""
    };
    Err(format!(
        "{} is no name of a namespace, which has at most 63 small letters, digits and hyphens, and none of these at its ends{advice}",
        terminal::line(name)
    ))
}

impl Namespaces {
    /// Whether it works in this one.
    #[must_use]
    pub fn has(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(namespace),
        }
    }

    /// Where it may create Secrets: in its own namespace, as in all, or in none but these.
    #[must_use]
    pub fn writable(&self, own: &str) -> Vec<String> {
        match self {
            Self::All => vec![own.to_owned()],
            Self::These(names) => names.iter().cloned().collect(),
        }
    }

    /// What gives the operator the rights that it needs beside those in each of these. The files name
    /// the account that is shipped, and take the rights of any other.
    #[must_use]
    pub fn rights(&self) -> &'static str {
        match self {
            Self::All => {
                "helm upgrade, or where the operator is system:serviceaccount:chancery:chancery kubectl apply -f deploy/rbac.yaml"
            }
            // The other would let it read every Secret.
            Self::These(_) => {
                "helm upgrade, or where the operator is system:serviceaccount:chancery:chancery kubectl apply -k deploy/overlays/chosen-namespaces"
            }
        }
    }

    /// The line that lets the operator work in one of these again. `refusal` is what the API server
    /// says, which names the operator; where it does not, it is the one that is shipped.
    #[must_use]
    pub fn mend(
        &self,
        namespace: &str,
        exists: bool,
        operator_namespace: &str,
        refusal: &str,
    ) -> String {
        if !matches!(self, Self::These(names) if names.contains(namespace)) {
            return self.rights().to_owned();
        }
        let user = refusal.split_once("User \"").and_then(|(_, rest)| rest.split_once('"'));
        let user = user.map(|(user, _)| user);
        let account = user.and_then(|user| user.strip_prefix("system:serviceaccount:"));
        let (name, subject) = match (account.and_then(|one| one.split_once(':')), user) {
            (Some((at, name)), _) => (name, format!("--serviceaccount={at}:{name}")),
            (None, Some(user)) => ("chancery", format!("--user={user}")),
            (None, None) => ("chancery", format!("--serviceaccount={operator_namespace}:chancery")),
        };
        let role = format!("{name}-certificates");
        let bind = format!(
            "kubectl create rolebinding {} -n {namespace} {} {}",
            terminal::word(&role),
            terminal::word(&format!("--clusterrole={role}")),
            terminal::word(&subject)
        );
        if exists { bind } else { format!("kubectl create namespace {namespace} && {bind}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(names: &[&str]) -> Namespaces {
        Namespaces::These(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn namespaces_are_named_one_by_one_or_not_at_all() {
        let longest = "a".repeat(63);
        let rows = [
            ("nothing is every namespace", "", Namespaces::All),
            ("and so is blank", "  ", Namespaces::All),
            ("one", "shop", these(&["shop"])),
            ("several", "web,shop-2", these(&["shop-2", "web"])),
            ("space around a name", " web , shop ", these(&["shop", "web"])),
            ("one that is there twice", "web,shop,web", these(&["shop", "web"])),
            ("digits", "0", these(&["0"])),
            ("the longest", &longest, these(&[&longest])),
        ];
        for (name, text, expected) in rows {
            assert_eq!(text.parse(), Ok(expected), "{name}");
        }
        let too_long = "a".repeat(64);
        let rows = [
            ("an end without a name", "shop,", "a name is empty"),
            ("two commas", "shop,,web", "a name is empty"),
            ("a comma alone", ",", "a name is empty"),
            ("a big letter", "shop,Web", "Web is no name of a namespace"),
            ("a dot", "a.b", "a.b is no name of a namespace"),
            ("a hyphen at an end", "-a", "-a is no name of a namespace"),
            ("at the other", "a-", "a- is no name of a namespace"),
            ("another separator", "shop web", "shop web is no name of a namespace"),
            ("a letter that is none of ours", "zürich", "zürich is no name of a namespace"),
            ("what a terminal obeys", "a\u{1b}[2J", "a\u{fffd}[2J is no name of a namespace"),
            ("too long", &too_long, "is no name of a namespace"),
            ("a pattern", "*", "patterns are not taken"),
        ];
        for (name, text, says) in rows {
            let error = text.parse::<Namespaces>().expect_err(name);
            assert!(error.contains(says), "{name}: {error}");
        }
    }

    #[test]
    fn a_line_gives_back_the_rights_of_whoever_was_refused() {
        let refused = |user: &str| {
            format!(
                "secrets is forbidden: User \"{user}\" cannot list resource \"secrets\" in API group \"\" in the namespace \"shop\""
            )
        };
        let all = these(&["shop"]);
        let rows = [
            (
                "the operator as it is shipped",
                all.mend(
                    "shop",
                    true,
                    "chancery",
                    &refused("system:serviceaccount:chancery:chancery"),
                ),
                "kubectl create rolebinding chancery-certificates -n shop --clusterrole=chancery-certificates --serviceaccount=chancery:chancery",
            ),
            (
                "under another name",
                all.mend("shop", true, "chancery", &refused("system:serviceaccount:pki:tls")),
                "kubectl create rolebinding tls-certificates -n shop --clusterrole=tls-certificates --serviceaccount=pki:tls",
            ),
            (
                "a person, with a name that a shell would take apart",
                all.mend("shop", true, "chancery", &refused("Jane $(id)")),
                "kubectl create rolebinding chancery-certificates -n shop --clusterrole=chancery-certificates '--user=Jane $(id)'",
            ),
            (
                "a refusal that names nobody",
                all.mend("shop", true, "pki", "no"),
                "kubectl create rolebinding chancery-certificates -n shop --clusterrole=chancery-certificates --serviceaccount=pki:chancery",
            ),
            (
                "a namespace that is not there",
                all.mend("shop", false, "pki", "no"),
                "kubectl create namespace shop && kubectl create rolebinding chancery-certificates -n shop --clusterrole=chancery-certificates --serviceaccount=pki:chancery",
            ),
            (
                "the operator's own, where it must not list Secrets",
                all.mend("pki", true, "pki", "no"),
                "helm upgrade, or where the operator is system:serviceaccount:chancery:chancery kubectl apply -k deploy/overlays/chosen-namespaces",
            ),
            (
                "its own, where all are served",
                Namespaces::All.mend("pki", true, "pki", "no"),
                "helm upgrade, or where the operator is system:serviceaccount:chancery:chancery kubectl apply -f deploy/rbac.yaml",
            ),
        ];
        for (name, line, expected) in rows {
            assert_eq!(line, expected, "{name}");
        }
    }
}
