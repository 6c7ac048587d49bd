//! What reads bytes of somebody else, on the inputs that are kept in `fuzz/corpus`. `make fuzz` searches
//! for others; one that breaks something is mended and kept here.

#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "tests tell by failing, and what they run is shared with the search"
)]

mod bodies;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A search allows a tenth of a second, with optimisation; nothing is optimised here.
const LONGEST: Duration = Duration::from_secs(1);
/// So many bytes all of it has: it is read by everybody who clones the project.
const MOST: usize = 300 * 1024;

/// For how long this thread has worked: other tests may have the processor in between.
fn worked() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

#[test]
fn every_input_that_is_kept_is_read_in_little_time() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let mut length = 0;
    for (name, body) in bodies::ALL {
        let mut inputs: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().flatten().collect();
        inputs.sort_by_key(fs::DirEntry::path);
        assert!(!inputs.is_empty(), "{name} has no inputs");
        for input in inputs {
            let data = fs::read(input.path()).unwrap();
            length += data.len();
            let begun = worked();
            body(&data);
            let took = worked().saturating_sub(begun);
            assert!(took < LONGEST, "{} took {took:?}", input.path().display());
        }
    }
    assert!(length < MOST, "{length} bytes");
}

#[test]
fn each_reader_has_a_target_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let stems = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root.join(folder)).unwrap().flatten();
        let stem = |entry: fs::DirEntry| entry.path().file_stem()?.to_str().map(str::to_owned);
        entries.filter_map(stem).collect()
    };
    let named: BTreeSet<String> = bodies::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems("corpus"), named);
    assert_eq!(stems("fuzz_targets"), named);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in named {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not built");
    }
}
