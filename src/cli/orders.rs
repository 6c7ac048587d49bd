//! `chancery orders`: the orders that are open or need a person, and how one is given up.
//!
//! It acts as the user who calls it, with the user's rights. To list orders, it reads
//! CertificateRequests and the metadata of the records; it never reads keys.

use std::collections::BTreeSet;
use std::io::Write as _;

use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::PartialObjectMeta;
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;

use super::Fatal;
use crate::api::condition::{self, ISSUING, STALLED};
use crate::api::{CertificateRequest, OrderStatus, WaitsFor, annotation};
use crate::decode::{Guarded, Unreadable};
use crate::issuance::record::{OrderState, is_own, reference, request_of};
use crate::issuance::{record_name, waits_for};
use crate::terminal;

type RecordMeta = PartialObjectMeta<Secret>;

#[derive(Debug, Subcommand)]
pub(super) enum Orders {
    /// List the orders that are open or need a person, and the records whose request is gone.
    List {
        /// List those of all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// List those of this namespace instead of the one of the kubeconfig's context.
        #[arg(short, long)]
        namespace: Option<String>,
    },
    /// Show everything that is known of the order of one request.
    Show(Named),
    /// Give an order up, so that another can be made. What the CA may still issue for the old one is
    /// paid for, and its key is lost.
    Release {
        #[command(flatten)]
        named: Named,
        /// The reference of the order, as `show` prints it, so that no other is given up.
        #[arg(long)]
        order: Option<String>,
    },
}

#[derive(Args, Debug)]
pub(super) struct Named {
    /// Name of the CertificateRequest.
    name: String,
    /// Its namespace, instead of the one of the kubeconfig's context.
    #[arg(short, long)]
    namespace: Option<String>,
}

/// Runs one command.
pub(super) async fn run(client: Client, command: Orders) -> Result<(), Fatal> {
    let near = |namespace: Option<String>| {
        namespace.unwrap_or_else(|| client.default_namespace().to_owned())
    };
    let done = async {
        match command {
            Orders::List { all_namespaces: true, .. } => list(&client, None).await,
            Orders::List { namespace, .. } => list(&client, Some(&near(namespace))).await,
            Orders::Show(Named { name, namespace }) => {
                Ok(Found::read(&client, &near(namespace), &name).await?.shown())
            }
            Orders::Release { named: Named { name, namespace }, order } => {
                let found = Found::read(&client, &near(namespace), &name).await?;
                release(&client, &found, order.as_deref()).await
            }
        }
    };
    // Tenants write statuses and annotations, and whoever calls this may be none of them.
    let text = done.await.map_err(|error| terminal::lines(&error.to_string()))?;
    write!(std::io::stdout(), "{}", terminal::lines(&text))?;
    Ok(())
}

async fn list(client: &Client, namespace: Option<&str>) -> Result<String, Fatal> {
    let (requests, records): (Api<Guarded<CertificateRequest>>, Api<Guarded<RecordMeta>>) =
        match namespace {
            Some(namespace) => (
                Api::namespaced(client.clone(), namespace),
                Api::namespaced(client.clone(), namespace),
            ),
            None => (Api::all(client.clone()), Api::all(client.clone())),
        };
    let labelled = ListParams::default().labels(&format!("{}=true", annotation::ORDER_LABEL));
    let requests = requests.list(&ListParams::default()).await.map_err(|error| told(&error))?;
    let (requests, odd) = readable(requests.items);
    let (records, remark) = match records.list(&labelled).await {
        Ok(records) => (with_a_readable_request(readable(records.items).0, &odd), ""),
        Err(kube::Error::Api(status)) if status.code == 403 => (
            Vec::new(),
            "You may not list Secrets, so records whose request is gone are not shown.\n",
        ),
        Err(error) => return Err(told(&error)),
    };
    let is_gone = !gone(&requests, &records).is_empty();
    let delivered =
        if is_gone { Delivered::read(client, namespace).await? } else { Delivered::NONE };
    let mut text = table(&requests, &records, &delivered);
    if text.is_empty() {
        text.push_str("No order is open, and none needs a person.\n");
    }
    text.push_str(remark);
    for unreadable in odd {
        let meta = unreadable.metadata;
        let (namespace, name) = (meta.namespace.unwrap_or_default(), meta.name.unwrap_or_default());
        text.push_str(&format!(
            "CertificateRequest {namespace}/{name} cannot be read: {}.\n",
            unreadable.reason
        ));
    }
    Ok(text)
}

/// Without those whose request is there and cannot be read: it is not gone.
fn with_a_readable_request(mut records: Vec<RecordMeta>, odd: &[Unreadable]) -> Vec<RecordMeta> {
    records.retain(|record| {
        let (namespace, name) = (record.namespace(), record.name_any());
        !odd.iter().any(|one| {
            let metadata = &one.metadata;
            metadata.namespace == namespace && metadata.name.as_deref() == request_of(&name)
        })
    });
    records
}

/// What this version can read of a list, and the rest.
fn readable<K>(objects: Vec<Guarded<K>>) -> (Vec<K>, Vec<Unreadable>) {
    let (mut readable, mut rest) = (Vec::new(), Vec::new());
    for object in objects {
        match object.0 {
            Ok(object) => readable.push(object),
            Err(unreadable) => rest.push(unreadable),
        }
    }
    (readable, rest)
}

/// The API server's own words where it has some.
fn told(error: &kube::Error) -> Fatal {
    if let kube::Error::Api(status) = error {
        return status.message.clone().into();
    }
    super::innermost(error).into()
}

/// Namespace and reference of each order whose certificate is in a Secret; `None` where the user
/// may not see that.
struct Delivered(Option<BTreeSet<(String, String)>>);

impl Delivered {
    const NONE: Self = Self(Some(BTreeSet::new()));

    async fn read(client: &Client, namespace: Option<&str>) -> Result<Self, Fatal> {
        let secrets: Api<Guarded<RecordMeta>> = match namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        };
        let ours = ListParams::default().labels(&format!("{}=true", annotation::MANAGED_LABEL));
        match secrets.list(&ours).await {
            Ok(secrets) => {
                let secrets = readable(secrets.items).0;
                Ok(Self(Some(secrets.iter().filter_map(order_of).collect())))
            }
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(Self(None)),
            Err(error) => Err(told(&error)),
        }
    }

    /// What became of the order in a record. The record of one that was delivered says `open` until
    /// the next order, because the Secret with the certificate tells.
    fn state(&self, record: &RecordMeta) -> String {
        let noted = annotated(record, annotation::ORDER_STATE);
        if noted != OrderState::Open.word() {
            return noted;
        }
        let is_it = |all: &BTreeSet<_>| order_of(record).is_some_and(|one| all.contains(&one));
        match &self.0 {
            Some(all) if is_it(all) => "delivered".to_owned(),
            Some(_) => noted,
            None => "open or delivered".to_owned(),
        }
    }
}

/// Namespace of a Secret, and the reference of the order that it names.
fn order_of(secret: &RecordMeta) -> Option<(String, String)> {
    let reference = annotated(secret, annotation::ORDER_REFERENCE);
    (!reference.is_empty()).then(|| (secret.namespace().unwrap_or_default(), reference))
}

/// The records whose request is gone.
fn gone<'a>(requests: &[CertificateRequest], records: &'a [RecordMeta]) -> Vec<&'a RecordMeta> {
    let is_known = |record: &&RecordMeta| {
        let name = record.name_any();
        requests.iter().any(|request| {
            request.namespace() == record.namespace()
                && Some(request.name_any().as_str()) == request_of(&name)
        })
    };
    records.iter().filter(|record| !is_known(record)).collect()
}

/// One line for each order; empty where there is none.
fn table(requests: &[CertificateRequest], records: &[RecordMeta], delivered: &Delivered) -> String {
    let mut rows: Vec<[String; 8]> = requests.iter().filter_map(row).collect();
    rows.extend(gone(requests, records).into_iter().map(|record| {
        let name = record.name_any();
        [
            record.namespace().unwrap_or_default(),
            request_of(&name).unwrap_or(&name).to_owned(),
            "RequestGone".to_owned(),
            delivered.state(record),
            String::new(),
            String::new(),
            annotated(record, annotation::ORDER_ID),
            annotated(record, annotation::ORDER_REFERENCE),
        ]
    }));
    if rows.is_empty() {
        return String::new();
    }
    rows.sort();
    let header = ["NAMESPACE", "NAME", "PHASE", "STATE", "WAITING FOR", "HOLD", "ID", "REFERENCE"];
    rows.insert(0, header.map(str::to_owned));
    aligned(&rows)
}

fn row(request: &CertificateRequest) -> Option<[String; 8]> {
    let none = OrderStatus::default();
    let order = match &request.status.as_ref()?.order {
        Some(order) => order,
        // Held for its record, of which the status knows no order.
        None if is_held(request) => &none,
        None => return None,
    };
    Some([
        request.namespace().unwrap_or_default(),
        request.name_any(),
        if order.reference.is_empty() { String::new() } else { format!("{:?}", order.phase) },
        order.state.clone().unwrap_or_default(),
        order.waiting_for.clone().unwrap_or_default(),
        hold(request).map(|(reason, _)| reason).unwrap_or_default(),
        order.id.clone().unwrap_or_default(),
        order.reference.clone(),
    ])
}

/// An order, or the record of one, waits for a person.
fn is_held(request: &CertificateRequest) -> bool {
    request.status.as_ref().and_then(waits_for).is_some_and(|wait| {
        wait.needs_person && matches!(wait.on, WaitsFor::Order | WaitsFor::Search)
    })
}

/// Reason and message, where nothing moves before a person acts.
fn hold(request: &CertificateRequest) -> Option<(String, String)> {
    let conditions = &request.status.as_ref()?.conditions;
    let stalled = condition::find(conditions, STALLED).filter(|found| found.status == "True")?;
    Some((stalled.reason.clone(), stalled.message.clone()))
}

fn annotated(record: &RecordMeta, key: &str) -> String {
    record.annotations().get(key).cloned().unwrap_or_default()
}

/// Columns as wide as their widest cell, two spaces apart; an empty cell is a hyphen.
fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let shown = |cell: &String| if cell.is_empty() { "-".to_owned() } else { terminal::line(cell) };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// What there is under one name.
struct Found {
    namespace: String,
    name: String,
    request: Option<CertificateRequest>,
    record: Option<RecordMeta>,
    delivered: Delivered,
}

impl Found {
    async fn read(client: &Client, namespace: &str, name: &str) -> Result<Self, Fatal> {
        let requests: Api<Guarded<CertificateRequest>> = Api::namespaced(client.clone(), namespace);
        let records: Api<Guarded<RecordMeta>> = Api::namespaced(client.clone(), namespace);
        let request = requests.get_opt(name).await.map_err(|error| told(&error))?;
        let request = request.map(|request| {
            request.0.map_err(|odd| format!("CertificateRequest {namespace}/{name}: {odd}"))
        });
        let request = request.transpose()?;
        let record = records.get_opt(&record_name(name)).await.map_err(|error| told(&error))?;
        let record = record.map(|record| {
            record.0.map_err(|odd| format!("Secret {namespace}/{}: {odd}", record_name(name)))
        });
        let record = record.transpose()?.filter(|record| {
            record.labels().get(annotation::ORDER_LABEL).map(String::as_str) == Some("true")
        });
        if request.is_none() && record.is_none() {
            return Err(format!(
                "there is neither a CertificateRequest {namespace}/{name} nor the record of an order for one. To see all orders: chancery orders list -A"
            )
            .into());
        }
        let delivered = match &record {
            Some(_) => Delivered::read(client, Some(namespace)).await?,
            None => Delivered::NONE,
        };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        Ok(Self { namespace, name, request, record, delivered })
    }

    /// The order of the status, if it is the request's own: whoever may write the status could name
    /// another's.
    fn order(&self) -> Option<&OrderStatus> {
        let request = self.request.as_ref()?;
        let order = request.status.as_ref()?.order.as_ref()?;
        let recorded =
            self.record.as_ref().map(|record| annotated(record, annotation::ORDER_REFERENCE));
        let uid = request.uid().unwrap_or_default();
        is_own(&order.reference, &uid, recorded.as_deref()).then_some(order)
    }

    /// What the release must name: the order, or the record where the request is gone.
    fn release_name(&self) -> Option<String> {
        let (request, record) = (self.request.as_ref(), self.record.as_ref());
        match (request, self.order()) {
            (Some(_), Some(order)) => Some(order.reference.clone()),
            // Held for its record, of which the status knows at most the number of the order.
            (Some(request), None) if !is_held(request) => None,
            (Some(request), None) => {
                let orders = request.status.as_ref().and_then(|status| status.orders);
                let last =
                    orders.map(|number| reference(&request.uid().unwrap_or_default(), number));
                last.or_else(|| record?.uid())
            }
            (None, _) => record?.uid(),
        }
    }

    fn shown(&self) -> String {
        let mut lines = vec![("Request", format!("{}/{}", self.namespace, self.name))];
        match (&self.request, self.order()) {
            (None, _) => {
                let noted = |key| self.record.as_ref().map(|record| annotated(record, key));
                let noted = |key| noted(key).unwrap_or_default();
                lines.push(("Reference", noted(annotation::ORDER_REFERENCE)));
                lines.push(("Id at the CA", noted(annotation::ORDER_ID)));
                lines.push(("Phase", "the request is gone".to_owned()));
            }
            (Some(_), None) => {
                lines.push(("Phase", "no order is open, and none needs a person".to_owned()));
            }
            (Some(request), Some(order)) => lines.extend(order_lines(request, order)),
        }
        if let Some(record) = &self.record {
            lines.push(("Record", format!("Secret {}", record.name_any())));
            lines.push(("Record's state", self.delivered.state(record)));
            lines.push(("Submitted by", annotated(record, annotation::ORDER_CLAIM)));
            lines.push(("Attempts", annotated(record, annotation::ORDER_ATTEMPT)));
        } else {
            lines.push(("Record", "there is none".to_owned()));
        }
        if let Some(name) = self.release_name() {
            lines.push(("To give it up", self.release_command(&name)));
        }
        let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default() + 1;
        lines
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (format!("{name}:"), terminal::line(&value)))
            .map(|(name, value)| format!("{name:<width$} {value}\n"))
            .collect()
    }

    fn release_command(&self, order: &str) -> String {
        let [namespace, name, order] =
            [&self.namespace, &self.name, order].map(|text| terminal::word(text));
        format!("chancery orders release -n {namespace} {name} --order {order}")
    }
}

fn order_lines(request: &CertificateRequest, order: &OrderStatus) -> Vec<(&'static str, String)> {
    let conditions = request.status.as_ref().map_or(&[][..], |status| &status.conditions);
    let issuing = condition::find(conditions, ISSUING);
    vec![
        ("Reference", order.reference.clone()),
        ("Id at the CA", order.id.clone().unwrap_or_default()),
        ("Account", order.account.clone()),
        ("Phase", format!("{:?}", order.phase)),
        ("State at the CA", order.state.clone().unwrap_or_default()),
        ("Waits for", order.waiting_for.clone().unwrap_or_default()),
        ("The CA says", order.message.clone().unwrap_or_default()),
        (
            "First submitted",
            order.submitted_at.as_ref().map(|at| at.0.to_string()).unwrap_or_default(),
        ),
        ("Hold", hold(request).map(|(reason, _)| reason).unwrap_or_default()),
        ("Message", issuing.map(|issuing| issuing.message.clone()).unwrap_or_default()),
    ]
}

async fn release(client: &Client, found: &Found, order: Option<&str>) -> Result<String, Fatal> {
    let (namespace, name) = (&found.namespace, &found.name);
    let Some(wanted) = found.release_name() else {
        return Err(format!(
            "CertificateRequest {namespace}/{name} has no order to give up. To see what it has: chancery orders show -n {namespace} {name}"
        )
        .into());
    };
    if order != Some(wanted.as_str()) {
        let other = order.map(|order| format!("{order} is not what is to be named.\n"));
        return Err(format!(
            "{}{}\nWhat the CA may still issue for this order is paid for, and its key will be lost. Look at it at the CA first; then: {}",
            other.unwrap_or_default(),
            found.shown().trim_end(),
            found.release_command(&wanted)
        )
        .into());
    }
    let patch = Patch::Merge(json!({
        "metadata": { "annotations": { annotation::RELEASE: wanted } },
    }));
    if found.request.is_some() {
        let api: Api<Guarded<CertificateRequest>> = Api::namespaced(client.clone(), namespace);
        let patched = api.patch(name, &PatchParams::default(), &patch).await;
        patched.map_err(|error| told(&error))?;
        return Ok(format!(
            "Order {wanted} is given up. CertificateRequest {namespace}/{name} may order again.\n"
        ));
    }
    let api: Api<Guarded<RecordMeta>> = Api::namespaced(client.clone(), namespace);
    let record = record_name(name);
    let patched = api.patch(&record, &PatchParams::default(), &patch).await;
    let patched = patched.map_err(|error| told(&error))?;
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(wanted),
            resource_version: patched.resource_version(),
        }),
        ..DeleteParams::default()
    };
    api.delete(&record, &params).await.map_err(|error| told(&error))?;
    Ok(format!("Secret {namespace}/{record} was deleted, and with it the key of its order.\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(yaml: &str) -> CertificateRequest {
        serde_yaml::from_str(yaml).expect("a request")
    }

    fn shop() -> CertificateRequest {
        request(
            "
apiVersion: chancery.dev/v1alpha1
kind: CertificateRequest
metadata: {name: shop, namespace: web, uid: u}
spec: {issuerRef: {name: house}, secretName: shop-tls, dnsNames: [shop.example.ch]}
status:
  observedGeneration: 1
  conditions:
    - {type: Issuing, status: 'True', reason: OrderRejected, message: no, lastTransitionTime: '2026-11-24T00:00:00Z'}
    - {type: Stalled, status: 'True', reason: OrderRejected, message: no, lastTransitionTime: '2026-11-24T00:00:00Z'}
  order:
    reference: chancery-u-1
    id: ord-1
    phase: Failed
    state: REJECTED
    account: a
    attempt: 1
",
        )
    }

    fn record(name: &str) -> RecordMeta {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": "web", "uid": "0815",
                "annotations": {
                    annotation::ORDER_REFERENCE: format!("chancery-{name}-1"),
                    annotation::ORDER_STATE: "open",
                },
            },
        }))
        .expect("metadata")
    }

    #[test]
    fn orders_and_records_without_a_request_are_listed() {
        let quiet = request(
            "
apiVersion: chancery.dev/v1alpha1
kind: CertificateRequest
metadata: {name: quiet, namespace: web}
spec: {issuerRef: {name: house}, secretName: quiet-tls, dnsNames: [shop.example.ch]}
",
        );
        let records = [record("shop.order"), record("quiet.order"), record("gone.order")];
        assert_eq!(
            table(&[shop(), quiet], &records, &Delivered::NONE),
            "\
NAMESPACE  NAME  PHASE        STATE     WAITING FOR  HOLD           ID     REFERENCE
web        gone  RequestGone  open      -            -              -      chancery-gone.order-1
web        shop  Failed       REJECTED  -            OrderRejected  ord-1  chancery-u-1
"
        );
        assert_eq!(table(&[], &[], &Delivered::NONE), "");
    }

    #[test]
    fn what_was_delivered_is_not_called_open() {
        let held = |name: &str| order_of(&record(name)).expect("a reference");
        let delivered = Delivered(Some(BTreeSet::from([held("gone.order")])));
        assert_eq!(delivered.state(&record("gone.order")), "delivered");
        assert_eq!(delivered.state(&record("other.order")), "open");
        assert_eq!(Delivered(None).state(&record("gone.order")), "open or delivered");
        let mut refused = record("gone.order");
        let annotations = refused.metadata.annotations.as_mut().expect("annotations");
        annotations.insert(annotation::ORDER_STATE.to_owned(), "refused".to_owned());
        assert_eq!(delivered.state(&refused), "refused");
    }

    #[test]
    fn a_request_without_an_order_is_listed_where_its_record_waits_for_a_person() {
        let waits = |on: &str, needs_person| {
            let mut request = shop();
            let status = request.status.as_mut().expect("a status");
            status.order = None;
            let wait = json!({ "for": on, "needsPerson": needs_person });
            status.wait = Some(serde_json::from_value(wait).expect("a wait"));
            row(&request).is_some()
        };
        assert!(waits("Order", true), "its record was edited");
        assert!(waits("Search", true), "nobody knows whether it was made");
        assert!(!waits("Search", false), "it is still looked for");
        assert!(!waits("SecretName", true), "no order is in the way");
        assert!(!waits("Attempt", true), "the CA refused it");
    }

    #[test]
    fn nothing_that_others_wrote_is_obeyed_or_gives_away_another_order() {
        let mut forged = shop();
        let order = forged.status.as_mut().and_then(|status| status.order.as_mut());
        let order = order.expect("an order");
        order.state = Some("ISSUED\u{1b}[2J\u{202e}".to_owned());
        order.message = Some("yes\nTo give it up: id".to_owned());
        let listed = table(&[forged.clone()], &[], &Delivered::NONE);
        assert!(listed.contains("ISSUED\u{fffd}[2J\u{fffd}  "), "{listed}");
        let of = |request: CertificateRequest, record| Found {
            namespace: "web".to_owned(),
            name: "shop".to_owned(),
            request: Some(request),
            record,
            delivered: Delivered::NONE,
        };
        let shown = of(forged.clone(), None).shown();
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
        assert_eq!(shown.matches("\nTo give it up:").count(), 1, "{shown}");
        for reference in ["x; id", "chancery-another-1", "chancery-u-1 && id", "chancery-u-"] {
            let status = forged.status.as_mut().expect("a status");
            status.order.as_mut().expect("an order").reference = reference.to_owned();
            let shown = of(forged.clone(), None).shown();
            assert!(!shown.contains("--order"), "{reference}: {shown}");
        }
        // Of a request that was restored, the record tells.
        let status = forged.status.as_mut().expect("a status");
        status.order.as_mut().expect("an order").reference = "chancery-shop.order-1".to_owned();
        let shown = of(forged, Some(record("shop.order"))).shown();
        assert!(shown.ends_with("--order chancery-shop.order-1\n"), "{shown}");
        let quoted = of(shop(), None).release_command("0815'; id");
        assert!(quoted.ends_with(r"--order '0815'\''; id'"), "{quoted}");
    }

    #[test]
    fn what_is_shown_ends_with_the_way_on() {
        let found = Found {
            namespace: "web".to_owned(),
            name: "shop".to_owned(),
            request: Some(shop()),
            record: None,
            delivered: Delivered::NONE,
        };
        let shown = found.shown();
        assert!(shown.contains("State at the CA: REJECTED\n"), "{shown}");
        assert!(
            shown.ends_with(
                "To give it up:   chancery orders release -n web shop --order chancery-u-1\n"
            ),
            "{shown}"
        );
        let gone = Found { request: None, record: Some(record("shop.order")), ..found };
        assert!(gone.shown().contains("--order 0815"), "{}", gone.shown());
        assert!(
            gone.shown().contains("Reference:      chancery-shop.order-1\n"),
            "{}",
            gone.shown()
        );
    }
}
