//! A fault of the program while it looks at one call.

use ork_tests::scenario::play;
use orkaudio::{
    announce,
    config::Config,
    engine::{Engine, Listener},
    setup,
    tape::finish::Report,
};
use orkbase::{
    audio::codec::{BuiltIn, Codec, Decoder, DecoderSource},
    call::output::{AddTag, EndReason, Opening, TapeId},
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

#[test]
fn a_fault_ends_the_call_it_was_looking_at_only() {
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
    for (at, bytes) in &calls.frames {
        let (at, link) = (Timestamp(*at), LinkType::Ethernet);
        let wire_len = u32::try_from(bytes.len()).unwrap();
        engine.handle_frame(&Frame { at, link, wire_len, bytes });
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
