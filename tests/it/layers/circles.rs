//! No files of `src/` use each other in a circle. A module and the modules inside it are
//! excepted: these use what it defines, and it uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Source, sources};

#[test]
fn files_use_each_other_in_no_circle() {
    let found = circles(sources());
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn circle_is_found_through_names_that_a_module_passes_on() {
    let files = |last: &str| {
        let texts = [
            (
                "a",
                "mod b; mod c; pub use self::b::B as Renamed; use self::c::d::{self, D};",
            ),
            (
                "a::b",
                "use super::c; fn f() { c::g() } #[cfg(test)] mod tests { use super::super::D; }",
            ),
            ("a::c", "pub mod d; use crate::e::E;"),
            ("a::c::d", last),
            ("e", "fn f() -> crate::a::c::d::D { todo!() }"),
        ];
        let files = texts.map(|(module, text)| Source {
            path: PathBuf::new(),
            module: module.split("::").map(str::to_owned).collect(),
            text: text.to_owned(),
        });
        circles(files.into())
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    assert_eq!(files("use super::super::Unknown;"), [""; 0]);
    assert_eq!(
        files("use crate::a::Renamed;"),
        ["a::b", "a::c", "a::c::d", "e"]
    );
}

type Module = Vec<String>;

/// Finds all groups of files that use each other, directly or through others of the group.
fn circles(sources: Vec<Source>) -> BTreeSet<BTreeSet<String>> {
    let uses = Modules::new(sources).uses();
    let reach: BTreeMap<_, _> = uses
        .keys()
        .map(|file| (file, reachable(file, &uses)))
        .collect();
    let groups = reach.iter().filter(|(file, others)| others.contains(*file));
    let groups = groups.map(|(file, others)| {
        let returns = |other: &&&Module| reach.get(**other).is_some_and(|all| all.contains(*file));
        let group = others.iter().filter(returns);
        group.map(|file| file.join("::")).collect()
    });
    groups.collect()
}

/// The files that `file` uses, and those that they use.
fn reachable<'a>(
    file: &Module,
    uses: &'a BTreeMap<Module, BTreeSet<Module>>,
) -> BTreeSet<&'a Module> {
    let mut found = BTreeSet::new();
    let mut left: Vec<_> = uses.get(file).into_iter().flatten().collect();
    while let Some(next) = left.pop() {
        if found.insert(next) {
            left.extend(uses.get(next).into_iter().flatten());
        }
    }
    found
}

/// The files, and the names that they pass on.
struct Modules {
    sources: Vec<Source>,
    files: BTreeSet<Module>,
    /// What a `use` leads to, by the path of the name that it makes.
    imports: BTreeMap<Module, Module>,
}

impl Modules {
    fn new(mut sources: Vec<Source>) -> Self {
        sources.retain(|source| !source.is_test());
        let imports = sources.iter().flat_map(|source| {
            let paths = source.used_paths().into_iter();
            let imports = paths.filter(|path| path.is_use).filter_map(|path| {
                let name = [&source.module[..], &[path.name.to_owned()]].concat();
                let target = path.names_from_root(&source.module)?;
                (name != target).then_some((name, target))
            });
            imports.collect::<Vec<_>>()
        });
        Self {
            imports: imports.collect(),
            files: sources.iter().map(|source| source.module.clone()).collect(),
            sources,
        }
    }

    /// The other files that each file uses, without those of the modules around and inside it.
    fn uses(&self) -> BTreeMap<Module, BTreeSet<Module>> {
        let uses = self.sources.iter().map(|source| {
            let module = &source.module;
            let targets = source.used_paths().into_iter().filter_map(|path| {
                let target = self.file_of(&path.names_from_root(module)?, MAX_IMPORTS);
                (!target.starts_with(module) && !module.starts_with(&target)).then_some(target)
            });
            (module.clone(), targets.collect())
        });
        uses.collect()
    }

    /// The file that defines what `path` leads to, over at most `imports` imports.
    fn file_of(&self, path: &[String], imports: usize) -> Module {
        let known = |end: &usize| self.files.contains(&path[..*end]);
        let end = (1..=path.len()).take_while(known).last().unwrap_or(0);
        let next = path.get(..=end).filter(|_| imports > 0);
        match next.and_then(|name| self.imports.get(name)) {
            Some(target) => self.file_of(&[target, &path[end + 1..]].concat(), imports - 1),
            None => path[..end].to_vec(),
        }
    }
}

/// More imports than the name of a type has on its way, should two lead to each other.
const MAX_IMPORTS: usize = 8;
