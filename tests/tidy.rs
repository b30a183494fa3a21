//! Holds the rules of the house that no compiler holds, and proves that each of them bites.
//!
//! Owns the table of floors and one function for each rule; `tidy/house.rs` reads the sources,
//! `tidy/lexer.rs` makes tokens of them, and `tidy/proofs.rs` feeds each rule texts that break it.
//! Must never build or run anything of the project: it reads text, so a name that a macro pastes
//! together escapes it.

#[path = "tidy/house.rs"]
mod house;
#[path = "tidy/lexer.rs"]
mod lexer;
#[path = "tidy/proofs.rs"]
mod proofs;

use std::path::Path;

use house::{File, Finding, House};
use lexer::Kind;

/// Floors, lowest first. A module may name modules of lower floors and itself, never a sibling.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["logic"],
    &["dialect"],
    &["source"],
    &["clock"],
    &["net", "store"],
    &["engine"],
    &["http"],
    &["app"],
];
/// Decisions and languages: no I/O, no clock, no chance, no async, no hash maps.
const PURE: &[&str] = &["model", "logic", "dialect", "source"];
const FILE_LINES_MAX: usize = 800;
const TOP_LEVEL: &[&str] =
    &["Cargo.lock", "Cargo.toml", "LICENSE", "README.md", "fuzz", "packaging", "src", "tests"];

/// Single names that a pure floor may not use, wherever they come from.
const IMPURE_NAMES: &[&str] = &[
    // async
    "async",
    "await",
    // clocks; governor's own clocks and the constructors that pick one unasked
    "SystemTime",
    "DefaultClock",
    "MonotonicClock",
    "QuantaClock",
    "QuantaUpkeepClock",
    "SystemClock",
    // I/O
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    // an order that differs from run to run
    "HashMap",
    "HashSet",
    "RandomState",
];
/// Paths that a pure floor may not use.
const IMPURE_PATHS: &[&[&str]] = &[
    &["std", "env"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "os"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["time", "Instant"],
    &["Instant", "now"],
    &["RateLimiter", "direct"],
    &["RateLimiter", "keyed"],
    &["fastrand"],
    &["getrandom"],
    &["hyper"],
    &["hyper_util"],
    &["rand"],
    &["redb"],
    &["rustix"],
    &["rustls_native_certs"],
    &["tokio"],
    &["tokio_rustls"],
    &["tracing"],
];
/// Where a thread may be taken that waits for the disk: where its number is bounded, and at the end.
const BLOCKING: &[&str] = &["src/app/daemon.rs", "src/engine/reads.rs"];
const NEVER_SHIPPED_MACROS: &[&str] = &["dbg", "panic", "todo", "unimplemented"];
const PRINT_MACROS: &[&str] = &["eprint", "eprintln", "print", "println"];

type Rule = (&'static str, fn(&House, &mut Vec<Finding>));

const RULES: &[Rule] = &[
    ("floors", floors),
    ("pure floors", pure_floors),
    ("opening comment", opening_comment),
    ("nothing that panics is shipped", shipped_macros),
    ("only app prints", printing),
    ("reads take turns", reads_take_turns),
    ("unwrap", unwrap),
    ("expect says why", expect_message),
    ("file length", file_length),
    ("order of lib.rs", lib_order),
    ("no unsafe", no_unsafe),
    ("no ignored test", no_ignored_test),
    ("characters", characters),
    ("top level", top_level),
];

#[test]
fn the_house_is_tidy() {
    let house = House::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(house.files.iter().any(|f| f.path == "src/lib.rs"), "the sources are found");
    let found = check(&house);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} untidy:\n{}", found.len(), lines.join("\n"));
}

// ---- the rules -------------------------------------------------------------------------------

fn check(house: &House) -> Vec<Finding> {
    let mut found = Vec::new();
    for (_, rule) in RULES {
        rule(house, &mut found);
    }
    found
}

fn floors(house: &House, found: &mut Vec<Finding>) {
    const RULE: &str = "floors";
    for file in house.shipped_rust() {
        let (own, may): (&str, Vec<&str>) = match file.path.as_str() {
            "src/lib.rs" => continue,
            "src/main.rs" => ("main.rs", vec!["app"]),
            _ => match room(file) {
                Some(room) => (room, reachable(room)),
                None => {
                    found.push(file.at(1, RULE, "stands in no room of any floor".into()));
                    continue;
                }
            },
        };
        for (line, named) in file.rooms_named() {
            if !may.contains(&named.as_str()) && named != own {
                found.push(file.at(line, RULE, format!("{own} must not name {named}")));
            }
        }
    }
}

fn pure_floors(house: &House, found: &mut Vec<Finding>) {
    for file in house.shipped_rust() {
        if !room(file).is_some_and(|room| PURE.contains(&room)) {
            continue;
        }
        for (line, path) in file.paths() {
            let by_name = path.iter().find(|s| IMPURE_NAMES.contains(&s.as_str()));
            let by_path = IMPURE_PATHS
                .iter()
                .find(|ban| path.len() >= ban.len() && ban.iter().zip(&path).all(|(b, p)| b == p));
            if by_name.is_some() || by_path.is_some() {
                let what = format!("a pure floor must not use {}", path.join("::"));
                found.push(file.at(line, "pure floors", what));
            }
        }
    }
}

fn opening_comment(house: &House, found: &mut Vec<Finding>) {
    for file in &house.files {
        let body = match file.text.strip_prefix("#!") {
            // A shebang, not the `#![…]` of Rust.
            Some(rest) if !rest.starts_with('[') => rest.split_once('\n').map_or("", |(_, b)| b),
            _ => &file.text,
        };
        let opens = match file.extension() {
            "rs" => body.starts_with("//! "),
            "py" => body.starts_with("\"\"\""),
            "mjs" => body.starts_with("// "),
            _ => continue,
        };
        if !opens {
            let what = "does not open with what it owns and what it must never do".into();
            found.push(file.at(1, "opening comment", what));
        }
    }
}

fn shipped_macros(house: &House, found: &mut Vec<Finding>) {
    for file in house.shipped_rust() {
        for (line, name) in file.macros_called() {
            if NEVER_SHIPPED_MACROS.contains(&name) {
                let what = format!("{name}! in shipped code");
                found.push(file.at(line, "nothing that panics is shipped", what));
            }
        }
    }
}

fn printing(house: &House, found: &mut Vec<Finding>) {
    for file in house.shipped_rust() {
        for (line, name) in file.macros_called() {
            if PRINT_MACROS.contains(&name) && room(file) != Some("app") {
                found.push(file.at(line, "only app prints", format!("{name}! outside app")));
            }
        }
    }
}

fn reads_take_turns(house: &House, found: &mut Vec<Finding>) {
    for file in house.shipped_rust() {
        for token in &file.shipped {
            if token.is("spawn_blocking") && !BLOCKING.contains(&file.path.as_str()) {
                let what = "spawn_blocking outside of engine::reads".into();
                found.push(file.at(token.line, "reads take turns", what));
            }
        }
    }
}

fn unwrap(house: &House, found: &mut Vec<Finding>) {
    for file in house.shipped_rust() {
        for at in file.shipped.windows(3) {
            if at[0].is(".") && matches!(at[1].text.as_str(), "unwrap" | "unwrap_err") {
                let what = format!(".{}() in shipped code", at[1].text);
                found.push(file.at(at[1].line, "unwrap", what));
            }
        }
    }
}

fn expect_message(house: &House, found: &mut Vec<Finding>) {
    for file in house.shipped_rust() {
        for at in file.shipped.windows(4) {
            let call = at[0].is(".") && at[1].is("expect") && at[2].is("(");
            let literal = at[3].kind == Kind::Text && at[3].text.trim_matches('"').len() > 3;
            if call && !literal {
                let what = "expect() without a literal that says why it holds".into();
                found.push(file.at(at[1].line, "expect says why", what));
            }
        }
    }
}

fn file_length(house: &House, found: &mut Vec<Finding>) {
    for file in &house.files {
        let lines = file.text.lines().count();
        if file.extension() == "rs" && lines > FILE_LINES_MAX {
            let what = format!("{lines} lines, {FILE_LINES_MAX} at most");
            found.push(file.at(FILE_LINES_MAX + 1, "file length", what));
        }
    }
}

fn lib_order(house: &House, found: &mut Vec<Finding>) {
    const RULE: &str = "order of lib.rs";
    let Some(lib) = house.files.iter().find(|f| f.path == "src/lib.rs") else { return };
    let mods: Vec<(usize, &str)> = lib
        .shipped
        .windows(3)
        .filter(|at| at[0].is("mod") && at[2].is(";"))
        .map(|at| (at[1].line, at[1].text.as_str()))
        .collect();
    let mut highest = 0;
    for &(line, name) in &mods {
        match floor(name) {
            None => found.push(lib.at(line, RULE, format!("{name} has no floor"))),
            Some(at) if at < highest => {
                found.push(lib.at(line, RULE, format!("{name} stands above its floor")));
            }
            Some(at) => highest = at,
        }
    }
    for name in FLOORS.concat() {
        if !mods.iter().any(|(_, declared)| *declared == name) {
            found.push(lib.at(1, RULE, format!("{name} is not declared")));
        }
    }
}

fn no_unsafe(house: &House, found: &mut Vec<Finding>) {
    for file in &house.files {
        for token in file.tokens.iter().filter(|t| t.kind == Kind::Name && t.is("unsafe")) {
            found.push(file.at(token.line, "no unsafe", "unsafe code".into()));
        }
    }
}

fn no_ignored_test(house: &House, found: &mut Vec<Finding>) {
    for file in &house.files {
        for at in file.tokens.windows(3) {
            if at[0].is("#") && at[1].is("[") && at[2].is("ignore") {
                let what = "an ignored test holds nothing".into();
                found.push(file.at(at[2].line, "no ignored test", what));
            }
        }
    }
}

fn characters(house: &House, found: &mut Vec<Finding>) {
    for file in &house.files {
        for (index, line) in file.text.split('\n').enumerate() {
            let hidden = line.chars().find(|&c| is_hidden(c));
            let what = match hidden {
                Some(c) => format!("character U+{:04X} that a reader can't see", c as u32),
                None if line.ends_with(' ') => "a space at the line's end".into(),
                None => continue,
            };
            found.push(file.at(index + 1, "characters", what));
        }
    }
}

fn top_level(house: &House, found: &mut Vec<Finding>) {
    for entry in &house.entries {
        if !TOP_LEVEL.contains(&entry.as_str()) {
            found.push(Finding {
                rule: "top level",
                path: entry.clone(),
                line: 1,
                what: "has no place at the top; the entries there are fixed".into(),
            });
        }
    }
}

/// Controls, zero-width and direction-changing characters: a text that reads as something else.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
        || c == '\u{feff}'
}

/// The top-level module of a floor that the file belongs to.
fn room(file: &File) -> Option<&'static str> {
    let module = file.module();
    let top = module.first()?;
    FLOORS.iter().flat_map(|rooms| rooms.iter()).find(|room| *room == top).copied()
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn reachable(room: &str) -> Vec<&'static str> {
    let own = floor(room).unwrap_or(0);
    FLOORS[..own].concat()
}
