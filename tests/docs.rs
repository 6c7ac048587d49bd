//! The documents keep their form, and name nothing that is gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// As for code, so that two of them fit side by side.
const WIDTH: usize = 100;

struct Document {
    path: PathBuf,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<Document> {
    let mut paths = Vec::new();
    for folder in [root().to_owned(), root().join("docs")] {
        let entries = std::fs::read_dir(folder).expect("a folder");
        paths.extend(entries.map(|entry| entry.expect("an entry").path()));
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    assert!(paths.len() >= 8, "the documents were found: {paths:?}");
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("text");
        Document { path: path.strip_prefix(root()).expect("below the root").to_owned(), text }
    };
    paths.into_iter().map(read).collect()
}

/// Tables cannot wrap, and neither can a single word such as an address.
fn is_too_long(line: &str) -> bool {
    let can_wrap = line.trim_start_matches(['-', '*', ' ']).contains(' ');
    line.chars().count() > WIDTH && can_wrap && !line.starts_with('|')
}

#[test]
fn lines_wrap() {
    let mut long = Vec::new();
    for document in documents() {
        let lines = document.text.lines().enumerate().filter(|(_, line)| is_too_long(line));
        long.extend(lines.map(|(at, _)| format!("{}:{}", document.path.display(), at + 1)));
    }
    assert!(long.is_empty(), "longer than {WIDTH}: {long:#?}");
}

/// Targets of the links in a text, without those to other hosts.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// The anchors that GitHub gives to the headings of a text.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let words = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut dead = Vec::new();
    let mut count = 0;
    for document in documents() {
        for link in links(&document.text) {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = document.path.parent().expect("a folder");
            let target = if file.is_empty() { document.path.clone() } else { folder.join(file) };
            let place = root().join(target);
            let text = std::fs::read_to_string(&place).unwrap_or_default();
            if !place.exists() || !anchor.is_empty() && !anchors(&text).contains(anchor) {
                dead.push(format!("{}: {link}", document.path.display()));
            }
        }
    }
    assert!(count >= 20, "{count} links were found");
    assert!(dead.is_empty(), "dead links: {dead:#?}");
}

/// What stands between backticks on one line.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn paths_exist() {
    const PLACES: [&str; 7] =
        ["src/", "tests/", "docs/", "deploy/", "benches/", "crds/", "charts/"];
    let mut gone = Vec::new();
    let mut count = 0;
    for document in documents() {
        let is_path = |words: &&str| {
            PLACES.iter().any(|place| words.starts_with(place))
                && !words.contains(['*', '<', ' ', '…'])
        };
        for path in quoted(&document.text).filter(is_path) {
            count += 1;
            if !root().join(path).exists() {
                gone.push(format!("{}: {path}", document.path.display()));
            }
        }
    }
    assert!(count >= 40, "{count} paths were found");
    assert!(gone.is_empty(), "named and not there: {gone:#?}");
}

#[test]
fn the_public_workflow_and_ours_run_the_same_and_hold_no_secret() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("text");
    let (public, ours) = (read(".github/workflows/ci.yml"), read(".ci/run"));
    let ours = ours.lines().find_map(|line| line.strip_prefix("make ")).expect("targets");
    let list = public.split("target: [").nth(1).and_then(|rest| rest.split(']').next());
    assert_eq!(list.expect("targets").replace(", ", " "), ours);
    assert!(public.contains("run: make ${{ matrix.target }}"));
    assert!(read("CONTRIBUTING.md").contains(&format!("`make {ours}`")));
    assert!(!public.contains("secrets."), "it has a secret");
    // Built and tested with the same compiler, the oldest that will do.
    let dockerfile = read("deploy/image/Dockerfile");
    let image =
        dockerfile.lines().find_map(|line| line.strip_prefix("FROM ")?.strip_suffix(" AS build"));
    let image = image.expect("an image to build in");
    assert!(public.contains(&format!("image: {image}\n")), "{image}");
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    assert!(image.starts_with(&format!("rust:{oldest}-")), "{image} for {oldest}");
}

/// All sources below `place`, as one text.
fn sources(place: &str) -> String {
    let mut text = String::new();
    let mut folders = vec![root().join(place)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    text
}

/// The names of tests in a text that do not exist; at least `least` are named.
fn missing_tests(text: &str, least: usize) -> Vec<&str> {
    let is_name = |words: &&str| {
        words.matches('_').count() >= 3
            && words.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            && !words.starts_with("chancery_")
    };
    let names: BTreeSet<&str> = quoted(text).filter(is_name).collect();
    assert!(names.len() >= least, "{} names were found", names.len());
    let tests = sources("tests") + &sources("src");
    names.into_iter().filter(|name| !tests.contains(&format!("fn {name}("))).collect()
}

#[test]
fn tests_that_the_proof_and_the_threat_model_name_exist() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("text");
    let proof = read("docs/proof.md");
    let table = proof.split("## What goes wrong").nth(1).expect("its table");
    let table = table.split("\n## ").next().expect("a section");
    let gone = missing_tests(table, 40);
    assert!(gone.is_empty(), "no such tests: {gone:#?}");
    let threats = read("SECURITY.md");
    let gone = missing_tests(&threats, 25);
    assert!(gone.is_empty(), "no such tests: {gone:#?}");
}

/// The reasons that the sources list, one a line, which have to do with orders.
fn reasons(code: &str) -> BTreeSet<&str> {
    let list = code.split("\nreasons! {").nth(1).and_then(|rest| rest.split("\n}").next());
    let words = list.unwrap_or_default().lines().map(str::trim);
    words.filter(|word| word.contains("Order") && word.chars().all(char::is_alphanumeric)).collect()
}

#[test]
fn the_runbook_knows_every_reason_that_speaks_of_an_order() {
    let runbook = std::fs::read_to_string(root().join("ORDERS.md")).expect("the runbook");
    let code = std::fs::read_to_string(root().join("src/reason.rs")).expect("the reasons");
    let reasons = reasons(&code);
    assert!(reasons.len() >= 20, "the reasons were found: {reasons:?}");
    let unknown: Vec<&&str> =
        reasons.iter().filter(|reason| !runbook.contains(&format!("`{reason}`"))).collect();
    assert!(unknown.is_empty(), "ORDERS.md says nothing of {unknown:?}");
    // What keeps an order from being made has a next move too.
    let table = |reason: &&str| {
        runbook.lines().any(|line| line.starts_with('|') && line.contains(&format!("`{reason}`")))
    };
    let unknown: Vec<&str> = STOPS.into_iter().filter(|reason| !table(reason)).collect();
    assert!(unknown.is_empty(), "no table of ORDERS.md has {unknown:?}");
    for reason in STOPS {
        assert!(code.contains(&format!("\n    {reason}\n")), "there is no reason {reason}");
    }
}

/// Reasons that speak of no order, and keep one from being made.
const STOPS: [&str; 11] = [
    "AccountPaused",
    "AddressRefused",
    "IssuerSuspended",
    "NamespaceBudgetSpent",
    "NamespaceNotAllowed",
    "NotAllowed",
    "ProxyRefused",
    "RunPanicked",
    "Suspended",
    "TemplateNotAllowed",
    "TooLong",
];

/// What follows `before`, as far as it consists of small letters and `also`.
fn after<'a>(text: &'a str, before: &str, also: &[char]) -> BTreeSet<&'a str> {
    let ends = |letter: char| !letter.is_ascii_lowercase() && !also.contains(&letter);
    let words = text.split(before).skip(1).map(|rest| rest.split(ends).next().unwrap_or_default());
    words.filter(|word| !word.is_empty()).collect()
}

#[test]
fn commands_flags_metrics_and_annotations_exist() {
    let text: String = documents().into_iter().map(|document| document.text).collect();
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("text");
    let (makefile, cli, metrics) = (read("Makefile"), read("src/cli.rs"), read("src/metrics.rs"));
    let mut gone = Vec::new();
    let mut count = 0;
    let mut check = |words: BTreeSet<&str>, what: &str, exists: &dyn Fn(&str) -> bool| {
        count += words.len();
        let unknown = words.into_iter().filter(|word| !exists(word));
        gone.extend(unknown.map(|word| format!("{what} {word}")));
    };
    for before in ["`make ", "$ make "] {
        let is_target = |word: &str| makefile.contains(&format!("\n{word}:"));
        check(after(&text, before, &[]), "make", &is_target);
    }
    let is_flag = |word: &str| cli.contains(&format!("    {}: ", word.replace('-', "_")));
    check(after(&text, "(`--", &['-']), "the flag", &is_flag);
    // What ends with an underscore stands for several.
    let is_metric = |word: &str| {
        // Counters are told with an ending that the library adds.
        let name = word.strip_suffix("_total").unwrap_or(word);
        word.ends_with('_') || metrics.contains(&format!("\"{name}\""))
    };
    check(after(&text, "`chancery_", &['_']), "the metric", &is_metric);
    let api = sources("src/api");
    let is_ours = |word: &str| word == "v" || api.contains(&format!("\"chancery.dev/{word}\""));
    check(after(&text, "chancery.dev/", &['-']), "the annotation", &is_ours);
    assert!(count >= 20, "{count} names were found");
    assert!(gone.is_empty(), "the documents name what does not exist: {gone:#?}");
}

/// The commands for kubectl in a text that name one of our kinds by a word that other groups have
/// too: with cert-manager installed, they would go to its kind.
fn unqualified(text: &str) -> Vec<String> {
    const KINDS: [&str; 8] = [
        "certificaterequest",
        "certificaterequests",
        "issuer",
        "issuers",
        "clusterissuer",
        "clusterissuers",
        "cr",
        "crs",
    ];
    // A command ends where its quotation does, or its line in a block of code.
    let ends = ['`', '"', '\n', ';', ')', '(', '\''];
    let commands = text.split("kubectl ").skip(1);
    let commands = commands.map(|rest| rest.split(ends).next().unwrap_or_default());
    let names_one = |command: &&str| {
        let mut words = command.split([' ', ',', '/']);
        !command.contains("--api-version=chancery.dev/")
            && words.any(|word| {
                KINDS.contains(&word.split('.').next().unwrap_or_default())
                    && !word.contains(".chancery.dev")
            })
    };
    commands.filter(names_one).map(str::to_owned).collect()
}

#[test]
fn commands_that_are_proposed_go_to_our_kinds() {
    let mut text = sources("src");
    text.extend(documents().into_iter().map(|document| document.text));
    for folder in ["deploy", "deploy/examples", "crds"] {
        for entry in std::fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                text.push_str(&std::fs::read_to_string(&path).expect("text"));
            }
        }
    }
    // Prose wraps, and so do commands in it.
    let text = text.replace("\n/// ", " ").replace("\n//! ", " ");
    assert!(text.matches("kubectl ").count() >= 20, "commands were found");
    assert!(text.contains("kubectl annotate certificaterequests.chancery.dev "), "that of a hold");
    let found = unqualified(&text);
    assert!(found.is_empty(), "these may go to another group's kind: {found:#?}");
}

#[test]
fn these_rules_can_fail() {
    let word = "x".repeat(WIDTH);
    assert!(is_too_long(&format!("a {word}")) && !is_too_long(&format!("- {word}x")));
    assert!(!is_too_long(&format!("| a | {word} |")) && !is_too_long("ü".repeat(99).as_str()));
    let text = "# A `b` c, d!\n[x](y.md#z) and [q](https://example.org) `src/a.rs`\n";
    assert_eq!(links(text).collect::<Vec<_>>(), ["y.md#z"]);
    assert!(anchors(text).contains("a-b-c-d"));
    assert_eq!(quoted(text).collect::<Vec<_>>(), ["b", "src/a.rs"]);
    assert_eq!(after("`make a-b` and `make c`", "`make ", &[]), BTreeSet::from(["a", "c"]));
    assert_eq!(after("(`--a-b=1`)", "(`--", &['-']), BTreeSet::from(["a-b"]));
    let asks = "`kubectl get certificaterequest x`, kubectl explain issuer.spec; kubectl get cr/x";
    assert_eq!(unqualified(asks).len(), 3);
    let asks = "kubectl get issuers.chancery.dev x\nkubectl get chreq\n a certificaterequest";
    assert!(unqualified(asks).is_empty());
    let code = "\nreasons! {\n    /// An Order.\n    OrderLost\n    Issued\n}\nOrderOther\n";
    assert_eq!(reasons(code), BTreeSet::from(["OrderLost"]));
}
