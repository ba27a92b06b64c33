//! An external program: an argument vector, never a shell, with little privilege and a time limit.
//!
//! Law: the program sees a copy of the tape in a folder of its own, its working directory, and is
//! handed nothing else: no open file, no environment but `PATH` and `LANG`, no capability, and under
//! root another user. What it started is killed with it.

#![expect(unsafe_code, reason = "what is set up between fork and exec; see the one block")]

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// Open files of a program.
const FILES: u64 = 256;
/// The largest file it may write, in bytes.
const LARGEST: u64 = 64 << 30;
/// How nice it is to others.
const NICE: i32 = 10;
/// Of what it says on standard error, so much is told.
const SAID: usize = 300;

/// Who runs it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct User {
    /// User.
    pub uid: u32,
    /// Primary group; the only one.
    pub gid: u32,
}

impl User {
    /// Whom commands run as: somebody else if we are root, otherwise ourselves (`None`).
    ///
    /// # Errors
    /// When we are root, and there is no such user, or it is root too.
    pub fn of_command(name: &str) -> Result<Option<Self>, String> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        Self::find(name).map(Some)
    }

    /// Somebody else than root, by name.
    ///
    /// # Errors
    /// When there is no such user, or it is root too.
    pub fn find(name: &str) -> Result<Self, String> {
        let users = fs::read_to_string("/etc/passwd")
            .map_err(|error| format!("cannot read /etc/passwd: {error}"))?;
        let user = users.lines().find_map(|line| read_user(line, name));
        user.filter(|user| user.uid != 0).ok_or_else(|| {
            format!("give a user of /etc/passwd other than root; \"{name}\" is none")
        })
    }
}

/// `nobody:x:65534:65534:...`
fn read_user(line: &str, name: &str) -> Option<User> {
    let mut fields = line.split(':');
    (fields.next() == Some(name)).then_some(())?;
    let uid = fields.nth(1)?.parse().ok()?;
    Some(User { uid, gid: fields.next()?.parse().ok()? })
}

/// How a program failed.
#[derive(Debug, Eq, PartialEq)]
pub enum Failure {
    /// The recorder stops; nothing is known of the program.
    Stopped,
    /// In words.
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs `argv` in `folder`, each of the words replaced wherever it stands in an argument.
///
/// # Errors
/// When it cannot be started, does not end in time, or ends with an exit code other than 0.
pub fn run(
    argv: &[String],
    words: &[(&str, &str)],
    folder: &Path,
    user: Option<User>,
    limit: Duration,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(), Failure> {
    let filled = |argument: &String| {
        words.iter().fold(argument.clone(), |text, (word, value)| text.replace(word, value))
    };
    let (program, arguments) =
        argv.split_first().ok_or_else(|| Failure::Failed("no program".to_owned()))?;
    let errors = folder.join("stderr");
    let mut command = Command::new(program);
    command.args(arguments.iter().map(filled)).env_clear();
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LANG", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
    confine(&mut command, folder, user, limit)?;
    let mut child = command
        .spawn()
        .map_err(|error| Failure::Failed(format!("cannot start {program}: {error}")))?;
    let ended = wait(&mut child, limit, go_on);
    // Whatever it started is in its group; none is left if all have ended.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // An error says that the group is empty.
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let status = match ended {
        Ok(status) => status,
        Err(failure) => {
            child.wait()?;
            return Err(failure);
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = fs::read(&errors).unwrap_or_default();
    let said = String::from_utf8_lossy(said.get(..said.len().min(SAID)).unwrap_or_default());
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(Failure::Failed(format!("{program} ended with {status}: {said}")))
}

/// Waits until it ends; whoever is left at the end of the limit is killed by the caller.
fn wait(
    child: &mut Child,
    limit: Duration,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<ExitStatus, Failure> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > limit {
            let seconds = limit.as_secs();
            return Err(Failure::Failed(format!("killed, as it took longer than {seconds} s")));
        }
        if !go_on() {
            return Err(Failure::Stopped);
        }
        thread::sleep(LOOK);
    }
}

/// Sets up what happens in the child before the program begins.
fn confine(
    command: &mut Command,
    folder: &Path,
    user: Option<User>,
    limit: Duration,
) -> Result<(), Failure> {
    let folder = CString::new(folder.as_os_str().as_bytes())
        .map_err(|error| Failure::Failed(error.to_string()))?;
    let seconds = limit.as_secs().max(1);
    let limits = [
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NOFILE, FILES),
        (libc::RLIMIT_FSIZE, LARGEST),
        (libc::RLIMIT_CPU, seconds),
    ];
    let must = |code: libc::c_int| {
        if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    let before = move || {
        // SAFETY: between fork and exec of a program with threads only such calls are allowed as
        // take no lock and no memory: these are bare system calls on values made before the fork.
        unsafe {
            must(libc::setsid())?;
            must(libc::chdir(folder.as_ptr()))?;
            // Kept open until exec, so that a failure is still told through the pipe of std.
            let none: libc::c_uint = libc::c_uint::MAX;
            libc::syscall(libc::SYS_close_range, 3u32, none, libc::CLOSE_RANGE_CLOEXEC);
            for (what, most) in limits {
                let both = libc::rlimit { rlim_cur: most, rlim_max: most };
                must(libc::setrlimit(what, &raw const both))?;
            }
            // A sandbox may forbid it; then it is as nice as we are.
            libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
            if let Some(User { uid, gid }) = user {
                must(libc::setgroups(0, std::ptr::null()))?;
                must(libc::setgid(gid))?;
                must(libc::setuid(uid))?;
            }
            must(libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))?;
            must(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            must(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        }
        Ok(())
    };
    // SAFETY: what runs in the child is the closure above.
    unsafe { command.pre_exec(before) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(argv: &[&str], words: &[(&str, &str)], folder: &Path, limit: Duration) -> String {
        let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
        let user = User::of_command("nobody").unwrap();
        if let Some(User { uid, gid }) = user {
            std::os::unix::fs::chown(folder, Some(uid), Some(gid)).unwrap();
        }
        match run(&argv, words, folder, user, limit, &mut || true) {
            Ok(()) => String::new(),
            Err(Failure::Failed(why)) => why,
            Err(Failure::Stopped) => "stopped".to_owned(),
        }
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn arguments_reach_the_program_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        let words = [("[IN]", "in.wav"), ("[ORKUID]", "x; touch y")];
        let argv = ["/usr/bin/touch", "[IN]; touch z", "$(touch a)", "[ORKUID]"];
        assert_eq!(start(&argv, &words, home.path(), LONG), "");
        let mut names: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["$(touch a)", "in.wav; touch z", "stderr", "x; touch y"]);
    }

    #[test]
    fn who_takes_too_long_is_killed_with_all_it_started() {
        let home = tempfile::tempdir().unwrap();
        // A shell as the program, which leaves a process behind.
        let argv = ["/bin/sh", "-c", "sleep 600 & echo $! >child; wait"];
        let begun = Instant::now();
        let why = start(&argv, &[], home.path(), Duration::from_secs(1));
        assert_eq!(why, "killed, as it took longer than 1 s");
        assert!(begun.elapsed() < Duration::from_secs(10));
        let child = fs::read_to_string(home.path().join("child")).unwrap();
        let status = format!("/proc/{}/stat", child.trim());
        // Nobody may have waited for it yet.
        let gone = || fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
        while !gone() {
            assert!(begun.elapsed() < Duration::from_secs(10), "{status} still runs");
            thread::sleep(LOOK);
        }
    }

    #[test]
    fn an_exit_code_is_told_with_what_was_said() {
        let home = tempfile::tempdir().unwrap();
        let argv = ["/bin/sh", "-c", "echo it is broken >&2; exit 3"];
        let why = start(&argv, &[], home.path(), LONG);
        assert_eq!(why, "/bin/sh ended with exit status: 3: it is broken");
        let why = start(&["/nonexistent/x"], &[], home.path(), LONG);
        assert!(why.starts_with("cannot start /nonexistent/x: "), "{why}");
    }

    #[test]
    fn a_program_has_no_privilege_and_nothing_of_ours() {
        let home = tempfile::tempdir().unwrap();
        let open = File::open("/dev/null").unwrap();
        // As a library would that knows nothing of the flag.
        let _kept = rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty());
        let script = "cat /proc/self/status; ls /proc/self/fd; env; ulimit -c";
        let argv = ["/bin/sh", "-c", &format!("({script}) >out")];
        assert_eq!(start(&argv, &[], home.path(), LONG), "");
        let out = fs::read_to_string(home.path().join("out")).unwrap();
        let line = |name: &str| {
            out.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        assert_eq!((line("CapEff:"), line("NoNewPrivs:")), ("0".repeat(16), "1".to_owned()));
        assert_eq!(line("CapAmb:"), "0".repeat(16));
        assert!(!line("Uid:").starts_with("0\t"), "{out}");
        assert!(!out.contains("HOME=") && !out.contains("CARGO"), "{out}");
        // 0, 1, 2, and the folder that ls reads.
        let files = out.lines().filter(|l| l.parse::<u32>().is_ok()).count();
        assert_eq!(files, 4 + 1, "{out}");
    }

    #[test]
    fn users_are_read_from_their_lines() {
        let line = "daemon:x:1:2:daemon:/usr/sbin:/usr/sbin/nologin";
        assert_eq!(read_user(line, "daemon"), Some(User { uid: 1, gid: 2 }));
        assert_eq!(read_user(line, "nobody"), None);
    }
}
