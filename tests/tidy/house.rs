//! The sources as the rules see them: files, their tokens, and the paths that they name.
//!
//! Owns reading the tree and resolving `crate::`, `super::` and `use` trees to modules. Must never
//! know a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::lexer::{Kind, Token, lex, without_tests};

pub struct Finding {
    pub rule: &'static str,
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: [{}] {}", self.path, self.line, self.rule, self.what)
    }
}

pub struct House {
    pub files: Vec<File>,
    pub entries: Vec<String>,
}

pub struct File {
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    /// `tokens` without what stands under `#[cfg(test)]`.
    pub shipped: Vec<Token>,
    /// The file is a module that is only declared for tests.
    pub for_tests: bool,
}

impl House {
    pub fn read(root: &Path) -> House {
        let mut paths = Vec::new();
        for top in ["src", "tests", "fuzz"] {
            list(&root.join(top), &mut paths);
        }
        let texts = paths
            .iter()
            .map(|path| {
                let text = fs::read_to_string(path).expect("a source is UTF-8 text");
                let name = path.strip_prefix(root).expect("listed below the root");
                (name.to_string_lossy().replace('\\', "/"), text)
            })
            .collect();
        House::of(texts, visible_entries(root))
    }

    pub fn of(texts: Vec<(String, String)>, entries: Vec<String>) -> House {
        let mut files: Vec<File> = texts.into_iter().map(|(p, t)| File::of(p, t)).collect();
        let only_tests: BTreeSet<String> = files.iter().flat_map(File::test_modules).collect();
        for file in &mut files {
            let stem = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
            file.for_tests |= only_tests.iter().any(|m| {
                stem == m || stem.strip_prefix(m).is_some_and(|rest| rest.starts_with('/'))
            });
        }
        House { files, entries }
    }

    pub fn shipped_rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|f| f.path.starts_with("src/") && !f.for_tests)
    }
}

fn list(dir: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let built = ["node_modules", "target", "__pycache__"].contains(&name.as_str());
        if path.is_dir() && !name.starts_with('.') && !built {
            list(&path, into);
        } else if ["rs", "py", "mjs"].iter().any(|e| path.extension().is_some_and(|x| x == *e)) {
            into.push(path);
        }
    }
}

/// Top-level entries, without hidden ones and those that `.gitignore` names.
fn visible_entries(root: &Path) -> Vec<String> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let ignored: Vec<&str> = ignored.lines().map(|l| l.trim_matches('/')).collect();
    let entries = fs::read_dir(root).expect("the package's folder is readable");
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned()))
        .filter(|name| !name.starts_with('.') && !ignored.contains(&name.as_str()))
        .collect();
    names.sort();
    names
}

impl File {
    pub fn of(path: String, text: String) -> File {
        let rust = path.ends_with(".rs");
        let tokens = if rust { lex(&text) } else { Vec::new() };
        let shipped = without_tests(&tokens);
        File { path, text, tokens, shipped, for_tests: false }
    }

    pub fn at(&self, line: usize, rule: &'static str, what: String) -> Finding {
        Finding { rule, path: self.path.clone(), line, what }
    }

    pub fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, e)| e)
    }

    /// `src/logic/retry.rs` is `["logic", "retry"]`; `mod.rs` is its folder.
    pub fn module(&self) -> Vec<String> {
        let inner = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        let mut parts: Vec<String> = inner.split('/').map(str::to_owned).collect();
        if parts.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
            parts.pop();
        }
        parts
    }

    /// Modules that this file declares for tests only, as paths without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let shipped: BTreeMap<&str, usize> = declared(&self.shipped);
        let all = declared(&self.tokens);
        let folder = match self.path.rsplit_once('/') {
            Some((dir, "mod.rs" | "lib.rs" | "main.rs")) => dir.to_owned(),
            _ => self.path.trim_end_matches(".rs").to_owned(),
        };
        let only = all.keys().filter(|name| !shipped.contains_key(*name));
        only.map(|name| format!("{folder}/{name}")).collect()
    }

    /// Calls of `name!`, with their lines.
    pub fn macros_called(&self) -> impl Iterator<Item = (usize, &str)> {
        let calls = self.shipped.windows(3).filter(|at| {
            at[0].kind == Kind::Name && at[1].is("!") && ["(", "[", "{"].iter().any(|b| at[2].is(b))
        });
        calls.map(|at| (at[0].line, at[0].text.as_str()))
    }

    /// Every path in shipped code, `use` trees spread out, as written.
    pub fn paths(&self) -> Vec<(usize, Vec<String>)> {
        self.placed_paths().into_iter().map(|(line, _, path)| (line, path)).collect()
    }

    /// Top-level modules that shipped code names, however it spells them.
    pub fn rooms_named(&self) -> Vec<(usize, String)> {
        let mut named = Vec::new();
        for (line, inline, path) in self.placed_paths() {
            let mut at = self.module();
            at.extend(inline);
            let mut rest = path.as_slice();
            match rest.first().map(String::as_str) {
                Some("crate" | "postrider") => {
                    at.clear();
                    rest = &rest[1..];
                }
                Some("self" | "super") => {}
                _ => continue,
            }
            while let Some(first) = rest.first() {
                match first.as_str() {
                    "self" => {}
                    "super" => drop(at.pop()),
                    _ => break,
                }
                rest = &rest[1..];
            }
            if let (true, Some(room)) = (at.is_empty(), rest.first()) {
                named.push((line, room.clone()));
            }
        }
        named
    }

    /// Paths with the inline modules that they stand in.
    fn placed_paths(&self) -> Vec<(usize, Vec<String>, Vec<String>)> {
        let tokens = &self.shipped;
        let mut out = Vec::new();
        let (mut depth, mut inline): (usize, Vec<(usize, String)>) = (0, Vec::new());
        for (i, token) in tokens.iter().enumerate() {
            match token.text.as_str() {
                "{" if token.kind == Kind::Mark => {
                    depth += 1;
                    if i >= 2 && tokens[i - 2].is("mod") {
                        inline.push((depth, tokens[i - 1].text.clone()));
                    }
                }
                "}" if token.kind == Kind::Mark => {
                    if inline.last().is_some_and(|(at, _)| *at == depth) {
                        inline.pop();
                    }
                    depth = depth.saturating_sub(1);
                }
                _ if token.kind == Kind::Name && !continues_a_path(tokens, i) => {
                    let place: Vec<String> = inline.iter().map(|(_, name)| name.clone()).collect();
                    let mut paths = Vec::new();
                    spread(tokens, i, &[], &mut paths);
                    out.extend(paths.into_iter().map(|(line, p)| (line, place.clone(), p)));
                }
                _ => {}
            }
        }
        out
    }
}

fn declared(tokens: &[Token]) -> BTreeMap<&str, usize> {
    let mods = tokens.windows(3).filter(|at| at[0].is("mod") && at[2].is(";"));
    mods.map(|at| (at[1].text.as_str(), at[1].line)).collect()
}

/// Whether the name at `i` follows `name::`, `>::` or, in a group, belongs to a path begun before.
fn continues_a_path(tokens: &[Token], i: usize) -> bool {
    let after_colons = i >= 1 && tokens[i - 1].is("::");
    let led = i >= 2 && (tokens[i - 2].kind == Kind::Name || tokens[i - 2].is(">"));
    // `use ::std::fs` leads with colons, and so begins a path.
    (after_colons && led && !tokens[i - 2].is("use")) || in_use_group(tokens, i)
}

/// Whether `i` stands inside the braces of a `use` tree.
fn in_use_group(tokens: &[Token], i: usize) -> bool {
    let mut open = 0_usize;
    for at in (0..i).rev() {
        match tokens[at].text.as_str() {
            ";" => return false,
            "}" => open += 1,
            "{" if open > 0 => open -= 1,
            "{" => return at >= 1 && tokens[at - 1].is("::"),
            _ => {}
        }
    }
    false
}

/// All paths that begin at `i`, after `prefix`; answers with the index behind them.
fn spread(
    tokens: &[Token],
    mut i: usize,
    prefix: &[String],
    out: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens.get(i).map_or(0, |t| t.line);
    while let Some(token) = tokens.get(i) {
        if token.is("{") && !path.is_empty() && i >= 1 && tokens[i - 1].is("::") {
            i += 1;
            while tokens.get(i).is_some_and(|t| !t.is("}")) {
                let next = spread(tokens, i, &path, out);
                i = next.max(i + 1);
            }
            return i + 1;
        }
        if token.kind != Kind::Name && !token.is("*") {
            break;
        }
        path.push(token.text.clone());
        i += 1;
        if !tokens.get(i).is_some_and(|t| t.is("::")) {
            break;
        }
        i += 1;
    }
    if path.len() > prefix.len() {
        out.push((line, path));
    }
    i
}
