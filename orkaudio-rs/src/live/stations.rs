//! One player for each tape that is listened to, however many listen.

use super::{Feed, Feeds, lock, player::Player};
use crate::announce::LiveTable;
use orkbase::{
    audio::tape::Frame,
    call::output::{Opening, TapeId},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::broadcast::{self, Receiver, Sender},
    time::{MissedTickBehavior, interval},
};

/// 20 ms of audio.
pub(super) type Chunk = Arc<[Frame]>;

/// Chunks a listener may be behind: five seconds.
const BEHIND: usize = 256;
/// A player without listeners goes on for so many chunks, in case one comes back.
const LINGER: u32 = 100;
/// The tape's end is looked for every so many chunks, should the worker's word have been missed.
const LOOK: u32 = 50;

/// The players.
#[derive(Debug)]
pub(super) struct Stations {
    feeds: Arc<Feeds>,
    live: Arc<LiveTable>,
    distance_ms: u64,
    on_air: Mutex<HashMap<TapeId, Sender<Chunk>>>,
}

impl Stations {
    pub(super) fn new(feeds: Arc<Feeds>, live: Arc<LiveTable>, distance_ms: u64) -> Self {
        Self { feeds, live, distance_ms, on_air: Mutex::default() }
    }

    /// Tapes that are played now.
    pub(super) fn count(&self) -> usize {
        lock(&self.on_air).len()
    }

    /// Hears a tape from now on, until it ends.
    pub(super) fn tune(self: &Arc<Self>, opening: &Opening) -> Receiver<Chunk> {
        let tape = opening.tape;
        let mut on_air = lock(&self.on_air);
        if let Some(sender) = on_air.get(&tape) {
            return sender.subscribe();
        }
        let (sender, receiver) = broadcast::channel(BEHIND);
        on_air.insert(tape, sender.clone());
        let feed = self.feeds.open(tape, opening.rate);
        let player = Player::new(opening.rate, self.distance_ms);
        tokio::spawn(Arc::clone(self).play(tape, feed, player, sender));
        receiver
    }

    async fn play(
        self: Arc<Self>,
        tape: TapeId,
        feed: Arc<Feed>,
        mut player: Player,
        sender: Sender<Chunk>,
    ) {
        let mut beat = interval(Duration::from_millis(20));
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let (mut alone, mut beats, mut gone) = (0, 0, false);
        loop {
            beat.tick().await;
            beats += 1;
            if beats % LOOK == 0 {
                let missing = !self.live.contains_key(&tape.0);
                if missing && gone {
                    feed.close();
                }
                gone = missing;
            }
            if !player.take(&feed.lock()) {
                break;
            }
            alone = if sender.send(player.converted().into()).is_ok() { 0 } else { alone + 1 };
            if alone >= LINGER && self.retire(tape, &sender, false) {
                return;
            }
        }
        self.retire(tape, &sender, true);
    }

    /// Takes a tape off the air; false when somebody has come back meanwhile.
    fn retire(&self, tape: TapeId, sender: &Sender<Chunk>, over: bool) -> bool {
        let mut on_air = lock(&self.on_air);
        if !over && sender.receiver_count() > 0 {
            return false;
        }
        on_air.remove(&tape);
        self.feeds.shut(tape);
        true
    }
}
