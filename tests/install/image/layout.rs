//! An image as the OCI image specification lays it out on a disk.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

pub(super) struct Layout {
    at: PathBuf,
    /// Of its manifest: what a registry calls it.
    pub(super) digest: String,
    /// What it says of itself.
    pub(super) config: Value,
    manifest: Value,
}

impl Layout {
    pub(super) fn read(at: &Path) -> Self {
        let index = std::fs::read_to_string(at.join("index.json")).expect("an index");
        let index: Value = serde_json::from_str(&index).expect("JSON");
        let digest = text(&index["manifests"][0]["digest"]);
        let manifest = json(&blob(at, &digest));
        let config = json(&blob(at, &text(&manifest["config"]["digest"])));
        assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "one layer");
        Self { at: at.to_owned(), digest, config, manifest }
    }

    /// Bytes that a registry sends.
    pub(super) fn size(&self) -> u64 {
        let parts = [&self.manifest["config"]["size"], &self.manifest["layers"][0]["size"]];
        parts.into_iter().map(|size| size.as_u64().expect("a number")).sum()
    }

    /// Bytes that a node keeps.
    pub(super) fn unpacked_size(&self) -> u64 {
        let tree = self.unpacked();
        let size = |path: &str| tree.path().join(path).metadata().expect("a file").len();
        size("chancery") + size("etc/ssl/certs/ca-certificates.crt")
    }

    /// Path, mode and owner of all that is in it.
    pub(super) fn files(&self) -> Vec<[String; 3]> {
        let mut tar = Command::new("tar");
        let list = tar.args(["--list", "--verbose", "--numeric-owner", "--gzip", "--file"]);
        let output = list.arg(self.layer()).output().expect("tar starts");
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = lines.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let parts = |words: Vec<&str>| [words[5], words[0], words[1]].map(str::to_owned);
        let mut files: Vec<_> = words.map(parts).collect();
        files.sort();
        files
    }

    /// A root file system.
    pub(super) fn unpacked(&self) -> TempDir {
        let tree = tempfile::tempdir().expect("a directory");
        let mut tar = Command::new("tar");
        let into = tar.arg("--directory").arg(tree.path());
        let unpack = into.args(["--extract", "--gzip", "--numeric-owner", "--file"]);
        assert!(unpack.arg(self.layer()).status().expect("tar starts").success());
        tree
    }

    fn layer(&self) -> PathBuf {
        blob(&self.at, &text(&self.manifest["layers"][0]["digest"]))
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn blob(at: &Path, digest: &str) -> PathBuf {
    at.join("blobs").join(digest.replace(':', "/"))
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).expect("a blob")).expect("JSON")
}
