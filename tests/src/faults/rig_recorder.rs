//! A live recorder that capture agents feed over loopback, a tracker it tells, and what they say of calls
//! whose audio is known.

use super::Bench;
use crate::{
    generator::{
        calls::{Spec, write},
        law::{Codec, Law, Side},
    },
    wav::Wav,
    wrap::{Capture, agents::hep3},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use orkbase::message::{tape::TapeMessage, url};
use orktrack::config::Config;
use rusqlite::{Connection, OpenFlags};
use std::{
    collections::BTreeMap,
    fmt::Display,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// What went wrong with the rig, or with what is under test.
pub(super) type Try<T> = Result<T, String>;

/// Puts a name to an error.
pub(super) fn while_<E: Display>(doing: &str) -> impl FnOnce(E) -> String {
    move |error| format!("{doing}: {error}")
}

/// Waits until `done`, at most so long; false when it never was.
pub(super) fn wait(patience: Duration, mut done: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + patience;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= until {
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Where a recorder writes.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// Below it everything lies.
    pub(super) home: PathBuf,
    /// Further settings.
    pub(super) more: Vec<String>,
}

impl Site {
    pub(super) fn new(home: &Path, more: &[&str]) -> Self {
        let more = more.iter().map(|set| (*set).to_owned()).collect();
        Self { home: home.to_owned(), more }
    }

    pub(super) fn tapes(&self) -> PathBuf {
        self.home.join("tapes")
    }

    pub(super) fn state(&self) -> PathBuf {
        self.home.join("state")
    }

    /// Files below the folder of tapes that end so.
    pub(super) fn files(&self, end: &str) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.tapes()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.to_string_lossy().ends_with(end) {
                    found.push(path);
                }
            }
        }
        found
    }
}

/// A running recorder; killed when dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    child: Child,
    log: PathBuf,
    /// Where agents send to.
    pub(super) agents: SocketAddr,
    command: SocketAddr,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Recorder {
    /// Starts one, behind the words of `before` (`strace`, `prlimit`); its log is `log` in the site's home.
    pub(super) fn spawn(bench: &Bench, site: &Site, log: &Path, before: &[&str]) -> Try<Child> {
        let program = bench.programs.join("orkaudio").display().to_string();
        let mut words = before.iter().copied().chain([program.as_str(), "run"]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        let own = [
            "capture.interfaces=".to_owned(),
            "capture.hep_listen=127.0.0.1:0".to_owned(),
            "doors.command=127.0.0.1:0".to_owned(),
            "doors.events=".to_owned(),
            "doors.live=".to_owned(),
            format!("tapes.folder={}", site.tapes().display()),
            format!("tracker.state_folder={}", site.state().display()),
        ];
        for set in own.iter().chain(&site.more) {
            command.args(["--set", set]);
        }
        let file = File::create(log).map_err(while_("log"))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        command.env("NO_COLOR", "1").spawn().map_err(while_("starting the recorder"))
    }

    /// Starts one and waits until it listens.
    pub(super) fn start(bench: &Bench, site: &Site, log: &str, before: &[&str]) -> Try<Self> {
        let log = bench.scratch.join(log);
        let mut child = Self::spawn(bench, site, &log, before)?;
        let mut said = String::new();
        let listens = wait(Duration::from_secs(60), || {
            said = fs::read_to_string(&log).unwrap_or_default();
            said.contains("recording\u{1b}") || said.contains(" recording ") || !runs(&mut child)
        });
        let address = |word: &str| {
            let plain = plain(&said);
            let rest = plain.split(&format!("{word}=")).nth(1)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        match (address("agents"), address("command")) {
            (Some(agents), Some(command)) if listens => Ok(Self { child, log, agents, command }),
            _ => {
                drop(child.kill());
                drop(child.wait());
                Err(format!("the recorder does not start: {}", tail(&plain(&said))))
            }
        }
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(i32::MAX))
    }

    pub(super) fn signal(&self, signal: Signal) -> Try<()> {
        kill(self.pid(), signal).map_err(while_("signal"))
    }

    /// What it logged.
    pub(super) fn said(&self) -> String {
        plain(&fs::read_to_string(&self.log).unwrap_or_default())
    }

    pub(super) fn runs(&mut self) -> bool {
        runs(&mut self.child)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// SIGTERM; how long it took to end, and its exit code.
    pub(super) fn stop(&mut self, patience: Duration) -> Try<(Duration, Option<i32>)> {
        let begin = Instant::now();
        self.signal(Signal::SIGTERM)?;
        self.ended(patience).map(|code| (begin.elapsed(), code))
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self, patience: Duration) -> Try<Option<i32>> {
        let mut code = None;
        let ended = wait(patience, || match self.child.try_wait() {
            Ok(Some(status)) => {
                code = status.code();
                true
            }
            Ok(None) | Err(_) => false,
        });
        if ended { Ok(code) } else { Err(format!("it does not end: {}", tail(&self.said()))) }
    }

    /// The answer of its command port.
    pub(super) fn get(&self, path: &str) -> Try<(u16, String)> {
        let asked = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.command, Duration::from_secs(5))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.command)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = asked().map_err(while_(path))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Ok((code, body.to_owned()))
    }

    /// One of its counters.
    pub(super) fn counter(&self, name: &str) -> u64 {
        let Ok((_, body)) = self.get("/api/status") else { return 0 };
        let status: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        status.get("counters").and_then(|all| all.get(name)?.as_u64()).unwrap_or(0)
    }

    /// Waits until a counter is this, or more.
    pub(super) fn reaches(&self, name: &str, least: u64, patience: Duration) -> bool {
        wait(patience, || self.counter(name) >= least)
    }
}

fn runs(child: &mut Child) -> bool {
    matches!(child.try_wait(), Ok(None))
}

/// The end of a log, for a table.
pub(super) fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ").replace('|', "/")
}

/// Without colours.
fn plain(text: &str) -> String {
    let mut parts = text.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
}

/// A tracker in this process.
#[derive(Debug)]
pub(super) struct Tracker {
    database: PathBuf,
    server: orktrack::Tracker,
}

impl Tracker {
    pub(super) fn start(folder: &Path) -> Try<Self> {
        let database = folder.join("track.db");
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = Config { listen, database: database.clone(), ..Config::default() };
        let server = orktrack::start(&config).map_err(while_("tracker"))?;
        Ok(Self { database, server })
    }

    /// The setting that names it.
    pub(super) fn setting(&self) -> String {
        format!("tracker.urls=http://{}/orktrack", self.server.address())
    }

    /// Every `ready` it has, by Call-ID.
    pub(super) fn readies(&self) -> Try<BTreeMap<String, Vec<TapeMessage>>> {
        let bodies = self.column("SELECT body FROM tape_stage WHERE stage = 'ready'")?;
        let mut all: BTreeMap<String, Vec<TapeMessage>> = BTreeMap::new();
        for body in bodies {
            let pairs = url::decode(body.as_bytes()).map_err(while_("ready"))?;
            let message = TapeMessage::from_pairs(&pairs).map_err(while_("ready"))?;
            all.entry(message.nativecallid.clone()).or_default().push(message);
        }
        Ok(all)
    }

    /// One column of text.
    pub(super) fn column(&self, sql: &str) -> Try<Vec<String>> {
        column(&self.database, sql)
    }
}

/// One column of text of a database.
pub(super) fn column(database: &Path, sql: &str) -> Try<Vec<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let read = || -> rusqlite::Result<Vec<String>> {
        let database = Connection::open_with_flags(database, flags)?;
        database.busy_timeout(Duration::from_secs(10))?;
        let mut rows = database.prepare(sql)?;
        rows.query_map([], |row| row.get(0))?.collect()
    };
    read().map_err(while_("database"))
}

/// A packet of an agent.
#[derive(Clone, Debug)]
struct Due {
    /// From the beginning.
    after: Duration,
    bytes: Vec<u8>,
    /// Call and side whose audio is in it, and the number of blocks sent with it.
    says: Option<(u32, Side, u32)>,
}

/// Calls whose audio is known, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    packets: Arc<Vec<Due>>,
    /// Their Call-IDs, by number.
    pub(super) ids: Vec<String>,
}

/// Bytes before RTP in a frame, and in RTP before its payload.
const BEFORE: usize = 42;
const RTP: usize = 12;

impl Calls {
    /// Generated as `spec` says, through a file in `folder`.
    pub(super) fn make(spec: &Spec, folder: &Path) -> Try<Self> {
        let path = folder.join(format!("calls-{}.pcap", spec.seed));
        let spec = Spec { nanoseconds: true, codec: Codec::Pcmu, ..spec.clone() };
        let file = File::create(&path).map_err(while_("capture"))?;
        let truth = write(&spec, std::io::BufWriter::new(file)).map_err(while_("capture"))?;
        let capture = Capture::read(&path)?;
        drop(fs::remove_file(&path));
        let law = Law::new(spec.codec);
        let begin = capture.frames.first().map_or(0, |frame| frame.at);
        let mut packets = Vec::with_capacity(capture.frames.len());
        for frame in &capture.frames {
            let bytes = &frame.bytes;
            let end = |address: usize, port: usize| {
                let ip: [u8; 4] = bytes.get(address..address + 4)?.try_into().ok()?;
                let port: [u8; 2] = bytes.get(port..port + 2)?.try_into().ok()?;
                Some(SocketAddr::from((ip, u16::from_be_bytes(port))))
            };
            let (Some(from), Some(to), Some(payload)) =
                (end(26, 34), end(30, 36), bytes.get(BEFORE..))
            else {
                continue;
            };
            let audio = payload.get(RTP..).unwrap_or_default();
            let samples: Vec<i16> = audio.iter().map(|code| spec.codec.decode(*code)).collect();
            let last =
                law.marks(&samples).last().map(|(_, mark)| (mark.call, mark.side, mark.block + 1));
            packets.push(Due {
                after: Duration::from_nanos(frame.at - begin),
                bytes: hep3(frame.at, from, to, payload, "")?,
                says: last.filter(|_| payload.first() == Some(&0x80)),
            });
        }
        let ids = truth.calls.into_iter().map(|call| call.call_id).collect();
        Ok(Self { packets: Arc::new(packets), ids })
    }

    /// How long sending takes.
    pub(super) fn length(&self) -> Duration {
        self.packets.last().map_or(Duration::ZERO, |packet| packet.after)
    }

    /// Sends each packet when it is due, from a thread of its own.
    pub(super) fn send(&self, to: SocketAddr) -> Try<Sending> {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(while_("socket"))?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (flag, count, packets) =
            (Arc::clone(&stop), Arc::clone(&sent), Arc::clone(&self.packets));
        let began = Instant::now();
        let work = move || {
            for packet in packets.iter() {
                let rest = (began + packet.after).saturating_duration_since(Instant::now());
                if flag.load(Ordering::Relaxed) {
                    return;
                }
                thread::sleep(rest);
                // A recorder that was killed does not listen.
                drop(socket.send_to(&packet.bytes, to));
                count.fetch_add(1, Ordering::Relaxed);
            }
        };
        let thread = thread::Builder::new().name("agent".to_owned()).spawn(work);
        let thread = Some(thread.map_err(while_("thread"))?);
        Ok(Sending { stop, sent, thread, packets: Arc::clone(&self.packets) })
    }
}

/// Blocks of 10 ms sent of each call, caller first.
pub(super) type Sent = BTreeMap<u32, [u32; 2]>;

/// Packets on their way; ends when dropped.
#[derive(Debug)]
pub(super) struct Sending {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
    packets: Arc<Vec<Due>>,
}

impl Sending {
    /// What was sent so far.
    pub(super) fn sent(&self) -> Sent {
        let mut sent = Sent::new();
        let count = self.sent.load(Ordering::Relaxed);
        for (call, side, blocks) in self.packets.iter().take(count).filter_map(|packet| packet.says)
        {
            let [caller, callee] = sent.entry(call).or_default();
            *(if side == Side::Caller { caller } else { callee }) = blocks;
        }
        sent
    }

    /// How many packets were sent.
    pub(super) fn count(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits until all is sent.
    pub(super) fn finish(mut self) -> Sent {
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        self.sent()
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// What a tape holds of what was sent, in blocks of 10 ms of both sides.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// In their place.
    pub(super) right: u64,
    /// Missing, with something behind them.
    pub(super) holes: u64,
    /// Missing at the end, of the side that lacks more.
    pub(super) tail: u64,
    /// Of another call or side, twice, or in the wrong place.
    pub(super) wrong: u64,
}

/// Holds a tape against what was sent of its call.
pub(super) fn hear(path: &Path, call: u32, sent: [u32; 2]) -> Try<Heard> {
    let wav = Wav::read(path)?;
    let law = Law::new(Codec::Pcmu);
    let mut heard = Heard::default();
    for ((side, samples), sent) in Side::BOTH.into_iter().zip(&wav.channels).zip(sent) {
        let (mut next, mut offset) = (0u32, None);
        for (at, mark) in law.marks(samples) {
            let at = i64::try_from(at).unwrap_or(0) - i64::from(mark.block) * 80;
            let place = *offset.get_or_insert(at);
            if mark.call != call || mark.side != side || mark.block < next || at.abs_diff(place) > 8
            {
                heard.wrong += 1;
                continue;
            }
            heard.holes += u64::from(mark.block - next);
            heard.right += 1;
            next = mark.block + 1;
        }
        heard.tail = heard.tail.max(u64::from(sent.saturating_sub(next)));
    }
    Ok(heard)
}
