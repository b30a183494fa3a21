//! Proof that every rule bites, and that what looks like a break but is none passes.
//!
//! Owns the sample texts. Must never read the project's own sources.

use super::house::{Finding, House};
use super::{FILE_LINES_MAX, RULES, check};

/// Texts that break a rule: the rule, the file, its text.
const BREAKS: &[(&str, &str, &str)] = &[
    ("floors", "src/logic/a.rs", "//! A.\nuse crate::store::Seam;"),
    ("floors", "src/model/a.rs", "//! A.\nuse crate::{clock::now, model::ids};"),
    ("floors", "src/model/a.rs", "//! A.\nuse super::super::logic::retry;"),
    ("floors", "src/model/a/b.rs", "//! A.\nuse super::super::{super::net::dial, x};"),
    ("floors", "src/model/mod.rs", "//! A.\nuse super::app;"),
    ("floors", "src/logic/a.rs", "//! A.\nmod inner { use super::super::super::http::x; }"),
    ("floors", "src/net/a.rs", "//! A.\nfn f() -> crate::store::Key { g() }"),
    ("floors", "src/store/a.rs", "//! A.\nuse crate::net;"),
    ("floors", "src/engine/a.rs", "//! A.\nfn f() { postrider::http::serve(); }"),
    ("floors", "src/engine/a.rs", "//! A.\nuse crate::*;"),
    ("floors", "src/engine/a.rs", "//! A.\nmacro_rules! m { () => { $crate::app::run() } }"),
    ("floors", "src/main.rs", "//! A.\nfn main() { postrider::engine::run(); }"),
    ("floors", "src/util/a.rs", "//! A."),
    ("floors", "src/engine/a.rs", "//! A.\nuse crate::util::b;"),
    ("pure floors", "src/logic/a.rs", "//! A.\nuse std::collections::HashMap;"),
    ("pure floors", "src/logic/a.rs", "//! A.\nuse std::collections::{BTreeMap, HashSet};"),
    ("pure floors", "src/logic/a.rs", "//! A.\nuse std::time::{Duration, Instant};"),
    ("pure floors", "src/logic/a.rs", "//! A.\nfn f() { Instant::now(); }"),
    ("pure floors", "src/logic/a.rs", "//! A.\nuse std::time;\nfn f(at: time::Instant) {}"),
    ("pure floors", "src/logic/a.rs", "//! A.\nfn f() { std::fs::File::open(p); }"),
    ("pure floors", "src/model/a.rs", "//! A.\nasync fn f() {}"),
    ("pure floors", "src/model/a.rs", "//! A.\nfn f() { g.await; }"),
    ("pure floors", "src/dialect/a.rs", "//! A.\nuse std::net::{IpAddr, TcpStream};"),
    ("pure floors", "src/dialect/a.rs", "//! A.\nuse std::{fmt, fs};"),
    ("pure floors", "src/dialect/a.rs", "//! A.\nfn f() { ::std::process::abort() }"),
    ("pure floors", "src/source/a.rs", "//! A.\nfn f() { getrandom::fill(&mut b); }"),
    ("pure floors", "src/source/a.rs", "//! A.\nfn f() { tracing::info!(\"x\"); }"),
    ("pure floors", "src/logic/a.rs", "//! A.\nfn f() { RateLimiter::direct(quota); }"),
    ("pure floors", "src/logic/a.rs", "//! A.\nuse tokio::sync::{mpsc, watch};"),
    ("opening comment", "src/logic/a.rs", "fn f() {}"),
    ("opening comment", "src/logic/a.rs", "#![allow(x)]\n//! Late."),
    ("opening comment", "tests/a.rs", "// A."),
    ("opening comment", "tests/a/b.py", "#!/usr/bin/env python3\nimport os"),
    ("opening comment", "tests/a/b.mjs", "import fs from 'node:fs'"),
    ("nothing that panics is shipped", "src/net/a.rs", "//! A.\nfn f() { panic!(\"x\"); }"),
    ("nothing that panics is shipped", "src/net/a.rs", "//! A.\nfn f() { todo!() }"),
    ("nothing that panics is shipped", "src/net/a.rs", "//! A.\nfn f() { unimplemented!() }"),
    ("nothing that panics is shipped", "src/app/a.rs", "//! A.\nfn f() { dbg!(1); }"),
    ("only app prints", "src/http/a.rs", "//! A.\nfn f() { println!(\"x\"); }"),
    ("only app prints", "src/http/a.rs", "//! A.\nfn f() { eprintln!(\"x\"); }"),
    ("reads take turns", "src/http/a.rs", "//! A.\nfn f() { tokio::task::spawn_blocking(g); }"),
    ("unwrap", "src/http/a.rs", "//! A.\nfn f() { g().unwrap(); }"),
    ("unwrap", "src/http/a.rs", "//! A.\n#[cfg(test)]\nuse a::{b};\nfn f() { g()\n.unwrap() }"),
    ("unwrap", "src/http/a.rs", "//! A.\nconst C: char = '\"';\nfn f() { g().unwrap() }"),
    ("unwrap", "src/http/a.rs", "//! A.\n/* /* */ \" */\nfn f<'a>() { g().unwrap() }"),
    ("unwrap", "src/http/a.rs", "//! A.\nconst R: &str = r#\"\"a\"#;\nfn f() { g().unwrap() }"),
    (
        "unwrap",
        "src/http/a.rs",
        "//! A.\nstruct S { #[cfg(test)] a: B<C>, }\nfn f() { g.unwrap() }",
    ),
    ("expect says why", "src/http/a.rs", "//! A.\nfn f() { g().expect(&why); }"),
    ("expect says why", "src/http/a.rs", "//! A.\nfn f() { g().expect(\"\"); }"),
    ("order of lib.rs", "src/lib.rs", "//! A.\npub mod logic;\npub mod model;"),
    ("order of lib.rs", "src/lib.rs", "//! A.\npub mod model;\npub mod util;"),
    ("no unsafe", "src/store/a.rs", "//! A.\nfn f() { unsafe { g() } }"),
    ("no ignored test", "tests/a.rs", "//! A.\n#[test]\n#[ignore = \"slow\"]\nfn f() {}"),
    ("characters", "src/store/a.rs", "//! A.\nfn f() {}\t"),
    ("characters", "src/store/a.rs", "//! A.\r\nfn f() {}"),
    ("characters", "src/store/a.rs", "//! A\u{202e}B."),
    ("characters", "src/store/a.rs", "//! A. \nfn f() {}"),
];

/// Texts that look like a break and are none.
const KEEPS: &[(&str, &str)] = &[
    (
        "src/logic/a.rs",
        "//! A.\nuse crate::model::ids::EventId;\nuse super::wheel;\nuse crate::logic;",
    ),
    ("src/logic/a.rs", "//! A.\nimpl Clock for C { type Instant = Nanos; }"),
    (
        "src/app/a.rs",
        "//! A.\nuse crate::{engine, http, store::{self, Seam}};\nfn f() { println!(\"x\") }",
    ),
    ("src/main.rs", "//! A.\nfn main() { postrider::app::run() }"),
    ("src/model/a.rs", "//! A.\nuse std::net::{IpAddr, SocketAddr};\nuse std::time::Duration;"),
    (
        "src/model/a.rs",
        "//! A. crate::app, unwrap()\n// .unwrap()\nconst A: &str = \".unwrap() panic!()\";",
    ),
    (
        "src/model/a.rs",
        "//! A.\npub(crate) fn f() { g.unwrap_or(1); h.expect(\"checked above\"); }",
    ),
    (
        "src/model/a.rs",
        "//! A.\n#[cfg(test)]\nmod tests {\n use crate::store::X;\n fn f() { g().unwrap(); panic!() }\n}",
    ),
    (
        "src/model/a.rs",
        "//! A.\n#[cfg(test)]\n#[allow(x)]\nfn f<A, B>(a: [u8; 3]) -> C { g().unwrap() }\nfn g() {}",
    ),
    ("src/model/a.rs", "//! A.\nmod inner { use super::Other; use super::super::ids; }"),
    (
        "src/model/a.rs",
        "//! A.\n#[expect(dead_code, reason = \"x\")]\nfn f<'a>(x: &'a str) { assert!(x != \"\") }",
    ),
    (
        "src/model/r.rs",
        "//! A.\nfn f(r#async: u8) { let c = '\\''; let b = b'\\\\'; let d = b\"\\\"unwrap\"; }",
    ),
];

#[test]
fn every_rule_bites() {
    for (rule, path, text) in BREAKS {
        let found = check(&house_of(&[(path, text)]));
        let bitten = found.iter().any(|f| f.rule == *rule && f.path == *path);
        assert!(bitten, "[{rule}] lets this pass in {path}:\n{text}");
    }
    let long = format!("//! A.\n{}", "//\n".repeat(FILE_LINES_MAX));
    let found = check(&house_of(&[("src/net/a.rs", &long)]));
    assert!(found.iter().any(|f| f.rule == "file length"), "[file length] lets a long file pass");
    let found = check(&House::of(Vec::new(), vec!["notes.txt".into()]));
    assert!(found.iter().any(|f| f.rule == "top level"), "[top level] lets notes.txt pass");
}

#[test]
fn every_rule_has_a_text_that_breaks_it() {
    let apart = ["file length", "top level"];
    for (rule, _) in RULES {
        let broken = BREAKS.iter().any(|(name, ..)| name == rule) || apart.contains(rule);
        assert!(broken, "nothing proves that [{rule}] bites");
    }
}

#[test]
fn what_is_allowed_passes() {
    for (path, text) in KEEPS {
        let found = check(&house_of(&[(path, text)]));
        let lines: Vec<String> = found.iter().map(Finding::to_string).collect();
        assert!(found.is_empty(), "{}\nin {path}:\n{text}", lines.join("\n"));
    }
}

#[test]
fn files_declared_for_tests_may_do_what_tests_do() {
    let declared = "//! A.\n#[cfg(test)]\nmod contract;\nmod seam;";
    let breaking = "//! B.\nfn f() { g().unwrap() }";
    let house = house_of(&[
        ("src/store/mod.rs", declared),
        ("src/store/contract.rs", breaking),
        ("src/store/contract/more.rs", breaking),
        ("src/store/seam.rs", breaking),
        ("src/store/contract_like.rs", breaking),
    ]);
    let found: Vec<String> = check(&house).into_iter().map(|f| f.path).collect();
    assert_eq!(found, ["src/store/seam.rs", "src/store/contract_like.rs"]);
}

#[test]
fn lines_are_told_as_a_reader_counts_them() {
    let text = "//! A.\nconst A: &str = \"a\nb\";\n/* c\n */\nfn f() {\n    g().unwrap();\n}";
    let found = check(&house_of(&[("src/net/a.rs", text)]));
    assert_eq!(found.iter().map(|f| f.line).collect::<Vec<_>>(), [7]);
}

fn house_of(files: &[(&str, &str)]) -> House {
    House::of(files.iter().map(|(p, t)| ((*p).into(), (*t).into())).collect(), Vec::new())
}
