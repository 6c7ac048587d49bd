//! The Kubernetes API of Chancery: its custom resources, their validation rules and their
//! condition vocabulary.
//!
//! Owns what users write and read with `kubectl`; the documentation of each field is the manual
//! that `kubectl explain` prints. Knows no Kubernetes client, no CA and no clock.

#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod allow;
pub mod annotation;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod certificate_request;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod challenge;
pub mod condition;
mod crd;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod issuer;
mod key;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod names;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod online_ca;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod proxy;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod reference;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod ssl_purchase;
#[expect(unreachable_pub, reason = "KubeSchema repeats each struct where nobody can reach it")]
mod swiss_sign;

pub use self::allow::{Allow, KeyType, LabelOperator, LabelRequirement, NamespaceSelector};
pub use self::certificate_request::{
    AttemptInputs, CertificateRequest, CertificateRequestSpec, CertificateRequestStatus,
    CsrSecretReference, DeliveredCertificate, IssuerReference, OrderActor, OrderPhase, OrderStatus,
    PrivateKeySpec, RotationPolicy, SecretTemplate, Wait, WaitsFor,
};
pub use self::challenge::{ChallengeKind, OrderChallenge};
pub use self::crd::all as crds;
pub use self::issuer::{
    CertificateBundle, ClusterIssuer, ClusterIssuerSpec, DayBudget, Issuer, IssuerKind, IssuerSpec,
    IssuerStatus, KeyReference, Limits, Tls, Trust, TrustAnchors,
};
pub use self::key::KeyAlgorithm;
pub use self::names::{KeyUsage, Subject};
pub use self::online_ca::{BasicSplit, OnlineCa, OnlineCaIdentity};
pub use self::proxy::Proxy;
pub use self::reference::SecretReference;
pub use self::ssl_purchase::{
    SslPurchase, SslPurchaseAuthentication, SslPurchaseBasic, SslPurchaseCompany,
    SslPurchaseContact, SslPurchaseDcv, SslPurchaseHeader, SslPurchaseOidc, SslPurchaseOrder,
    SslPurchasePaths, SslPurchasePlan, SslPurchaseReissue, SslPurchaseStatusWords,
    SslPurchaseValidation,
};
pub use self::swiss_sign::{
    SwissSign, SwissSignAuthentication, SwissSignClient, SwissSignOrder, SwissSignProduct,
    SwissSignSubmission,
};

/// API group of all kinds.
pub const GROUP: &str = "chancery.dev";
/// The one served version.
pub const VERSION: &str = "v1alpha1";
