//! The fuzzers' inputs, on the compiler that builds the program: every file of the corpus, and every
//! input that ever broke a law, by the same functions that libFuzzer calls.

use ork_tests::{fuzz::TARGETS, programs::workspace};
use std::{
    collections::BTreeSet,
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
};

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_input_keeps_the_laws() {
    let mut broken = Vec::new();
    for kind in ["corpus", "regressions"] {
        for (name, target) in TARGETS {
            let folder = workspace("tests/fuzz").join(kind).join(name);
            if kind == "regressions" && !folder.exists() {
                continue;
            }
            let files = names(&folder);
            assert!(!files.is_empty(), "no inputs in {}", folder.display());
            for file in files {
                let input = fs::read(folder.join(&file)).unwrap();
                if panic::catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                    broken.push(format!("{kind}/{name}/{file}"));
                }
            }
        }
    }
    assert!(broken.is_empty(), "laws broken by {broken:?}");
}

#[test]
fn every_target_is_built_and_has_inputs() {
    let fuzz = workspace("tests/fuzz");
    let wanted: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(wanted.len(), TARGETS.len());
    assert_eq!(names(&fuzz.join("corpus")), wanted);
    assert!(names(&fuzz.join("regressions")).is_subset(&wanted));
    let files: BTreeSet<String> = wanted.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz.join("targets")), files);
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for name in &wanted {
        assert!(manifest.contains(&format!("\npath = \"targets/{name}.rs\"\n")), "{name}");
        let body = fs::read_to_string(fuzz.join(format!("targets/{name}.rs"))).unwrap();
        assert!(body.contains(&format!("run(\"{name}\", data)")), "{name}");
    }
}
