//! The image, as it is built: what is in it, and that it serves under the restrictions of the rendered
//! Deployment, in a real container.

mod container;
mod layout;
mod names;

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::installed::Cluster;
use crate::support::root;
use container::{Container, Pod};
use layout::Layout;
use names::Names;

/// This machine's, as images have it.
fn arch() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" }
}

/// `deploy/image/build`, for the architecture of this machine.
fn build() -> Command {
    let mut build = Command::new(root().join("deploy/image/build"));
    build.env("ARCH", arch()).env_remove("IMAGE").env_remove("PUSH").stdin(Stdio::null());
    build
}

/// An image of that name, put together from the binary: built by whoever needs it first.
fn assembled(image: &str, umask: &str, to: &Path) -> Layout {
    let build = build();
    let mut shell = Command::new("bash");
    shell.args(["-c", "umask $0 && exec \"$1\"", umask]).arg(build.get_program());
    shell.envs(build.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("IMAGE", image).env("TO", to).env_remove("PUSH").stderr(Stdio::inherit());
    let output = shell.output().expect("the build starts");
    assert!(output.status.success(), "deploy/image/build failed: see above");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let (path, digest) = told.trim().split_once(' ').expect("a path and a digest");
    assert_eq!(Path::new(path), to);
    let layout = Layout::read(to);
    assert_eq!(layout.digest, digest);
    layout
}

/// The image of the tests.
fn image() -> &'static Layout {
    static IMAGE: OnceLock<Layout> = OnceLock::new();
    IMAGE.get_or_init(|| {
        assembled("registry.example/chancery:test", "022", &root().join("target/image/tested"))
    })
}

#[test]
fn without_a_place_for_it_no_image_is_built() {
    let refused = |image: Option<&str>| {
        let mut build = build();
        if let Some(image) = image {
            build.env("IMAGE", image);
        }
        let Output { status, stderr, .. } = build.output().expect("the build starts");
        assert_eq!(status.code(), Some(1));
        String::from_utf8_lossy(&stderr).into_owned()
    };
    // A port is no tag, and a digest is known only afterwards.
    for image in [None, Some("registry.example:5000/chancery"), Some("chancery@sha256:00")] {
        let told = refused(image);
        assert!(told.contains("There is no published image"), "{image:?}: {told}");
        assert!(told.contains("make image IMAGE=<repository>:<tag>"), "{image:?}: {told}");
    }
}

#[test]
fn where_the_binary_cannot_be_built_that_of_before_is_not_taken() {
    image();
    let fakes = tempfile::tempdir().expect("a directory");
    let cargo = fakes.path().join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\necho it does not compile >&2\nexit 101\n").expect("writes");
    std::fs::set_permissions(&cargo, Permissions::from_mode(0o755)).expect("it is ours");
    let path = std::env::var("PATH").expect("a path");
    let mut build = build();
    build.env("PATH", format!("{}:{path}", fakes.path().display()));
    let to = fakes.path().join("image");
    build.env("IMAGE", "registry.example/chancery:test").env("TO", &to);
    let Output { status, stderr, .. } = build.output().expect("the build starts");
    let told = String::from_utf8_lossy(&stderr);
    assert!(!status.success() && !to.exists(), "{told}");
    assert!(told.contains("it does not compile"), "{told}");
}

#[test]
fn the_same_binary_gives_the_same_digest_wherever_it_is_put_together() {
    let elsewhere = tempfile::tempdir().expect("a directory");
    let other =
        assembled("other.example:5000/team/other:v2", "077", &elsewhere.path().join("image"));
    assert_eq!(other.digest, image().digest);
}

#[test]
fn nothing_is_in_it_but_the_binary_and_the_roots() {
    let files = image().files();
    let expected = [
        ("chancery", "-r-xr-xr-x", "0/0"),
        ("etc/", "drwxr-xr-x", "0/0"),
        ("etc/ssl/", "drwxr-xr-x", "0/0"),
        ("etc/ssl/certs/", "drwxr-xr-x", "0/0"),
        ("etc/ssl/certs/ca-certificates.crt", "-r--r--r--", "0/0"),
    ];
    let expected = expected.map(|(path, mode, owner)| [path, mode, owner].map(str::to_owned));
    assert_eq!(files, expected);
    let tree = image().unpacked();
    let roots = std::fs::read(tree.path().join("etc/ssl/certs/ca-certificates.crt"));
    let roots = chancery::pki::parse_pem(&roots.expect("the roots")).expect("they can be read");
    assert!(roots.len() > 100, "{} roots", roots.len());
    // Nothing that only tests may have, and no directory of this machine.
    let binary = std::fs::read(tree.path().join("chancery")).expect("the binary");
    let has = |text: &str| binary.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(has("CHANCERY_HTTP_ADDRESS"), "the texts of the binary are found");
    for text in
        ["CHANCERY_FAILPOINT", "CHANCERY_MUTANT", root().to_str().expect("a path"), "/root/"]
    {
        assert!(!has(text), "the binary has {text}");
    }
}

/// Name and version of the crates whose sources the binary names, in messages of panics.
fn crates_in(binary: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(binary);
    let places = text.split("/cargo/registry/src/").skip(1);
    let names = places.filter_map(|rest| rest.split('/').nth(1).map(str::to_owned));
    names.collect()
}

#[test]
fn what_it_is_made_of_is_listed_and_nothing_else() {
    let to = tempfile::tempdir().expect("a directory");
    let file = to.path().join("sbom.cdx.json");
    let mut list = Command::new(root().join("deploy/image/sbom"));
    let own = root().join("target/tools/bin/cargo-cyclonedx");
    list.arg(if own.exists() { own.as_path() } else { Path::new("cargo-cyclonedx") });
    list.env("TO", &file).env("ARCH", arch()).stderr(Stdio::inherit());
    let output = list.output().expect("it starts");
    assert!(output.status.success(), "deploy/image/sbom failed: see above; make sbom installs it");
    let text = std::fs::read_to_string(&file).expect("a list");
    assert!(!text.contains(root().to_str().expect("a path")), "a directory of this machine");
    let list: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&list["bomFormat"], &list["specVersion"]), (&json!("CycloneDX"), &json!("1.5")));
    let parts = list["components"].as_array().expect("components");
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    let named = |name: &str| parts.iter().any(|part| part["name"] == name);
    let all =
        parts.iter().map(|part| format!("{}-{}", word(&part["name"]), word(&part["version"])));
    let all: BTreeSet<String> = all.collect();
    let tree = image().unpacked();
    let binary = std::fs::read(tree.path().join("chancery")).expect("the binary");
    let linked = crates_in(&binary);
    assert!(linked.len() > 40, "{linked:?}");
    let missing: Vec<_> = linked.difference(&all).collect();
    assert!(missing.is_empty(), "in the binary, and not listed: {missing:?}");
    for name in ["aws-lc-sys", "ca-certificates", "glibc", "kube", "rust-std"] {
        assert!(named(name), "{name} is not listed");
    }
    // Of tests, of the build, and macros, which run in the compiler.
    for name in ["cc", "kube-derive", "proptest", "serde_derive", "syn", "tempfile"] {
        assert!(!named(name), "{name} is listed");
    }
    let hash = Command::new("sha256sum").arg(tree.path().join("chancery")).output();
    let hash = String::from_utf8_lossy(&hash.expect("sha256sum").stdout).into_owned();
    let listed = word(&list["metadata"]["component"]["hashes"][0]["content"]);
    assert_eq!(hash.split(' ').next(), Some(listed.as_str()));
}

/// The words of an instruction of the Dockerfile's last stage.
fn instructions(name: &str) -> Vec<String> {
    let text =
        std::fs::read_to_string(root().join("deploy/image/Dockerfile")).expect("it is there");
    let text = text.replace("\\\n", " ");
    let last = text.split("\nFROM scratch\n").nth(1).expect("the last stage").to_owned();
    let of = |line: &str| line.strip_prefix(name).map(|rest| rest.trim().to_owned());
    last.lines().filter_map(of).collect()
}

#[test]
fn it_says_what_it_is_and_the_dockerfile_says_the_same() {
    let config = &image().config["config"];
    assert_eq!(config["User"], json!("65532:65532"));
    assert_eq!(config["Entrypoint"], json!(["/chancery"]));
    assert_eq!(instructions("USER "), [config["User"].as_str().expect("a user")]);
    assert_eq!(instructions("ENTRYPOINT "), [config["Entrypoint"].to_string()]);
    assert_eq!(instructions("WORKDIR "), [config["WorkingDir"].as_str().expect("a directory")]);
    let labels = config["Labels"].as_object().expect("labels");
    assert_eq!(labels["org.opencontainers.image.version"], env!("CARGO_PKG_VERSION"));
    let revision = labels["org.opencontainers.image.revision"].as_str().expect("a commit");
    assert!(revision.len() >= 40 && !revision.contains(char::is_whitespace), "{revision}");
    let said = instructions("LABEL ");
    assert_eq!(said.len(), labels.len());
    for (name, value) in labels {
        let value = if name.ends_with("revision") { "$REVISION" } else { &value.to_string() };
        assert!(said.contains(&format!("{name}={value}")), "{name}={value}: {said:?}");
    }
    // Of the time of the commit, and of nothing else.
    let created: jiff::Timestamp =
        config_time(&image().config).parse().expect("a time like 2026-11-30T10:00:00Z");
    let mut git = Command::new("git");
    let commit = git.current_dir(root()).args(["log", "-1", "--format=%ct"]).output();
    let commit = String::from_utf8_lossy(&commit.expect("git").stdout).into_owned();
    assert_eq!(created.as_second().to_string(), commit.trim());
}

fn config_time(config: &Value) -> &str {
    config["created"].as_str().expect("a time")
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_container_without_rights_it_gets_ready_finds_its_ca_by_name_and_issues() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let names = Names::start();
    let pod = Pod::of(&cluster, &names);
    let begun = Instant::now();
    let mut container = Container::start(image(), &pod, &pod.args());
    container.operator.wait_until_ready();
    let ready = begun.elapsed();
    container.operator.wait_until_it_acts();
    let status = container.status();
    for (name, value) in [
        ("Uid", "65532\t65532\t65532\t65532"),
        ("Gid", "65532\t65532\t65532\t65532"),
        ("Groups", ""),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapBnd", "0000000000000000"),
        ("NoNewPrivs", "1"),
    ] {
        assert_eq!(status[name], value, "{name}");
    }
    let site = cluster.simulator.online_ca("shop");
    site.configure(json!({"minKeyBits": 256})).await;
    for object in online_ca(&cluster).await {
        cluster.apply(&object);
    }
    cluster.until_reason("portal", "Issued");
    assert_eq!(site.issued().await.len(), 1);
    // The resolver of a static binary, without a file of the machine's.
    assert!(names.asked().contains("localhost"), "{:?}", names.asked());
    let status = container.status();
    println!(
        "image: {:.1} MiB, unpacked {:.1} MiB; ready after {} ms; {} resident, at most {}",
        mebibytes(image().size()),
        mebibytes(image().unpacked_size()),
        ready.as_millis(),
        status["VmRSS"],
        status["VmHWM"],
    );
    assert_eq!(container.stop(), Some(0));
}

#[test]
fn in_a_container_nothing_can_be_written_even_by_the_operator_itself() {
    let cluster = Cluster::new();
    cluster.install(&[]);
    let pod = Pod::of(&cluster, &Names::start());
    let mut container = Container::start(image(), &pod, &["crds", "--dir", "/"]);
    let code = container.operator.process.wait(Duration::from_secs(60));
    let told = container.operator.process.log();
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("Read-only file system"), "{told}");
}

fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes).expect("less than 4 GiB")) / f64::from(1 << 20)
}

/// The free CA, with a request at it.
async fn online_ca(cluster: &Cluster) -> [Value; 3] {
    let site = cluster.simulator.online_ca("shop");
    let request = json!({
        "apiVersion": "chancery.dev/v1alpha1", "kind": "CertificateRequest",
        "metadata": {"name": "portal", "namespace": "shop"},
        "spec": {
            "issuerRef": {"name": "ca"}, "secretName": "portal-tls",
            "privateKey": {"algorithm": "ECDSA"}, "onlineCa": {},
        },
    });
    let [credentials, issuer] = site.issuer("shop").await;
    [credentials, issuer, request]
}
