//! The command `chancery-simulator`: serves [`chancery::simulator`] over TLS until it is told to
//! stop.
//!
//! It reads flags, writes the two files that callers need and logs; everything else is the
//! library's.

use std::error::Error;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chancery::simulator::{Settings, Simulator, server};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Plays the certificate authorities that Chancery talks to, with real keys and on request with
/// faults.
///
/// Every site answers under https://ADDRESS/SYSTEM/SITE/ and comes into being when it is first used;
/// the systems are online-ca, ssl-purchase and swisssign. Settings, faults and records are at
/// https://ADDRESS/management/. Passwords and keys are in the open: use it for tests and demos only.
#[derive(Debug, Parser)]
#[command(version)]
struct Flags {
    /// The address to listen on. Port 0 takes any free port; see --tls-dir for how to find it.
    #[arg(long, env = "CHANCERY_SIMULATOR_LISTEN", default_value = "127.0.0.1:9443")]
    listen: SocketAddr,

    /// The directory to write `tls-root.crt`, which clients must trust, and `address`, which is
    /// listened on, to. It is created if it does not exist.
    #[arg(long, env = "CHANCERY_SIMULATOR_TLS_DIR", default_value = "chancery-simulator")]
    tls_dir: PathBuf,

    /// A further DNS name or IP address for the TLS certificate, beside localhost, 127.0.0.1 and
    /// ::1. May be repeated; the variable takes a list with commas.
    #[arg(long, env = "CHANCERY_SIMULATOR_TLS_NAME", value_name = "NAME", value_delimiter = ',')]
    tls_name: Vec<String>,

    /// A site to set up at the start, with its settings as JSON or the name of a file that holds
    /// them. Without a system it is one of the online CA. May be repeated; the variable takes one
    /// site per line.
    #[arg(
        long,
        env = "CHANCERY_SIMULATOR_SITE",
        value_name = "[SYSTEM/]NAME=JSON|FILE",
        value_delimiter = '\n'
    )]
    site: Vec<String>,

    /// The most keys to generate for all certificate authorities together. Without it every site
    /// has keys of its own.
    #[arg(long, env = "CHANCERY_SIMULATOR_KEY_POOL", value_name = "KEYS")]
    key_pool: Option<usize>,

    /// What to log, in the syntax of the tracing crate, such as `info` or `chancery=debug`.
    #[arg(long, env = "CHANCERY_SIMULATOR_LOG", default_value = "info")]
    log: String,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&flags.log))
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Runtime::new().map_err(Into::into);
    match runtime.and_then(|runtime| runtime.block_on(run(&flags))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::new(Settings { key_pool: flags.key_pool, ..Settings::default() });
    for site in &flags.site {
        set_up(&simulator, site).map_err(|error| format!("--site {site}: {error}"))?;
    }
    let tls = simulator.tls(&flags.tls_name)?;
    let (mut terminated, mut interrupted) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(flags.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", flags.listen))?;
    let address = listener.local_addr()?;
    let root = publish(&flags.tls_dir, tls.root_pem(), address)
        .map_err(|error| format!("cannot write to {}: {error}", flags.tls_dir.display()))?;
    tracing::info!("listening on https://{address}, TLS root in {}", root.display());
    let shutdown = async move {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
        tracing::info!("stopping");
    };
    Ok(server::serve(listener, Some(tls), simulator.router(), shutdown).await?)
}

/// Configures a site from `[system/]name=json` or `[system/]name=file`.
fn set_up(simulator: &Simulator, site: &str) -> Result<(), Box<dyn Error>> {
    let (name, given) = site.split_once('=').ok_or("expected NAME=JSON or NAME=FILE")?;
    let json = if given.trim_start().starts_with('{') {
        given.to_owned()
    } else {
        fs::read_to_string(given)?
    };
    match name.split_once('/').unwrap_or(("online-ca", name)) {
        ("online-ca", name) => simulator.online_ca(name)?.configure(serde_json::from_str(&json)?),
        ("ssl-purchase", name) => {
            simulator.ssl_purchase(name)?.configure(serde_json::from_str(&json)?)?
        }
        ("swisssign", name) => {
            simulator.swisssign(name)?.configure(serde_json::from_str(&json)?)?
        }
        (system, _) => return Err(format!("there is no system {system}").into()),
    }
    Ok(())
}

/// Writes the files that callers wait for, the address last: who sees it finds a listening server
/// and its root.
fn publish(directory: &Path, root_pem: &str, address: SocketAddr) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let root = directory.join("tls-root.crt");
    write_atomically(&root, root_pem)?;
    write_atomically(&directory.join("address"), &format!("{address}\n"))?;
    Ok(root)
}

fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}
