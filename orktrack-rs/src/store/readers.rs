//! The threads that read: each with its own connection, opened when it is needed.

use super::{Job, NotStored, Place, session::Session};
use std::{
    io,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};
use tokio::sync::mpsc;

/// Questions answered at a time.
const READERS: usize = 4;

type Questions = Arc<Mutex<mpsc::Receiver<Box<dyn Job>>>>;

/// Starts them; they end when nobody can ask any more.
pub(super) fn start(
    place: &Place,
    questions: mpsc::Receiver<Box<dyn Job>>,
) -> io::Result<Vec<JoinHandle<()>>> {
    let questions = Arc::new(Mutex::new(questions));
    let start = |number| {
        let (place, questions) = (place.clone(), questions.clone());
        let name = format!("orktrack-read-{number}");
        thread::Builder::new().name(name).spawn(move || run(&place, &questions))
    };
    (0..READERS).map(start).collect()
}

fn run(place: &Place, questions: &Questions) {
    let mut session = None;
    while let Some(mut job) = next(questions) {
        let answered = answer(place, &mut session, job.as_mut());
        if answered.is_err() {
            session = None;
        }
        job.answer(answered);
    }
}

/// One waits at the queue; the others wait for it.
fn next(questions: &Questions) -> Option<Box<dyn Job>> {
    questions.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv()
}

fn answer(
    place: &Place,
    session: &mut Option<Box<dyn Session>>,
    job: &mut dyn Job,
) -> Result<(), NotStored> {
    let failed = |error: &dyn std::error::Error| NotStored::Failed(error.to_string().into());
    if session.as_mut().is_some_and(|session| !session.is_in_place()) {
        *session = None;
    }
    let open = match session.take() {
        Some(open) => open,
        None => place.open_reading().map_err(|error| failed(&error))?,
    };
    let open = session.insert(open);
    open.begin_reading().map_err(|error| failed(&error))?;
    // A fault of ours costs one question, not the thread.
    let run = panic::catch_unwind(AssertUnwindSafe(|| job.run(open.as_mut())));
    run.map_err(|_| NotStored::Failed("a fault of ours; see the log".into()))?
        .map_err(|error| failed(&error))?;
    open.batch("COMMIT").map_err(|error| failed(&error))
}
