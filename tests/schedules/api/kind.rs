//! The kinds that are served, and where.

/// A kind of object.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    CertificateRequest,
    ClusterIssuer,
    ConfigMap,
    Event,
    Issuer,
    Lease,
    Namespace,
    Secret,
}

impl Kind {
    /// All of them. What a namespace holds goes in this order.
    pub const ALL: [Self; 8] = [
        Self::CertificateRequest,
        Self::ClusterIssuer,
        Self::ConfigMap,
        Self::Event,
        Self::Issuer,
        Self::Lease,
        Self::Namespace,
        Self::Secret,
    ];

    /// The name of the kind.
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// The name of the resource.
    pub fn plural(self) -> &'static str {
        self.names().1
    }

    /// The API group; empty for the core.
    pub fn group(self) -> &'static str {
        self.names().2
    }

    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::CertificateRequest => {
                ("CertificateRequest", "certificaterequests", "chancery.dev")
            }
            Self::ClusterIssuer => ("ClusterIssuer", "clusterissuers", "chancery.dev"),
            Self::ConfigMap => ("ConfigMap", "configmaps", ""),
            Self::Event => ("Event", "events", "events.k8s.io"),
            Self::Issuer => ("Issuer", "issuers", "chancery.dev"),
            Self::Lease => ("Lease", "leases", "coordination.k8s.io"),
            Self::Namespace => ("Namespace", "namespaces", ""),
            Self::Secret => ("Secret", "secrets", ""),
        }
    }

    /// `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self.group() {
            "" => "v1",
            "chancery.dev" => "chancery.dev/v1alpha1",
            "coordination.k8s.io" => "coordination.k8s.io/v1",
            _ => "events.k8s.io/v1",
        }
    }

    /// Path of the API group.
    fn root(self) -> &'static str {
        match self.group() {
            "" => "/api/v1",
            "chancery.dev" => "/apis/chancery.dev/v1alpha1",
            "coordination.k8s.io" => "/apis/coordination.k8s.io/v1",
            _ => "/apis/events.k8s.io/v1",
        }
    }

    /// Path of its objects in a namespace, which is empty for kinds that have none.
    pub fn collection(self, namespace: &str) -> String {
        let (root, plural) = (self.root(), self.plural());
        match namespace {
            "" => format!("{root}/{plural}"),
            namespace => format!("{root}/namespaces/{namespace}/{plural}"),
        }
    }

    /// Whether its objects are in namespaces.
    pub fn is_namespaced(self) -> bool {
        !matches!(self, Self::ClusterIssuer | Self::Namespace)
    }

    /// Whether it is defined in `crds/`.
    pub fn is_custom(self) -> bool {
        self.group() == "chancery.dev"
    }

    /// Whether a PUT makes what is not there.
    pub(super) fn creates_on_update(self) -> bool {
        matches!(self, Self::Event | Self::Lease)
    }

    /// Whether a PUT may leave the resourceVersion out.
    pub(super) fn updates_unconditionally(self) -> bool {
        matches!(self, Self::ConfigMap | Self::Event | Self::Namespace | Self::Secret)
    }

    /// As messages call the resource.
    pub(super) fn qualified_resource(self) -> String {
        qualified(self.plural(), self.group())
    }

    /// As messages call the kind. Events are kept as those of the core.
    pub(super) fn qualified_kind(self) -> String {
        qualified(self.name(), self.kind_group())
    }

    /// The group that belongs to the kind in messages.
    pub(super) fn kind_group(self) -> &'static str {
        if self == Self::Event { "" } else { self.group() }
    }
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

/// What a path names.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) kind: Kind,
    /// Empty for all namespaces, and for kinds that have none.
    pub(super) namespace: String,
    pub(super) name: Option<String>,
    pub(super) is_status: bool,
}

impl Target {
    /// `None` where the API server serves nothing.
    pub(super) fn parse(path: &str) -> Option<Self> {
        Kind::ALL.into_iter().find_map(|kind| Self::of_kind(kind, path))
    }

    fn of_kind(kind: Kind, path: &str) -> Option<Self> {
        let rest = path.strip_prefix(kind.root())?.strip_prefix('/')?;
        let parts: Vec<_> = rest.split('/').collect();
        let (namespace, rest) = match &parts[..] {
            ["namespaces", namespace, plural, rest @ ..]
                if kind.is_namespaced() && *plural == kind.plural() =>
            {
                (*namespace, rest)
            }
            [plural, rest @ ..] if *plural == kind.plural() => ("", rest),
            _ => return None,
        };
        let (name, is_status) = match rest {
            [] => (None, false),
            [name] => (Some((*name).to_owned()), false),
            [name, "status"] if kind.is_custom() => (Some((*name).to_owned()), true),
            _ => return None,
        };
        if kind.is_namespaced() && namespace.is_empty() && name.is_some() {
            return None;
        }
        Some(Self { kind, namespace: namespace.to_owned(), name, is_status })
    }
}
