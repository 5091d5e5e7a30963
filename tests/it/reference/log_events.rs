//! Every event of the log has an id, and its row in the table of events with its level,
//! message and fields.

use std::collections::{BTreeMap, BTreeSet};

use super::{Reference, Source, Token, group, literal};

#[test]
fn event_of_the_log_has_an_id_of_its_own() {
    let mut by_id: BTreeMap<String, Event> = BTreeMap::new();
    let mut by_message: BTreeMap<String, String> = BTreeMap::new();
    let mut wrong = Vec::new();
    for event in events() {
        let (place, message) = (&event.place, &event.message);
        let Some(id) = event.id.clone() else {
            wrong.push(format!("{place}: `{message}` has no id; write name: \"…\""));
            continue;
        };
        if !is_snake_case(&id) {
            wrong.push(format!("{place}: `{id}` is not in snake_case"));
        }
        let other = by_message
            .entry(message.clone())
            .or_insert_with(|| id.clone());
        if *other != id {
            wrong.push(format!("{place}: `{other}` and `{id}` say the same"));
        }
        let known = by_id.entry(id.clone()).or_insert_with(|| event.clone());
        if known.message != *message || known.fields != event.fields {
            let known = &known.place;
            wrong.push(format!("{place}: `{id}` is another event than at {known}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn event_of_the_log_has_its_row() {
    let reference = table();
    let wrong = events().into_iter().filter_map(|event| {
        let id = event.id.clone()?;
        let mut rows = reference.rows.iter();
        let Some(row) = rows.find(|row| row.names(ID).contains(&id)) else {
            let fields = event.fields.iter().map(|field| format!("`{field}`"));
            let fields = fields.collect::<Vec<_>>().join(", ");
            let Event { level, message, .. } = &event;
            return Some(format!(
                "no row for `{id}` ({}): write | `{id}` | {level} | {message} | … | {fields} |",
                event.place
            ));
        };
        let levels: Vec<_> = row.cells[LEVELS].split(',').map(str::trim).collect();
        let documented: BTreeSet<_> = row.names(FIELDS).into_iter().collect();
        let lacking: Vec<_> = event.fields.difference(&documented).collect();
        let (line, message) = (row.line, row.cells[MESSAGE].trim());
        if !levels.contains(&event.level) {
            Some(format!("line {line}: `{id}` is of level {}", event.level))
        } else if message != event.message {
            Some(format!("line {line}: `{id}` says \"{}\"", event.message))
        } else if !lacking.is_empty() {
            Some(format!("line {line}: `{id}` has fields {lacking:?} too"))
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
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in &reference.rows {
        let (line, ids) = (row.line, row.names(ID));
        let [id] = ids.as_slice() else {
            wrong.push(format!("line {line}: expected one id"));
            continue;
        };
        if !seen.insert(id.clone()) {
            wrong.push(format!("line {line}: `{id}` has another row"));
        }
        let events = events.iter().filter(|event| event.id.as_ref() == Some(id));
        let events: Vec<_> = events.collect();
        if events.is_empty() {
            wrong.push(format!("line {line}: nothing logs `{id}`"));
            continue;
        }
        for level in row.cells[LEVELS].split(',').map(str::trim) {
            if events.iter().all(|event| event.level != level) {
                wrong.push(format!("line {line}: `{id}` is never of level {level}"));
            }
        }
        for field in row.names(FIELDS) {
            if events.iter().all(|event| !event.fields.contains(&field)) {
                wrong.push(format!("line {line}: `{id}` has no field `{field}`"));
            }
        }
    }
    reference.assert_none(wrong);
}

#[test]
fn events_are_found_with_id_level_message_and_fields() {
    let text = r#"
        fn f() {
            tracing::warn!(name: "a", %a, b.c = ?x(1, "no"), d = "no", "one \
                message");
            tracing::info!(name: "b", target: "no", message = "two", e,);
            tracing::info!(name: "c", { f.g = %h, i }, "three");
            if error != x { tracing::debug!("four") }
        }
        #[cfg(test)]
        mod tests { fn g() { tracing::error!("test"); } }
    "#;
    let found: Vec<_> = events_of(&Source::new("x.rs", text))
        .into_iter()
        .map(|event| {
            let fields: Vec<_> = event.fields.into_iter().collect();
            let id = event.id.unwrap_or_else(|| "-".to_owned());
            let fields = fields.join(" ");
            format!("{id} {} {}: {fields}", event.level, event.message)
        })
        .collect();
    let expected = [
        "a warn one message: a b.c d",
        "b info two: e",
        "c info three: f.g i",
        "- debug four: ",
    ];
    assert_eq!(found, expected);
}

/// A line that the code writes into the log.
#[derive(Clone)]
struct Event {
    place: String,
    id: Option<String>,
    level: &'static str,
    message: String,
    fields: BTreeSet<String>,
}

fn table() -> Reference {
    Reference::read("docs/REFERENCE.md", "log events")
}

fn events() -> Vec<Event> {
    let events: Vec<_> = Source::all("src").iter().flat_map(events_of).collect();
    assert!(
        events.len() > 50,
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
        event(place, level, group(&source.tokens, at).unwrap_or_default())
    });
    events.collect()
}

/// The event that a macro logs with these arguments.
fn event(place: String, level: &'static str, arguments: &[Token]) -> Event {
    let (mut id, mut fields, mut message) = (None, BTreeSet::new(), None);
    for argument in super::split(arguments) {
        let is_group = argument[0].text == "{";
        let inside = if is_group { group(argument, 0) } else { None };
        for argument in inside.map_or_else(|| vec![argument], super::split) {
            let (name, value) = field(argument);
            let text = value.first().and_then(|token| literal(&token.text));
            match &*name {
                "name:" => id = text,
                "" | "message" => message = text,
                _ if name.ends_with(':') => {}
                _ => {
                    fields.insert(name);
                }
            }
        }
        // Behind the text alone is only what it is filled with.
        if field(argument).0.is_empty() && !is_group {
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
        id,
        level,
        message,
        fields,
    }
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

fn is_snake_case(id: &str) -> bool {
    let is_word = |word: &str| {
        let mut letters = word.chars();
        !word.is_empty() && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    id.split('_').all(is_word)
}

const ID: usize = 0;
const LEVELS: usize = 1;
const MESSAGE: usize = 2;
const FIELDS: usize = 4;
