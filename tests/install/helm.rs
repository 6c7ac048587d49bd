//! The real helm.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::support::root;

/// Where an image would be: nobody pulls it here.
pub const IMAGE: &str = "image.repository=registry.example/chancery";

/// Built by whoever needs it first.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let mut build = Command::new(root().join("tests/install/helm/build"));
        let output = build.stderr(Stdio::inherit()).output().expect("the build starts");
        assert!(output.status.success(), "tests/install/helm/build failed: see above");
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    })
}

/// Runs helm against a cluster, or without one: what it printed, or what it complained about.
pub fn helm(kubeconfig: Option<&Path>, args: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(program());
    command.current_dir(root()).args(args).env("HELM_CACHE_HOME", home.path());
    command.env("HELM_CONFIG_HOME", home.path()).env("HELM_DATA_HOME", home.path());
    command.env("KUBECONFIG", kubeconfig.unwrap_or_else(|| Path::new("/nonexistent")));
    let output = command.output().expect("helm starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// What the chart comes to with these values, and an image.
pub fn rendered(values: &[&str]) -> Result<Vec<Value>, String> {
    rendered_without_image(&[&["--set", IMAGE], values].concat())
}

/// The same, where nothing is said of an image.
pub fn rendered_without_image(values: &[&str]) -> Result<Vec<Value>, String> {
    let template = ["template", "chancery", "charts/chancery", "--namespace", "chancery"];
    helm(None, &[&template, values].concat()).map(|text| documents(&text))
}

/// The objects in a file of YAML.
pub fn documents(yaml: &str) -> Vec<Value> {
    let documents = yaml.split("\n---\n").map(|text| text.trim_start_matches("---\n"));
    let objects = documents.filter(|text| text.lines().any(|line| line.starts_with("kind:")));
    objects.map(|text| serde_yaml::from_str(text).expect("YAML")).collect()
}

/// The one object of a kind.
pub fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|object| object["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("there is no {kind}"));
    assert!(found.next().is_none(), "there is more than one {kind}");
    object
}
