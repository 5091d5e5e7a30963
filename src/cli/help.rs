//! The end of the `--help` text, after the options: examples, exit codes and files.

use super::exit_code::{DEGRADED, FAILED, SUCCESS, UNREACHABLE, USAGE};

/// An exit code and its meaning.
type Meaning = (u8, &'static str);

const WRONG_USAGE: Meaning = (USAGE, "the command line or the configuration is wrong");
const STOPPED: Meaning = (SUCCESS, "the edge stopped after a signal");
const NOT_STARTED: Meaning = (
    FAILED,
    "the edge could not start, for example because a port is in use",
);
const NO_RESPONSE: Meaning = (
    UNREACHABLE,
    "the edge is unreachable, or rejected the request",
);

pub(super) fn pwd_edge() -> String {
    let files = "Files:
  ./config.toml                        configuration, if it exists
  /etc/pwd-edge/config.toml            configuration otherwise
  /run/pwd-edge/broadcast.sock         socket of the running edge (broadcast.socket)";
    let examples = ["pwd-edge demo", "pwd-edge check", "pwd-edge status"];
    let exit_codes = [
        (SUCCESS, "success; `status`: the edge is healthy"),
        (FAILED, "the command failed; `status`: the edge is degraded"),
        (
            UNREACHABLE,
            "the edge is unreachable, or rejected the request",
        ),
        WRONG_USAGE,
    ];
    format!("{}\n\n{files}", notes(&examples, &exit_codes))
}

pub(super) fn run() -> String {
    notes(
        &["pwd-edge run --config /etc/pwd-edge/config.toml"],
        &[STOPPED, NOT_STARTED, WRONG_USAGE],
    )
}

pub(super) fn check() -> String {
    notes(
        &["pwd-edge check --config ./config.toml"],
        &[
            (SUCCESS, "the configuration is valid"),
            (FAILED, "the check could not be completed"),
            (
                USAGE,
                "the command line, the configuration or a file that it names is wrong",
            ),
        ],
    )
}

pub(super) fn status() -> String {
    notes(
        &[
            "pwd-edge status",
            "pwd-edge status --watch",
            "pwd-edge status --json | jq -r '.problems[]'",
            "pwd-edge status --socket /run/pwd-edge/broadcast.sock",
        ],
        &[
            (SUCCESS, "the edge is healthy"),
            (
                DEGRADED,
                "the edge is degraded: the output lists its problems",
            ),
            (
                UNREACHABLE,
                "the edge is unreachable, or its health is unknown",
            ),
            WRONG_USAGE,
        ],
    )
}

pub(super) fn rooms() -> String {
    asking(&["pwd-edge rooms", "pwd-edge rooms --json | jq .total"])
}

pub(super) fn room() -> String {
    asking(&[
        "pwd-edge room ticket 123",
        "pwd-edge room channel private-desk",
    ])
}

pub(super) fn explain() -> String {
    asking(&[
        "pwd-edge explain --user 5 --ticket 123",
        "pwd-edge explain --user 5 --channel private-desk",
    ])
}

pub(super) fn disconnect() -> String {
    asking(&["pwd-edge disconnect --user 5"])
}

pub(super) fn publish() -> String {
    asking(&[
        "pwd-edge publish --ticket 123 --type new_message --payload '{\"message\":{\"id\":1}}'",
        "pwd-edge publish --channel private-desk --type ticket_opened --payload '{\"id\":123}'",
    ])
}

pub(super) fn demo() -> String {
    notes(
        &["pwd-edge demo", "pwd-edge demo --port 9443"],
        &[STOPPED, NOT_STARTED, (USAGE, "the command line is wrong")],
    )
}

/// Returns the notes of a command that sends one request to the running edge.
fn asking(examples: &[&str]) -> String {
    notes(examples, &[(SUCCESS, "success"), NO_RESPONSE, WRONG_USAGE])
}

/// Returns the examples and the exit codes of a command as help text.
fn notes(examples: &[&str], exit_codes: &[Meaning]) -> String {
    let mut text = "Examples:".to_owned();
    for example in examples {
        text.push_str(&format!("\n  {example}"));
    }
    text.push_str("\n\nExit codes:");
    for (code, meaning) in exit_codes {
        text.push_str(&format!("\n  {code:>2}  {meaning}"));
    }
    text
}
