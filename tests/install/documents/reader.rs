//! What somebody has who follows a document, does beside it, and cannot do here.

/// Who runs what cannot be run here.
#[derive(Clone, Copy)]
pub enum Elsewhere {
    /// A test of this name.
    Test(&'static str),
    /// `make` with this target.
    Make(&'static str),
    /// Nobody, and why.
    Nobody(&'static str),
}

/// Beginnings of commands that are not run here.
pub const ELSEWHERE: [(&str, Elsewhere); 16] = [
    (
        "make image ",
        Elsewhere::Test("the_same_binary_gives_the_same_digest_wherever_it_is_put_together"),
    ),
    (
        "helm test ",
        Elsewhere::Test("helm_test_finds_all_right_and_names_what_is_not_with_the_next_move"),
    ),
    (
        "kubectl exec ",
        Elsewhere::Nobody("it needs a kubelet, and runs what the pod of helm test runs"),
    ),
    ("make check ", Elsewhere::Make("check")),
    (
        "make controlplane ",
        Elsewhere::Nobody("it runs until Ctrl-C; all tests have such a control plane"),
    ),
    (
        "make demo CONTEXT=",
        Elsewhere::Test("in_a_cluster_that_is_there_it_shows_all_and_leaves_nothing"),
    ),
    ("make demo ", Elsewhere::Make("demo")),
    ("make soak ", Elsewhere::Make("soak")),
    ("make test ", Elsewhere::Make("test")),
    ("make test-install ", Elsewhere::Make("test-install")),
    ("cosign ", Elsewhere::Nobody("it needs a key and a registry of the reader's")),
    ("kubectl logs ", Elsewhere::Nobody("there is no kubelet that could be asked for them")),
    ("apt-get ", Elsewhere::Nobody("it changes the machine")),
    ("rustup ", Elsewhere::Nobody("it changes the machine")),
    ("sha256sum --check SHA256SUMS", Elsewhere::Nobody("it needs a release")),
    ("skopeo ", Elsewhere::Nobody("it needs a release and a registry of the reader's")),
];

/// Beginnings of commands that look at what is still changing: they are repeated until they print what
/// the document shows.
pub const LOOKS: [&str; 3] = ["kubectl get ", "kubectl describe ", "chancery orders show "];

/// What is in a cluster before its reader comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum There {
    Nothing,
    /// The chart, and the operator that acts.
    Chancery,
    /// And the definitions of Argo CD and Flux.
    GitOps,
}

/// What is done before a section of a document: a cluster is made for it, and these are run.
pub struct Beginning {
    pub document: &'static str,
    /// The heading; nothing is the begin of the document.
    pub section: &'static str,
    pub there: There,
    pub commands: &'static [&'static str],
}

impl Beginning {
    const fn new(document: &'static str, section: &'static str, there: There) -> Self {
        Self { document, section, there, commands: &[] }
    }

    const fn after(self, commands: &'static [&'static str]) -> Self {
        Self { commands, ..self }
    }
}

/// All other documents begin with Chancery, and all other sections where the one before ended.
pub const BEGINNINGS: [Beginning; 8] = [
    Beginning::new("README.md", "", There::Nothing),
    // A pair that is not Chancery's, and a log, in which an order is told of twice.
    Beginning::new("ORDERS.md", "", There::Chancery).after(&[
        r#"line='{"target":"chancery::purchases","event":"found","namespace":"shop","id":"ord-1"}'
           printf '%s\n' 'no JSON' '{"target":"chancery"}' "$line" "$line" > chancery.log"#,
        "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=shop -keyout shop.key -out shop.crt",
        "kubectl create secret tls -n shop shop-tls --key shop.key --cert shop.crt",
    ]),
    Beginning::new("charts/chancery/README.md", "", There::Nothing),
    Beginning::new("docs/gitops.md", "", There::GitOps)
        .after(&["kubectl -n argocd create configmap argocd-cm"]),
    Beginning::new("docs/image.md", "", There::Nothing),
    Beginning::new("docs/install.md", "", There::Nothing),
    Beginning::new("docs/install.md", "## With kubectl", There::Nothing),
    Beginning::new("docs/install.md", "## One namespace, or some", There::Nothing)
        .after(&["kubectl create namespace blog"]),
];

/// What people do who are not the reader: (document, command that follows, whose order is approved).
pub const APPROVALS: [(&str, &str); 1] = [("docs/swisssign.md", "kubectl wait chreq/shop ")];
