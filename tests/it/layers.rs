//! The layers that `src/lib.rs` draws are the ones that the code has: a module
//! uses itself and lower rows, nothing else. Tests in `src/` are no exception.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::support::source::{read, root, rust_files, tokens};

#[test]
fn modules_use_lower_layers_only() {
    let rows = rows();
    let mut wrong = Vec::new();
    for file in sources() {
        for (line, target) in arrows(&file.text, file.depth) {
            let (from, to) = (rows.get(&file.module), rows.get(&target));
            if file.module != target && (to.is_none() || to >= from) {
                let (from, to) = (row(from), row(to));
                let module = &file.module;
                wrong.push(format!(
                    "{}:{line}: `{module}` ({from}) uses `{target}` ({to})",
                    file.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn module_table_lists_every_module() {
    let drawn: BTreeSet<String> = rows().into_keys().collect();
    let real: BTreeSet<String> = sources().into_iter().map(|file| file.module).collect();
    assert_eq!(drawn, real, "left: the table in src/lib.rs; right: src/");
}

#[test]
fn source_files_stay_below_the_line_limit() {
    for path in rust_files(&root().join("src")) {
        let lines = read(&path).lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
    }
}

#[test]
fn module_references_are_found_in_every_form() {
    let source = r##"
        //! Not [`crate::comment`] /* nor this.
        use crate::a;
        use crate::{b::{self, c}, d as e, f::*};
        pub(crate) fn g() { let _ = ("crate::text", r#"crate::"raw"#, '"', '\''); }
        impl<'a> crate::h::I<'a> for super::j::K {}
        pub(in crate::m) mod l {
            use super::inside;
            use super::super::{n, o::p};
            #[cfg(test)] fn q() { crate::r::s(); } // crate::comment
        }
        use super::t;
        use crate as u;
    "##;
    let found = |depth| {
        let targets = arrows(source, depth).into_iter().map(|(_, target)| target);
        targets.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found(1), "a b d f h j m n o r t crate");
    assert_eq!(found(2), "a b d f h m r crate");
    assert_eq!(arrows(source, 1)[0], (3, "a".to_owned()));
}

/// A file below `src/` that belongs to a module.
struct Source {
    path: PathBuf,
    /// The module at the top of the crate.
    module: String,
    /// How many modules deep it is; 1 is the module at the top.
    depth: usize,
    text: String,
}

/// All files but the roots, which belong to no module.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let files = rust_files(&src).into_iter().filter_map(|path| {
        let name = path.strip_prefix(&src).expect("it was found there");
        let name = name.with_extension("");
        let mut modules: Vec<_> = name.iter().map(|part| part.to_string_lossy()).collect();
        modules.pop_if(|last| last == "mod");
        let module = modules[0].clone().into_owned();
        (!["lib", "main"].contains(&&*module)).then(|| Source {
            module,
            depth: modules.len(),
            text: read(&path),
            path: path.strip_prefix(root()).unwrap_or(&path).to_owned(),
        })
    });
    files.collect()
}

/// The table in the crate's documentation: each module with the number of its row.
fn rows() -> BTreeMap<String, u32> {
    let text = read(&root().join("src/lib.rs"));
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let mut cells = line.trim_start_matches("//!").split('|').map(str::trim);
        let (_, number, modules) = (cells.next(), cells.next(), cells.next());
        let (Some(Ok(number)), Some(modules)) = (number.map(str::parse), modules) else {
            continue;
        };
        for name in modules.split('`').skip(1).step_by(2) {
            let before = rows.insert(name.to_owned(), number);
            assert_eq!(before, None, "`{name}` has two rows");
        }
    }
    rows
}

/// Where the paths that start at the crate's root lead, each with its line: the
/// module behind `crate::`, and behind as many `super::` as lead there.
fn arrows(source: &str, depth: usize) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| *word);
    let mut braces = Vec::new();
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        match word(at) {
            "{" => braces.push(at >= 2 && word(at - 2) == "mod"),
            "}" => drop(braces.pop()),
            // `pub(crate)` and `pub(super)` lead nowhere.
            "crate" | "super" if word(at + 1) == ")" => (),
            "crate" if word(at + 1) != "::" => found.push((tokens[at].0, "crate".to_owned())),
            "crate" => found.extend(targets(&tokens[at + 2..])),
            "super" => {
                while word(at + 1) == "::" && word(at + 2) == "super" {
                    at += 2;
                }
                let up = (at - start) / 2 + 1;
                if up == depth + braces.iter().filter(|is_module| **is_module).count() {
                    found.extend(targets(tokens.get(at + 2..).unwrap_or_default()));
                }
            }
            _ => (),
        }
        at += 1;
    }
    found
}

/// The first names of a path, or of each path of a group in braces.
fn targets(tokens: &[(usize, &str)]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut depth = 0_usize;
    let mut is_first = true;
    for (line, token) in tokens {
        match *token {
            "{" => depth += 1,
            "}" => depth = depth.saturating_sub(1),
            "," => is_first = depth == 1,
            name if is_first => {
                found.push((*line, name.to_owned()));
                is_first = false;
            }
            _ => (),
        }
        if depth == 0 {
            break;
        }
    }
    found
}

fn row(number: Option<&u32>) -> String {
    number.map_or_else(|| "no row".to_owned(), |number| format!("row {number}"))
}

const MAX_LINES: usize = 400;
