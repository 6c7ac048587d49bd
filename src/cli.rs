//! The command line: the operator itself, and what else the binary can do.

mod check;
mod definitions;
mod orders;
mod policies;
mod proxy;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use futures::FutureExt as _;
use ipnet::IpNet;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{FilterFn, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::definitions::{Definitions, Served};
use crate::api;
use crate::clock::Clock;
use crate::controller::{self, Apart, Generator, Operator, Process, Purchases, Threads};
use crate::issuance::TemplateKeys;
use crate::metrics::Metrics;
use crate::namespaces::Namespaces;
use crate::outside::reach::{Cluster, Inside, Reach};
use crate::outside::transport::Network;
use crate::pulse::Pulse;
use crate::server::{self, Readiness};
use crate::sight::Sight;

/// Obtains X.509 certificates from certificate authorities outside the cluster and keeps them
/// fresh in Secrets.
///
/// Without a command it prints this help: as a plugin of kubectl it has the rights of whoever calls
/// it, and nobody becomes an operator by accident.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[command(subcommand_required = true, arg_required_else_help = true)]
enum Command {
    /// Look after orders that cost money. Installed as `kubectl-chancery` in PATH, the same program is
    /// `kubectl chancery orders`.
    #[command(subcommand)]
    Orders(orders::Orders),
    /// Say whether an installation is all right, in a line for each thing that can be wrong, with the next
    /// move. It changes nothing, and orders nothing. What it says of rights and policies holds for whoever
    /// runs it: run it with the operator's account, as `helm test` does.
    Check(check::Check),
    /// Print the CustomResourceDefinitions, or write them into a directory.
    Crds {
        /// Write one file per kind into this directory.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Run the operator.
    Operator(OperatorArgs),
}

/// What an operator and whoever looks after it have to say alike.
#[derive(Args, Debug)]
struct Installation {
    /// Namespace of the operator. The Secrets and ConfigMaps that a ClusterIssuer refers to are here.
    #[arg(long, env = "CHANCERY_NAMESPACE", default_value = "chancery")]
    namespace: String,
    /// The namespaces whose requests, issuers, Secrets and trust bundles the operator sees and writes, by
    /// commas; all where the list is empty. It needs no right on any of them elsewhere; in its own it
    /// reads by name the Secrets that ClusterIssuers refer to. ClusterIssuers (see --cluster-issuers)
    /// and labels of namespaces it always sees; Events of ClusterIssuers are in `default`, and written
    /// where that is listed. A name that is there twice counts once, and the operator's own may be
    /// there. One that cannot be listed is named by the log and /readyz, and holds up no other.
    #[arg(
        long,
        env = "CHANCERY_WATCH_NAMESPACES",
        default_value = "",
        hide_default_value = true,
        value_name = "NAMESPACES"
    )]
    watch_namespaces: Namespaces,
    /// Whether ClusterIssuers are watched, checked and asked. Of several installations in a cluster one
    /// alone may: each would check them with the credentials in its own namespace. Without it the
    /// operator needs no right on them, nor on what they refer to, and a request that names one is told
    /// so; an order that is open there stays as it is.
    #[arg(long, env = "CHANCERY_CLUSTER_ISSUERS", default_value_t = true, action = ArgAction::Set)]
    cluster_issuers: bool,
    /// Whether replicas elect the one that acts, by the Lease `chancery` in the operator's namespace.
    /// Set it to false only for a process that is alone, such as one on a laptop.
    #[arg(long, env = "CHANCERY_LEADER_ELECT", default_value_t = true, action = ArgAction::Set)]
    leader_elect: bool,
}

#[derive(Args, Debug)]
struct OperatorArgs {
    #[command(flatten)]
    installation: Installation,
    /// Address of /livez, /readyz and /metrics. `[::]` is for IPv4 as well, and means 0.0.0.0 where
    /// the machine has no IPv6.
    #[arg(long, env = "CHANCERY_HTTP_ADDRESS", default_value = "[::]:8080")]
    http_address: SocketAddr,
    /// The longest that one call to a CA may take, such as 30s.
    #[arg(long, env = "CHANCERY_CA_TIMEOUT", default_value = "30s", value_parser = duration)]
    ca_timeout: Duration,
    /// What of the inside the issuers of namespaces may reach, by commas: loopback, private networks,
    /// the cluster's services. ClusterIssuers reach everything.
    #[arg(long, env = "CHANCERY_TENANT_ISSUERS_MAY_REACH", value_enum, value_delimiter = ',')]
    tenant_issuers_may_reach: Vec<Inside>,
    /// Networks of the cluster's services, pods and nodes, by commas, such as 10.96.0.0/12: issuers
    /// of namespaces reach them only where `cluster` is allowed, even where `private` is.
    #[arg(
        long,
        env = "CHANCERY_CLUSTER_NETWORKS",
        value_delimiter = ',',
        value_parser = network,
    )]
    cluster_networks: Vec<IpNet>,
    /// Keys of labels and annotations that spec.secretTemplate of requests may carry, by commas. One
    /// that ends in an asterisk is the beginning of keys, such as `example.com/*`. All may be there
    /// where nothing is said, and none where the list is empty.
    #[arg(long, env = "CHANCERY_SECRET_TEMPLATE_KEYS")]
    secret_template_keys: Option<TemplateKeys>,
    /// How long a standby waits for a leader that has fallen silent, in whole seconds, such as 15s. A
    /// leader renews every 2/15 of it, and stops acting when no renewal has succeeded for 2/3 of it.
    #[arg(
        long,
        env = "CHANCERY_LEASE_DURATION",
        default_value = "15s",
        value_parser = whole_seconds,
    )]
    lease_duration: Duration,
    /// What is logged, in the syntax of tracing-subscriber's EnvFilter.
    #[arg(long, env = "CHANCERY_LOG", default_value = DEFAULT_LOG)]
    log: String,
    /// How logs are written.
    #[arg(long, env = "CHANCERY_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
}

/// kube logs every refused request as an error of its own, and every run. What they mean is told by
/// whoever made them.
const DEFAULT_LOG: &str =
    "info,kube_client::client::builder=off,kube_runtime=warn,kube_runtime::watcher=error";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Lines for people.
    Text,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration =
        text.parse().map_err(|error| format!("not a duration such as 30s: {error}"))?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than zero".to_owned()),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    text.trim().parse().map_err(|_| "not a network such as 10.96.0.0/12".to_owned())
}

/// The API keeps how long a lease lasts in whole seconds.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.subsec_nanos() != 0 || i32::try_from(duration.as_secs()).is_err() {
        return Err("must be whole seconds, such as 15s".to_owned());
    }
    Ok(duration)
}

/// What ends the program: a sentence, with the cause behind it.
type Fatal = Box<dyn std::error::Error + Send + Sync>;

impl Cli {
    /// Runs what the command line asks for.
    #[must_use]
    #[expect(clippy::print_stderr, reason = "why the program ends is told before logs are set up")]
    pub fn run(self) -> ExitCode {
        // reqwest and kube take the process-wide provider; a second installation is refused and
        // changes nothing.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let result = match self.command {
            Command::Check(check) => look_into(check),
            Command::Crds { dir } => crds(dir.as_deref()),
            Command::Operator(args) => operator(args),
            Command::Orders(command) => look_after(command),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("chancery: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

fn crds(dir: Option<&Path>) -> Result<(), Fatal> {
    use std::io::Write as _;
    for (name, crd) in api::crds() {
        let yaml = serde_yaml::to_string(&crd)?;
        match dir {
            Some(dir) => std::fs::write(dir.join(name), yaml)
                .map_err(|error| format!("cannot write {}: {error}", dir.join(name).display()))?,
            None => writeln!(std::io::stdout(), "---\n{yaml}")?,
        }
    }
    Ok(())
}

fn look_after(command: orders::Orders) -> Result<(), Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, _) = client().await?;
        orders::run(client, command).await
    })
}

fn look_into(check: check::Check) -> Result<(), Fatal> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (client, url) = client().await?;
        check::run(client, &url, check).await
    })
}

fn operator(args: OperatorArgs) -> Result<(), Fatal> {
    log(&args)?;
    std::panic::set_hook(Box::new(tell_of_panic));
    // For what must not wait until the others have time.
    let apart = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("chancery-apart")
        .enable_all()
        .build()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(serve(args, apart.handle()));
    // What is left there is a page for somebody.
    apart.shutdown_background();
    result
}

fn log(args: &OperatorArgs) -> Result<(), Fatal> {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log)
        .map_err(|error| format!("--log {}: {error}", args.log))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => {
            builder.json().flatten_event(true).finish().with(without_bodies()).init();
        }
        LogFormat::Text => builder.finish().with(without_bodies()).init(),
    }
    Ok(())
}

/// Tells of a panic where it was. What it says is told only where that is a text of the program: what
/// was put together may hold what the run was about, keys and passwords included.
fn tell_of_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload().downcast_ref::<&'static str>().copied();
    let text = text.unwrap_or("its text is left out, for it may hold what the run was about");
    tracing::error!(place, "a panic: {text}");
}

/// Modules of libraries that log whole bodies of answers, with the Secrets in them.
const LOG_BODIES: [&str; 1] = ["kube_client::client"];

/// Holds back what may have a body in it, whatever `--log` asks for.
fn without_bodies() -> FilterFn {
    filter_fn(|about| !LOG_BODIES.contains(&about.target()))
}

async fn serve(args: OperatorArgs, apart: &Handle) -> Result<(), Fatal> {
    let (config, url) = config().await?;
    let client = kube::Client::try_from(config.clone())?;
    let tenants_reach = Reach::Outside {
        cluster: cluster(&config.cluster_url, args.cluster_networks).await,
        and: args.tenant_issuers_may_reach,
    };
    let mut definitions = Definitions::of(client.clone());
    let served = served(&mut definitions, &url).await?;
    let metrics = Arc::new(Metrics::default());
    let sight = Sight::of(args.installation.watch_namespaces)
        .with_cluster_issuers(args.installation.cluster_issuers);
    let readiness = Readiness::of(sight.clone());
    tell(&sight);
    let writable = sight.namespaces().writable(&args.installation.namespace);
    let pulse = Pulse::watched();
    tokio::spawn(pulse.clone().beat());
    let (listener, of_lease) = {
        // What is made here belongs to that runtime.
        let _elsewhere = apart.enter();
        let listener = server::listen(args.http_address)
            .map_err(|error| format!("--http-address {}: {error}", args.http_address))?;
        (listener, kube::Client::try_from(config)?)
    };
    tracing::info!(address = %listener.local_addr()?, "serving /livez, /readyz and /metrics");
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let asked = async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    .boxed()
    .shared();
    let routes = server::router(Arc::clone(&metrics), readiness.clone(), pulse.clone());
    let http = apart.spawn(server::serve(listener, routes, server::Bounds::default()));
    tokio::select! {
        biased;
        () = asked.clone() => return Ok(()),
        () = definitions.await_ours(served, &readiness) => {}
    }
    let ends = {
        let older = definitions.until_older();
        async move {
            let why = tokio::select! {
                biased;
                () = asked => None,
                why = older => Some(why),
            };
            tracing::info!("shutting down: no new work is started, what is under way is finished");
            why
        }
        .boxed()
        .shared()
    };
    let shutdown = ends.clone().map(drop).boxed().shared();
    let watched = policies::watch(client.clone(), writable, Arc::clone(&metrics));
    let watched = tokio::spawn(watched);
    let operator = Operator {
        client,
        namespace: args.installation.namespace,
        sight,
        incarnation: controller::new_incarnation()?,
        apart: Apart { client: of_lease, runtime: apart.clone(), pulse },
        lease_duration: args.installation.leader_elect.then_some(args.lease_duration),
        connector: Arc::new(Network::for_calls_within(args.ca_timeout)),
        tenants_reach,
        template_keys: args.secret_template_keys.unwrap_or_default(),
        clock: Clock::system(),
        ca_timeout: args.ca_timeout,
        keys: Arc::new(Generator::default()),
        executor: Arc::new(Threads),
        metrics,
        purchases: purchases(),
        process: Process::default(),
    };
    // What is under way is at most a request to a CA and a few to the API server; whatever takes
    // longer would be killed anyway.
    let grace = args.ca_timeout + Duration::from_secs(30);
    let late = {
        let shutdown = shutdown.clone();
        async move {
            shutdown.await;
            let _ = tokio::time::timeout(grace, std::future::pending::<()>()).await;
        }
    };
    let running = controller::run(operator, shutdown, move || {
        tracing::info!("ready");
        readiness.reached();
    });
    tokio::select! {
        biased;
        () = running => {}
        () = late => tracing::warn!("some work was not finished in time"),
    }
    watched.abort();
    http.abort();
    // It starts anew then, and waits.
    ends.await.map_or(Ok(()), |why| Err(why.into()))
}

/// Purchases are told whatever `--log` and `--log-format` say, each in one write, so that no other line
/// of the log is in the middle of it.
fn purchases() -> Purchases {
    use std::io::Write as _;
    Purchases::new(|line| {
        // As with every other line of the log: there is nowhere to say that nobody hears it.
        let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
    })
}

fn tell(sight: &Sight) {
    match sight.namespaces() {
        Namespaces::All => tracing::info!("requests and issuers of all namespaces are served"),
        Namespaces::These(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            tracing::info!(
                namespaces = names.join(","),
                "requests and issuers of these namespaces are served, and of no other (--watch-namespaces)"
            );
        }
    }
    if !sight.has_cluster_issuers() {
        tracing::info!("ClusterIssuers are left to another installation (--cluster-issuers=false)");
    }
}

/// What is the cluster's: the networks that were named, and the API server by each way to it.
async fn cluster(api_server: &http::Uri, networks: Vec<IpNet>) -> Cluster {
    let mut cluster = Cluster { networks, names: Vec::new() };
    // A pod is told the address of the API server so.
    let of_pod = std::env::var("KUBERNETES_SERVICE_HOST").ok();
    for host in api_server.host().into_iter().chain(of_pod.as_deref()) {
        cluster.add_api_server(host);
    }
    for name in cluster.names.clone() {
        // Another name may lead to the same place. Where nobody resolves it, the name alone counts.
        let found = tokio::net::lookup_host((name.as_str(), 0));
        let found = tokio::time::timeout(START_TIMEOUT, found).await;
        for address in found.into_iter().flatten().flatten() {
            cluster.add_address(address.ip());
        }
    }
    cluster
}

/// Access to the API server, and its address for messages.
async fn client() -> Result<(kube::Client, String), Fatal> {
    let (config, url) = config().await?;
    Ok((kube::Client::try_from(config)?, url))
}

/// How the API server is reached, and its address for messages.
async fn config() -> Result<(kube::Config, String), Fatal> {
    let mut config = kube::Config::infer().await.map_err(|error| {
        // kube takes no list with an empty entry, and says so to nobody who reads one line.
        let advice = if has_bad_exceptions(&error) {
            "write NO_PROXY as hosts, .suffixes and networks with one comma between them, and none at its end"
        } else {
            "set KUBECONFIG, or run in a pod with a ServiceAccount"
        };
        format!("no access to a cluster: {error}; {advice}")
    })?;
    // kube looks at HTTPS_PROXY where there is a kubeconfig, not in a pod, and compares NO_PROXY with
    // the proxy's own address.
    let kubeconfig = kube::config::Kubeconfig::read().ok();
    let named = kubeconfig.as_ref().and_then(proxy::of_kubeconfig);
    let chosen =
        proxy::choose(&config.cluster_url, named.as_deref(), |name| std::env::var(name).ok())?;
    let url = match &chosen {
        Some(proxy) => format!("{} (through the proxy of {})", config.cluster_url, proxy.named_by),
        None => config.cluster_url.to_string(),
    };
    config.proxy_url = chosen.map(|proxy| proxy.url);
    // A write that is repeated beneath us would be one that we do not know of.
    config.default_retry = false;
    config.headers.push((http::header::USER_AGENT, USER_AGENT));
    // Without it, a peer that falls silent would hang a watch for ever. It is longer than the 290 s
    // after which the API server itself ends each watch.
    config.read_timeout = Some(Duration::from_secs(295));
    Ok((config, url))
}

/// Whether NO_PROXY is what keeps the kubeconfig from being used.
fn has_bad_exceptions(error: &kube::config::InferConfigError) -> bool {
    let cause = std::error::Error::source(error);
    let cause = cause.and_then(|cause| cause.downcast_ref::<kube::config::KubeconfigError>());
    matches!(cause, Some(kube::config::KubeconfigError::ParseNoProxy(_)))
}

/// So that an audit log tells who it was.
const USER_AGENT: http::HeaderValue =
    http::HeaderValue::from_static(concat!("chancery/", env!("CARGO_PKG_VERSION")));

/// The API server answers within milliseconds or is in trouble.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// What definitions the API server has.
async fn served(definitions: &mut Definitions, url: &str) -> Result<Served, Fatal> {
    let found = tokio::time::timeout(START_TIMEOUT, definitions.look()).await;
    let found = found.map_err(|_elapsed| {
        let seconds = START_TIMEOUT.as_secs();
        format!("the API server at {url} does not answer within {seconds} s: is that its address?")
    })?;
    found.map_err(|error| {
        let kube::Error::Api(status) = error else {
            let why = innermost(&error);
            return format!("the API server at {url} does not answer: {why}; is that its address?")
                .into();
        };
        format!(
            "the API server at {url} refuses to answer: {}; check the credentials in the kubeconfig",
            status.message
        )
        .into()
    })
}

/// The cause at the bottom says what happened; the layers above only that something did.
fn innermost(error: &kube::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use clap::error::ErrorKind;

    use super::*;

    /// What is logged while `what` runs, with this in `--log`.
    fn logged(asked: &str, what: impl FnOnce()) -> String {
        use std::io::Write;
        use std::sync::Mutex;

        struct To(Arc<Mutex<Vec<u8>>>);
        impl Write for To {
            fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("whole").write(text)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&log);
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::new(asked))
            .with_writer(move || To(Arc::clone(&to)))
            .finish()
            .with(without_bodies());
        tracing::subscriber::with_default(subscriber, what);
        let log = log.lock().expect("whole").clone();
        String::from_utf8(log).expect("text")
    }

    #[test]
    fn a_panic_is_told_of_by_its_place_and_not_by_what_it_holds() {
        let panics = |what: fn()| {
            logged("info", || {
                let usual = std::panic::take_hook();
                std::panic::set_hook(Box::new(tell_of_panic));
                let ended = std::panic::catch_unwind(what);
                std::panic::set_hook(usual);
                assert!(ended.is_err());
            })
        };
        let put_together = panics(|| assert_eq!("m4rk3r".len(), 7, "{}", "m4rk3r".repeat(2)));
        assert!(!put_together.contains("m4rk3r"), "{put_together}");
        assert!(put_together.contains("src/cli.rs:"), "{put_together}");
        let literal = panics(|| assert!(std::env::args().count() == 0, "it is not empty"));
        assert!(literal.contains("it is not empty"), "{literal}");
    }

    #[test]
    fn no_library_logs_a_body_whatever_is_asked_for() {
        for asked in [DEFAULT_LOG, "trace", "kube_client::client=trace", "[request{verb}]=trace"] {
            let log = logged(asked, || {
                tracing::info_span!("request", verb = "get").in_scope(|| {
                    tracing::warn!(target: "kube_client::client", "a body with m4rk3r, and why");
                    tracing::error!("what is ours");
                });
            });
            assert!(!log.contains("m4rk3r"), "{asked}: {log}");
            assert!(log.contains("ours") || asked.starts_with("kube_client"), "{asked}: {log}");
        }
    }

    #[test]
    fn networks_of_the_cluster_are_taken_as_networks_alone() {
        let line = |networks| ["chancery", "operator", "--cluster-networks", networks];
        let cli =
            Cli::try_parse_from(line("10.96.0.0/12,2001:db8::/48")).expect("it is understood");
        let Command::Operator(args) = cli.command else { panic!("{cli:?}") };
        let networks: Vec<_> = args.cluster_networks.iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["10.96.0.0/12", "2001:db8::/48"]);
        for bad in ["10.96.0.1", "10.96.0.0/33", "services", "10.0.0.0/8;10.96.0.0/12"] {
            let error = Cli::try_parse_from(line(bad)).expect_err(bad).to_string();
            assert!(error.contains("not a network such as 10.96.0.0/12"), "{error}");
            assert!(error.contains("--cluster-networks"), "{error}");
        }
    }

    #[tokio::test]
    async fn the_api_server_of_a_kubeconfig_is_the_cluster_s() {
        let refused = async |api_server: &str, host: &str| {
            let cluster = cluster(&api_server.parse().expect("a URL"), Vec::new()).await;
            let reach = Reach::Outside { and: vec![Inside::Loopback, Inside::Private], cluster };
            let url = url::Url::parse(&format!("https://{host}/")).expect("a URL");
            reach.refuses(&url.host().expect("a host"), false).is_some()
        };
        assert!(refused("https://192.168.1.1:6443", "192.168.1.1").await);
        assert!(!refused("https://192.168.1.1:6443", "192.168.1.2").await);
        assert!(refused("https://[2001:db8::1]:6443", "[2001:db8::1]").await);
        assert!(refused("https://k8s.invalid/", "k8s.invalid").await);
        assert!(!refused("https://127.0.0.1:6443", "127.0.0.1").await, "it is this machine's");
    }

    #[test]
    fn only_who_asks_for_the_operator_becomes_one() {
        let refused = |line: &[&str]| Cli::try_parse_from(line).err().map(|error| error.kind());
        let bare = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        assert_eq!(refused(&["chancery"]), Some(bare));
        assert_eq!(refused(&["kubectl-chancery"]), Some(bare));
        let flags = ["chancery", "--http-address", "127.0.0.1:8080"];
        assert_eq!(refused(&flags), Some(ErrorKind::UnknownArgument));
        let asked = ["chancery", "operator", "--http-address", "127.0.0.1:8080"];
        let cli = Cli::try_parse_from(asked).expect("it is understood");
        assert!(matches!(cli.command, Command::Operator(_)), "{cli:?}");
    }
}
