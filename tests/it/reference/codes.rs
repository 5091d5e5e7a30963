//! Every code that a program may have to tell apart is in the docs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Found, Reference, Source, literal};

#[test]
fn close_code_of_a_session_has_its_row() {
    assert_rows(&close_frames("frame"), "docs/PROTOCOL.md", "close codes");
}

#[test]
fn close_code_of_a_pusher_client_has_its_row() {
    let frames = close_frames("pusher_frame");
    assert_rows(&frames, "docs/PUSHER.md", "pusher close codes");
}

fn assert_rows(frames: &CloseFrames, page: &str, table: &str) {
    let reference = Reference::read(page, table);
    let rows: BTreeMap<_, _> = reference
        .rows
        .iter()
        .filter_map(|row| Some((row.cells[0].trim().parse::<u16>().ok()?, row)))
        .collect();
    let missing = frames
        .iter()
        .filter(|(code, _)| !rows.contains_key(code))
        .map(|(code, (reason, place))| format!("{code} ({reason:?}, {place}) is missing"));
    let gone = rows
        .iter()
        .filter(|(code, _)| !frames.contains_key(code) && !is_never_sent(**code))
        .map(|(code, row)| format!("line {}: no session ends with {code}", row.line));
    reference.assert_none(missing.chain(gone));
}

#[test]
fn reason_of_a_close_code_is_the_one_that_is_sent() {
    let frames = close_frames("frame");
    let reference = Reference::read("docs/PROTOCOL.md", "close codes");
    let wrong = reference.rows.iter().filter_map(|row| {
        let (code, text) = (row.cells[0].trim().parse().ok()?, row.cells.get(1)?.trim());
        let (reason, place) = frames.get(&code)?;
        // Codes that say enough by themselves have no column for a reason.
        let is_wrong = row.cells.len() == 4 && text != reason;
        is_wrong.then(|| {
            format!(
                "line {}: the reason of {code} is {reason:?} ({place})",
                row.line
            )
        })
    });
    reference.assert_none(wrong);
}

#[test]
fn reason_in_the_log_of_an_ended_session_is_listed() {
    let reference = Reference::read("docs/REFERENCE.md", "session end reasons");
    reference.assert_names(0, &end_reasons(), "reason");
}

#[test]
fn error_code_of_a_session_has_its_row() {
    let mut found = Vec::new();
    let mut reported = BTreeSet::new();
    for source in Source::all("src/ws") {
        let codes = source.after(&["send_error", "("]).into_iter();
        let codes = codes.chain(source.after(&["code", ":"]));
        found.extend(codes.filter_map(|at| source.found(at)));
        // What is wrong with a message has a function for its code.
        if !source.path.contains("/upload/") {
            found.extend(source.texts_of("code"));
        }
        // Some ends are told by an error with the reason's own name.
        let refused = source.after(&["Err", "(", "(", "CloseReason", "::"]);
        let ended = source.after(&["reason", "=", "=", "CloseReason", "::"]);
        let places = refused.into_iter().chain(ended);
        reported.extend(places.map(|at| source.tokens[at].text.clone()));
    }
    let literals = found.len();
    let ends = variants("name");
    let ends = ends
        .into_iter()
        .filter(|(variant, ..)| reported.contains(variant));
    found.extend(ends.filter_map(|(_, source, at)| source.found(at)));
    assert!(
        literals > 0 && found.len() > literals,
        "the search no longer finds the codes"
    );
    let reference = Reference::read("docs/PROTOCOL.md", "error codes");
    reference.assert_names(0, &found, "error code");
}

#[test]
fn code_of_a_failed_upload_has_its_row() {
    let reference = Reference::read("docs/PROTOCOL.md", "upload codes");
    let sources = Source::all("src/ws/upload");
    let found: Vec<_> = sources
        .iter()
        .flat_map(|source| source.texts_of("code"))
        .collect();
    reference.assert_names(0, &found, "code");
}

#[test]
fn error_code_of_the_broadcast_socket_has_its_row() {
    let reference = Reference::read("docs/BROADCAST.md", "error codes");
    let mut found = Vec::new();
    for source in Source::all("src/control") {
        let fields = source.after(&["code", ":"]);
        found.extend(fields.into_iter().filter_map(|at| source.found(at)));
        // `Failure::new(status, "code", message)`
        for at in source.after(&["::", "new", "("]) {
            let arguments = source.arguments(at - 1);
            let [_, [code], ..] = &*arguments else {
                continue;
            };
            found.extend(literal(&code.text).map(|name| Found {
                name,
                place: format!("{}:{}", source.path, code.line),
            }));
        }
    }
    reference.assert_names(1, &found, "error code");
}

#[test]
fn code_of_a_rejection_has_its_row() {
    let requests = ["src/http/rejection.rs", "src/http/bad_request.rs"];
    let sources = requests.into_iter().flat_map(Source::all);
    let mut found: Vec<_> = sources.flat_map(|source| source.texts_of("code")).collect();
    for source in Source::all("src/server") {
        let places = source.after(&["count_rejection", "("]).into_iter();
        found.extend(places.filter_map(|at| source.found(at)));
    }
    assert!(found.len() > 30, "the search no longer finds the codes");
    let reference = Reference::read("docs/REFERENCE.md", "rejection codes");
    reference.assert_names(0, &found, "rejection code");
}

#[test]
fn reason_of_an_upstream_failure_has_its_row() {
    let sources = Source::all("src/upstream/error.rs").into_iter();
    let found: Vec<_> = sources.flat_map(|source| source.texts_of("code")).collect();
    let reference = Reference::read("docs/REFERENCE.md", "upstream failures");
    reference.assert_names(0, &found, "reason");
}

#[test]
fn exit_code_of_the_program_has_its_row() {
    let reference = Reference::read("docs/REFERENCE.md", "exit codes");
    let mut codes = BTreeMap::new();
    for source in Source::all("src/cli/exit_code.rs") {
        for at in source.after(&["u8", "="]) {
            let token = &source.tokens[at];
            let code = token.text.parse().expect("a number");
            codes.insert(code, format!("{}:{}", source.path, token.line));
        }
    }
    assert!(codes.len() > 1, "the search no longer finds the codes");
    let written = reference.rows.iter();
    let written = written.filter_map(|row| Some((row.cells[0].trim().parse().ok()?, row.line)));
    let written: BTreeMap<i32, usize> = written.collect();
    let missing = codes
        .iter()
        .filter(|(code, _)| !written.contains_key(code))
        .map(|(code, place)| format!("exit code {code} ({place}) is missing"));
    let gone = written
        .iter()
        .filter(|(code, _)| !codes.contains_key(code))
        .map(|(code, line)| format!("line {line}: no command ends with {code}"));
    reference.assert_none(missing.chain(gone));
}

/// The close codes with the reason that goes with each, and where they are.
type CloseFrames = BTreeMap<u16, (String, String)>;

/// The close codes that a function of `CloseReason` returns.
fn close_frames(function: &str) -> CloseFrames {
    let frames = variants(function).into_iter();
    // `Self::Slow => (4008, "too slow")`
    let frames = frames.filter_map(|(_, source, at)| {
        let code = source.tokens.get(at + 1)?.text.parse().ok()?;
        let Found { name, place } = source.found(at + 3)?;
        Some((code, (name, place)))
    });
    let frames: BTreeMap<_, _> = frames.collect();
    assert!(
        !frames.is_empty(),
        "the search no longer finds the close codes"
    );
    frames
}

/// The words for the ends of sessions.
fn end_reasons() -> Vec<Found> {
    let reasons = variants("name").into_iter();
    let reasons: Vec<_> = reasons
        .filter_map(|(_, source, at)| source.found(at))
        .collect();
    assert!(
        !reasons.is_empty(),
        "the search no longer finds the reasons"
    );
    reasons
}

/// The arms `Self::Variant => value` of a function of `CloseReason`: the variant, and
/// the place of the value.
fn variants(function: &str) -> Vec<(String, Source, usize)> {
    let mut found = Vec::new();
    for source in Source::all("src/ws/close.rs") {
        let body = source.body_of(function);
        let arms = source.after(&["Self", "::"]).into_iter();
        for at in arms.filter(|at| body.contains(at)) {
            if source.tokens[at + 1..]
                .iter()
                .map(|token| &*token.text)
                .take(2)
                .eq(["=", ">"])
            {
                found.push((source.tokens[at].text.clone(), source.clone(), at + 3));
            }
        }
    }
    found
}

/// Codes that stand for what no close frame can say (RFC 6455 §7.4.1).
fn is_never_sent(code: u16) -> bool {
    [1005, 1006, 1015].contains(&code)
}
