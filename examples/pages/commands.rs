//! The commands and options of the program, as the command line knows them.

use std::collections::BTreeMap;

use clap::{Arg, Command};

use super::roff::{bold, escape, prose};

/// Writes each command with its arguments above its description.
pub(crate) fn commands(program: &Command) -> String {
    let mut page = String::new();
    for command in shown(program) {
        let mut synopsis = vec![bold(command.get_name())];
        synopsis.extend(arguments(command).map(|argument| {
            if argument.is_required_set() {
                term(argument)
            } else {
                format!("[{}]", term(argument))
            }
        }));
        let about = command.get_long_about().or_else(|| command.get_about());
        let about = about.map(ToString::to_string).unwrap_or_default();
        page.push_str(&entry(&synopsis.join(" "), &sentences(&about)));
        let aliases: Vec<_> = command.get_visible_aliases().map(bold).collect();
        if !aliases.is_empty() {
            page.push_str(&format!("Alias: {}.\n", aliases.join(", ")));
        }
    }
    page
}

/// Writes every option and argument once, in alphabetical order; options come first.
pub(crate) fn options(program: &Command) -> String {
    let all = shown(program).flat_map(arguments);
    let all = all.chain(program.get_arguments());
    let mut entries = BTreeMap::new();
    for argument in all {
        let names = match argument.get_short() {
            Some(short) => format!("{}, {}", bold(&format!("-{short}")), term(argument)),
            None => term(argument),
        };
        let text = description(argument);
        let place = (argument.is_positional(), term(argument), text.clone());
        entries.insert(place, entry(&names, &text));
    }
    entries.into_values().collect()
}

/// The help of an argument, the values it takes, and its default.
fn description(argument: &Arg) -> String {
    let help = argument.get_long_help().or_else(|| argument.get_help());
    let mut text = sentences(&help.map(ToString::to_string).unwrap_or_default());
    if argument.get_action().takes_values() {
        let values = argument.get_possible_values();
        let values = values.iter().map(|value| format!("`{}`", value.get_name()));
        let values = values.collect::<Vec<_>>().join(", ");
        if !values.is_empty() {
            text.push_str(&format!(" One of: {values}."));
        }
        for default in argument.get_default_values() {
            text.push_str(&format!(" Default: `{}`.", default.display()));
        }
    }
    text
}

fn shown(program: &Command) -> impl Iterator<Item = &Command> {
    let commands = program.get_subcommands();
    commands.filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

/// The arguments of a command but `--help`.
fn arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    let arguments = command.get_arguments();
    arguments.filter(|argument| !argument.is_hide_set() && argument.get_id() != "help")
}

/// The long name of an option and its value, or the name of a positional argument.
fn term(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let values = format!("\\fI{}\\fR", escape(&names.join(" ")));
    match argument.get_long() {
        Some(long) if argument.get_action().takes_values() => {
            format!("{} {values}", bold(&format!("--{long}")))
        }
        Some(long) => bold(&format!("--{long}")),
        None => values,
    }
}

fn entry(term: &str, text: &str) -> String {
    format!(".TP\n{term}\n{}\n", prose(text))
}

/// The paragraphs of a help text in one line, each with the period that clap omits.
fn sentences(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let words: Vec<_> = paragraph.split_whitespace().collect();
        let text = words.join(" ");
        if text.is_empty() || text.ends_with('.') {
            text
        } else {
            text + "."
        }
    });
    paragraphs.collect::<Vec<_>>().join(" ")
}
