//! No error's text repeats its source, so that a report contains each cause once.

use super::{Source, Token, group, literal};

#[test]
fn text_of_an_error_does_not_repeat_its_source() {
    let sources = Source::all("src");
    let errors: Vec<_> = sources.iter().flat_map(errors_of).collect();
    assert!(
        errors.len() > 50,
        "the search for errors no longer finds them"
    );
    let wrong: Vec<_> = errors
        .into_iter()
        .filter_map(|(place, repeated)| Some(format!("{place}: repeats {}", repeated?)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn errors_that_repeat_their_source_are_found() {
    let text = r#"
        enum E {
            #[error("a {source}")] A { #[source] source: B },
            #[error("a {}", advice(.source))] B { source: io::Error },
            #[error("a {0}")] C(#[from] D),
            #[error("a {0}; {1}")] D(String, io::Error),
            #[error("a {0}")] E(u8),
            #[error(transparent)] F(#[from] D),
            #[error("a {name}: {cause}")] G { name: String, cause: super::Error },
        }
        #[error("a {0}")] struct F(body::Error);
    "#;
    let found = errors_of(&Source::new("x.rs", text)).into_iter();
    let found: Vec<_> = found.filter_map(|(_, repeated)| repeated).collect();
    assert_eq!(found, ["source", "0", "1", "cause", "0"]);
}

/// The place of each error, and which of its fields its text should not repeat.
fn errors_of(source: &Source) -> Vec<(String, Option<String>)> {
    let places = source.after(&["#", "[", "error", "("]).into_iter();
    let errors = places.filter_map(|at| {
        let place = format!("{}:{}", source.path, source.tokens[at].line);
        let text = literal(&source.arguments(at - 1).first()?.first()?.text)?;
        let end = at + group(&source.tokens, at - 1)?.len() + 2;
        let item = &source.tokens[end..];
        let body = item
            .iter()
            .position(|token| ["{", "(", ",", ";", "}"].contains(&&*token.text))?;
        let is_unit = [",", ";", "}"].contains(&&*item[body].text);
        let fields = if is_unit {
            Vec::new()
        } else {
            source.arguments(end + body)
        };
        let mut fields = fields.into_iter().enumerate();
        let repeated = fields.find_map(|(number, field)| {
            let name = name(field).unwrap_or_else(|| number.to_string());
            let is_shown =
                text.contains(&format!("{{{name}}}")) || text.contains(&format!("{{{name}:"));
            (is_shown && is_source(field, &name)).then_some(name)
        });
        Some((place, repeated))
    });
    errors.collect()
}

/// The name of a field that has one.
fn name(field: &[Token]) -> Option<String> {
    let colon = field.iter().enumerate().position(|(at, token)| {
        let is_path = |other: usize| field.get(other).is_some_and(|token| token.text == ":");
        token.text == ":" && !is_path(at + 1) && (at == 0 || !is_path(at - 1))
    })?;
    Some(field[colon - 1].text.clone())
}

/// Returns whether a field of an error is its source, which the report adds.
fn is_source(field: &[Token], name: &str) -> bool {
    let is_marked = field
        .windows(2)
        .any(|pair| pair[0].text == "[" && ["source", "from"].contains(&&*pair[1].text));
    let is_error = field
        .last()
        .is_some_and(|token| token.text.ends_with("Error"));
    is_marked || name == "source" || is_error
}
