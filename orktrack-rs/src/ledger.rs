//! What is known of a recording, and what a message changes in it: pure.
//!
//! Law: a recording is the sum of the messages about it, whatever order they came in. A later stage
//! of the call outweighs an earlier one (`start`, then `update`/`hold`/`resume`, `stop`, `ready`), a
//! longer duration a shorter one; an empty value never erases what another message said.

use orkbase::message::tape::{Direction, KeepSide, Stage, TapeMessage};

/// Most messages kept of one recording. A call on hold every ten seconds for an hour has 720.
pub const MAX_ENTRIES: usize = 1000;

/// A message that was kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// Its number in the store; a higher one came later.
    pub id: i64,
    /// When it came, Unix seconds on the tracker's clock.
    pub received: u64,
    /// What it said.
    pub message: TapeMessage,
}

/// What a message does to the entries of its recording.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// Nothing: it was told before.
    Repeat,
    /// It is one more entry.
    Add,
    /// It says more than this entry of the same stage, and takes its place.
    Replace(i64),
    /// There are [`MAX_ENTRIES`] already.
    Full,
}

/// Decides what `message` changes. `start`, `stop` and `ready` occur once in a recording; the longer
/// duration wins, then the greater number of tags (one call was seen to stop three times, with 24, 25
/// and 25 seconds). Other stages may come as often as they like; only the very same message is a
/// repetition.
#[must_use]
pub fn decide(known: &[Entry], message: &TapeMessage) -> Change {
    if known.iter().any(|entry| entry.message == *message) {
        return Change::Repeat;
    }
    let once = match message.stage {
        Stage::Start | Stage::Stop | Stage::Ready => true,
        Stage::Update | Stage::Hold | Stage::Resume => false,
    };
    match known.iter().find(|entry| once && entry.message.stage == message.stage) {
        Some(entry) if weight(message) > weight(&entry.message) => Change::Replace(entry.id),
        Some(_) => Change::Repeat,
        None if known.len() >= MAX_ENTRIES => Change::Full,
        None => Change::Add,
    }
}

/// Where a recording stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Begun, not known to have ended.
    Live,
    /// The call is over, the file is not finished.
    Stopped,
    /// The file is finished.
    Ready,
}

impl State {
    /// The word in the store and in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stopped => "stopped",
            Self::Ready => "ready",
        }
    }
}

/// A recording as all its messages together tell it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tape {
    /// Where it stands.
    pub state: State,
    /// When it ended, Unix seconds on the recorder's clock: begin plus duration.
    pub stopped: Option<u64>,
    /// When it was first reported ready, Unix seconds on the tracker's clock.
    pub ready: Option<u64>,
    /// All other facts, in the shape of the wire; its stage is the furthest one seen.
    pub facts: TapeMessage,
}

/// Sums up the messages about one recording; `None` if there are none.
#[must_use]
pub fn sum(known: &[Entry]) -> Option<Tape> {
    let mut entries: Vec<&Entry> = known.iter().collect();
    entries.sort_by_key(|entry| (rank(entry.message.stage), weight(&entry.message), entry.id));
    let mut facts: Option<TapeMessage> = None;
    for entry in &entries {
        match &mut facts {
            None => facts = Some(entry.message.clone()),
            Some(facts) => outweigh(facts, &entry.message),
        }
    }
    let facts = facts?;
    let seen = |stage: Stage| entries.iter().any(|entry| entry.message.stage == stage);
    let state = match (seen(Stage::Ready), seen(Stage::Stop)) {
        (true, _) => State::Ready,
        (false, true) => State::Stopped,
        (false, false) => State::Live,
    };
    let ended = facts.timestamp.saturating_add(facts.duration);
    let ready = entries.iter().filter(|entry| entry.message.stage == Stage::Ready);
    Some(Tape {
        state,
        stopped: (state != State::Live).then_some(ended),
        ready: ready.map(|entry| entry.received).min(),
        facts,
    })
}

/// Which of two messages of the same stage knows more: the call and its tags only grow.
fn weight(message: &TapeMessage) -> (u64, usize) {
    (message.duration, message.tags.len())
}

/// Which stage knows more: the order of a call's life.
const fn rank(stage: Stage) -> u8 {
    match stage {
        Stage::Start => 0,
        Stage::Update | Stage::Hold | Stage::Resume => 1,
        Stage::Stop => 2,
        Stage::Ready => 3,
    }
}

/// Lays a message over what lesser messages said.
fn outweigh(facts: &mut TapeMessage, message: &TapeMessage) {
    let over = |old: &mut String, new: &str| {
        if !new.is_empty() {
            new.clone_into(old);
        }
    };
    facts.stage = message.stage;
    over(&mut facts.captureport, &message.captureport);
    over(&mut facts.filename, &message.filename);
    over(&mut facts.localparty, &message.localparty);
    over(&mut facts.localentrypoint, &message.localentrypoint);
    over(&mut facts.remoteparty, &message.remoteparty);
    over(&mut facts.service, &message.service);
    over(&mut facts.localip, &message.localip);
    over(&mut facts.remoteip, &message.remoteip);
    over(&mut facts.nativecallid, &message.nativecallid);
    if message.timestamp > 0 {
        facts.timestamp = message.timestamp;
    }
    facts.duration = facts.duration.max(message.duration);
    if message.direction != Direction::Unknown {
        facts.direction = message.direction;
    }
    if message.side != KeepSide::Invalid {
        facts.side = message.side;
    }
    facts.ondemand |= message.ondemand;
    facts.live = message.live;
    facts.tags.extend(message.tags.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// Tells the messages in this order, as the store does.
    fn tell(messages: &[&TapeMessage]) -> (Vec<Entry>, Vec<Change>) {
        let (mut known, mut changes) = (Vec::<Entry>::new(), Vec::new());
        for (id, message) in (0i64..).zip(messages) {
            let change = decide(&known, message);
            match change {
                Change::Repeat | Change::Full => {}
                Change::Add => {
                    known.push(Entry { id, received: 100, message: (*message).clone() });
                }
                Change::Replace(old) => {
                    known.retain(|entry| entry.id != old);
                    known.push(Entry { id, received: 100, message: (*message).clone() });
                }
            }
            changes.push(change);
        }
        (known, changes)
    }

    fn every_order<T: Clone>(items: &[T]) -> Vec<Vec<T>> {
        if items.is_empty() {
            return vec![Vec::new()];
        }
        let mut orders = Vec::new();
        for first in 0..items.len() {
            let mut rest = items.to_vec();
            let item = rest.remove(first);
            for mut order in every_order(&rest) {
                order.insert(0, item.clone());
                orders.push(order);
            }
        }
        orders
    }

    #[test]
    fn any_order_ends_in_the_same_recording() {
        let start = sample::tape("A", Stage::Start);
        let tagged = sample::tagged(sample::tape("A", Stage::Update), &[("case", "7")]);
        let more =
            sample::tagged(sample::tape("A", Stage::Update), &[("case", "8"), ("vip", "no")]);
        let stop = sample::tape("A", Stage::Stop);
        let longer = TapeMessage { duration: stop.duration + 1, ..stop.clone() };
        let mut ready = sample::tagged(sample::tape("A", Stage::Ready), &[("codec", "PCMU")]);
        ready.duration = longer.duration;
        ready.remoteparty = String::new();

        let orders = every_order(&[&start, &tagged, &more, &stop, &longer, &ready]);
        assert_eq!(orders.len(), 720);
        for order in orders {
            let tape = sum(&tell(&order).0).unwrap();
            assert_eq!((tape.state, tape.ready), (State::Ready, Some(100)));
            assert_eq!(tape.stopped, Some(start.timestamp + longer.duration));
            let expected = TapeMessage {
                remoteparty: start.remoteparty.clone(),
                tags: sample::tags(&[("case", "8"), ("vip", "no"), ("codec", "PCMU")]),
                ..ready.clone()
            };
            assert_eq!(tape.facts, expected);
        }
    }

    #[test]
    fn a_repeated_stage_is_not_news() {
        let (start, hold) = (sample::tape("A", Stage::Start), sample::tape("A", Stage::Hold));
        let later = sample::tagged(hold.clone(), &[("holds", "2")]);
        let stop = sample::tape("A", Stage::Stop);
        let longer = TapeMessage { duration: stop.duration + 1, ..stop.clone() };
        let (_, changes) = tell(&[&start, &start, &hold, &hold, &later, &stop, &longer, &stop]);
        let (add, repeat) = (Change::Add, Change::Repeat);
        assert_eq!(changes, [add, repeat, add, repeat, add, add, Change::Replace(5), repeat]);
    }

    #[test]
    fn a_recording_alone_tells_how_far_it_is() {
        let state = |stage| sum(&tell(&[&sample::tape("A", stage)]).0).unwrap();
        assert_eq!((state(Stage::Start).state, state(Stage::Start).stopped), (State::Live, None));
        assert_eq!(state(Stage::Update).state, State::Live);
        assert_eq!(state(Stage::Stop).state, State::Stopped);
        assert_eq!(state(Stage::Ready).state, State::Ready);
        assert_eq!(sum(&[]), None);
    }

    #[test]
    fn a_flood_of_updates_ends() {
        let update =
            |n: usize| sample::tagged(sample::tape("A", Stage::Update), &[("n", &n.to_string())]);
        let known: Vec<_> = (0i64..)
            .zip(0..MAX_ENTRIES)
            .map(|(id, n)| Entry { id, received: 1, message: update(n) })
            .collect();
        assert_eq!(decide(&known, &update(MAX_ENTRIES)), Change::Full);
        assert_eq!(decide(&known, &update(3)), Change::Repeat);
    }
}
