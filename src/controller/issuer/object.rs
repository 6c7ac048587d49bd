//! What `Issuer` and `ClusterIssuer` have in common.

use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use kube::runtime::reflector::Store;
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{ClusterIssuer, Issuer, IssuerKind, IssuerSpec, IssuerStatus};
use crate::controller::cluster::stores::Stores;
use crate::decode::Guarded;

/// What `Issuer` and `ClusterIssuer` have in common.
pub(in crate::controller) trait IssuerObject:
    Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Serialize + Send + Sync + 'static
{
    const KIND: IssuerKind;
    const RESOURCE: &'static str;
    const STATUS_RESOURCE: &'static str;
    fn spec(&self) -> &IssuerSpec;
    fn status(&self) -> Option<&IssuerStatus>;
    fn set_status(&mut self, status: IssuerStatus);
    fn api(client: kube::Client, namespace: Option<&str>) -> Api<Guarded<Self>>;
    fn store(stores: &Stores) -> &Store<Guarded<Self>>;
}

impl IssuerObject for Issuer {
    const KIND: IssuerKind = IssuerKind::Issuer;
    const RESOURCE: &'static str = "issuers";
    const STATUS_RESOURCE: &'static str = "issuers/status";

    fn spec(&self) -> &IssuerSpec {
        &self.spec
    }

    fn status(&self) -> Option<&IssuerStatus> {
        self.status.as_ref()
    }

    fn set_status(&mut self, status: IssuerStatus) {
        self.status = Some(status);
    }

    fn api(client: kube::Client, namespace: Option<&str>) -> Api<Guarded<Self>>
    where
        Self: Resource<Scope = NamespaceResourceScope>,
    {
        Api::namespaced(client, namespace.unwrap_or_default())
    }

    fn store(stores: &Stores) -> &Store<Guarded<Self>> {
        &stores.issuers
    }
}

impl IssuerObject for ClusterIssuer {
    const KIND: IssuerKind = IssuerKind::ClusterIssuer;
    const RESOURCE: &'static str = "clusterissuers";
    const STATUS_RESOURCE: &'static str = "clusterissuers/status";

    fn spec(&self) -> &IssuerSpec {
        &self.spec.issuer
    }

    fn status(&self) -> Option<&IssuerStatus> {
        self.status.as_ref()
    }

    fn set_status(&mut self, status: IssuerStatus) {
        self.status = Some(status);
    }

    fn api(client: kube::Client, _: Option<&str>) -> Api<Guarded<Self>> {
        Api::all(client)
    }

    fn store(stores: &Stores) -> &Store<Guarded<Self>> {
        &stores.cluster_issuers
    }
}
