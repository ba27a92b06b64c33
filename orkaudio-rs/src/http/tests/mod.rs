//! The doors over real sockets on loopback, against a simulated desk.

mod access;
mod command;
mod description;
mod events;
mod resume;

use super::*;
use crate::config::Config;
use orkbase::{
    call::command::{Quality, Target},
    ids::OrkUid,
};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream as Client},
    sync::Mutex,
};
use tokio::sync::Notify;

/// Far more than anything here takes; only a failing test waits that long.
const LIMIT: Duration = Duration::from_secs(60);

type Audited = (SocketAddr, String, u16, Option<u32>);

/// Knows one call, of party 100000; keeps what it was asked.
#[derive(Default)]
struct SimulatedDesk {
    asked: Mutex<Vec<Command>>,
    errands: Mutex<Vec<Errand>>,
    /// Who asked what, the status, and what matched.
    audited: Mutex<Vec<Audited>>,
    problems: Mutex<Vec<String>>,
    /// Party `busy` is refused; party `later` waits for this.
    later: Notify,
}

impl Desk for SimulatedDesk {
    async fn command(&self, command: Command) -> Result<Reply, Busy> {
        let target = command.target().clone();
        self.asked.lock().unwrap().push(command);
        let found = Reply {
            matched: 1,
            orkuid: OrkUid::parse("20261121_022325_KMCX"),
            quality: Quality { packets: 546, ..Quality::default() },
            refused: None,
        };
        match target {
            Target::Party(party) if party == "busy" => return Err(Busy),
            Target::Party(party) if party == "later" => self.later.notified().await,
            Target::Party(party) if party != "100000" => return Ok(Reply::default()),
            // Signalled, but no audio yet.
            Target::NativeCallId(call) if call == "early" => {
                return Ok(Reply { matched: 1, ..Reply::default() });
            }
            Target::Party(_) | Target::NativeCallId(_) | Target::OrkUid(_) => {}
        }
        Ok(found)
    }

    async fn errand(&self, errand: Errand) -> Answer {
        let answer = match &errand {
            Errand::Report { .. } => Answer::done("Reporting 3 recordings"),
            Errand::Import(_) => Answer::failed("outside"),
            Errand::Skip { .. } | Errand::ReloadLogging | Errand::Pin { .. } => Answer::done(""),
            Errand::ListLogging => Answer {
                more: vec![("count", "1".to_owned()), ("loggers", "\nroot:INFO\n".to_owned())],
                ..Answer::done("")
            },
        };
        self.errands.lock().unwrap().push(errand);
        answer
    }

    fn audit(&self, entry: &Entry<'_>) {
        let line = (entry.from.unwrap(), entry.command.to_owned(), entry.status, entry.matched);
        self.audited.lock().unwrap().push(line);
    }

    fn status(&self) -> Value {
        let call = json!({
            "orkuid": "20261121_022325_KMCX", "nativecallid": "x", "localparty": "100000",
            "remoteparty": "200000", "direction": "out",
        });
        json!({
            "version": "1", "uptime_s": 1, "calls": [call], "disk_free": 1, "interfaces": [],
            "processing": [], "counters": {},
        })
    }

    fn problems(&self) -> Vec<String> {
        self.problems.lock().unwrap().clone()
    }
}

struct Bench {
    doors: Doors,
    desk: Arc<SimulatedDesk>,
    hub: EventHub,
}

impl Bench {
    fn open() -> Self {
        Self::patient(LIMIT)
    }

    fn patient(patience: Duration) -> Self {
        Self::with(patience, |_| {})
    }

    /// With other settings of the doors.
    fn guarded(change: impl FnOnce(&mut crate::config::Doors)) -> Self {
        Self::with(LIMIT, change)
    }

    fn with(patience: Duration, change: impl FnOnce(&mut crate::config::Doors)) -> Self {
        let mut settings = Config::default().doors;
        change(&mut settings);
        let gate = Arc::new(Gate::open(&settings).unwrap());
        let (desk, hub) = (Arc::new(SimulatedDesk::default()), EventHub::new());
        let local = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let config = DoorsConfig { command: local, events: local };
        let doors =
            Doors::open_with(config, patience, Arc::clone(&desk), gate, hub.clone()).unwrap();
        Self { doors, desk, hub }
    }

    fn command(&self) -> Client {
        connect(self.doors.command_address())
    }

    fn events(&self) -> Client {
        connect(self.doors.events_address())
    }

    /// What the command port says until it closes.
    fn ask(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.command();
        client.write_all(request.as_ref()).unwrap();
        rest(&mut client)
    }

    fn get(&self, target: &str) -> String {
        self.ask(format!("GET {target} HTTP/1.0\r\n\r\n"))
    }

    /// The doors' own numbers.
    fn number(&self, name: &str) -> u64 {
        let answer = self.get("/api/status");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str::<Value>(body).unwrap()["http"][name].as_u64().unwrap()
    }
}

fn connect(address: Option<SocketAddr>) -> Client {
    let client = Client::connect(address.unwrap()).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client
}

fn rest(client: &mut Client) -> String {
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// Reads until the text ends so.
fn read_until(client: &mut Client, end: &str) -> String {
    let (mut bytes, mut byte) = (Vec::new(), [0]);
    while !bytes.ends_with(end.as_bytes()) {
        client.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).unwrap()
}

fn until(what: &str, wanted: impl Fn() -> bool) {
    let until = Instant::now() + LIMIT;
    while !wanted() {
        assert!(Instant::now() < until, "never came: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_door_that_does_not_open_says_why() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = DoorsConfig { command: None, events: Some(address) };
    let desk = Arc::<SimulatedDesk>::default();
    let error = Doors::open(config, desk, Arc::default(), EventHub::new()).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "cannot listen for event listeners on {address}: Address already in use (os error 98); \
             is a recorder running already?"
        )
    );
}

#[test]
fn closing_finishes_what_is_under_way() {
    let bench = Bench::open();
    let mut waiting = bench.command();
    waiting.write_all(b"GET /?type=pause&party=later HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    until("the command", || bench.desk.asked.lock().unwrap().len() == 1);
    let mut idle = bench.command();
    let mut listening = bench.events();
    listening.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    read_until(&mut listening, "\r\n\r\n");
    bench.hub.publish("the last");
    let Bench { doors, desk, .. } = bench;
    let command = doors.command_address().unwrap();
    let closing = std::thread::Builder::new().name("closing".to_owned());
    let closing = closing.spawn(move || doors.close(LIMIT)).unwrap();
    assert_eq!(rest(&mut listening), "the last\r\n");
    assert_eq!(rest(&mut idle), "");
    desk.later.notify_one();
    assert!(rest(&mut waiting).contains("Pausing capture for party:later"));
    closing.join().unwrap();
    assert!(Client::connect(command).is_err());
}

#[test]
fn closing_does_not_wait_beyond_its_deadline() {
    let bench = Bench::open();
    let mut waiting = bench.command();
    waiting.write_all(b"GET /?type=pause&party=later HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    until("the command", || bench.desk.asked.lock().unwrap().len() == 1);
    bench.doors.close(Duration::from_millis(1));
    assert_eq!(rest(&mut waiting), "");
}
