//! What the recorder gives up before it looks at the first packet: root, core dumps, places to write to, and
//! system calls that no recorder makes. Packets are foreign; whoever should ever lead it astray with one finds
//! little to do with it.

use crate::{config::Config, process::User};
use landlock::{
    ABI, AccessFs, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus,
    path_beneath_rules,
};
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Why the recorder does not start.
#[derive(Debug, Error)]
pub enum ConfineError {
    /// There is no such user.
    #[error("security.user: {0}")]
    User(String),
    /// Only root can become somebody else.
    #[error(
        "security.user = \"{0}\", but this process is not root: start it as root or as that user, and leave security.user empty"
    )]
    NotRoot(String),
    /// The kernel said no.
    #[error("cannot {what}: {error}; security.confine = false does without")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// Why not.
        error: String,
    },
}

fn refused(what: &'static str) -> impl FnOnce(String) -> ConfineError {
    move |error| ConfineError::Refused { what, error }
}

/// Gives up what `config` says; to be called when the folders are there and before any thread is started.
/// Tells what was given up.
///
/// # Errors
/// See [`ConfineError`].
pub fn all(config: &Config) -> Result<String, ConfineError> {
    // What is in memory are conversations.
    let dumps = getrlimit(Resource::Core).current != Some(0);
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none)
        && dumps
    {
        tracing::warn!(%error, "cannot forbid core dumps, which would hold conversations");
    }
    if !config.security.confine {
        return Ok("not confined".to_owned());
    }
    let commands = !config.output.command.is_empty();
    // A program of the operator's own has work that is not known here.
    let files = if commands { "as its programs need" } else { write_below(&places(config))? };
    let calls = forbid_calls(commands)?;
    Ok(format!("writes {files}, {calls} system calls refused"))
}

/// Root becomes this user, for good: no capability stays. Nothing happens without a name. To be called when the
/// interfaces are open.
///
/// # Errors
/// See [`ConfineError`].
pub fn become_user(name: &str) -> Result<(), ConfineError> {
    if name.is_empty() {
        return Ok(());
    }
    if !geteuid().is_root() {
        return Err(ConfineError::NotRoot(name.to_owned()));
    }
    let user = User::find(name).map_err(ConfineError::User)?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setgroups(&[])
        .and_then(|()| setgid(gid))
        .and_then(|()| setuid(uid))
        .map_err(|error| refused("become security.user")(error.to_string()))?;
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(refused("give up root")("it could be had back".to_owned()));
    }
    Ok(())
}

/// Where the recorder writes. `SQLite` wants somewhere to put what a large statement may have to undo.
fn places(config: &Config) -> Vec<PathBuf> {
    let audit = config.tracker.state_folder.join(&config.doors.audit_file);
    let mut places = vec![config.tapes.folder.clone(), config.tracker.state_folder.clone()];
    places.extend([std::env::temp_dir(), PathBuf::from("/var/tmp")]);
    places.extend(audit.parent().map(Path::to_owned));
    let copies = &config.output.copy_folder;
    if !copies.as_os_str().is_empty() {
        places.push(copies.clone());
    }
    places
}

/// This thread and those it starts write, create, rename and delete below these folders only (Landlock); reading
/// stays as it was. Says how far the kernel goes along.
fn write_below(places: &[PathBuf]) -> Result<&'static str, ConfineError> {
    let access = AccessFs::from_write(ABI::V3);
    let enforced = Ruleset::default()
        .handle_access(access)
        .and_then(Ruleset::create)
        .and_then(|rules| rules.add_rules(path_beneath_rules(places, access)))
        .and_then(|rules| rules.restrict_self())
        .map_err(|error| refused("restrict where files are written")(error.to_string()))?;
    Ok(match enforced.ruleset {
        RulesetStatus::FullyEnforced => "only below its folders",
        RulesetStatus::PartiallyEnforced => {
            "only below its folders, as far as this kernel can tell"
        }
        RulesetStatus::NotEnforced => "anywhere, for this kernel has no Landlock",
    })
}

/// System calls that no recorder makes, and that are a way out or up.
const FORBIDDEN: [libc::c_long; 33] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
];

/// The same for a recorder that starts no programs.
const PROGRAMS: [libc::c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];

fn program(commands: bool) -> Result<(BpfProgram, usize), ConfineError> {
    let programs = PROGRAMS.iter().filter(|_| !commands);
    let rules: BTreeMap<i64, Vec<_>> =
        FORBIDDEN.iter().chain(programs).map(|call| (*call, Vec::new())).collect();
    let count = rules.len();
    let what = "refuse system calls";
    let arch = std::env::consts::ARCH.try_into();
    let arch = arch.map_err(|_| refused(what)("this processor is not known".to_owned()))?;
    let eperm = u32::try_from(libc::EPERM).unwrap_or(1);
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(eperm), arch)
        .and_then(BpfProgram::try_from)
        .map(|program| (program, count))
        .map_err(|error| refused(what)(error.to_string()))
}

/// Calls that are refused from here on, in every thread (seccomp); says how many.
fn forbid_calls(commands: bool) -> Result<usize, ConfineError> {
    let (program, count) = program(commands)?;
    seccompiler::apply_filter_all_threads(&program)
        .map_err(|error| refused("refuse system calls")(error.to_string()))?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::ErrorKind, process::Command, thread};

    /// In a thread of its own: what it gives up, the other tests keep.
    fn apart(work: impl FnOnce() + Send + 'static) {
        thread::Builder::new().spawn(work).unwrap().join().unwrap();
    }

    #[test]
    fn files_are_written_below_the_folders_only() {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (ours, other) = (ours.path().to_owned(), other.path().to_owned());
        fs::create_dir_all(&ours).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(other.join("old"), "x").unwrap();
        let (within, without) = (ours.clone(), other.clone());
        apart(move || {
            if write_below(std::slice::from_ref(&within)).unwrap().starts_with("anywhere") {
                return;
            }
            fs::create_dir(within.join("a")).unwrap();
            fs::write(within.join("a/b"), "x").unwrap();
            fs::rename(within.join("a/b"), within.join("c")).unwrap();
            fs::remove_file(within.join("c")).unwrap();
            assert_eq!(fs::read(without.join("old")).unwrap(), b"x");
            for denied in [
                fs::write(without.join("new"), "x"),
                fs::write(without.join("old"), "y"),
                fs::remove_file(without.join("old")),
                fs::create_dir(without.join("folder")),
            ] {
                assert_eq!(denied.unwrap_err().kind(), ErrorKind::PermissionDenied);
            }
        });
        fs::remove_dir_all(&ours).unwrap();
        fs::remove_dir_all(&other).unwrap();
    }

    #[test]
    fn programs_are_started_only_if_there_are_some() {
        for (commands, starts) in [(true, true), (false, false)] {
            apart(move || {
                seccompiler::apply_filter(&program(commands).unwrap().0).unwrap();
                let started = Command::new("true").status();
                assert_eq!(started.is_ok_and(|status| status.success()), starts);
                assert!(rustix::process::chroot("/").is_err());
            });
        }
    }

    #[test]
    fn a_user_that_is_none_is_told() {
        assert!(become_user("").is_ok());
        let told = become_user("nobody of that name").unwrap_err().to_string();
        assert!(told.starts_with("security.user"), "{told}");
    }
}
