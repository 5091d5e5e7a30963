//! The Markdown pages of the package, with links that work without the sources.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;

/// Writes the pages of the repository at `root` into `doc` and `laravel.md` of `directory`.
///
/// # Errors
/// A page cannot be read or written.
pub(crate) fn write(root: &Path, directory: &Path) -> anyhow::Result<()> {
    let doc = directory.join("doc");
    fs::create_dir_all(&doc)?;
    for page in PAGES {
        let name = Path::new(page).file_name().context("a page has a name")?;
        fs::write(doc.join(name), read(root, page)?)?;
    }
    fs::write(directory.join("laravel.md"), read(root, LARAVEL_PAGE)?)?;
    Ok(())
}

/// Reads a page, and changes its links.
fn read(root: &Path, page: &str) -> anyhow::Result<String> {
    let text = fs::read_to_string(root.join(page)).with_context(|| page.to_owned())?;
    Ok(relink(page, &text))
}

/// Changes the links of `page`, a path in the repository: they lead to the installed file, and
/// a link to a file that the package lacks becomes its text.
pub(crate) fn relink(page: &str, text: &str) -> String {
    let mut output = String::with_capacity(text.len());
    // Positions of `[` in the output whose links have not ended.
    let mut open = Vec::new();
    let mut is_fenced = false;
    for line in text.split_inclusive('\n') {
        let is_fence = line.trim_start().starts_with("```");
        if is_fence || is_fenced {
            is_fenced ^= is_fence;
            output.push_str(line);
            continue;
        }
        let mut rest = line;
        let mut is_code = false;
        while let Some(next) = rest.chars().next() {
            match next {
                '`' => is_code = !is_code,
                '[' if !is_code => open.push(output.len()),
                ']' if !is_code => {
                    let start = open.pop();
                    let target = rest
                        .strip_prefix("](")
                        .and_then(|rest| rest.split_once(')'));
                    if let (Some(start), Some((target, after))) = (start, target) {
                        match installed(page, target) {
                            Some(target) => output.push_str(&format!("]({target})")),
                            None => drop(output.remove(start)),
                        }
                        rest = after;
                        continue;
                    }
                }
                _ => {}
            }
            output.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    output
}

/// Returns where the package has the `target` of a link of `page`, or `None` if nowhere.
fn installed(page: &str, target: &str) -> Option<String> {
    let (path, anchor) = target
        .find('#')
        .map_or((target, ""), |at| target.split_at(at));
    if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
        return Some(target.to_owned());
    }
    let path = normalize(&Path::new(page).with_file_name("").join(path));
    let place = place(path.to_str()?)?;
    let is_beside = page != LARAVEL_PAGE && place.parent() == Some(Path::new(DOC));
    let place = if is_beside {
        place.file_name()?.to_str()?
    } else {
        place.to_str()?
    };
    Some(format!("{place}{anchor}"))
}

/// Returns where the package installs a file or directory of the repository.
fn place(path: &str) -> Option<PathBuf> {
    if PAGES.contains(&path) {
        return Some(Path::new(DOC).join(Path::new(path).file_name()?));
    }
    if let Some(file) = path.strip_prefix("laravel") {
        return Some(format!("{LARAVEL}{file}").into());
    }
    let places = OTHERS.iter().find(|(file, _)| *file == path);
    places.map(|(_, place)| place.into())
}

/// Removes `..` and the name before it.
fn normalize(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            clean.pop();
        } else {
            clean.push(part);
        }
    }
    clean
}

/// The pages in [`DOC`]; they are for those who run the edge or write for it.
const PAGES: [&str; 10] = [
    "CHANGELOG.md",
    "README.md",
    "SECURITY.md",
    "docs/BROADCAST.md",
    "docs/NGINX.md",
    "docs/OPERATIONS.md",
    "docs/PROTOCOL.md",
    "docs/PWD-APP.md",
    "docs/REFERENCE.md",
    "docs/TLS.md",
];
const LARAVEL_PAGE: &str = "laravel/README.md";
const DOC: &str = "/usr/share/doc/pwd-edge";
const LARAVEL: &str = "/usr/share/pwd-edge/laravel";

/// Other files of the package.
const OTHERS: [(&str, &str); 4] = [
    ("LICENSE", "/usr/share/doc/pwd-edge/copyright"),
    ("config.toml", "/etc/pwd-edge/config.toml"),
    ("docs/grafana.json", "/usr/share/doc/pwd-edge/grafana.json"),
    (
        "docs/pwd-site.toml",
        "/usr/share/doc/pwd-edge/pwd-site.toml",
    ),
];
