//! Port 59150: every tape message as a line, as it happens.
//!
//! The head is the original's to the byte, without a length, without chunks and with no space after
//! its colons. hyper cannot be made to write that, so this door speaks over the bare stream.
//!
//! Law: nothing is sent but the head and lines published since the client came. A client may be as
//! slow as it likes: it loses its own oldest lines. One that sends a FIN may only have finished its
//! request, so it goes on hearing, as the original lets it; but it has no right to its place any
//! more, and whoever comes to a full door takes it.

use super::{
    DoorCounters,
    hub::{EventHub, Listener},
};
use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{Notify, watch},
    time::timeout,
};

/// Clients at a time, as in the original.
pub const MAX_SESSIONS: usize = 100;
/// Longest request line looked at.
const MAX_LINE: usize = 16 << 10;
/// Lines are gathered up to this many bytes for one write.
const WRITE_BYTES: usize = 64 << 10;

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
    pub(super) sessions: Arc<Sessions>,
    pub(super) counters: Arc<DoorCounters>,
    /// How long a request may take, and a refusal.
    pub(super) patience: Duration,
}

impl Door {
    /// Serves one client until it goes or the door closes.
    pub(super) async fn serve(
        self,
        mut stream: TcpStream,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let request = tokio::select! {
            request = timeout(self.patience, request_line(&mut stream)) => request,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let refusal = match request {
            Ok(Ok(line)) if line.len() <= 5 => Some(NOT_FOUND),
            Ok(Ok(line)) => (!contains(&line, b" HTTP")).then_some(MALFORMED),
            Ok(Err(error)) => return Err(error),
            Err(_) => Some(MALFORMED),
        };
        if let Some(refusal) = refusal {
            DoorCounters::count(&self.counters.events_malformed);
            return timeout(self.patience, close_with(&mut stream, refusal)).await?;
        }
        // Before the head: whoever has read it misses nothing.
        let listener = self.hub.listen();
        let place = self.sessions.enter();
        stream.write_all(head().as_bytes()).await?;
        let Some(place) = place else {
            DoorCounters::count(&self.counters.events_refused);
            return stream.shutdown().await;
        };
        let (read, write) = stream.split();
        tokio::select! {
            end = watch_client(read, &place.session) => end,
            end = send(write, listener, stop) => end,
            () = place.session.displaced.notified() => Ok(()),
        }
    }
}

/// The request up to its first line end, its end, or [`MAX_LINE`]: what it asks for is not looked
/// at, as in the original; a space and `HTTP` must occur in it.
async fn request_line(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut piece = [0; 2048];
    while line.len() < MAX_LINE && !line.contains(&b'\n') {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        line.extend(piece.iter().take(length));
    }
    Ok(line)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

async fn close_with(stream: &mut TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.write_all(answer).await?;
    stream.shutdown().await?;
    // Closing over unread bytes is a reset, which can overtake the answer: read until the end.
    let mut piece = [0; 2048];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

fn head() -> String {
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT");
    format!("HTTP/1.1 200 OK\r\nLast-Modified:{now}\r\nContent-Type:text/plain\r\n\r\n")
}

/// Ends when the client is gone for certain: a reset, or an error. What it sends is not looked at.
async fn watch_client(mut read: ReadHalf<'_>, session: &Session) -> io::Result<()> {
    let mut piece = [0; 2048];
    while read.read(&mut piece).await? > 0 {}
    session.finished.store(true, Relaxed);
    // Both directions closed: its kernel answers our next line with a reset.
    read.ready(Interest::ERROR).await.map(|_| ())
}

async fn send(
    mut write: WriteHalf<'_>,
    mut listener: Listener,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut lines = Vec::new();
    loop {
        // Asked before the last look, so that what was published before stopping is sent.
        let last = *stop.borrow_and_update();
        lines.clear();
        listener.take(&mut lines, WRITE_BYTES);
        if !lines.is_empty() {
            write.write_all(&lines).await?;
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
            }
        }
    }
}
