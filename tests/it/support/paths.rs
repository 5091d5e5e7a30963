//! The paths in a source, such as `crate::core::ids`, and what they lead to.

/// A path of two names or more.
#[derive(Debug, PartialEq)]
pub(crate) struct UsedPath<'a> {
    pub(crate) line: usize,
    /// All names, `crate`, `self` and `super` at the start included.
    pub(crate) names: Vec<&'a str>,
    /// What a `use` of the path calls it.
    pub(crate) name: &'a str,
    /// Whether it stands in a `use`.
    pub(crate) is_use: bool,
    /// How many modules with braces in the file are around it.
    pub(crate) inline_modules: usize,
}

impl UsedPath<'_> {
    /// The names from the crate's root on, for a path in the file of `module`. A path that
    /// begins with another name than `crate`, `self` and `super` leads into a crate or into a
    /// module below: it is taken for the second.
    pub(crate) fn names_from_root(&self, module: &[String]) -> Option<Vec<String>> {
        let supers = self
            .names
            .iter()
            .take_while(|name| **name == "super")
            .count();
        let (kept, skipped) = match self.names[0] {
            "crate" => (0, 1),
            "self" => (module.len(), 1),
            _ => {
                let up = supers.saturating_sub(self.inline_modules);
                (module.len().checked_sub(up)?, supers)
            }
        };
        let rest = self.names[skipped..].iter().map(|name| (*name).to_owned());
        Some(module[..kept].iter().cloned().chain(rest).collect())
    }
}

/// Finds all paths in the tokens of a source: one for each name in the braces of a group.
pub(crate) fn used_paths<'a>(tokens: &[(usize, &'a str)]) -> Vec<UsedPath<'a>> {
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| *word);
    let begins_path = |at: usize| match (word(at), word(at + 1)) {
        (name, "::") => is_name(name),
        // `pub(crate)` leads nowhere; `use crate as name` does.
        (name, "as") => name == "crate",
        _ => false,
    };
    let mut found = Vec::new();
    let mut braces = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if begins_path(at) {
            let mut tree = Tree {
                tokens,
                at,
                is_use: at > 0 && word(at - 1) == "use",
                inline_modules: braces.iter().filter(|is_module| **is_module).count(),
                found: &mut found,
            };
            tree.read(&[]);
            at = tree.at;
            continue;
        }
        match word(at) {
            "{" => braces.push(at >= 2 && word(at - 2) == "mod"),
            "}" => drop(braces.pop()),
            _ => (),
        }
        at += 1;
    }
    found
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads a path with its groups.
struct Tree<'t, 'a> {
    tokens: &'t [(usize, &'a str)],
    at: usize,
    is_use: bool,
    inline_modules: usize,
    found: &'t mut Vec<UsedPath<'a>>,
}

impl<'a> Tree<'_, 'a> {
    fn word(&self) -> &'a str {
        self.tokens.get(self.at).map_or("", |(_, word)| word)
    }

    fn next(&mut self) -> &'a str {
        let word = self.word();
        self.at += 1;
        word
    }

    fn read(&mut self, before: &[&'a str]) {
        if self.word() == "{" {
            self.at += 1;
            while !["}", ""].contains(&self.word()) {
                if self.word() == "," {
                    self.at += 1;
                } else {
                    self.read(before);
                }
            }
            self.at += 1;
            return;
        }
        let line = self.tokens.get(self.at).map_or(0, |(line, _)| *line);
        let mut names = [before, &[self.next()]].concat();
        if self.word() == "::" {
            self.at += 1;
            if ["{", "*"].contains(&self.word()) || is_name(self.word()) {
                return self.read(&names);
            }
        }
        if names.len() > 1 {
            names.pop_if(|last| *last == "self");
        }
        let mut name = names[names.len() - 1];
        if self.is_use && self.word() == "as" {
            self.at += 1;
            name = self.next();
        }
        self.found.push(UsedPath {
            line,
            names,
            name,
            is_use: self.is_use,
            inline_modules: self.inline_modules,
        });
    }
}
