//! The table of crates in `src/lib.rs` is true: a crate that it lists is used by the modules
//! of its row, and by no others. Tests in `src/` may use every crate.

use std::collections::{BTreeMap, BTreeSet};

use super::sources;
use crate::support::source::{read, root};

#[test]
fn crates_are_used_by_the_modules_of_their_row() {
    let table = table();
    assert!(table.contains_key("hyper"), "{table:?}");
    let mut used: BTreeMap<_, _> = table
        .keys()
        .map(|name| (name.clone(), BTreeSet::new()))
        .collect();
    for source in sources().iter().filter(|source| !source.is_test()) {
        for path in source.used_paths() {
            if let Some(modules) = used.get_mut(path.names[0]) {
                modules.insert(source.top().to_owned());
            }
        }
    }
    let wrong: Vec<_> = std::iter::zip(&table, &used)
        .filter(|(row, used)| row != used)
        .map(|((name, row), (_, used))| format!("{name}: {used:?} use it, the table has {row:?}"))
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// The table in the crate's documentation: each crate with the modules of its row.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&root().join("src/lib.rs"));
    let (_, table) = text.split_once("| crates |").expect("a table of crates");
    let lines = table
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("//! |"));
    let rows = lines.flat_map(|line| {
        let (crates, modules) = line["//! |".len()..].split_once('|').expect("two cells");
        let modules: BTreeSet<_> = marked(modules).map(str::to_owned).collect();
        marked(crates).map(move |name| (name.replace('-', "_"), modules.clone()))
    });
    rows.collect()
}

/// The words between backticks.
fn marked(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}
