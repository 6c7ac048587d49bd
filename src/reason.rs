//! The reasons in conditions and Events: all words, each listed once. It knows nothing else.

use std::borrow::Cow;
use std::fmt;

/// A reason as an object carries it.
pub type Word = Cow<'static, str>;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $reason:ident)*) => {
        /// Why a condition is as it is, or what an Event tells of: one word in camel case. Users and
        /// old objects know the words: none is ever renamed.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Reason {
            $($(#[doc = $doc])+ $reason,)*
        }

        impl Reason {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$reason,)*];

            /// Whether the word is one of them, which it need not be in a status that others wrote.
            #[must_use]
            pub fn has(word: &str) -> bool {
                Self::ALL.iter().any(|one| one.word() == word)
            }

            /// The word.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$reason => stringify!($reason),)*
                }
            }
        }
    };
}

reasons! {
    // The certificate, and what a new one is for.
    /// The certificate is delivered.
    Issued
    /// What is delivered is not what the request asks for since it was edited.
    Outdated
    /// It was delivered and is no longer valid.
    Expired
    /// There is no certificate yet.
    NeverIssued
    /// The Secret was deleted.
    SecretMissing
    /// The Secret no longer holds what was delivered.
    SecretAltered
    /// Something else is asked for than the certificate was requested with.
    InputsDiffer
    /// Another kind of key is asked for.
    KeyKindChanged
    /// Another issuer is referred to.
    IssuerChanged
    /// The issuer speaks for another account.
    AccountChanged
    /// Somebody asked for a renewal.
    RenewalRequested
    /// The renewal time has come.
    NearingExpiry

    // What a request waits for.
    /// The next attempt, or a change.
    Pending
    /// The request is being deleted.
    Deleted
    /// `spec.suspend` is true.
    Suspended
    /// The issuer does not exist.
    IssuerNotFound
    /// It is a ClusterIssuer, and this installation serves none.
    IssuerNotServed
    /// The issuer takes no requests now.
    IssuerNotReady
    /// A run for the object ended by a fault of Chancery itself.
    RunPanicked
    /// `spec.suspend` of the issuer is true.
    IssuerSuspended
    /// The issuer does not serve the namespace of the request.
    NamespaceNotAllowed
    /// The issuer does not allow what is asked for.
    NotAllowed
    /// The operator puts no such key on Secrets.
    TemplateNotAllowed
    /// The target Secret cannot be read.
    SecretUnreadable
    /// The Secret of that name is somebody else's, or nothing can be put into it.
    SecretNotOurs
    /// The Secret is given to the request, and is not what the request asks for.
    SecretNotAdopted
    /// A pair that was obtained elsewhere was taken over.
    Adopted
    /// Another request has the target Secret.
    SecretNameTaken
    /// The day's orders are spent.
    OrderBudgetSpent
    /// The day's orders of the request's namespace are spent.
    NamespaceBudgetSpent
    /// As many orders are open as may be.
    OpenOrdersLimitReached
    /// As many orders were made for the request as may be within a day.
    ChurnLimitReached

    // An order on its way.
    /// It is being submitted.
    Submitting
    /// The CA works on it.
    OrderPending
    /// A person at the CA has to approve it.
    AwaitingApproval
    /// The owner of a domain or mailbox has to act.
    AwaitingOwner
    /// The answer to its submit may have been lost: it is looked for.
    OrderLookedFor
    /// Its record cannot be read.
    OrderRecordUnreadable

    // An order that waits for a person.
    /// It came to nothing.
    OrderFailed
    /// A person at the CA said no.
    OrderRejected
    /// Its certificate was revoked.
    OrderRevoked
    /// The CA no longer knows it.
    OrderForgotten
    /// What the CA has under its name is for another key.
    OrderForForeignKey
    /// Nobody knows whether it was made.
    OrderOutcomeUnknown
    /// It was made at another account than the one the issuer speaks for.
    OrderAccountSwitched
    /// Its record is gone.
    OrderRecordLost
    /// Its record was edited, or cut.
    OrderRecordEdited
    /// A newer version of Chancery wrote its record.
    OrderRecordNewer
    /// A Secret that is no record has the name of its record.
    OrderRecordForeign
    /// Its certificate cannot be used.
    CertificateUnusable

    // An attempt that failed here.
    /// The names in the request fit into no CSR.
    NamesUnfit
    /// What is asked for is too long for the Secret it goes to, or for the record of its order.
    TooLong
    /// The CA does not take what is asked for.
    NotSupportedByCa
    /// The key or its CSR could not be made.
    KeyFailed
    /// The certificate does not fit the request.
    CertificateUnfit
    /// The certificate is not valid yet.
    CertificateNotYetValid
    /// The chain does not end at an expected anchor.
    ChainNotTrusted
    /// Somebody else writes the target Secret as often as we do.
    SecretContended
    /// The target Secret could not be written.
    SecretNotWritten
    /// The search for the order was not complete.
    SearchIncomplete
    /// The order could not be announced.
    OrderNotAnnounced
    /// Somebody else writes the record as often as we do.
    OrderRecordContended
    /// The record could not be written.
    OrderRecordNotWritten
    /// No part of the day's orders could be reserved.
    OrderBudgetNotReserved

    // Credentials, bundles and CSRs in Secrets and ConfigMaps.
    /// There are no credentials.
    CredentialsMissing
    /// The Secret with the credentials cannot be read.
    CredentialsUnreadable
    /// The Secret does not hold credentials that can be used.
    CredentialsUnusable
    /// The trust bundle cannot be read.
    BundleUnreadable
    /// The trust bundle cannot be used.
    BundleUnusable
    /// The Secret with the CSR cannot be read.
    CsrUnreadable
    /// The CSR cannot be used.
    CsrUnusable

    // A CA, and the way to it.
    /// The CA answers.
    Checked
    /// It could not be reached.
    Unreachable
    /// It did not answer, or not in time.
    NoAnswer
    /// Its server could not be authenticated.
    ServerNotTrusted
    /// It failed.
    ServerError
    /// It was asked too often.
    TooManyRequests
    /// It asked to be left alone for a while.
    AccountPaused
    /// The proxy on the way to it could not be reached, or does not answer.
    ProxyUnreachable
    /// The proxy on the way to it opens no tunnel.
    ProxyRefused
    /// It answered something that makes no sense.
    UnexpectedAnswer
    /// It redirected to another address.
    Redirected
    /// The address is not a URL.
    AddressInvalid
    /// The address lies where the issuer does not reach.
    AddressRefused
    /// It knows nothing at that address.
    AddressUnknown
    /// The request to it could not be made.
    RequestNotMade
    /// It refused the credentials.
    CredentialsRefused
    /// It gave no token.
    NoToken
    /// The account may not do that.
    AccessDenied
    /// It refused the request.
    Refused
    /// It refused the lifetime.
    DurationRefused
    /// Names that the CA asks for are missing.
    NamesMissing
    /// What is stored of an order cannot be used.
    OrderUnusable
    /// The issuer names no kind of CA, or several.
    KindUnknown
    /// Nobody names a contact or a company that the CA asks for.
    ContactMissing
    /// The account has not the credit for an order.
    CreditInsufficient
    /// The order is paid for longer than it can be renewed from now.
    RenewalTooEarly
    /// Settings of the issuer contradict each other.
    SettingsInvalid
    /// The client is not one of the account's.
    ClientNotFound
    /// The CA does not take the client.
    ClientInvalid
    /// No product is named.
    ProductMissing
    /// The product is not one of the account's.
    ProductNotFound
    /// The CA does not take the product.
    ProductInvalid
    /// The product does not fit what is asked for.
    ProductUnusable

    // Events only.
    /// A Secret was repaired.
    Repaired
    /// Roots that the CA serves were added.
    ServedRootsAdded
    /// The CA took an order and did not keep its name.
    OrderNotNamed
    /// The CA has several orders under one name.
    SeveralOrders
}

impl From<Reason> for Word {
    fn from(reason: Reason) -> Self {
        Self::Borrowed(reason.word())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl PartialEq<&str> for Reason {
    fn eq(&self, word: &&str) -> bool {
        self.word() == *word
    }
}

impl PartialEq<Reason> for Word {
    fn eq(&self, reason: &Reason) -> bool {
        *self == reason.word()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All words, as users and the objects of every version so far know them.
    const WORDS: &[&str] = &[
        "AccessDenied",
        "AccountChanged",
        "AccountPaused",
        "AddressInvalid",
        "AddressRefused",
        "AddressUnknown",
        "Adopted",
        "AwaitingApproval",
        "AwaitingOwner",
        "BundleUnreadable",
        "BundleUnusable",
        "CertificateNotYetValid",
        "CertificateUnfit",
        "CertificateUnusable",
        "ChainNotTrusted",
        "Checked",
        "ChurnLimitReached",
        "ClientInvalid",
        "ClientNotFound",
        "ContactMissing",
        "CredentialsMissing",
        "CredentialsRefused",
        "CredentialsUnreadable",
        "CredentialsUnusable",
        "CreditInsufficient",
        "CsrUnreadable",
        "CsrUnusable",
        "Deleted",
        "DurationRefused",
        "Expired",
        "InputsDiffer",
        "Issued",
        "IssuerChanged",
        "IssuerNotFound",
        "IssuerNotReady",
        "IssuerNotServed",
        "IssuerSuspended",
        "KeyFailed",
        "KeyKindChanged",
        "KindUnknown",
        "NamesMissing",
        "NamesUnfit",
        "NamespaceBudgetSpent",
        "NamespaceNotAllowed",
        "NearingExpiry",
        "NeverIssued",
        "NoAnswer",
        "NoToken",
        "NotAllowed",
        "NotSupportedByCa",
        "OpenOrdersLimitReached",
        "OrderAccountSwitched",
        "OrderBudgetNotReserved",
        "OrderBudgetSpent",
        "OrderFailed",
        "OrderForForeignKey",
        "OrderForgotten",
        "OrderLookedFor",
        "OrderNotAnnounced",
        "OrderNotNamed",
        "OrderOutcomeUnknown",
        "OrderPending",
        "OrderRecordContended",
        "OrderRecordEdited",
        "OrderRecordForeign",
        "OrderRecordLost",
        "OrderRecordNewer",
        "OrderRecordNotWritten",
        "OrderRecordUnreadable",
        "OrderRejected",
        "OrderRevoked",
        "OrderUnusable",
        "Outdated",
        "Pending",
        "ProductInvalid",
        "ProductMissing",
        "ProductNotFound",
        "ProductUnusable",
        "ProxyRefused",
        "ProxyUnreachable",
        "Redirected",
        "Refused",
        "RenewalRequested",
        "RenewalTooEarly",
        "Repaired",
        "RequestNotMade",
        "RunPanicked",
        "SearchIncomplete",
        "SecretAltered",
        "SecretContended",
        "SecretMissing",
        "SecretNameTaken",
        "SecretNotAdopted",
        "SecretNotOurs",
        "SecretNotWritten",
        "SecretUnreadable",
        "ServedRootsAdded",
        "ServerError",
        "ServerNotTrusted",
        "SettingsInvalid",
        "SeveralOrders",
        "Submitting",
        "Suspended",
        "TemplateNotAllowed",
        "TooLong",
        "TooManyRequests",
        "UnexpectedAnswer",
        "Unreachable",
    ];

    #[test]
    fn no_word_changes_unseen() {
        let mut words: Vec<&str> = Reason::ALL.iter().map(|reason| reason.word()).collect();
        words.sort_unstable();
        assert_eq!(words, WORDS);
    }

    #[test]
    fn each_is_one_word_in_camel_case_as_the_api_server_takes_it() {
        for reason in Reason::ALL {
            let word = reason.word();
            assert!(word.starts_with(|first: char| first.is_ascii_uppercase()), "{word}");
            assert!(word.chars().all(|letter| letter.is_ascii_alphabetic()), "{word}");
            assert!(word.len() <= 128, "{word}");
            assert_eq!(word, format!("{reason:?}"));
        }
    }
}
