//! The layers that `src/lib.rs` draws are the ones that the code has: a module
//! uses itself and lower rows, nothing else. Tests in `src/` are no exception.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::support::paths::{UsedPath, used_paths};
use crate::support::source::{read, root, rust_files, tokens, tokens_without_tests};

mod circles;
mod crates;

#[test]
fn modules_use_lower_layers_only() {
    let rows = rows();
    let mut wrong = Vec::new();
    for file in sources() {
        for (line, target) in arrows(&file.text, &file.module) {
            let (from, to) = (rows.get(file.top()), rows.get(&target));
            if to.is_none() || to >= from {
                let (from, to) = (row(from), row(to));
                let module = file.top();
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
    let real: BTreeSet<String> = sources().iter().map(|file| file.top().to_owned()).collect();
    assert_eq!(drawn, real, "left: the table in src/lib.rs; right: src/");
}

#[test]
fn source_files_stay_below_the_line_limit() {
    let directories = [
        "src",
        "benches",
        "examples",
        "tests",
        "bench/src",
        "fuzz/fuzz_targets",
    ];
    for path in directories
        .iter()
        .flat_map(|name| rust_files(&root().join(name)))
    {
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
    let found = |module: &[&str]| {
        let module = module.iter().map(|name| (*name).to_owned());
        arrows(source, &module.collect::<Vec<_>>())
    };
    let targets = |module: &[&str]| {
        let targets = found(module).into_iter().map(|(_, target)| target);
        targets.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(targets(&["own"]), "a b d f h j m n o r t crate");
    assert_eq!(targets(&["own", "child"]), "a b d f h m r crate");
    assert_eq!(found(&["own"])[0], (3, "a".to_owned()));
}

/// A file below `src/` that belongs to a module.
struct Source {
    path: PathBuf,
    /// The names of the module, from the top of the crate on.
    module: Vec<String>,
    text: String,
}

impl Source {
    /// The module at the top of the crate.
    fn top(&self) -> &str {
        &self.module[0]
    }

    /// Whether only tests have it.
    fn is_test(&self) -> bool {
        self.module.iter().any(|name| name == "tests")
    }

    /// The paths outside tests.
    fn used_paths(&self) -> Vec<UsedPath<'_>> {
        used_paths(&tokens_without_tests(&self.text))
    }
}

/// All files but the roots, which belong to no module.
fn sources() -> Vec<Source> {
    let src = root().join("src");
    let files = rust_files(&src).into_iter().filter_map(|path| {
        let name = path.strip_prefix(&src).expect("it was found there");
        let name = name.with_extension("");
        let parts = name.iter().map(|part| part.to_string_lossy().into_owned());
        let mut module: Vec<_> = parts.collect();
        module.pop_if(|last| last == "mod");
        (!["lib", "main"].contains(&&*module[0])).then(|| Source {
            module,
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

/// Where the paths lead that start at the crate's root, by `crate::` or by as many `super::`
/// as lead there: each module outside that of the file, with the line.
fn arrows(source: &str, module: &[String]) -> Vec<(usize, String)> {
    let tokens = tokens(source);
    let paths = used_paths(&tokens).into_iter();
    let paths = paths.filter(|path| ["crate", "super"].contains(&path.names[0]));
    let mut found: Vec<_> = paths
        .filter_map(|path| {
            let names = path.names_from_root(module)?;
            let target = names.first().map_or("crate", String::as_str);
            (target != module[0]).then(|| (path.line, target.to_owned()))
        })
        .collect();
    found.dedup();
    found
}

fn row(number: Option<&u32>) -> String {
    number.map_or_else(|| "no row".to_owned(), |number| format!("row {number}"))
}

const MAX_LINES: usize = 400;
