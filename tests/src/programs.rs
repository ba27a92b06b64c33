//! The programs under test, as a user starts them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

/// Where cargo puts programs of this build.
fn folder() -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    // target/<profile>/deps/it-...
    test.ancestors().nth(2).map(Path::to_path_buf).unwrap_or_default()
}

/// The path of `orkaudio` or `orktrack`, built from this tree.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--locked", "--quiet", "-p", "orkaudio", "-p", "orktrack"]);
        if folder().ends_with("release") {
            build.arg("--release");
        }
        let status = build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot build the programs");
    });
    folder().join(name)
}

/// A file or folder of the workspace.
#[must_use]
pub fn workspace(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}

/// Waits until `done` says so.
///
/// # Panics
/// After two minutes, far more than anything takes.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < until, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A started program, killed when the test ends.
#[derive(Debug)]
pub struct Running(pub Child);

impl Running {
    /// Starts a program; its log goes to `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let Ok(file) = std::fs::File::create(log) else { unreachable!("a fresh folder") };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn();
        match child {
            Ok(child) => Self(child),
            Err(error) => unreachable!("cannot start {command:?}: {error}"),
        }
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
