//! Calls as rows want them: the words of their signalling, their ports and moments are the row's own.

use crate::{
    generator::{
        chance::Chance,
        law::{BLOCK, Codec, Law, Mark, Side},
    },
    sip::{Dialog, Message, Offer, Phone},
    wire::{Frame, RTP_HEADER, RtpHead},
};
use std::net::SocketAddr;

/// A millisecond in nanoseconds.
pub(super) const MS: u64 = 1_000_000;
/// When captures of rows begin, nanoseconds since 1970.
pub(super) const START: u64 = 1_700_000_000_000_000_000;

/// A call of two phones.
pub(super) struct Maker {
    /// The number in its audio.
    pub(super) number: u32,
    /// Its words.
    pub(super) dialog: Dialog,
    /// Where caller and callee take RTP.
    pub(super) media: [SocketAddr; 2],
    /// Sequence number of its first packet.
    sequence: u16,
}

impl Maker {
    /// Call `number` between two phones of its own.
    pub(super) fn new(number: u32) -> Self {
        let [_, a, b, c] = number.to_be_bytes();
        let phone = |net: u8, plus: u32| Phone {
            number: (plus + number).to_string(),
            sip: SocketAddr::from(([10, net.wrapping_add(a), b, c], 5060)),
        };
        let (caller, callee) = (phone(10, 100_000), phone(110, 200_000));
        let media = [&caller, &callee].map(|phone| SocketAddr::new(phone.sip.ip(), 20_000));
        let mut chance = Chance::new(7, number.into());
        let dialog = Dialog {
            call_id: format!("row-{number}-{:08x}", chance.word()),
            caller_tag: format!("{:08x}", chance.word()),
            callee_tag: format!("{:08x}", chance.word()),
            caller,
            callee,
        };
        Self { number, dialog, media, sequence: chance.half() }
    }

    /// A message of the call, from its caller or its callee.
    pub(super) fn message(&self, from_caller: bool, text: &[u8]) -> Vec<u8> {
        let [from, to] = if from_caller {
            [&self.dialog.caller, &self.dialog.callee]
        } else {
            [&self.dialog.callee, &self.dialog.caller]
        };
        Frame::udp(&[], from.sip, to.sip, text).into_bytes()
    }

    /// The description of one side.
    pub(super) fn sdp(&self, side: usize) -> String {
        let media = self.media.get(side).copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into());
        let codecs = &[Codec::Pcmu];
        Offer { media, codecs, ptime: 20, direction: "sendrecv", version: 1, crypto: None }.text()
    }

    /// The text of the INVITE.
    pub(super) fn invite(&self) -> Vec<u8> {
        let sdp = self.sdp(0);
        self.dialog.text(request("INVITE", 1, Some(&sdp)))
    }

    /// INVITE, 200 and ACK at `at`.
    pub(super) fn begin(&self, at: u64) -> Vec<(u64, Vec<u8>)> {
        let sdp = self.sdp(1);
        let ok = Message { what: Err(200), tagged: true, ..request("INVITE", 1, Some(&sdp)) };
        let ack = Message { tagged: true, ..request("ACK", 1, None) };
        vec![
            (at, self.message(true, &self.invite())),
            (at + 10 * MS, self.message(false, &self.dialog.text(ok))),
            (at + 20 * MS, self.message(true, &self.dialog.text(ack))),
        ]
    }

    /// BYE and its answer.
    pub(super) fn end(&self, at: u64) -> Vec<(u64, Vec<u8>)> {
        let bye = Message { tagged: true, ..request("BYE", 2, None) };
        let ok = Message { what: Err(200), ..bye };
        vec![
            (at, self.message(true, &self.dialog.text(bye))),
            (at + 10 * MS, self.message(false, &self.dialog.text(ok))),
        ]
    }

    /// Audio of both, a packet each 20 ms, beginning with 20 ms frame `first`.
    pub(super) fn audio(
        &self,
        law: &Law,
        at: u64,
        first: u32,
        packets: u32,
    ) -> Vec<(u64, Vec<u8>)> {
        let mut frames = Vec::new();
        let ssrc = [1, 2].map(|side| 0x5a00_0000 | self.number << 4 | side);
        for n in first..first + packets {
            let due = at + u64::from(n - first) * 20 * MS;
            for (index, side) in Side::BOTH.into_iter().enumerate() {
                let [from, to] = match (index, self.media) {
                    (0, media) => media,
                    (_, [a, b]) => [b, a],
                };
                let head = RtpHead {
                    marker: n == 0,
                    payload_type: 0,
                    sequence: self.sequence.wrapping_add(u16::try_from(n % 65_536).unwrap_or(0)),
                    timestamp: n.wrapping_mul(160),
                    ssrc: ssrc.get(index).copied().unwrap_or(0),
                };
                let mut payload = [&head.bytes()[..], &[0; 2 * BLOCK]].concat();
                let audio = payload.get_mut(RTP_HEADER..).unwrap_or_default();
                for (block, codes) in (2 * n..).zip(audio.chunks_exact_mut(BLOCK)) {
                    law.write(Mark { side, call: self.number, block }, codes);
                }
                frames.push((
                    due + index as u64 * MS,
                    Frame::udp(&[], from, to, &payload).into_bytes(),
                ));
            }
        }
        frames
    }

    /// The whole of it: audio of so many packets from each.
    pub(super) fn whole(&self, law: &Law, at: u64, packets: u32) -> Vec<(u64, Vec<u8>)> {
        let mut frames = self.begin(at);
        frames.extend(self.audio(law, at + 40 * MS, 0, packets));
        frames.extend(self.end(at + 50 * MS + u64::from(packets) * 20 * MS));
        frames
    }
}

/// A request of the caller.
pub(super) fn request<'a>(method: &'a str, cseq: u32, sdp: Option<&'a str>) -> Message<'a> {
    Message { what: Ok(method), forward: true, method, cseq, tagged: false, extra: "", sdp }
}
