//! The way to one tracker: introduce ourselves, then deliver.
//!
//! Law: no tape message goes out before `init` was answered with success. A tracker that cannot be
//! reached any more is introduced to again, for it may have been restarted; nobody's messages wait
//! for it but its own. A message the tracker fails waits alone.

use super::{
    Verdicts,
    client::{Answer, GetError, Peer},
    counters::{TrackCounters, count},
    keeper::{Feedback, Item, Outcome},
    store::Letter,
};
use orkbase::message::{
    pairs::Pairs,
    response::{SimpleResponse, TapeResponse},
    single_line,
    tape::{Stage, TapeMessage},
    url,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// The same trouble is logged this often; counters have every case.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// How long to wait for room in the feedback queue, which is larger than all letters on their way.
const FEEDBACK_PAUSE: Duration = Duration::from_millis(5);

/// What the recorder is told by a tracker's answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrackerVerdict {
    /// No program keeps this recording: `deletetape=true` in the answer to `ready`.
    Delete {
        /// The recording.
        recid: String,
        /// Its file below the audio folder, as it was reported.
        filename: String,
        /// Which tracker says so.
        tracker: String,
    },
}

/// Everything one tracker's task needs.
pub(super) struct Link {
    pub(super) index: usize,
    pub(super) peer: Arc<Peer>,
    /// The `init` message in the URL form.
    pub(super) init: String,
    pub(super) letters: mpsc::Receiver<Letter>,
    pub(super) report: Report,
    pub(super) verdicts: Verdicts,
    pub(super) counters: Arc<TrackCounters>,
    pub(super) parallel: usize,
    pub(super) init_retry: (Duration, Duration),
}

/// The way back to the keeper.
#[derive(Clone)]
pub(super) struct Report {
    pub(super) feedback: SyncSender<Feedback>,
    pub(super) bell: SyncSender<Item>,
}

impl Report {
    async fn tell(&self, mut news: Feedback) {
        loop {
            match self.feedback.try_send(news) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => {
                    news = back;
                    sleep(FEEDBACK_PAUSE).await;
                }
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
        // A full queue needs no bell: its owner is awake and looks at the feedback next.
        if let Err(TrySendError::Disconnected(_)) = self.bell.try_send(Item::Bell) {
            tracing::debug!("the tracker link is closing");
        }
    }
}

impl Link {
    /// Runs until it is dropped.
    pub(super) async fn run(mut self) {
        let mut log = LogRate::default();
        loop {
            self.introduce(&mut log).await;
            self.counters.note(self.index, |state| {
                state.introduced = true;
                state.trouble.clear();
            });
            tracing::info!(tracker = %self.peer.url(), "introduced to the tracker");
            self.report.tell(Feedback::Up(self.index)).await;
            let why = self.deliver().await;
            self.peer.hang_up();
            self.trouble(&mut log, why);
            self.report.tell(Feedback::Away(self.index)).await;
        }
    }

    /// Returns when `init` was answered with success.
    async fn introduce(&mut self, log: &mut LogRate) {
        let (mut pause, longest) = self.init_retry;
        loop {
            let why = match self.peer.get(&self.init).await {
                Ok(answer) if introduced(&answer) => return,
                Ok(answer) => {
                    format!("init was answered with status {}, not success", answer.status)
                }
                Err(GetError::Unreachable(why) | GetError::Failed(why)) => why,
                Err(GetError::Impossible(why)) => format!("init cannot be sent: {why}"),
            };
            count(&self.counters.unreachable);
            self.trouble(log, why);
            self.report.tell(Feedback::Away(self.index)).await;
            let until = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = sleep_until(until) => break,
                    Some(letter) = self.letters.recv() => self.hand_back(letter).await,
                }
            }
            pause = longest.min(pause.saturating_mul(2));
        }
    }

    /// Delivers until the tracker cannot be reached; returns why.
    async fn deliver(&mut self) -> String {
        let mut running = JoinSet::new();
        let mut on_their_way = HashMap::new();
        let mut away = None;
        loop {
            tokio::select! {
                Some(letter) = self.letters.recv(),
                    if away.is_none() && running.len() < self.parallel =>
                {
                    let courier = Courier {
                        peer: Arc::clone(&self.peer),
                        counters: Arc::clone(&self.counters),
                        verdicts: self.verdicts.clone(),
                    };
                    let copy = letter.clone();
                    let task = running.spawn(async move { courier.deliver(&copy).await });
                    on_their_way.insert(task.id(), letter);
                }
                Some(done) = running.join_next_with_id(), if !running.is_empty() => {
                    let (id, end) = match done {
                        Ok((id, end)) => (id, end),
                        Err(fault) => (fault.id(), End::Failed(format!("fault: {fault}"))),
                    };
                    let Some(letter) = on_their_way.remove(&id) else { continue };
                    if let End::Unreachable(why) = &end {
                        away = Some(why.clone());
                    }
                    self.settle(letter, end).await;
                }
                else => {
                    if let Some(why) = away {
                        return why;
                    }
                    // The keeper is gone; the runtime is about to drop this task.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    async fn settle(&self, letter: Letter, end: End) {
        let outcome = match end {
            End::Delivered => Outcome::Delivered,
            End::Refused(why) => {
                tracing::error!(
                    orkuid = %letter.recid, stage = %letter.stage, tracker = %self.peer.url(),
                    "message refused for good and dropped: {why}"
                );
                Outcome::Refused
            }
            End::Failed(why) => {
                count(&self.counters.failed_attempts);
                let level = letter.tries == 0;
                if level {
                    tracing::warn!(
                        orkuid = %letter.recid, stage = %letter.stage,
                        tracker = %self.peer.url(), "message not taken, will be sent again: {why}"
                    );
                }
                self.counters.note(self.index, |state| state.trouble = why);
                Outcome::Failed
            }
            End::Unreachable(_) => {
                count(&self.counters.unreachable);
                Outcome::Unsent
            }
        };
        self.report.tell(Feedback::Done { tracker: self.index, letter, outcome }).await;
    }

    async fn hand_back(&self, letter: Letter) {
        let outcome = Outcome::Unsent;
        self.report.tell(Feedback::Done { tracker: self.index, letter, outcome }).await;
    }

    fn trouble(&self, log: &mut LogRate, why: String) {
        if log.is_due() {
            tracing::warn!(
                tracker = %self.peer.url(),
                "tracker not available, its messages wait: {why}"
            );
        }
        self.counters.note(self.index, |state| {
            state.introduced = false;
            state.trouble = why;
        });
    }
}

/// How one attempt ended.
enum End {
    Delivered,
    Refused(String),
    Failed(String),
    Unreachable(String),
}

/// Carries one letter.
struct Courier {
    peer: Arc<Peer>,
    counters: Arc<TrackCounters>,
    verdicts: Verdicts,
}

impl Courier {
    async fn deliver(&self, letter: &Letter) -> End {
        let answer = match self.peer.get(&letter.body).await {
            Ok(answer) => answer,
            Err(GetError::Unreachable(why)) => return End::Unreachable(why),
            Err(GetError::Failed(why)) => return End::Failed(why),
            Err(GetError::Impossible(why)) => return End::Refused(why),
        };
        match answer.status {
            200 if answer.body.is_empty() => End::Failed("status 200 without a body".to_owned()),
            200 => self.obey(letter, &answer),
            400 => End::Refused("status 400".to_owned()),
            other => End::Failed(format!("status {other}")),
        }
    }

    /// The message is delivered whatever the answer says; what it says is passed on.
    fn obey(&self, letter: &Letter, answer: &Answer) -> End {
        let says = TapeResponse::from_pairs(&pairs(answer)).unwrap_or_default();
        if !says.success {
            count(&self.counters.unsuccessful);
            tracing::debug!(orkuid = %letter.recid, comment = %says.comment, "success=false");
        }
        if says.deletetape && Stage::read(&letter.stage) == Some(Stage::Ready) {
            let verdict = TrackerVerdict::Delete {
                recid: letter.recid.clone(),
                filename: filename(&letter.body),
                tracker: self.peer.url().to_string(),
            };
            if let Some(TrySendError::Full(_)) =
                self.verdicts.as_ref().and_then(|verdicts| verdicts.try_send(verdict).err())
            {
                // Asked again later, the tracker says so again.
                return End::Failed("too many recordings to delete at once".to_owned());
            }
        }
        End::Delivered
    }
}

fn introduced(answer: &Answer) -> bool {
    answer.status == 200
        && SimpleResponse::from_pairs(&pairs(answer)).is_ok_and(|response| response.success)
}

fn pairs(answer: &Answer) -> Pairs {
    single_line::decode(&answer.body).unwrap_or_default()
}

fn filename(body: &str) -> String {
    let message = url::decode(body.as_bytes()).ok();
    let message = message.and_then(|pairs| TapeMessage::from_pairs(&pairs).ok());
    message.map(|message| message.filename).unwrap_or_default()
}

/// Lets one log line through per [`LOG_EVERY`].
#[derive(Default)]
struct LogRate(Option<Instant>);

impl LogRate {
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= LOG_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}
