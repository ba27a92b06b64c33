//! The core of the recorder in this process, with a call in it that must not notice what else comes.

use super::maker::{MS, Maker, START};
use crate::generator::law::{Codec, Law};
use orkbase::{
    call::{
        output::{Closing, EndReason, Output},
        settings::Settings,
    },
    packet::{Frame, LinkType, decoder::Limits},
    tap::{Tap, TapCounters},
    time::Timestamp,
};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Packets of each side of the call a second.
const RATE: u64 = 50;

/// The core, and a call that goes on.
pub(super) struct Core {
    pub(super) tap: Tap,
    law: Law,
    call: Maker,
    /// Its packets that are still to come.
    coming: VecDeque<(u64, Vec<u8>)>,
    sent: u32,
    pub(super) now: u64,
    /// Tapes that are over.
    pub(super) closed: Vec<Closing>,
}

impl Core {
    /// Begins with its call up.
    pub(super) fn new(settings: Settings) -> Self {
        let call = Maker::new(1);
        let mut core = Self {
            tap: Tap::new(settings, Limits::default(), 0),
            law: Law::new(Codec::Pcmu),
            coming: call.begin(START).into(),
            call,
            sent: 0,
            now: START,
            closed: Vec::new(),
        };
        core.pass(100);
        core
    }

    /// The ports of its call.
    pub(super) const fn call(&self) -> &Maker {
        &self.call
    }

    /// Lets so many milliseconds pass, in which its call goes on.
    pub(super) fn pass(&mut self, ms: u64) {
        let until = self.now + ms * MS;
        while START + 100 * MS + u64::from(self.sent) * (1_000 / RATE) * MS <= until {
            let at = START + 100 * MS + u64::from(self.sent) * (1_000 / RATE) * MS;
            self.coming.extend(self.call.audio(&self.law, at, self.sent, 1));
            self.sent += 1;
        }
        while self.coming.front().is_some_and(|(at, _)| *at <= until)
            && let Some((at, frame)) = self.coming.pop_front()
        {
            self.frame(at, &frame);
        }
        self.now = until;
    }

    /// A frame comes now; an error when the core does not survive that.
    pub(super) fn hostile(&mut self, frame: &[u8]) -> Result<(), String> {
        let now = self.now;
        catch_unwind(AssertUnwindSafe(|| self.frame(now, frame)))
            .map_err(|_| format!("it panicked at a frame of {} bytes: {frame:02x?}", frame.len()))
    }

    fn frame(&mut self, at: u64, bytes: &[u8]) {
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let at = Timestamp(at);
        self.tap.handle_frame(&Frame { at, link: LinkType::Ethernet, wire_len, bytes });
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.tap.poll_output() {
            match output {
                Output::Audio(block) => self.tap.recycle(block.bytes),
                Output::Closed(closing) => self.closed.push(*closing),
                Output::Told(_)
                | Output::Tagged(_)
                | Output::Opened(_)
                | Output::Packets(_)
                | Output::Noticed(_)
                | Output::Over(_) => {}
            }
        }
    }

    /// Ends everything: what is wrong with its call, if anything, and the counters.
    pub(super) fn finish(mut self) -> (Option<String>, TapCounters) {
        self.pass(500);
        for (at, frame) in std::mem::take(&mut self.coming) {
            self.frame(at, &frame);
            self.now = at;
        }
        self.tap.finish(Timestamp(self.now), EndReason::Shutdown);
        self.drain();
        let id = &self.call.dialog.call_id;
        let own: Vec<&Closing> =
            self.closed.iter().filter(|closing| closing.message.nativecallid == *id).collect();
        let sent = u64::from(self.sent);
        let wrong = match own.as_slice() {
            [one] => {
                let whole = one.legs.iter().filter(|leg| leg.packets == sent && leg.lost == 0);
                let clean = one.legs.iter().all(|leg| leg.undecoded == 0 && leg.duplicates == 0);
                let right = whole.count() == 2 && clean;
                (!right).then(|| format!("of {sent} packets its legs say {:?}", one.legs))
            }
            other => Some(format!("{} tapes of it", other.len())),
        };
        (wrong, self.tap.counters())
    }
}
