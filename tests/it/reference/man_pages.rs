//! The man pages say what the code does. Commands and keys are written into them when
//! the package is built; the rest is in `docs/man/`.

#[path = "../../../examples/pages/configuration.rs"]
mod configuration;
#[path = "../../../examples/pages/roff.rs"]
mod roff;

use std::collections::BTreeSet;

use clap::Parser;
use pwd_edge::cli::Cli;
use pwd_edge::config::Config;

use super::{Reference, keys, pages};
use crate::support::source::{read, root};

#[test]
fn key_is_on_the_man_page_with_its_description() {
    let sections = configuration::parse(&read(&root().join("config.toml")));
    let mut on_the_page = BTreeSet::new();
    for section in &sections {
        let table = section.header.trim_matches(['[', ']']);
        for entry in &section.entries {
            for (key, _) in &entry.settings {
                assert!(
                    !entry.comment.is_empty() || table.starts_with("upstreams."),
                    "{table}.{key} has no comment"
                );
                on_the_page.insert(format!("{table}.{key}"));
            }
        }
    }
    let missing: Vec<_> = keys::lines()
        .into_iter()
        .filter(|key| !on_the_page.contains(key))
        .collect();
    assert!(missing.is_empty(), "not on the page: {missing:#?}");
    let page = configuration::render(&sections);
    assert!(page.contains("\n.TP\n\\fBlisten\\fR = []\n"), "{page}");
}

#[test]
fn key_that_a_man_page_names_exists() {
    let known = keys::names();
    let tables: BTreeSet<_> = known
        .iter()
        .filter_map(|key| key.split('.').next())
        .collect();
    for name in [PROGRAM, CONFIGURATION] {
        let text = plain(&read(&root().join(name)));
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && !"_./".contains(c));
        let words = words.map(|word| word.trim_matches('.'));
        let keys = words.filter(|word| {
            word.split_once('.')
                .is_some_and(|(table, _)| tables.contains(table))
        });
        let gone: Vec<_> = keys.filter(|key| !known.contains(*key)).collect();
        assert!(
            gone.is_empty(),
            "{name} names keys that do not exist: {gone:?}"
        );
    }
}

#[test]
fn example_configuration_on_the_man_page_has_no_mistake() {
    let examples = examples(CONFIGURATION);
    assert!(!examples.is_empty(), "there is an example");
    for example in examples {
        Config::from_toml(&example).unwrap_or_else(|mistakes| panic!("{example}{mistakes}"));
    }
}

#[test]
fn example_command_on_the_man_page_is_accepted() {
    let examples = examples(PROGRAM).concat().replace("\\\n", " ");
    let commands = examples.split(['\n', '|', '&']).map(str::trim);
    let commands: Vec<_> = commands
        .filter(|line| line.starts_with("pwd-edge "))
        .collect();
    assert!(commands.len() > 3, "{commands:?}");
    for command in commands {
        // The examples quote whole words, which contain no space.
        let words = command
            .split_whitespace()
            .map(|word| word.trim_matches('\''));
        let parsed = Cli::try_parse_from(words);
        assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
    }
}

#[test]
fn exit_code_on_the_man_page_is_that_of_the_reference() {
    let page = plain(&read(&root().join(PROGRAM)));
    let (_, section) = page.split_once(".SH EXIT STATUS\n").expect("a section");
    let (section, _) = section.split_once(".SH ").expect("it is not the last");
    let on_the_page: BTreeSet<_> = section
        .split(".TP\n.B ")
        .skip(1)
        .filter_map(|entry| entry.lines().next()?.parse::<u8>().ok())
        .collect();
    let mark = "<!-- reference: exit codes -->";
    let file = pages().into_iter().find(|(_, text)| text.contains(mark));
    let (file, _) = file.expect("a page has the table");
    let reference = Reference::read(&file, "exit codes");
    let rows = reference.rows.iter();
    let documented: BTreeSet<_> = rows
        .filter_map(|row| row.cells[0].trim().parse().ok())
        .collect();
    assert_eq!(on_the_page, documented, "{}", reference.place);
}

/// The examples of a page, as a reader sees them.
fn examples(name: &str) -> Vec<String> {
    let page = plain(&read(&root().join(name)));
    let blocks = page.split("\n.EX\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split_once(".EE\n"));
    blocks.map(|(example, _)| example.to_owned()).collect()
}

/// The text of a page without the escapes that the pages use.
fn plain(page: &str) -> String {
    page.replace("\\-", "-")
        .replace("\\(aq", "'")
        .replace("\\e", "\\")
}

const PROGRAM: &str = "docs/man/pwd-edge.8";
const CONFIGURATION: &str = "docs/man/pwd-edge-config.toml.5";
