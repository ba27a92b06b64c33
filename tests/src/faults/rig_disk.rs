//! Disks of our own: file systems in memory and in files, mounted for as long as a row needs them.

use super::rig_recorder::{Try, while_};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

/// Copies tried until nothing changed meanwhile.
const COPIES: u32 = 400;

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub(super) struct Disk {
    /// Where it is mounted.
    pub(super) mount: PathBuf,
    image: PathBuf,
    options: &'static str,
    _folder: tempfile::TempDir,
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.mount);
    }
}

fn unmount(mount: &Path) {
    for _ in 0..20 {
        if run("umount", &[mount.as_os_str()]).is_ok() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    // Somebody is still in it: it goes when they do.
    drop(run("umount", &[std::ffi::OsStr::new("-l"), mount.as_os_str()]));
}

/// Runs a tool; its complaint, if it fails.
pub(super) fn run<S: AsRef<std::ffi::OsStr>>(tool: &str, words: &[S]) -> Try<()> {
    let done = Command::new(tool).args(words).output().map_err(while_(tool))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    Err(format!("{tool}: {}", said.lines().next().unwrap_or_default()))
}

fn folder() -> Try<tempfile::TempDir> {
    tempfile::Builder::new().prefix("ork-disk-").tempdir_in("/dev/shm").map_err(while_("/dev/shm"))
}

impl Disk {
    /// One in memory, of so many MiB.
    pub(super) fn tmpfs(mib: u64) -> Try<Self> {
        let folder = folder()?;
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).map_err(while_("folder"))?;
        let size = format!("size={mib}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "ork", &mount.to_string_lossy()])?;
        Ok(Self { mount, image: PathBuf::new(), options: "", _folder: folder })
    }

    /// One in a file, made by `mkfs.KIND` with further words.
    pub(super) fn image(kind: &str, mib: u64, words: &[&str]) -> Try<Self> {
        let folder = folder()?;
        let image = folder.path().join("image");
        let file = File::create(&image).and_then(|file| file.set_len(mib << 20));
        file.map_err(while_("image"))?;
        let path = image.to_string_lossy().into_owned();
        let words: Vec<&str> = words.iter().copied().chain([path.as_str()]).collect();
        run(&format!("mkfs.{kind}"), &words)?;
        // A copy of it has the same name.
        Self::open(folder, image, if kind == "xfs" { "loop,nouuid" } else { "loop" })
    }

    fn open(folder: tempfile::TempDir, image: PathBuf, options: &'static str) -> Try<Self> {
        let mount = folder.path().join("mount");
        fs::create_dir(&mount).map_err(while_("folder"))?;
        run("mount", &["-o", options, &image.to_string_lossy(), &mount.to_string_lossy()])?;
        Ok(Self { mount, image, options, _folder: folder })
    }

    /// What would be on it if the power went now; `None` if it never was still for long enough to be copied.
    pub(super) fn cut(&self) -> Try<Option<Cut>> {
        let folder = folder()?;
        let copy = folder.path().join("image");
        for _ in 0..COPIES {
            let [from, to] = [&self.image, &copy].map(|path| path.to_string_lossy().into_owned());
            run("cp", &["--sparse=always", &from, &to])?;
            // All that was read is as it was read: it is the disk of one moment.
            if same(&self.image, &copy).map_err(while_("image"))? {
                return Ok(Some(Cut { folder, image: copy, options: self.options }));
            }
        }
        Ok(None)
    }
}

/// A copy of a disk, not mounted yet.
#[derive(Debug)]
pub(super) struct Cut {
    folder: tempfile::TempDir,
    image: PathBuf,
    options: &'static str,
}

impl Cut {
    /// Mounts it, as after the power came back.
    pub(super) fn mount(self) -> Try<Disk> {
        Disk::open(self.folder, self.image, self.options)
    }
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    let (mut here, mut there) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = one.read(&mut here)?;
        let (Some(here), Some(there)) = (here.get(..count), there.get_mut(..count)) else {
            return Ok(false);
        };
        if here.is_empty() {
            return Ok(true);
        }
        other.read_exact(there)?;
        if here != there {
            return Ok(false);
        }
    }
}

/// Bytes that are free on a disk.
pub(super) fn free(mount: &Path) -> Try<u64> {
    let words = ["-B1", "--output=avail", &mount.to_string_lossy()];
    let done = Command::new("df").args(words).output().map_err(while_("df"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    text.lines().nth(1).and_then(|line| line.trim().parse().ok()).ok_or_else(|| "df".to_owned())
}

/// Fills a disk until so many bytes are left.
pub(super) fn fill(mount: &Path, left: u64) -> Try<PathBuf> {
    let path = mount.join("filler");
    let bytes = free(mount)?.saturating_sub(left);
    let filled = File::create(&path).and_then(|mut file| {
        match io::copy(&mut io::repeat(7).take(bytes), &mut file) {
            // The recorder was quicker.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
            done => done.map(drop),
        }
    });
    filled.map_err(while_("filling"))?;
    Ok(path)
}
