//! Every event of the log is in the table of events, with its level and fields.

use std::collections::BTreeSet;

use super::{Reference, Row, Source, Token, literal};

#[test]
fn event_of_the_log_has_its_row() {
    let reference = table();
    let rows = &reference.rows;
    let wrong = events()
        .into_iter()
        .filter(Event::is_seen)
        .filter_map(|event| {
            let mut rows = rows.iter().filter(|row| event.is_in(row));
            let Some(row) = rows.next() else {
                let Event { level, message, .. } = &event;
                let fields = event.fields.iter().map(|field| format!("`{field}`"));
                let fields = fields.collect::<Vec<_>>().join(", ");
                return Some(format!(
                    "no row for `{message}` ({}): write | {level} | `{message}` | … | {fields} |",
                    event.place
                ));
            };
            let levels: Vec<_> = row.cells[0].split(',').map(str::trim).collect();
            let fields = row.names(FIELDS);
            let lacking: Vec<_> = event
                .fields
                .iter()
                .filter(|field| !fields.contains(field))
                .collect();
            if !levels.contains(&event.level) {
                Some(format!(
                    "line {}: `{}` is of level {}",
                    row.line, event.message, event.level
                ))
            } else if !lacking.is_empty() {
                Some(format!(
                    "line {}: `{}` has fields {lacking:?} too",
                    row.line, event.message
                ))
            } else {
                None
            }
        });
    reference.assert_none(wrong);
}

#[test]
fn row_of_the_log_table_stands_for_an_event() {
    let reference = table();
    let events = events();
    let wrong = reference.rows.iter().flat_map(|row| {
        let matching: Vec<_> = events.iter().filter(|event| event.is_in(row)).collect();
        let known: BTreeSet<_> = matching.iter().flat_map(|event| &event.fields).collect();
        let gone = row.names(MESSAGES).into_iter().filter(|pattern| {
            let mut events = matching.iter();
            !events.any(|event| matches(pattern, &event.message))
        });
        let gone = gone.map(|pattern| format!("line {}: nothing logs `{pattern}`", row.line));
        let fields = row.names(FIELDS).into_iter();
        let fields = fields
            .filter(|field| !known.contains(field))
            .map(|field| format!("line {}: no such event has a field `{field}`", row.line));
        gone.chain(fields).collect::<Vec<_>>()
    });
    reference.assert_none(wrong);
}

#[test]
fn events_are_found_with_level_message_and_fields() {
    let text = r#"
        fn f() {
            tracing::warn!(%a, b.c = ?x(1, "no"), d = "no", "one \
                message");
            tracing::info!(target: "no", message = "two", e,);
            if error != x { tracing::debug!("three") }
        }
        #[cfg(test)]
        mod tests { fn g() { tracing::error!("test"); } }
    "#;
    let found: Vec<_> = events_of(&Source::new("x.rs", text))
        .into_iter()
        .map(|event| {
            let fields: Vec<_> = event.fields.into_iter().collect();
            format!("{} {}: {}", event.level, event.message, fields.join(" "))
        })
        .collect();
    assert_eq!(
        found,
        ["warn one message: a b.c d", "info two: e", "debug three: "]
    );
    assert!(matches("one …", "one message") && matches("one", "one"));
    assert!(!matches("one", "one message") && !matches("two …", "one message"));
}

/// A line that the code writes into the log.
struct Event {
    place: String,
    level: &'static str,
    message: String,
    fields: BTreeSet<String>,
}

impl Event {
    /// Whether an operator sees it without asking for more.
    fn is_seen(&self) -> bool {
        !["debug", "trace"].contains(&self.level)
    }

    fn is_in(&self, row: &Row) -> bool {
        let patterns = row.names(MESSAGES);
        patterns
            .iter()
            .any(|pattern| matches(pattern, &self.message))
    }
}

/// Whether `pattern` is the message, or, with `…` at its end, its beginning.
fn matches(pattern: &str, message: &str) -> bool {
    match pattern.strip_suffix('…') {
        Some(start) => message.starts_with(start),
        None => message == pattern,
    }
}

fn table() -> Reference {
    Reference::read("docs/REFERENCE.md", "log events")
}

fn events() -> Vec<Event> {
    let events: Vec<_> = Source::all("src").iter().flat_map(events_of).collect();
    assert!(
        events.len() > 20,
        "the search for events no longer finds them"
    );
    events
}

fn events_of(source: &Source) -> Vec<Event> {
    let levels = ["error", "warn", "info", "debug", "trace"].into_iter();
    let places = levels.flat_map(|level| {
        let places = source.after(&[level, "!", "("]).into_iter();
        places.map(move |at| (at - 1, level))
    });
    let mut places: Vec<_> = places.collect();
    places.sort_unstable();
    let events = places.into_iter().map(|(at, level)| {
        let place = format!("{}:{}", source.path, source.tokens[at].line);
        let (mut fields, mut message) = (BTreeSet::new(), None);
        for argument in source.arguments(at) {
            let (name, value) = field(argument);
            if name.is_empty() || name == "message" {
                message = value.first().and_then(|token| literal(&token.text));
            } else if !name.ends_with(':') {
                fields.insert(name.clone());
            }
            // Behind the text alone is only what it is filled with.
            if name.is_empty() {
                break;
            }
        }
        let message = message.unwrap_or_else(|| panic!("{place}: no literal message"));
        assert!(
            !message.replace("{{", "").contains('{'),
            "{place}: \"{message}\" cannot be searched for: what varies is a field"
        );
        Event {
            place,
            level,
            message,
            fields,
        }
    });
    events.collect()
}

/// The name of an argument, empty for a text alone and with a colon for `target:` and
/// the like, and its value.
fn field(argument: &[Token]) -> (String, &[Token]) {
    let text = |at: usize| argument.get(at).map_or("", |token| &*token.text);
    if literal(text(0)).is_some() {
        return (String::new(), argument);
    }
    let start = usize::from(["%", "?"].contains(&text(0)));
    let name = argument[start..]
        .iter()
        .take_while(|token| token.text != "=");
    let name: String = name.map(|token| &*token.text).collect();
    if text(1) == ":" {
        return (format!("{}:", text(0)), &argument[2..]);
    }
    let equals = argument.iter().position(|token| token.text == "=");
    (name, equals.map_or(&[], |at| &argument[at + 1..]))
}

const MESSAGES: usize = 1;
const FIELDS: usize = 3;
