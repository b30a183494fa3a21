//! Replays the committed corpora of `fuzz/` through the functions that libFuzzer drives.
//!
//! Owns the check that every target has its row, its line, its file and its inputs. Must never need
//! libFuzzer: the functions are taken in as a module.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use fuzz::TARGETS;

const FILES_MAX: usize = 200;
const FILE_BYTES_MAX: usize = 4 * 1_024;
const ALL_BYTES_MAX: usize = 3 * 1_024 * 1_024;

#[test]
fn every_input_of_the_corpora_is_survived() {
    let mut all_bytes = 0;
    for target in TARGETS {
        let files = entries(&folder("corpus").join(target.name));
        let count = files.len();
        assert!((1..=FILES_MAX).contains(&count), "corpus/{}: {count} inputs", target.name);
        for file in files {
            let data = fs::read(&file).expect("an input is readable");
            assert!(data.len() <= FILE_BYTES_MAX, "{} is too long", file.display());
            all_bytes += data.len();
            let survived = std::panic::catch_unwind(|| (target.run)(&data));
            assert!(survived.is_ok(), "{} fails with {}", target.name, file.display());
        }
    }
    assert!(all_bytes <= ALL_BYTES_MAX, "the corpora have {all_bytes} bytes");
}

#[test]
fn every_target_is_everywhere() {
    let names = |names: Vec<&str>| -> BTreeSet<String> {
        let count = names.len();
        let names: BTreeSet<String> = names.into_iter().map(str::to_owned).collect();
        assert_eq!(names.len(), count, "a name is there twice: {names:?}");
        names
    };
    let rows = names(TARGETS.iter().map(|target| target.name).collect());
    assert!(TARGETS.iter().all(|target| (1..=FILE_BYTES_MAX).contains(&target.bytes_max)));
    let manifest = fs::read_to_string(folder("Cargo.toml")).expect("the manifest is readable");
    let manifest: toml::Table = manifest.parse().expect("it is TOML");
    let bins = manifest["bin"].as_array().expect("a list of binaries");
    let lines = names(bins.iter().filter_map(|bin| bin["name"].as_str()).collect());
    assert_eq!(lines, rows, "fuzz/Cargo.toml and TARGETS");
    for bin in bins {
        let (name, path) = (bin["name"].as_str(), bin["path"].as_str());
        let wanted = name.map(|name| format!("fuzz_targets/{name}.rs"));
        assert_eq!(path, wanted.as_deref(), "fuzz/Cargo.toml");
    }
    let stems = |folder: &str| -> BTreeSet<String> {
        let files = entries(&self::folder(folder)).into_iter();
        files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    };
    assert_eq!(stems("fuzz_targets"), rows, "fuzz/fuzz_targets and TARGETS");
    assert_eq!(stems("corpus"), rows, "fuzz/corpus and TARGETS");
}

/// Each target reads the name of its own function, so a row that names another's would go unseen.
#[test]
fn a_target_runs_by_its_name() {
    for target in TARGETS {
        fuzz::run(target.name, b"");
    }
    assert!(std::panic::catch_unwind(|| fuzz::run("none", b"")).is_err());
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(name)
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a target has its folder");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry is readable").path()).collect();
    paths.sort();
    paths
}
