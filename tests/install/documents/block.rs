//! A document as whoever follows it reads it: its blocks of code, in their order.

/// What one block has to be followed with.
#[derive(Debug, PartialEq)]
pub enum Code {
    Yaml(String),
    Console(Vec<Command>),
}

/// A block, and where it is.
#[derive(Debug, PartialEq)]
pub struct Block {
    /// The heading above it, with its marks.
    pub section: String,
    /// The line of the fence that opens it, from 1.
    pub line: usize,
    pub code: Code,
}

/// A command, and what is shown below it.
#[derive(Debug, PartialEq)]
pub struct Command {
    pub text: String,
    pub shown: Vec<String>,
}

/// What needs nobody to follow it.
const PICTURES: [&str; 1] = ["text"];

/// The blocks of a document. Those that say nothing of their language are a mistake: nobody could tell
/// whether they have to be followed.
pub fn blocks(text: &str) -> Result<Vec<Block>, String> {
    let mut blocks = Vec::new();
    let mut section = String::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some((indent, language)) = line.split_once("```") else {
            if line.starts_with('#') {
                section = line.to_owned();
            }
            continue;
        };
        if !indent.trim().is_empty() {
            continue;
        }
        let inside: Vec<&str> = lines
            .by_ref()
            .map(|(_, line)| line.strip_prefix(indent).unwrap_or(line))
            .take_while(|line| !line.starts_with("```"))
            .collect();
        let code = match language.trim() {
            "yaml" => Code::Yaml(inside.join("\n") + "\n"),
            "console" => Code::Console(commands(&inside).map_err(|odd| at(number, &odd))?),
            language if PICTURES.contains(&language) => continue,
            language => return Err(at(number, &format!("a block of {language:?}"))),
        };
        blocks.push(Block { section: section.clone(), line: number + 1, code });
    }
    Ok(blocks)
}

fn at(number: usize, what: &str) -> String {
    format!("line {}: {what}", number + 1)
}

/// The commands of a block, each with what is shown below it.
fn commands(lines: &[&str]) -> Result<Vec<Command>, String> {
    let mut commands: Vec<Command> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        if let Some(text) = line.strip_prefix("$ ") {
            commands.push(Command { text: text.to_owned(), shown: Vec::new() });
        } else {
            let last = commands.last_mut().ok_or("it does not begin with a command")?;
            if goes_on {
                last.text += &format!("\n{line}");
            } else {
                last.shown.push((*line).to_owned());
                continue;
            }
        }
        goes_on = line.ends_with(['\\', '|']);
    }
    Ok(commands)
}

#[test]
fn blocks_are_read_with_their_place_their_commands_and_what_these_show() {
    let text = "# A\n```text\nx\n```\n## B\n\n- b\n\n  ```console\n  $ one \\\n      --two\n  ONE   TWO\n  \
                $ three |\n      four\n  ```\n```yaml\nkind: A\n  b: c\n```\n";
    let command = |text: &str, shown: &[&str]| {
        let shown = shown.iter().map(|line| (*line).to_owned()).collect();
        Command { text: text.to_owned(), shown }
    };
    let console = Code::Console(vec![
        command("one \\\n    --two", &["ONE   TWO"]),
        command("three |\n    four", &[]),
    ]);
    let section = || "## B".to_owned();
    let yaml = Code::Yaml("kind: A\n  b: c\n".to_owned());
    let expected = [
        Block { section: section(), line: 9, code: console },
        Block { section: section(), line: 16, code: yaml },
    ];
    assert_eq!(blocks(text).expect("it is read"), expected);
    for odd in ["```\n$ a\n```\n", "```sh\na\n```\n", "```console\na\n```\n"] {
        blocks(odd).expect_err(odd);
    }
}
