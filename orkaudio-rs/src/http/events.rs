//! Port 59150: every tape message as a line, as it happens.
//!
//! The head is the original's to the byte, without a length, without chunks and with no space after
//! its colons. hyper cannot be made to write that, so this door speaks over the bare stream.
//!
//! Law: nothing is sent but the head and what was published since the client came, or since where it
//! says that it was cut off. A client may be as slow as it likes: it loses its own oldest lines. One that
//! sends a FIN may only have finished its request, so it goes on hearing, as the original lets it; but it
//! has no right to its place any more, and whoever comes to a full door takes it.

use super::{
    DoorCounters,
    bare::{self, Line, head_end},
    dialect::{self, Asked, Dialect},
    entrance::Seat,
    hub::{EventHub, Listener},
    websocket,
};
use crate::gate::{Caller, Gate, Guest, Head, ReadEnd, Right, Stream, WriteEnd};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// Clients at a time, as in the original.
pub const MAX_SESSIONS: usize = 100;
/// What is gathered for one write, in bytes.
const WRITE_BYTES: usize = 64 << 10;
/// The original answers a request line; whoever has more to say, says it at once.
const HEADERS: Duration = Duration::from_secs(1);
/// What browsers, and proxies on the way, want to see now and then.
const HEARTBEAT: Duration = Duration::from_secs(15);

const NOT_FOUND: &[u8] = b"HTTP/1.0 404 not found\r\nContent-type: text/html\r\n\r\nNot found\r\n";
const MALFORMED: &[u8] = b"HTTP/1.0 404 not found\r\nContent-type: text/html\r\n\r\n\
                           Error\r\nMalformed http request\r\n";

/// The clients that are being served.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<Vec<Arc<Session>>>);

#[derive(Debug, Default)]
struct Session {
    /// It has sent a FIN.
    finished: AtomicBool,
    /// Its place is taken by another.
    displaced: Notify,
}

/// Gives the place back when dropped.
struct Place {
    sessions: Arc<Sessions>,
    session: Arc<Session>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.lock().retain(|other| !Arc::ptr_eq(other, &self.session));
    }
}

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Clients served, and how many of them have sent a FIN.
    pub(super) fn count(&self) -> (usize, usize) {
        let sessions = self.lock();
        (sessions.len(), sessions.iter().filter(|session| session.finished.load(Relaxed)).count())
    }

    /// A place, if there is one or if somebody has no right to his any more.
    fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            let leaving = sessions.iter().position(|session| session.finished.load(Relaxed))?;
            sessions.remove(leaving).displaced.notify_one();
        }
        let session = Arc::new(Session::default());
        sessions.push(Arc::clone(&session));
        drop(sessions);
        Some(Place { sessions: Arc::clone(self), session })
    }
}

/// What every client needs.
pub(super) struct Door {
    pub(super) hub: EventHub,
    pub(super) gate: Arc<Gate>,
    pub(super) sessions: Arc<Sessions>,
    pub(super) counters: Arc<DoorCounters>,
    /// How long a request may take, and a refusal.
    pub(super) patience: Duration,
}

/// A request that makes sense.
struct Granted {
    asked: Asked,
    /// What is said before the first event.
    head: String,
}

impl Door {
    /// Serves one client until it goes or the door closes.
    pub(super) async fn serve(
        self,
        guest: Guest,
        seat: &Seat,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let caller = guest.caller();
        let mut stream = guest.stream;
        let request = tokio::select! {
            request = timeout(self.patience, request(&mut stream)) => request,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let refusal = match request {
            Ok(Err(error)) => return Err(error),
            Ok(Ok(request)) => match self.understand(caller, &request) {
                Ok(granted) => {
                    seat.serve(true);
                    return self.tell(stream, &request, granted, stop).await;
                }
                Err(refusal) => refusal,
            },
            Err(_) => MALFORMED.to_vec(),
        };
        DoorCounters::count(&self.counters.events_malformed);
        timeout(self.patience, bare::close_with(&mut stream, &refusal)).await?
    }

    /// What is asked for, if it makes sense and is allowed; else what is answered.
    fn understand(&self, caller: Caller, request: &[u8]) -> Result<Granted, Vec<u8>> {
        let end = request.iter().position(|byte| *byte == b'\n').map_or(request.len(), |at| at + 1);
        let line = request.get(..end).unwrap_or_default();
        if line.len() <= 5 {
            return Err(NOT_FOUND.to_vec());
        }
        if !contains(line, b" HTTP") {
            return Err(MALFORMED.to_vec());
        }
        let (head, query) = (Head::read(request), Line::read(request).query);
        let token = query.first("token").unwrap_or_default();
        self.gate.pass(caller, &head, token, Right::Read).map_err(bare::denial)?;
        let asked = Asked::read(&query, &head).map_err(bad_request)?;
        let head = match asked.dialect {
            Some(Dialect::Lines | Dialect::Numbered) => lines_head(),
            Some(Dialect::Sse) => sse_head(head.origin),
            None => {
                let key = head.websocket_key.ok_or("a WebSocket wants Sec-WebSocket-Key");
                websocket::head(key.map_err(bad_request)?)
            }
        };
        Ok(Granted { asked, head })
    }

    async fn tell(
        &self,
        mut stream: Stream,
        request: &[u8],
        Granted { asked, head }: Granted,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        // Before the head: whoever has read it misses nothing.
        let listener = self.hub.listen(asked.since);
        let place = self.sessions.enter();
        stream.write_all(head.as_bytes()).await?;
        let Some(place) = place else {
            DoorCounters::count(&self.counters.events_refused);
            return stream.shutdown().await;
        };
        let served = async {
            let Some(dialect) = asked.dialect else {
                let unread =
                    head_end(request).and_then(|end| request.get(end..)).unwrap_or_default();
                return websocket::serve(stream, unread.to_vec(), listener, stop).await;
            };
            let (read, write) = stream.split();
            tokio::select! {
                end = watch_client(read, &place.session) => end,
                end = send(write, dialect, listener, stop) => end,
            }
        };
        tokio::select! {
            end = served => end,
            () = place.session.displaced.notified() => Ok(()),
        }
    }
}

/// The request: its first line, or its whole head if it has one; what it asks for matters only where the
/// original has nothing to compare.
async fn request(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    bare::read_until(stream, &mut request, |request| request.contains(&b'\n')).await?;
    let line = request.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if line.starts_with(b"GET ") && contains(line, b" HTTP/1.") {
        let whole = bare::read_until(stream, &mut request, |request| head_end(request).is_some());
        if let Ok(read) = timeout(HEADERS, whole).await {
            read?;
        }
    }
    Ok(request)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn bad_request(why: &str) -> Vec<u8> {
    bare::answer("400 Bad Request", "text/plain; charset=utf-8", &format!("{why}\n"))
}

fn lines_head() -> String {
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    format!("HTTP/1.1 200 OK\r\nLast-Modified:{now}\r\nContent-Type:text/plain\r\n\r\n")
}

/// The gate has let the origin pass.
fn sse_head(origin: Option<&str>) -> String {
    let allow =
        origin.map(|origin| format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n"));
    let allow = allow.unwrap_or_default();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n{allow}\
         Connection: close\r\n\r\n"
    )
}

/// Ends when the client is gone for certain: a reset, or an error. What it sends is not looked at.
async fn watch_client(mut read: ReadEnd, session: &Session) -> io::Result<()> {
    let mut piece = [0; 2048];
    while read.read(&mut piece).await? > 0 {}
    session.finished.store(true, Relaxed);
    // Both directions closed: its kernel answers our next line with a reset.
    read.gone().await
}

async fn send(
    mut write: WriteEnd,
    dialect: Dialect,
    mut listener: Listener,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        // Asked before the last look, so that what was published before stopping is sent.
        let last = *stop.borrow_and_update();
        let batch = listener.take(WRITE_BYTES);
        if !batch.is_empty() {
            out.clear();
            dialect::write(dialect, &batch, &mut out);
            write.write_all(&out).await?;
            write.flush().await?;
        } else if last {
            return write.shutdown().await;
        } else {
            tokio::select! {
                () = listener.more() => {}
                changed = stop.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                }
                () = sleep(HEARTBEAT), if dialect == Dialect::Sse => {
                    write.write_all(b":\n\n").await?;
                    write.flush().await?;
                }
            }
        }
    }
}
