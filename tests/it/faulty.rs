//! A fault of the program while it looks at one call.

use ork_tests::scenario::play;
use orkaudio::{
    announce,
    config::Config,
    engine::{Engine, Frames, Listener},
    setup,
    tape::finish::Report,
};
use orkbase::{
    audio::codec::{BuiltIn, Codec, Decoder, DecoderSource},
    call::{
        foresee::Seen,
        output::{AddTag, EndReason, Opening, TapeId},
    },
    message::tape::TapeMessage,
    packet::{Frame, LinkType},
    time::Timestamp,
};
use std::sync::{Arc, Mutex};

/// Breaks wherever A-law is met.
struct Faulty;

impl DecoderSource for Faulty {
    fn decoder(&self, codec: Codec, fmtp: Option<&str>) -> Option<Box<dyn Decoder>> {
        assert_ne!(codec, Codec::Pcma, "a fault made for this test");
        BuiltIn.decoder(codec, fmtp)
    }
}

struct Deaf;

impl Listener for Deaf {
    fn opened(&mut self, _opening: &Opening) {}
    fn told(&mut self, _message: &TapeMessage) {}
    fn tagged(&mut self, _tag: &AddTag) {}
    fn closed(&mut self, _tape: TapeId) {}
}

/// Frames of a scenario, all of them at hand.
struct AtHand<'a> {
    frames: &'a [(u64, Vec<u8>)],
    taken: usize,
    seen: Vec<Seen>,
}

impl AtHand<'_> {
    fn frame(&self, index: usize) -> Option<Frame<'_>> {
        let (at, bytes) = self.frames.get(index)?;
        let wire_len = u32::try_from(bytes.len()).unwrap_or(0);
        Some(Frame { at: Timestamp(*at), link: LinkType::Ethernet, wire_len, bytes })
    }
}

impl Frames for AtHand<'_> {
    fn next(&mut self) -> Option<(Frame<'_>, Seen)> {
        self.taken += 1;
        let seen = self.seen.get(self.taken - 1).copied().unwrap_or(Seen::NOTHING);
        Some((self.frame(self.taken - 1)?, seen))
    }

    fn soon(&mut self) -> Option<Frame<'_>> {
        let index = self.seen.len().max(self.taken);
        if index >= self.taken + 20 {
            return None;
        }
        self.seen.resize(index, Seen::NOTHING);
        self.frame(index)
    }

    fn note(&mut self, seen: Seen) {
        self.seen.push(seen);
    }
}

#[test]
fn a_fault_ends_the_call_it_was_looking_at_only() {
    one_call_is_broken(false);
}

#[test]
fn a_fault_among_many_frames_does_no_more() {
    one_call_is_broken(true);
}

fn one_call_is_broken(together: bool) {
    let home = tempfile::tempdir().unwrap();
    let calls = play(
        "a->b INVITE pcmu; b->a 200; a->b ACK; rtp 1s; \
         c->d INVITE pcma; d->c 200; c->d ACK; rtp 2s; \
         c->d BYE; d->c 200; rtp 1s; a->b BYE; b->a 200",
    )
    .unwrap();
    let config = Config::default();
    let mut settings = setup::engine(&config, home.path().to_owned(), 1, true, false);
    settings.decoders = Arc::new(Faulty);
    let finished = Arc::new(Mutex::new(Vec::new()));
    let book = Arc::clone(&finished);
    let mut engine = Engine::start(settings, Box::new(Deaf), move |report| {
        if let Report::Finished(tape) = report {
            book.lock().unwrap().push(*tape);
        }
        true
    })
    .unwrap();
    let mut frames = AtHand { frames: &calls.frames, taken: 0, seen: Vec::new() };
    if together {
        let taken = engine.handle_frames(&mut frames);
        assert_eq!(usize::try_from(taken).unwrap(), calls.frames.len());
        assert_eq!(frames.seen.len(), calls.frames.len(), "all but the first were foreseen");
    }
    while let Some((frame, _)) = frames.next().filter(|_| !together) {
        engine.handle_frame(&frame);
    }
    let (tap, ..) = engine.close(Timestamp(calls.end), EndReason::Shutdown);
    assert!(tap.calls.faults >= 1);
    assert_eq!((tap.calls.calls_broken, tap.calls.calls_signalled), (1, 2));
    let finished = finished.lock().unwrap();
    let whole = finished.iter().find(|tape| tape.closing.message.localparty == "1001").unwrap();
    assert_eq!(announce::ready(whole, "x").tags.get("damaged"), None);
    assert!(
        (4_000..4_500).contains(&whole.closing.duration_ms),
        "{} ms",
        whole.closing.duration_ms
    );
    // Its recording had not begun, or ends there and says so.
    for broken in finished.iter().filter(|tape| tape.closing.message.localparty != "1001") {
        let damaged = announce::ready(broken, "x").tags;
        assert!(damaged["damaged"].contains("fault"), "{damaged:?}");
    }
}
