//! What every row is given: programs, a scratch folder, and how hard to try.

use super::Found;
use std::{path::PathBuf, process::Command};

/// How many times rows make their fault happen.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Effort {
    /// Enough to see that the row works: the whole matrix in a few minutes.
    Quick,
    /// Enough for the figures to mean something.
    Full,
}

/// Where rows work.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The folder with `orkaudio` and `orktrack`, built from this tree.
    pub programs: PathBuf,
    /// A folder that is removed at the end; large files go here.
    pub scratch: PathBuf,
    /// How hard to try.
    pub effort: Effort,
}

impl Bench {
    /// `quick` or `full`, by the effort.
    #[must_use]
    pub const fn times(&self, quick: u64, full: u64) -> u64 {
        match self.effort {
            Effort::Quick => quick,
            Effort::Full => full,
        }
    }

    /// A folder of its own for a row, empty.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn folder(&self, row: &str) -> PathBuf {
        let folder = self.scratch.join(row);
        drop(std::fs::remove_dir_all(&folder));
        let made = std::fs::create_dir_all(&folder);
        assert!(made.is_ok(), "cannot make {}: {made:?}", folder.display());
        folder
    }

    /// A row that tests of the suite stand for: they are run, and each is one run.
    #[must_use]
    pub fn suite(&self, package: &str, target: &[&str], tests: &[&str]) -> Found {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let mut command = Command::new(cargo);
        command.current_dir(root).args(["test", "--locked", "--quiet", "-p", package]);
        command.args(target).arg("--").args(tests);
        let output = match command.output() {
            Ok(output) => output,
            Err(error) => return Found::NotRun(format!("cargo: {error}")),
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let (mut passed, mut failed) = (0, 0);
        for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
            let count = |word: &str| {
                let part = line.split([';', '.']).find_map(|part| part.trim().strip_suffix(word));
                part.and_then(|number| number.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            passed += count("passed");
            failed += count("failed");
        }
        let kept = output.status.success() && passed > 0 && failed == 0;
        let names = tests.join(", ");
        Found::when(kept, passed + failed, format!("{passed} tests ({names}), {failed} failed"))
    }
}
