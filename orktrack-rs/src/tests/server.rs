//! A PostgreSQL server of its own for a test, in a folder of its own.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// A running server; it ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    /// Where it listens; its superuser is `ork`, without a password.
    pub(crate) port: u16,
    child: Child,
    _home: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Where Debian puts the programs of the newest version, or where `PATH` says.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok().into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    folders.into_iter().rev().find(|folder| folder.join("initdb").exists())
}

/// User and group under which a server of a root's test runs: it refuses to run as root.
fn unprivileged() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let id = |name: &str| {
        let line = users.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2).map(|field| field.parse::<u32>().ok());
        Some((fields.next()??, fields.next()??))
    };
    id("postgres").or_else(|| id("nobody"))
}

/// Makes a command run without the rights of root.
fn lower(command: &mut Command, home: &Path) {
    if let Some((user, group)) = unprivileged() {
        chown(home, Some(user), Some(group)).unwrap();
        command.uid(user).gid(group).current_dir(home);
    }
}

impl Server {
    /// Starts one; `None` where PostgreSQL is not installed. The files lie in its data folder, readable by
    /// it alone, when it starts.
    pub(crate) fn start(files: &[(&str, &str)]) -> Option<Self> {
        let programs = programs()?;
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let mut init = Command::new(programs.join("initdb"));
        init.args(["--no-locale", "-E", "UTF8", "-U", "ork", "-A", "trust", "-N", "-D"]).arg(&data);
        lower(&mut init, home.path());
        let made = init.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(programs.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(home.path()).arg("-p").arg(port.to_string());
        for set in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=200"] {
            server.args(["-c", set]);
        }
        for (name, text) in files {
            let path = data.join(name);
            fs::write(&path, text).unwrap();
            let only = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
            fs::set_permissions(&path, only).unwrap();
            if let Some((user, group)) = unprivileged() {
                chown(&path, Some(user), Some(group)).unwrap();
            }
        }
        if files.iter().any(|(name, _)| *name == "server.key") {
            server.args(["-c", "ssl=on"]);
        }
        lower(&mut server, home.path());
        let log = fs::File::create(home.path().join("log")).unwrap();
        let child = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let server = Self { port, child, _home: home };
        let until = Instant::now() + Duration::from_secs(30);
        let url = format!("postgres://ork@127.0.0.1:{port}/postgres");
        while let Err(error) = postgres::Client::connect(&url, postgres::NoTls) {
            // With keys it may let nobody in without them.
            if error.as_db_error().is_some_and(|told| told.code().code().starts_with("28")) {
                break;
            }
            assert!(Instant::now() < until, "{error}");
            thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }
}

/// Says what is not tested, where `scripts/test` collects it.
pub(crate) fn skip(what: &str) {
    let line = format!("{what}: PostgreSQL is not installed (apt-get install postgresql)\n");
    if let Some(list) = std::env::var_os("ORK_SKIPPED") {
        let list = fs::OpenOptions::new().append(true).create(true).open(list);
        list.unwrap().write_all(line.as_bytes()).unwrap();
    }
    write!(std::io::stdout(), "skipped: {line}").unwrap();
}
