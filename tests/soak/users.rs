//! Who asks for certificates: new ones, renewals by annotation, other names; and who deletes requests
//! and makes them again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chancery::api::CertificateRequest;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::random::Random;
use super::{LONG_LIVED, NAMESPACE, SHORT_LIVED};

/// What somebody wants, and how many orders that allows.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub name: String,
    /// The certificates live so short that they are renewed by themselves.
    pub is_short: bool,
    /// Sorted.
    pub dns_names: Vec<String>,
    renew: usize,
    edits: usize,
    /// By names: how many orders there are to be. Of those that renew themselves the first only: the
    /// others are counted by the certificates that they replace.
    pub intents: BTreeMap<Vec<String>, usize>,
}

impl Wanted {
    pub fn new(at: usize, is_short: bool) -> Self {
        let name = format!("r{at}");
        let dns_names = vec![format!("{name}.example.ch")];
        let intents = [(dns_names.clone(), 1)].into();
        Self { name, is_short, dns_names, renew: 0, edits: 0, intents }
    }

    /// As somebody would write it.
    fn manifest(&self) -> Value {
        let mut manifest = json!({
            "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
            "metadata": {"name": self.name, "namespace": NAMESPACE},
            "spec": {
                "issuerRef": {"name": if self.is_short { SHORT_LIVED } else { LONG_LIVED }},
                "secretName": format!("{}-tls", self.name),
                "dnsNames": self.dns_names,
                "privateKey": {"algorithm": "ECDSA"},
            },
        });
        if self.renew > 0 {
            manifest["metadata"]["annotations"] =
                json!({"chancery.dev/renew": self.renew.to_string()});
        }
        manifest
    }
}

/// Everything that is wanted, by name.
pub type Wants = BTreeMap<String, Wanted>;

/// How many orders the CA has, by request and names.
pub type Bought = BTreeMap<(String, Vec<String>), usize>;

/// What the users did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deeds {
    pub renewals: usize,
    pub edits: usize,
    pub recreations: usize,
}

/// Users at work.
pub struct Users {
    api: Api<DynamicObject>,
    pub wants: Wants,
    pub deeds: Deeds,
}

impl Users {
    pub fn new(client: Client) -> Self {
        let kind = kube::core::ApiResource::erase::<CertificateRequest>(&());
        let api = Api::namespaced_with(client, NAMESPACE, &kind);
        Self { api, wants: Wants::new(), deeds: Deeds::default() }
    }

    /// Asks for a certificate.
    pub async fn create(&mut self, wanted: Wanted) {
        self.make(&wanted).await;
        self.wants.insert(wanted.name.clone(), wanted);
    }

    async fn make(&self, wanted: &Wanted) {
        let object: DynamicObject = serde_json::from_value(wanted.manifest()).expect("an object");
        // It exists where the answer to an earlier try was lost.
        insist(
            async || answer(self.api.create(&PostParams::default(), &object).await),
            |error| error.code == 409,
        )
        .await;
    }

    /// Somebody changes their mind about one of the requests. Only about one whose orders are all at
    /// the CA, open or not: then it is certain how many there are to be.
    pub async fn change_something(&mut self, bought: &Bought, random: &mut Random) {
        let is_bought = |wanted: &&Wanted| {
            wanted.intents.iter().all(|(names, count)| {
                let found = bought.get(&(wanted.name.clone(), names.clone()));
                found.is_some_and(|found| found >= count)
            })
        };
        let settled: Vec<&Wanted> = self.wants.values().filter(is_bought).collect();
        if settled.is_empty() {
            return;
        }
        let mut wanted = settled[random.below(settled.len())].clone();
        match random.below(3) {
            _ if wanted.is_short => self.make_again(&wanted, random).await,
            0 => self.make_again(&wanted, random).await,
            1 => {
                wanted.edits += 1;
                wanted.dns_names = vec![
                    format!("{}-e{}.example.ch", wanted.name, wanted.edits),
                    format!("{}.example.ch", wanted.name),
                ];
                wanted.intents.insert(wanted.dns_names.clone(), 1);
                self.patch(&wanted, json!({"spec": {"dnsNames": wanted.dns_names}})).await;
                self.deeds.edits += 1;
            }
            _ => {
                wanted.renew += 1;
                *wanted.intents.entry(wanted.dns_names.clone()).or_default() += 1;
                let renew = json!({"chancery.dev/renew": wanted.renew.to_string()});
                self.patch(&wanted, json!({"metadata": {"annotations": renew}})).await;
                self.deeds.renewals += 1;
            }
        }
        self.wants.insert(wanted.name.clone(), wanted);
    }

    async fn patch(&self, wanted: &Wanted, patch: Value) {
        let patch = Patch::Merge(patch);
        let name = &wanted.name;
        insist(
            async || answer(self.api.patch(name, &PatchParams::default(), &patch).await),
            |_| false,
        )
        .await;
    }

    async fn make_again(&mut self, wanted: &Wanted, random: &mut Random) {
        let name = &wanted.name;
        let is_gone = |error: &kube::core::Status| {
            // An API server that has just started answers 404 before it knows the kind.
            error.code == 404 && error.details.as_ref().is_some_and(|what| what.name == *name)
        };
        insist(
            async || match self.api.delete(name, &DeleteParams::default()).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            },
            is_gone,
        )
        .await;
        tokio::time::sleep(random.duration(0.0, 1.5)).await;
        self.make(wanted).await;
        self.deeds.recreations += 1;
    }
}

fn answer<T>(answer: kube::Result<T>) -> kube::Result<()> {
    answer.map(|_| ())
}

/// The API server answers within this time, or is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// It is back within this time.
const OUTAGE: Duration = Duration::from_secs(180);

/// Tries until it is done, or was done by an earlier try whose answer was lost.
async fn insist(
    mut attempt: impl AsyncFnMut() -> kube::Result<()>,
    was_done: impl Fn(&kube::core::Status) -> bool,
) {
    let begun = Instant::now();
    loop {
        match tokio::time::timeout(PATIENCE, attempt()).await {
            Ok(Ok(())) => return,
            Ok(Err(kube::Error::Api(status))) if was_done(&status) => return,
            other => {
                assert!(begun.elapsed() < OUTAGE, "the API server is not back: {other:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}
