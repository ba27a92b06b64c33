//! Calls whose frames several threads capture.

use ork_tests::{programs::program, skip};
use std::process::Command;

/// Signalling and both directions of a call come by whichever thread the kernel chose; every frame is then looked
/// for at its place.
#[test]
fn calls_are_whole_whichever_threads_captured_them() {
    let alone = Command::new("unshare").args(["--net", "true"]).output();
    if !alone.is_ok_and(|done| done.status.success()) {
        return skip::note("several capture threads", "no network namespace can be made here");
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", env!("CARGO_BIN_EXE_ork-live"), "--calls", "20", "--seconds", "3"]);
    command.args(["--listeners", "0", "--heard", "1", "--threads", "3", "--shared", "100"]);
    command.arg("--dir").arg(scratch.path()).arg("--orkaudio").arg(program("orkaudio"));
    let done = command.output().unwrap();
    let (told, trouble) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{told}\n{trouble}");
    let row = told.lines().find(|line| line.starts_with("| 100 | 0 | 3 |")).unwrap();
    let cells: Vec<_> = row.split('|').map(str::trim).collect();
    let heads: Vec<_> = told
        .lines()
        .find(|line| line.starts_with("| calls"))
        .unwrap()
        .split('|')
        .map(str::trim)
        .collect();
    let cell = |name: &str| cells[heads.iter().position(|head| *head == name).unwrap()];
    assert_eq!((cell("dropped"), cell("tapes"), cell("frames wrong")), ("0", "100", "0"), "{told}");
    assert!(cell("of it").contains("capture "), "{told}");
}
