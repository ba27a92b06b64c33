//! Port 59120: what is said in a call, while it is said.
//!
//! The answer is a head and audio until the call ends, without a length and without chunks, whatever
//! version of HTTP was asked in: clients of the field write what follows the head to a sound card.
//! hyper cannot be made to write that, so this door speaks over the bare stream.
//!
//! Law: whatever a listener does costs a bounded amount of memory and no recording a sample.

use super::{
    Feeds,
    form::{Form, Writer},
    player::RATE,
    stations::{Chunk, Stations},
};
use crate::{
    announce::{LiveTable, live_calls},
    audit::{Audit, Entry},
    gate::{Caller, Gate, Guest, Head, Right, Stream, Who},
    http::{
        DoorError,
        bare::{self, Line, head_end},
        entrance::{Entrance, Seat},
        listen,
    },
};
use orkbase::{call::output::Opening, message::Pairs};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{
        broadcast::{Receiver, error::RecvError},
        watch,
    },
    time::{sleep, timeout},
};

/// Listeners, and others who ask, at a time.
const MAX_CONNECTIONS: usize = 1_000;
/// How long a request may take, and an answer that is no audio.
const PATIENCE: Duration = Duration::from_secs(10);
/// Kernel memory a listener that does not read can hold: about a second of audio.
const SEND_BUFFER: usize = 16 << 10;
/// A listener that reads nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(60);
/// The next tape of the same call begins within so long after the last, if at all.
const NEXT_TAPE: Duration = Duration::from_millis(200);

/// Numbers of the door.
#[derive(Debug, Default)]
pub struct LiveCounters {
    /// Listeners served so far.
    pub served: AtomicU64,
    /// Listeners now.
    pub listening: AtomicU64,
    /// Requests for calls that there are not, or that made no sense.
    pub unanswered: AtomicU64,
    /// Connections that were not let in, or made room, for there were too many.
    pub refused: AtomicU64,
    /// Audio that listeners were too slow for, in milliseconds, summed over listeners.
    pub dropped_ms: AtomicU64,
}

/// The open door.
#[derive(Debug)]
pub struct LiveDoor {
    address: SocketAddr,
    counters: Arc<LiveCounters>,
    stations: Arc<Stations>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct House {
    gate: Arc<Gate>,
    stations: Arc<Stations>,
    live: Arc<LiveTable>,
    counters: Arc<LiveCounters>,
    audit: Arc<Audit>,
    stop: watch::Receiver<bool>,
}

impl LiveDoor {
    /// Listens on `address` and plays what is being recorded, `distance_ms` behind.
    ///
    /// # Errors
    /// The address cannot be listened on, or no thread can be made.
    pub fn open(
        address: SocketAddr,
        distance_ms: u64,
        gate: Arc<Gate>,
        feeds: Arc<Feeds>,
        live: Arc<LiveTable>,
        audit: Arc<Audit>,
    ) -> Result<Self, DoorError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            listen("live listeners", address)?
        };
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let counters = Arc::new(LiveCounters::default());
        let stations = Arc::new(Stations::new(feeds, Arc::clone(&live), distance_ms));
        let played = Arc::clone(&stations);
        let own = Arc::clone(&counters);
        let house = House { gate, stations: played, live, counters: own, audit, stop: stopped };
        let run = move || runtime.block_on(Arc::new(house).accept(listener));
        let thread = std::thread::Builder::new().name("live".to_owned()).spawn(run)?;
        Ok(Self { address, counters, stations, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The numbers by their names.
    #[must_use]
    pub fn numbers(&self) -> [(&'static str, u64); 6] {
        let counters = &self.counters;
        [
            ("live.served", counters.served.load(Relaxed)),
            ("live.listening", counters.listening.load(Relaxed)),
            ("live.playing", u64::try_from(self.stations.count()).unwrap_or(0)),
            ("live.unanswered", counters.unanswered.load(Relaxed)),
            ("live.refused", counters.refused.load(Relaxed)),
            ("live.dropped_ms", counters.dropped_ms.load(Relaxed)),
        ]
    }
}

impl Drop for LiveDoor {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the live thread ended by a fault");
        }
    }
}

impl House {
    /// Serves listeners until the door closes; those who listen then are cut off.
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let entrance = Entrance {
            listener,
            gate: Arc::clone(&self.gate),
            most: MAX_CONNECTIONS,
            send_buffer: Some(SEND_BUFFER),
            patience: PATIENCE,
        };
        let counters = Arc::clone(&self.counters);
        let turned = move |_| count(&counters.refused, 1);
        let stop = self.stop.clone();
        let serve = move |guest, seat| {
            let house = Arc::clone(&self);
            async move {
                // A client that goes away is no trouble of ours.
                let _gone = house.serve(guest, &seat).await;
            }
        };
        drop(entrance.open(stop, turned, serve).await);
    }

    async fn serve(&self, guest: Guest, seat: &Seat) -> io::Result<()> {
        let caller = guest.caller();
        let mut stream = guest.stream;
        let mut head = Vec::new();
        let read = bare::read_until(&mut stream, &mut head, |head| head_end(head).is_some());
        timeout(PATIENCE, read).await??;
        match self.understand(caller, &head) {
            Ok(Asked::Calls) => {
                let list = live_calls(&self.live).to_string();
                close_with(&mut stream, &bare::answer("200 OK", "application/json", &list)).await
            }
            Ok(Asked::Head(form)) => {
                stream.write_all(audio_head(form, false, "").as_bytes()).await?;
                stream.shutdown().await
            }
            Ok(Asked::Audio { opening, form, stereo, follow, who }) => {
                self.note(caller, who.as_deref(), &opening);
                seat.serve(true);
                count(&self.counters.served, 1);
                self.counters.listening.fetch_add(1, Relaxed);
                let done = self.listen(stream, opening, form, stereo, follow).await;
                self.counters.listening.fetch_sub(1, Relaxed);
                done
            }
            Err(refusal) => {
                count(&self.counters.unanswered, 1);
                close_with(&mut stream, &refusal).await
            }
        }
    }

    /// What a request asks for; else what is answered.
    fn understand(&self, caller: Caller, head: &[u8]) -> Result<Asked, Vec<u8>> {
        let refusal = |status, why: &str| bare::answer(status, "text/plain; charset=utf-8", why);
        let bad = |why: &str| refusal("400 Bad Request", &format!("{why}\n{USAGE}"));
        let line = Line::read(head);
        if !matches!(line.method, b"GET" | b"HEAD") {
            let why = format!("Only GET is understood here.\n{USAGE}");
            return Err(refusal("405 Method Not Allowed", &why));
        }
        let get = |name: &str| line.query.first(name).unwrap_or_default();
        let calls = line.path.ends_with(b"/calls") || get("type") == "calls";
        let who = self
            .gate
            .pass(caller, &Head::read(head), get("token"), Right::Listen)
            .map_err(bare::denial)?;
        if calls {
            return Ok(Asked::Calls);
        }
        if get("type") != "stream" {
            return Err(bad("There is no type=stream."));
        }
        let form = Form::named(get("format")).ok_or_else(|| bad("format= is raw, wav or opus."))?;
        let stereo = ["true", "1", "yes"].contains(&get("stereo").to_ascii_lowercase().as_str());
        let uid = [get("recid"), get("orkuid")].into_iter().find(|uid| !uid.is_empty());
        let (party, call) = (get("localparty"), get("nativecallid"));
        let fits = |opening: &Opening| {
            let message = &opening.message;
            uid.map_or_else(
                || {
                    (party.is_empty() || message.localparty == party)
                        && (call.is_empty() || message.nativecallid == call)
                },
                |uid| message.recid == uid,
            )
        };
        if uid.is_none() && party.is_empty() && call.is_empty() {
            return Err(bad("Which call? Give recid=, orkuid=, localparty= or nativecallid=."));
        }
        let Some(opening) = self.newest(&fits) else {
            let why = "No such call is being recorded; /calls lists those that are.\n";
            return Err(refusal("404 Not Found", why));
        };
        if line.method == b"HEAD" {
            return Ok(Asked::Head(form));
        }
        Ok(Asked::Audio { opening, form, stereo, follow: uid.is_none(), who })
    }

    /// Who listens to whom is written down before anything is heard.
    fn note(&self, caller: Caller, by: Option<&str>, opening: &Opening) {
        let message = &opening.message;
        let mut pairs = Pairs::default();
        for (key, value) in [
            ("orkuid", &message.recid),
            ("nativecallid", &message.nativecallid),
            ("localparty", &message.localparty),
        ] {
            // Three of them fit.
            pairs.push(key.to_owned(), value.clone()).unwrap_or_default();
        }
        self.audit.note(&Entry {
            from: Some(caller.from),
            by,
            method: "GET",
            command: "listen",
            pairs: &pairs,
            status: 200,
            success: true,
            matched: Some(1),
        });
    }

    fn newest(&self, fits: &dyn Fn(&Opening) -> bool) -> Option<Arc<Opening>> {
        let live = self.live.iter().filter(|entry| fits(entry.value()));
        live.map(|entry| Arc::clone(entry.value())).max_by_key(|opening| opening.tape)
    }

    /// Plays a call to a listener until either is over.
    async fn listen(
        &self,
        stream: Stream,
        opening: Arc<Opening>,
        form: Form,
        stereo: bool,
        follow: bool,
    ) -> io::Result<()> {
        let (mut read, mut write) = stream.split();
        let (mut writer, start) = Writer::new(form, stereo)?;
        let mut out = audio_head(form, stereo, &opening.message.recid).into_bytes();
        out.extend(start);
        let mut chunks = self.tune(&opening);
        let mut stop = self.stop.clone();
        let send = async {
            loop {
                if !out.is_empty() {
                    timeout(STALLED, write.write_all(&out)).await??;
                    write.flush().await?;
                    out.clear();
                }
                let received = tokio::select! {
                    received = chunks.recv() => received,
                    _ = stop.wait_for(|stop| *stop) => Err(RecvError::Closed),
                };
                match received {
                    Ok(chunk) => writer.write(&chunk, &mut out)?,
                    Err(RecvError::Lagged(lost)) => count(&self.counters.dropped_ms, lost * 20),
                    Err(RecvError::Closed) => {
                        let next = if follow { self.next_tape(&opening).await } else { None };
                        let Some(next) = next else { break };
                        chunks = self.tune(&next);
                    }
                }
            }
            out.extend(writer.finish()?);
            timeout(STALLED, write.write_all(&out)).await??;
            write.shutdown().await
        };
        // What it says is not listened to; a reset ends it.
        let watch = async {
            let mut piece = [0; 1_024];
            while read.read(&mut piece).await? > 0 {}
            // It may only have finished its request.
            std::future::pending::<io::Result<()>>().await
        };
        tokio::select! {
            done = send => done,
            gone = watch => gone,
        }
    }

    fn tune(&self, opening: &Opening) -> Receiver<Chunk> {
        self.stations.tune(opening)
    }

    /// The tape that goes on where this one ended: a segment, or one that was asked for.
    async fn next_tape(&self, last: &Opening) -> Option<Arc<Opening>> {
        let fits = |opening: &Opening| {
            opening.tape > last.tape && opening.message.nativecallid == last.message.nativecallid
        };
        if let Some(next) = self.newest(&fits) {
            return Some(next);
        }
        sleep(NEXT_TAPE).await;
        self.newest(&fits)
    }
}

enum Asked {
    Calls,
    Head(Form),
    Audio { opening: Arc<Opening>, form: Form, stereo: bool, follow: bool, who: Who },
}

const USAGE: &str = "\
/?type=stream&localparty=5002          audio of that party's call: 16-bit little-endian samples, 8000 a second
/?type=stream&recid=ORKUID             of that recording (also orkuid=, nativecallid=)
    &stereo=true                       local party left, the other right
    &format=raw|wav|opus               wav and opus (in Ogg) for browsers and players
/calls                                 the calls being recorded, as JSON
";

fn audio_head(form: Form, stereo: bool, orkuid: &str) -> String {
    let channels = if stereo { 2 } else { 1 };
    let (kind, uid) = (form.content_type(), orkuid);
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nCache-Control: no-store\r\nConnection: close\r\n\
         X-Audio: s16le; rate={RATE}; channels={channels}\r\nX-Orkuid: {uid}\r\n\r\n"
    )
}

async fn close_with(stream: &mut Stream, answer: &[u8]) -> io::Result<()> {
    timeout(PATIENCE, bare::close_with(stream, answer)).await?
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Relaxed);
}
