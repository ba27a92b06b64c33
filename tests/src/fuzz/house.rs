//! Whoever takes the core's outputs: knows every tape and holds each output against the law.

use orkbase::{
    audio::{
        block::{BLOCK_BYTES, RECORD_HEADER, Records},
        tape::{Frame as Sample, PcmSink, Scratch, TapeAudio},
    },
    call::output::{Output, TapeId},
    ids::OrkUid,
    message::{Message as _, tape::Stage, url},
    tap::Tap,
};
use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
};

/// Streams of one tape: a call has no more.
const MAX_LEGS: usize = 32;

/// The tapes so far, and all that came out as one number.
#[derive(Default)]
pub(super) struct House {
    pub(super) open: BTreeMap<TapeId, Making>,
    pub(super) closed: Vec<TapeId>,
    pub(super) story: DefaultHasher,
}

pub(super) struct Making {
    uid: OrkUid,
    audio: TapeAudio,
    samples: Samples,
    stopped: bool,
}

impl House {
    /// The newest open tape.
    pub(super) fn newest(&self) -> Option<OrkUid> {
        self.open.last_key_value().map(|(_, making)| making.uid.clone())
    }

    pub(super) fn drain(&mut self, tap: &mut Tap) {
        let mut scratch = Scratch::default();
        while let Some(output) = tap.poll_output() {
            match &output {
                // Bytes as text would take most of the time.
                Output::Audio(block) => {
                    (block.tape, block.until, &block.bytes).hash(&mut self.story);
                    format!("{:?}", block.news).hash(&mut self.story);
                }
                Output::Packets(block) => (block.tape, &block.bytes).hash(&mut self.story),
                Output::Opened(_)
                | Output::Told(_)
                | Output::Tagged(_)
                | Output::Closed(_)
                | Output::Over(_)
                | Output::Noticed(_) => {
                    format!("{output:?}").hash(&mut self.story);
                }
            }
            match output {
                Output::Opened(opening) => {
                    let last = self.open.keys().chain(&self.closed).max();
                    assert!(last.is_none_or(|last| *last < opening.tape), "numbers count up");
                    assert_eq!(opening.message.stage, Stage::Start);
                    assert_eq!(opening.message.recid, opening.orkuid.as_str());
                    let making = Making {
                        uid: opening.orkuid.clone(),
                        audio: TapeAudio::new(opening.rate),
                        samples: Samples::default(),
                        stopped: false,
                    };
                    self.open.insert(opening.tape, making);
                }
                Output::Audio(block) => {
                    let making = self.open.get_mut(&block.tape);
                    assert!(making.is_some(), "audio of a tape that is not open");
                    let mut records = Records::new(&block.bytes);
                    let read: usize =
                        records.by_ref().map(|r| RECORD_HEADER + r.payload.len()).sum();
                    assert_eq!(read, block.bytes.len(), "records fill the block");
                    let count = Records::new(&block.bytes).count();
                    assert!(count <= 1 || block.bytes.len() <= BLOCK_BYTES, "{read} bytes");
                    if let Some(Making { audio, samples, .. }) = making {
                        let (news, until) = (&block.news, block.until);
                        audio.handle_block(news, &block.bytes, until, &mut scratch, samples);
                    }
                    tap.recycle(block.bytes);
                }
                Output::Packets(block) => {
                    assert!(self.open.contains_key(&block.tape), "packets of no tape");
                    let (bytes, packets) = orkbase::packet::pcapng::whole(&block.bytes);
                    assert_eq!((bytes, packets), (block.bytes.len(), block.packets));
                }
                Output::Told(message) => {
                    let known = self.open.values_mut().find(|m| m.uid.as_str() == message.recid);
                    assert!(known.is_some(), "told of a tape that is not open");
                    if let Some(making) = known {
                        assert!(!making.stopped, "told after its stop");
                        making.stopped = message.stage == Stage::Stop;
                    }
                    assert!(!url::encode(&message.fields()).contains(['\r', '\n', '\0']));
                }
                Output::Over(account) => {
                    assert!(account.ignored.is_some(), "nobody asked for explanations");
                }
                Output::Noticed(notice) => assert!(!notice.to_string().contains('\n')),
                Output::Tagged(tag) => assert!(self.open.contains_key(&tag.tape), "tag of no tape"),
                Output::Closed(closing) => {
                    let making = self.open.remove(&closing.tape);
                    assert!(making.is_some(), "closed twice, or never opened");
                    assert!(closing.legs.len() <= MAX_LEGS);
                    if let Some(mut making) = making {
                        assert!(making.stopped, "closed without a stop");
                        making.audio.finish(&mut scratch, &mut making.samples);
                        making.samples.0.finish().hash(&mut self.story);
                    }
                    self.closed.push(closing.tape);
                }
            }
        }
    }
}

/// Samples are not kept: what counts is that they are the same every time.
#[derive(Default)]
struct Samples(DefaultHasher);

impl PcmSink for Samples {
    fn write(&mut self, at: u64, frames: &[Sample]) {
        (at, frames).hash(&mut self.0);
    }

    fn patch(&mut self, at: u64, channel: usize, samples: &[i16]) {
        (at, channel, samples).hash(&mut self.0);
    }
}
