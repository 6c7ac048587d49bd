//! Dependencies point one way, and each outside thing is named in one place. Checked on the text of
//! the sources, for that is what a reader goes by.

#[path = "docs.rs"]
mod docs;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A file as the rules see it: without comments and without what only tests compile.
struct Source {
    path: String,
    lines: Vec<(usize, String)>,
}

/// Reads `place` below the root of the crate, a file or a folder, with everything in it.
///
/// It fails where there is nothing to read: a rule that looks at nothing always holds.
fn sources(place: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(place), &mut files);
    files.sort();
    let sources: Vec<Source> = files
        .iter()
        .filter(|file| !is_test_only(file))
        .map(|file| {
            let path = file.strip_prefix(root).expect("a file of the crate").display().to_string();
            let text = std::fs::read_to_string(file).expect(&path);
            Source { path, lines: code(&text) }
        })
        .collect();
    let lines: usize = sources.iter().map(|source| source.lines.len()).sum();
    assert!(lines > 0, "{place} holds no code");
    sources
}

fn collect(place: &Path, files: &mut Vec<PathBuf>) {
    if place.is_dir() {
        let entries = std::fs::read_dir(place).expect("a folder that can be read");
        entries.for_each(|entry| collect(&entry.expect("an entry").path(), files));
    } else if place.extension().is_some_and(|extension| extension == "rs") {
        files.push(place.to_owned());
    } else {
        assert!(place.exists(), "{} does not exist", place.display());
    }
}

/// Modules that are declared under `#[cfg(test)]`, which [`test_modules_are_declared_as_such`]
/// checks.
fn is_test_only(file: &Path) -> bool {
    const TEST_MODULES: [&str; 3] = ["tests.rs", "fixtures.rs", "world.rs"];
    file.file_name().is_some_and(|name| TEST_MODULES.iter().any(|test| name == *test))
}

/// The lines that are compiled into the program, with their numbers from 1.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut code = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" || line.trim().starts_with("#[cfg(all(test,") {
            let indent = line.len() - line.trim_start().len();
            let end = format!("{}}}", " ".repeat(indent));
            // An item ends with a semicolon, or with a brace that stands where the item began.
            for (_, line) in lines.by_ref() {
                if line.ends_with(';') && !line.starts_with(&" ".repeat(indent + 1)) || line == end
                {
                    break;
                }
            }
        } else if !line.trim_start().starts_with("//") && !line.trim().is_empty() {
            code.push((number + 1, line.to_owned()));
        }
    }
    code
}

fn word_starts(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    })
}

/// Where one of `names` stands at the beginning of a word.
fn mentions(sources: &[Source], names: &[&str]) -> Vec<String> {
    let in_source = |source: &Source| {
        source
            .lines
            .iter()
            .flat_map(|(number, line)| {
                let found = names.iter().filter(move |name| word_starts(line, name));
                found.map(move |name| (*number, (*name).to_owned()))
            })
            .map(|(number, name)| format!("{}:{number} names {name}", source.path))
            .collect::<Vec<_>>()
    };
    sources.iter().flat_map(in_source).collect()
}

fn without(sources: Vec<Source>, exempt: &[&str]) -> Vec<Source> {
    for path in exempt {
        assert!(sources.iter().any(|source| source.path == *path), "{path} is gone: mend the rule");
    }
    sources.into_iter().filter(|source| !exempt.contains(&source.path.as_str())).collect()
}

/// A clock, by whatever name.
const CLOCKS: [&str; 6] =
    ["Timestamp::now", "Zoned::now", "SystemTime", "Instant", "OffsetDateTime::now", "Utc::now"];

fn assert_none(mentions: &[String]) {
    assert!(mentions.is_empty(), "{mentions:#?}");
}

#[test]
fn the_core_knows_no_client_and_no_clock() {
    let mut core = sources("src/issuance");
    core.extend(sources("src/issuance.rs"));
    assert!(core.len() >= 8, "all of the core was read");
    assert_none(&mentions(&core, &["kube::", "reqwest", "tokio", "axum", "crate::controller"]));
    assert_none(&mentions(&core, &CLOCKS));
    assert_none(&mentions(
        &core,
        &["async fn", "async move", ".await", "rand::", "std::fs", "std::env"],
    ));
    let now = |source: &Source| source.lines.iter().any(|(_, line)| line.contains("::now("));
    assert!(!core.iter().any(now), "the core is given the time");
}

#[test]
fn the_api_types_know_no_client() {
    let mut api = sources("src/api");
    api.extend(sources("src/api.rs"));
    assert!(api.len() >= 5, "all of the API was read");
    let clients = ["kube::Client", "kube::client", "kube::Api", "kube::runtime", "kube::Config"];
    assert_none(&mentions(&api, &clients));
    assert_none(&mentions(&api, &["tokio", "reqwest", "axum", "async fn"]));
    assert_none(&mentions(&api, &CLOCKS));
    let others = ["crate::ca", "crate::controller", "crate::issuance", "crate::pki"];
    assert_none(&mentions(&api, &others));
}

#[test]
fn keys_and_certificates_know_nothing_of_kubernetes_or_the_network() {
    let mut pki = sources("src/pki");
    pki.extend(sources("src/pki.rs"));
    assert!(pki.len() >= 6, "all of pki was read");
    assert_none(&mentions(&pki, &["kube", "k8s_openapi", "tokio", "reqwest", "hyper", "http::"]));
    assert_none(&mentions(&pki, &CLOCKS));
    let now = |source: &Source| source.lines.iter().any(|(_, line)| line.contains("::now("));
    assert!(!pki.iter().any(now), "pki is given the time");
    let others =
        ["crate::api", "crate::ca", "crate::controller", "crate::issuance", "crate::outside"];
    assert_none(&mentions(&pki, &others));
}

#[test]
fn what_clients_of_outside_systems_share_knows_none_of_them() {
    let mut outside = sources("src/outside");
    outside.extend(sources("src/outside.rs"));
    assert!(outside.len() >= 5, "all of outside was read");
    let others = ["crate::api", "crate::ca", "crate::controller", "crate::issuance"];
    assert_none(&mentions(&outside, &others));
    assert_none(&mentions(&outside, &["kube::", "k8s_openapi"]));
}

#[test]
fn certificate_authorities_know_nothing_of_kubernetes_clients_and_of_the_core() {
    let mut ca = sources("src/ca");
    ca.extend(sources("src/ca.rs"));
    assert_none(&mentions(&ca, &["kube::", "crate::controller", "crate::issuance"]));
}

#[test]
fn the_simulator_shares_no_code_with_the_operator() {
    let mut simulator = sources("src/simulator");
    simulator.extend(sources("src/simulator.rs"));
    for source in &mut simulator {
        source.lines.retain(|(_, line)| !line.contains("crate::simulator"));
    }
    assert_none(&mentions(&simulator, &["crate::", "chancery::"]));
}

#[test]
fn only_the_transport_knows_reqwest() {
    let all = sources("src");
    let transport = sources("src/outside/transport.rs");
    assert!(!mentions(&transport, &["reqwest"]).is_empty(), "the transport has moved");
    assert_none(&mentions(&without(all, &["src/outside/transport.rs"]), &["reqwest"]));
}

#[test]
fn only_one_module_reads_the_wall_clock() {
    // The simulator, where there is one, is a program of its own and no part of the operator.
    let operator: Vec<Source> = without(sources("src"), &["src/clock.rs", "src/cli.rs"])
        .into_iter()
        .filter(|source| {
            !source.path.starts_with("src/simulator") && !source.path.starts_with("src/bin/")
        })
        .collect();
    let wall = ["Timestamp::now", "Zoned::now", "SystemTime", "OffsetDateTime::now", "Utc::now"];
    assert_none(&mentions(&operator, &wall));
    assert_none(&mentions(&operator, &["std::time::Instant"]));
    let clock = sources("src/clock.rs");
    let reads = clock[0].lines.iter().filter(|(_, line)| word_starts(line, "Timestamp::now"));
    assert_eq!(reads.count(), 1, "Clock::system reads it");
}

#[test]
fn only_the_account_submits() {
    let controller = sources("src/controller");
    let submits = |sources: &[Source]| {
        let lines = sources.iter().flat_map(|source| &source.lines);
        lines.filter(|(_, line)| line.contains("ca.submit(")).count()
    };
    let accounts = sources("src/controller/issuer/accounts.rs");
    assert_eq!(submits(&accounts), 2, "with and without a pace, and for a grant that is used up");
    assert_eq!(submits(&without(controller, &["src/controller/issuer/accounts.rs"])), 0);
}

/// The folders of `src/ca`: one for each kind of CA.
fn kinds_of_ca() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ca");
    let entries = std::fs::read_dir(folder).expect("the CAs").map(|entry| entry.expect("an entry"));
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut kinds: Vec<String> =
        folders.map(|folder| folder.file_name().to_string_lossy().into_owned()).collect();
    kinds.sort();
    assert!(kinds.len() >= 2, "{kinds:?}");
    kinds
}

/// Whether text holds the name of a kind of CA, however it is written: `house_ca`, `houseCa`,
/// `HouseCa`, `house-ca` or `House CA`.
fn names_kind(text: &str, kind: &str) -> bool {
    let text = text.to_lowercase();
    let (joined, apart) = (kind.replace('_', ""), kind.replace('_', " "));
    let is_end = |at: usize| !text[at..].starts_with(|next: char| next.is_ascii_alphabetic());
    text.replace(['_', '-'], "").contains(&joined)
        || text.match_indices(&apart).any(|(at, _)| is_end(at + apart.len()))
}

/// Files of the API in which a CA has to be named beside its own: the block's field and rules in a
/// spec. What other lines may say is in `is_place_in_the_api`.
const SPECS: [&str; 2] = ["src/api/issuer.rs", "src/api/certificate_request.rs"];

/// Whether this line of the API is one where a CA has its place: its module and exports, and in a
/// spec its field, with documentation, and the rules that admission checks.
fn is_place_in_the_api(path: &str, line: &str, kind: &str) -> bool {
    let joined = kind.replace('_', "");
    let module = |line: &str| {
        let rest =
            ["mod ", "pub use self::", "use super::"].iter().find_map(|all| line.strip_prefix(all));
        rest.and_then(|rest| rest.split([':', ';']).next())
            .is_some_and(|module| module.replace('_', "") == joined)
    };
    let is_export = |line: &str| {
        // A list of exports that is too long for one line.
        let names = line.trim().trim_end_matches(',').split(", ");
        line.starts_with("    ")
            && line.ends_with(',')
            && names.into_iter().all(|name| {
                name.to_lowercase().starts_with(&joined) && name.chars().all(char::is_alphanumeric)
            })
    };
    let line_in_spec = line.trim_start();
    match path {
        "src/api.rs" => module(line) || is_export(line),
        _ if SPECS.contains(&path) => {
            module(line)
                || line_in_spec.starts_with("validation = Rule::new(")
                || line_in_spec.starts_with("/// ")
                || line_in_spec
                    .strip_prefix("pub ")
                    .and_then(|rest| rest.split_once(": Option<"))
                    .is_some_and(|(field, _)| field.replace('_', "") == joined)
        }
        _ => false,
    }
}

/// A new CA is one folder, one block in the API with its field and rules, and one line in the
/// registry.
#[test]
fn a_ca_is_named_in_its_folder_in_the_api_and_in_the_registry_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    let mut elsewhere = Vec::new();
    let mut listed = Vec::new();
    for kind in kinds_of_ca() {
        let own = [format!("src/ca/{kind}/"), format!("src/ca/{kind}.rs")];
        let is_block = |path: &str| {
            path.strip_prefix("src/api/")
                .and_then(|rest| rest.strip_suffix(".rs"))
                .is_some_and(|name| name.replace('_', "") == kind.replace('_', ""))
        };
        let lines = [
            ("src/ca.rs", format!("pub mod {kind};")),
            ("src/ca/registry.rs", format!("    super::{kind}::KIND,")),
        ];
        for file in &files {
            let path = file.strip_prefix(root).expect("a file of the crate").display().to_string();
            // The simulator plays them, and is no part of the operator.
            let is_free = ["src/simulator", "src/bin/"];
            let mut is_free = is_free.iter().copied().chain(own.iter().map(String::as_str));
            if is_free.any(|free| path.starts_with(free)) || is_block(&path) {
                continue;
            }
            // Comments and tests too: what they say of one CA is not true of the next.
            let text = std::fs::read_to_string(file).expect(&path);
            for (number, line) in text.lines().enumerate() {
                if lines.iter().any(|(place, said)| path == *place && line == said) {
                    listed.push(format!("{path} lists {kind}"));
                } else if names_kind(line, &kind) && !is_place_in_the_api(&path, line, &kind) {
                    elsewhere.push(format!("{path}:{} names {kind}: {line}", number + 1));
                }
            }
        }
    }
    assert_none(&elsewhere);
    assert_eq!(listed.len(), 2 * kinds_of_ca().len(), "{listed:#?}");
}

#[test]
fn the_api_names_a_ca_only_where_it_has_its_place() {
    let cases = [
        ("src/api.rs", "mod house;", true),
        ("src/api.rs", "pub use self::house::{", true),
        ("src/api.rs", "    HouseClient, HouseOrder,", true),
        ("src/api.rs", "    let house = HouseClient::default();", false),
        ("src/api/issuer.rs", "use super::house::House;", true),
        ("src/api/issuer.rs", "    pub house: Option<House>,", true),
        ("src/api/issuer.rs", "    /// A House CA, of the house.", true),
        ("src/api/issuer.rs", "    validation = Rule::new(\"has(self.house)\")", true),
        ("src/api/issuer.rs", "        if self.house.is_some() {", false),
        ("src/api/condition.rs", "    /// What a House CA says.", false),
        ("src/api/names.rs", "use super::house::House;", false),
    ];
    for (path, line, expected) in cases {
        assert_eq!(is_place_in_the_api(path, line, "house"), expected, "{path}: {line}");
    }
}

#[test]
fn a_name_is_seen_however_it_is_written() {
    for text in ["house_ca", "spec.houseCa:", "HouseCaKind", "a House CA.", "/house-ca/"] {
        assert!(names_kind(text, "house_ca"), "{text}");
    }
    for text in ["the house can", "houses", "a CA of the house"] {
        assert!(!names_kind(text, "house_ca"), "{text}");
    }
}

/// What the files of one module import of each other.
struct Imports {
    /// Paths of files, each with those it imports.
    of: BTreeMap<String, BTreeSet<String>>,
}

impl Imports {
    /// Of the module `root` of the crate.
    fn between_files_of(root: &str) -> Self {
        let mut files = sources(&format!("src/{root}.rs"));
        files.extend(sources(&format!("src/{root}")));
        let module = |path: &str| {
            let path = path.trim_start_matches("src/").trim_end_matches(".rs");
            path.split('/').map(str::to_owned).collect::<Vec<_>>()
        };
        let modules: BTreeMap<Vec<String>, String> =
            files.iter().map(|file| (module(&file.path), file.path.clone())).collect();
        let of = files.iter().map(|file| {
            let here = module(&file.path);
            let imported = named_paths(&file.lines)
                .iter()
                .filter_map(|path| resolved(&here, path))
                .filter_map(|path| {
                    // What is not a module itself lies in the one that it is named in.
                    (1..=path.len()).rev().find_map(|length| modules.get(&path[..length])).cloned()
                })
                .filter(|other| *other != file.path)
                .collect();
            (file.path.clone(), imported)
        });
        Self { of: of.collect() }
    }

    /// Files that import each other in a circle, the first one again at the end.
    fn circle(&self) -> Option<Vec<String>> {
        let mut done = BTreeSet::new();
        self.of.keys().find_map(|file| self.circle_from(file, &mut Vec::new(), &mut done))
    }

    fn circle_from(
        &self,
        file: &str,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|before| before == file) {
            let closed = way[start..].iter().cloned().chain([file.to_owned()]);
            return Some(closed.collect());
        }
        if done.contains(file) {
            return None;
        }
        way.push(file.to_owned());
        let imported = self.of.get(file).into_iter().flatten();
        let found = imported.filter_map(|next| self.circle_from(next, way, done)).next();
        way.pop();
        done.insert(file.to_owned());
        found
    }
}

/// All paths that begin with `crate`, `self` or `super`, those in braces one by one.
fn named_paths(lines: &[(usize, String)]) -> Vec<Vec<String>> {
    let text: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    let text = text.join("\n");
    let starts = ["crate::", "self::", "super::"].into_iter().flat_map(|start| {
        text.match_indices(start).map(|(at, _)| at).filter(|at| {
            let before = &text[..*at];
            // Within a path or a name they begin none, and who may see an item imports nothing.
            let is_within = before.ends_with(|letter: char| {
                letter.is_alphanumeric() || letter == '_' || letter == ':'
            });
            !is_within && !before.ends_with("pub(in ")
        })
    });
    let mut paths = Vec::new();
    for at in starts {
        let mut rest = text[at..].chars().peekable();
        read_path(&mut rest, &[], &mut paths);
    }
    paths
}

fn read_path(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    before: &[String],
    paths: &mut Vec<Vec<String>>,
) {
    let mut path = before.to_vec();
    let mut word = String::new();
    while let Some(letter) = rest.peek().copied() {
        match letter {
            letter if letter.is_alphanumeric() || letter == '_' => {
                word.push(letter);
                rest.next();
            }
            ':' => {
                path.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                rest.next();
            }
            '{' if word.is_empty() && path.len() > before.len() => {
                while rest.peek().is_some_and(|letter| *letter != '}') {
                    rest.next();
                    while rest.peek().is_some_and(|letter| letter.is_whitespace()) {
                        rest.next();
                    }
                    read_path(rest, &path, paths);
                    // Another name for it.
                    while rest.peek().is_some_and(|letter| !",}".contains(*letter)) {
                        rest.next();
                    }
                }
                rest.next();
                return;
            }
            _ => break,
        }
    }
    path.extend((!word.is_empty() && word != "self").then_some(word));
    paths.push(path);
}

/// The path from the root of the crate.
fn resolved(here: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => here.to_vec(),
    };
    for word in path {
        match word.as_str() {
            "crate" | "self" => {}
            "super" => {
                base.pop()?;
            }
            word => base.push(word.to_owned()),
        }
    }
    Some(base)
}

#[test]
fn files_of_core_and_shell_do_not_import_each_other_in_circles() {
    for module in ["issuance", "controller"] {
        let imports = Imports::between_files_of(module);
        let edges: usize = imports.of.values().map(BTreeSet::len).sum();
        assert!(edges > imports.of.len(), "imports of {module} were found: {edges}");
        if let Some(circle) = imports.circle() {
            panic!("import each other in a circle: {}", circle.join(" → "));
        }
    }
}

#[test]
fn a_reason_is_read_back_from_a_condition_by_one_module_alone() {
    const FORMER: &str = "src/issuance/former.rs";
    let mut all = sources("src/issuance");
    all.extend(
        ["src/controller", "src/cli", "src/cli.rs", "src/metrics.rs"]
            .map(sources)
            .into_iter()
            .flatten(),
    );
    let reads = |source: &Source| {
        source.lines.iter().any(|(_, line)| {
            line.contains("Reason::ALL") || line.contains("Reason::") && line.contains(".word()")
        })
    };
    let readers: Vec<&str> =
        all.iter().filter(|source| reads(source)).map(|source| source.path.as_str()).collect();
    assert_eq!(readers, [FORMER], "statuses of versions before, where the field is absent");
}

#[test]
fn imports_are_read_as_the_compiler_reads_them() {
    let text = "use super::{Context, issuer::{self, key::IssuerKey}};\n\
                pub use self::b::*;\npub(in crate::x) fn f() { crate::controller::c::run(my::self_made) }\n";
    let here = ["controller", "issuer"].map(str::to_owned);
    let found: Vec<String> = named_paths(&code(text))
        .iter()
        .filter_map(|path| resolved(&here, path))
        .map(|path| path.join("::"))
        .collect();
    assert_eq!(
        found,
        [
            "controller::c::run",
            "controller::issuer::b",
            "controller::Context",
            "controller::issuer",
            "controller::issuer::key::IssuerKey",
        ]
    );
    let of = |edges: &[(&str, &str)]| {
        let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in edges {
            of.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        Imports { of }
    };
    assert_eq!(of(&[("a", "b"), ("a", "c"), ("b", "c")]).circle(), None);
    let circle = of(&[("a", "b"), ("b", "c"), ("c", "b")]).circle().expect("b and c");
    assert_eq!(circle.join(" "), "b c b");
}

#[test]
fn test_modules_are_declared_as_such() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    let skipped: Vec<&PathBuf> = files.iter().filter(|file| is_test_only(file)).collect();
    assert!(skipped.len() >= 3, "the tests of the core are among them");
    for file in skipped {
        let folder = file.parent().unwrap();
        let parent = folder.with_extension("rs");
        let text = std::fs::read_to_string(&parent)
            .unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        let module = file.file_stem().unwrap().display();
        let declared = format!("#[cfg(test)]\nmod {module};");
        assert!(text.contains(&declared), "{} compiles {module} always", parent.display());
    }
}

#[test]
fn the_rules_see_code_and_neither_comments_nor_tests() {
    let text = "use tokio::a;\n// tokio\n    //! tokio\n\n#[cfg(test)]\nmod fixtures;\nfn b() {}\n\
                #[cfg(test)]\nmod tests {\n    use tokio::c;\n}\nfn d() {}\n";
    let lines: Vec<String> = code(text).into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["use tokio::a;", "fn b() {}", "fn d() {}"]);
    let numbers: Vec<usize> = code(text).into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 7, 12]);
    assert!(word_starts("a tokio::b", "tokio") && !word_starts("my_tokio", "tokio"));
}

#[test]
#[should_panic(expected = "src/nowhere does not exist")]
fn a_place_that_is_gone_is_not_taken_for_clean() {
    sources("src/nowhere");
}
