//! A simulated tracker: a scripted HTTP server on a loopback port, and how to wait for it.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, atomic::AtomicBool, atomic::Ordering::SeqCst},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Far more than anything here takes; only a failing test waits that long.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) const TAKEN: &str = "class=taperesponse success=true comment= deletetape=false \r\n";

/// What the tracker does with one request.
pub(super) enum Act {
    /// Status and body, with its length; the connection stays.
    Answer(u16, String),
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// These bytes, then nothing, and the connection stays open.
    Hang(Vec<u8>),
    /// These bytes, one each time so long passes.
    Drip(Vec<u8>, Duration),
}

impl Act {
    pub(super) fn taken() -> Self {
        Self::Answer(200, TAKEN.to_owned())
    }
}

type Script = Box<dyn Fn(&str, usize) -> Act + Send + Sync>;

struct Shared {
    /// The request heads in order of arrival.
    seen: Mutex<Vec<String>>,
    changed: Condvar,
    script: Script,
    ended: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

/// The simulated tracker; stops listening and closes everything when dropped.
pub(super) struct Tracker {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Tracker {
    /// The script is given the request target and how often that same target was asked before.
    pub(super) fn start(
        address: SocketAddr,
        script: impl Fn(&str, usize) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            changed: Condvar::new(),
            script: Box::new(script),
            ended: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        let accepting = std::thread::Builder::new()
            .name("simulated-tracker".to_owned())
            .spawn(move || accept(&listener, &own))
            .unwrap();
        Self { address, shared, accepting: Some(accepting) }
    }

    /// Takes every message.
    pub(super) fn kind(address: SocketAddr) -> Self {
        Self::start(address, |_, _| Act::taken())
    }

    /// The request targets so far, `init` included.
    pub(super) fn targets(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().iter().map(|head| target(head).to_owned()).collect()
    }

    pub(super) fn heads(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().clone()
    }

    pub(super) fn connections(&self) -> usize {
        self.shared.streams.lock().unwrap().len()
    }

    /// `recid stage` of the tape messages so far.
    pub(super) fn tapes(&self) -> Vec<String> {
        let value = |target: &str, key: &str| {
            let rest = target.split_once(&format!("&{key}=")).map(|(_, rest)| rest.to_owned());
            rest.and_then(|rest| rest.split_once('&').map(|(value, _)| value.to_owned()))
        };
        let targets = self.targets();
        let tape = |target: &String| {
            Some(format!("{} {}", value(target, "recid")?, value(target, "stage")?))
        };
        targets.iter().filter_map(tape).collect()
    }

    pub(super) fn count(&self, tape: &str) -> usize {
        self.tapes().iter().filter(|seen| *seen == tape).count()
    }

    /// Waits until the tape messages are as wanted.
    pub(super) fn wait(&self, wanted: impl Fn(&[String]) -> bool) {
        let until = Instant::now() + LIMIT;
        loop {
            let seen = self.shared.seen.lock().unwrap();
            drop(seen);
            let tapes = self.tapes();
            if wanted(&tapes) {
                return;
            }
            assert!(Instant::now() < until, "the tracker has seen only {tapes:?}");
            let seen = self.shared.seen.lock().unwrap();
            drop(self.shared.changed.wait_timeout(seen, Duration::from_millis(10)).unwrap());
        }
    }
}

impl Drop for Tracker {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        drop(TcpStream::connect(self.address));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        for stream in self.shared.streams.lock().unwrap().iter() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        if shared.ended.load(SeqCst) {
            return;
        }
        let stream = stream.unwrap();
        shared.streams.lock().unwrap().push(stream.try_clone().unwrap());
        let own = Arc::clone(shared);
        let serve = move || drop(serve(stream, &own));
        drop(std::thread::Builder::new().name("simulated".to_owned()).spawn(serve).unwrap());
    }
}

impl Shared {
    /// Notes a request and asks the script.
    fn answer(&self, head: Vec<u8>) -> Act {
        let head = String::from_utf8(head).unwrap();
        let mut seen = self.seen.lock().unwrap();
        let before = seen.iter().filter(|other| target(other) == target(&head)).count();
        seen.push(head.clone());
        drop(seen);
        self.changed.notify_all();
        (self.script)(target(&head), before)
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    loop {
        if stream.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        match shared.answer(std::mem::take(&mut head)) {
            Act::Answer(status, body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 {status} Simulated\r\nContent-Length: {length}\r\n");
                stream.write_all(format!("{head}\r\n{body}").as_bytes())?;
            }
            Act::Bytes(bytes) => {
                stream.write_all(&bytes)?;
                return stream.shutdown(Shutdown::Both);
            }
            Act::Drip(bytes, pause) => {
                for byte in bytes {
                    stream.write_all(&[byte])?;
                    std::thread::sleep(pause);
                }
                return stream.shutdown(Shutdown::Both);
            }
            Act::Hang(bytes) => {
                stream.write_all(&bytes)?;
                while stream.read(&mut byte)? > 0 {}
                return Ok(());
            }
        }
    }
}

fn target(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

/// Waits for anything else.
pub(super) fn until(what: &str, wanted: impl Fn() -> bool) {
    let until = Instant::now() + LIMIT;
    while !wanted() {
        assert!(Instant::now() < until, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A loopback address on which nothing listens (it was free a moment ago).
pub(super) fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

pub(super) fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}
