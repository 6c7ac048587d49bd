//! The CustomResourceDefinitions, from the types.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, ValidationRule,
};
use kube::CustomResourceExt;

use super::{CertificateRequest, Issuer};

/// All definitions, each with the name of the file it belongs in.
#[must_use]
pub fn all() -> Vec<(&'static str, CustomResourceDefinition)> {
    vec![
        ("certificaterequests.yaml", finished(certificate_request())),
        ("clusterissuers.yaml", finished(cluster_issuer())),
        ("issuers.yaml", finished(issuer())),
    ]
}

/// What holds for the name of a request.
///
/// A Secret of its own is called after it, and a name has 253 characters at most.
fn certificate_request() -> CustomResourceDefinition {
    let mut crd = CertificateRequest::crd();
    for schema in root_schemas(&mut crd) {
        schema.x_kubernetes_validations.get_or_insert_default().push(ValidationRule {
            rule: "self.metadata.name.size() <= 247".to_owned(),
            message: Some(
                "metadata.name must have at most 247 characters, for <name>.order is to be the name of a Secret: choose a shorter one".to_owned(),
            ),
            ..ValidationRule::default()
        });
    }
    crd
}

/// An Issuer serves one namespace.
fn issuer() -> CustomResourceDefinition {
    let mut crd = Issuer::crd();
    for schema in root_schemas(&mut crd) {
        schema.x_kubernetes_validations.get_or_insert_default().push(ValidationRule {
            rule: "!has(self.spec.limits) || !has(self.spec.limits.ordersPerNamespacePerDay)".to_owned(),
            message: Some(
                "an Issuer serves one namespace, and limits.ordersPerDay holds for it: remove limits.ordersPerNamespacePerDay".to_owned(),
            ),
            ..ValidationRule::default()
        });
    }
    let rule = ValidationRule {
        rule: "!has(self.allow) || !has(self.allow.namespaces)".to_owned(),
        message: Some(
            "an Issuer serves its own namespace only: remove allow.namespaces, or make a ClusterIssuer of it".to_owned(),
        ),
        ..ValidationRule::default()
    };
    spec_schemas(&mut crd).for_each(|spec| {
        spec.x_kubernetes_validations.get_or_insert_default().push(rule.clone());
    });
    crd
}

/// One that was stored before there was the field is edited as it is, until it says it.
fn says_whom_it_serves() -> ValidationRule {
    ValidationRule {
        rule: "(has(self.allow) && has(self.allow.namespaces)) || (oldSelf.hasValue() && !(has(oldSelf.value().allow) && has(oldSelf.value().allow.namespaces)))".to_owned(),
        message: Some(
            "say whom this ClusterIssuer serves: set allow.namespaces to a label selector; an empty one, {}, is every namespace".to_owned(),
        ),
        optional_old_self: Some(true),
        ..ValidationRule::default()
    }
}

/// `ClusterIssuer` is `Issuer` with another name and scope: one schema, so that they cannot part.
fn cluster_issuer() -> CustomResourceDefinition {
    let mut crd = Issuer::crd();
    crd.metadata.name = Some("clusterissuers.chancery.dev".to_owned());
    crd.spec.scope = "Cluster".to_owned();
    let names = &mut crd.spec.names;
    names.kind = "ClusterIssuer".to_owned();
    names.list_kind = Some("ClusterIssuerList".to_owned());
    names.plural = "clusterissuers".to_owned();
    names.singular = Some("clusterissuer".to_owned());
    names.short_names = Some(vec!["chciss".to_owned()]);
    spec_schemas(&mut crd).for_each(|spec| {
        spec.x_kubernetes_validations.get_or_insert_default().push(says_whom_it_serves());
    });
    for schema in root_schemas(&mut crd) {
        schema.description = Some(
            "A ClusterIssuer is one account at one certificate authority outside the cluster, for the requests of all namespaces. Secrets and ConfigMaps it refers to are in the namespace of the operator.".to_owned(),
        );
    }
    crd
}

/// What the derive cannot say.
fn finished(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for schema in root_schemas(&mut crd) {
        strict(schema);
        if let Some(status) = schema.properties.as_mut().and_then(|fields| fields.get_mut("status"))
        {
            // Without it an object whose status nobody wrote yet counts as Current for kstatus.
            status.default = Some(JSON(serde_json::json!({ "observedGeneration": -1 })));
        }
    }
    crd
}

fn root_schemas(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    crd.spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
}

fn spec_schemas(crd: &mut CustomResourceDefinition) -> impl Iterator<Item = &mut JSONSchemaProps> {
    root_schemas(crd).filter_map(|schema| schema.properties.as_mut()?.get_mut("spec"))
}

/// An explicit null is not a value here, so that `has()` in the rules and `Option` in the types
/// mean the same; number formats the API server does not know are dropped.
fn strict(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if schema.format.as_deref().is_some_and(|format| format.starts_with("uint")) {
        schema.format = None;
    }
    for property in schema.properties.iter_mut().flat_map(|fields| fields.values_mut()) {
        strict(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => strict(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(strict),
        None => {}
    }
}
