//! Short losses of a G.711 leg, concealed once they can no longer be filled.
//!
//! Law: no real sample is ever altered, and a packet that comes late takes its place as if nothing had
//! been made up: what is made up waits until nothing can come any more. Where one block ends and the
//! next begins changes nothing.

use super::{
    codec::Concealer,
    g711::{self, Law},
};

/// Longest concealment in samples (60 ms): beyond it silence is the truth.
const LONGEST: i64 = 480;
/// Audio before a loss that the repetition is made of, in samples (50 ms).
const BEFORE: usize = 400;
/// The last samples made up lead over to the first real one, over 4 ms.
const LEAD: usize = 32;
/// Losses that wait; a line that loses more of every second is silent between the packets.
const MOST: usize = 32;
/// More packets than this were not lost in one short hole: 60 ms of 5 ms packets.
const MOST_PACKETS: u32 = 12;

/// A loss that may still be filled.
#[derive(Debug)]
struct Hole {
    law: Law,
    /// Order number of the first missing packet, and how many are missing.
    order: u32,
    count: u32,
    /// Where it begins, and how long it is, in samples.
    at: i64,
    length: i64,
    /// Payload before it; newest last.
    before: Vec<u8>,
    /// First octet after it; none when nothing follows at once.
    after: Option<u8>,
}

/// Payloads of which only the place in the block is known so far.
const SPANS: usize = 16;

/// Where a payload lies in a block.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    from: u32,
    length: u32,
}

/// The losses of one leg.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// The last payload octets of what `spans` does not tell of; newest last.
    recent: Vec<u8>,
    /// The payloads after those: noted for every packet, looked at only when one is lost.
    spans: [Span; SPANS],
    count: usize,
    list: Vec<Hole>,
}

impl Holes {
    /// Takes note of a payload that was put in its place: `length` octets from `from` on of `block`.
    #[inline]
    pub(super) fn heard(&mut self, block: &[u8], from: usize, length: usize) {
        if self.count >= SPANS {
            self.gather(block);
        }
        let number = |value: usize| u32::try_from(value).unwrap_or(0);
        if let Some(span) = self.spans.get_mut(self.count) {
            *span = Span { from: number(from), length: number(length) };
            self.count += 1;
        }
    }

    /// Copies what was heard from the block, which may go away then.
    #[cold]
    pub(super) fn gather(&mut self, block: &[u8]) {
        // Only the last of them are needed.
        let (mut first, mut octets) = (self.count, 0);
        while first > 0 && octets < BEFORE {
            first -= 1;
            octets += self.spans.get(first).map_or(0, |span| span.length as usize);
        }
        if octets >= BEFORE {
            self.recent.clear();
        }
        for span in self.spans.iter().take(self.count).skip(first) {
            let (from, length) = (span.from as usize, span.length as usize);
            let payload = block.get(from..from + length).unwrap_or_default();
            self.recent.extend_from_slice(payload);
        }
        self.count = 0;
        self.recent.drain(..self.recent.len().saturating_sub(BEFORE));
    }

    /// Nothing before this is of the same sound.
    pub(super) fn forget(&mut self) {
        self.recent.clear();
        self.count = 0;
    }

    /// Between two packets `count` are missing, from `order` on: the hole begins at `at` and is
    /// `length` samples long; `payload` follows it, and `block` holds what was heard.
    #[cold]
    pub(super) fn open(
        &mut self,
        law: Law,
        (order, count): (u32, u32),
        (at, length): (i64, i64),
        payload: &[u8],
        block: &[u8],
    ) {
        self.gather(block);
        if count == 0 || count > MOST_PACKETS || length <= 0 || self.recent.is_empty() {
            return;
        }
        if self.list.len() >= MOST {
            self.list.remove(0);
        }
        // Silence, where there is no more.
        let silence = match law {
            Law::Mu => 0xff,
            Law::A => 0xd5,
        };
        let mut before = vec![silence; BEFORE - self.recent.len().min(BEFORE)];
        before.extend_from_slice(&self.recent);
        let whole = length <= LONGEST;
        let after = payload.first().copied().filter(|_| whole);
        self.list.push(Hole { law, order, count, at, length, before, after });
    }

    /// A packet came late: it fills a part of a hole, and parts the rest.
    #[cold]
    pub(super) fn fill(&mut self, order: u32, at: i64, payload: &[u8]) {
        let inside = |hole: &Hole| order.wrapping_sub(hole.order) < hole.count;
        let Some(index) = self.list.iter().position(inside) else { return };
        let hole = self.list.remove(index);
        let length = i64::try_from(payload.len()).unwrap_or(0);
        let missing = order.wrapping_sub(hole.order);
        let mut before = hole.before.clone();
        before.extend_from_slice(payload);
        before.drain(..before.len().saturating_sub(BEFORE));
        let end = hole.at + hole.length;
        let later = Hole {
            law: hole.law,
            order: order.wrapping_add(1),
            count: hole.count - missing - 1,
            at: at + length,
            length: end - at - length,
            before,
            after: hole.after,
        };
        let earlier =
            Hole { count: missing, length: at - hole.at, after: payload.first().copied(), ..hole };
        for part in [later, earlier] {
            if part.count > 0 && part.length > 0 {
                self.list.insert(index, part);
            }
        }
    }

    /// A packet came late that is no audio: the hole was none of lost audio, as far as anybody knows.
    #[cold]
    pub(super) fn dismiss(&mut self, order: u32) {
        self.list.retain(|hole| order.wrapping_sub(hole.order) >= hole.count);
    }

    /// Gives what is made up for every hole that ends before `until` samples, and where it belongs.
    pub(super) fn conceal(&mut self, until: i64, put: &mut dyn FnMut(i64, &[i16])) {
        let ripe = |hole: &Hole| hole.at + hole.length < until;
        while let Some(index) = self.list.iter().position(ripe) {
            let hole = self.list.remove(index);
            put(hole.at, &hole.made_up());
        }
    }
}

impl Hole {
    fn made_up(&self) -> Vec<i16> {
        let mut before = Vec::with_capacity(self.before.len());
        g711::decode(self.law, &self.before, &mut before);
        let mut cover = Concealer::new(8_000);
        cover.heard(&mut before);
        let length = usize::try_from(self.length.min(LONGEST)).unwrap_or(0);
        let mut made = Vec::with_capacity(length);
        cover.conceal(length, &mut made);
        let mut next = Vec::with_capacity(1);
        g711::decode(self.law, self.after.as_slice(), &mut next);
        if let (Some(first), Some(last)) = (next.first(), made.last().copied()) {
            let step = i32::from(*first) - i32::from(last);
            let lead = LEAD.min(made.len());
            let from = made.len() - lead;
            for (n, sample) in made.iter_mut().skip(from).enumerate() {
                let part = i32::try_from(n + 1).unwrap_or(0) * step;
                let whole = i32::try_from(lead + 1).unwrap_or(1);
                let sum = i32::from(*sample) + part / whole;
                *sample = i16::try_from(sum.clamp(-32_768, 32_767)).unwrap_or(0);
            }
        }
        made
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "a tone of 8000")]
mod tests {
    use super::*;
    use std::f64::consts::TAU;

    fn octets(from: usize, count: usize) -> Vec<u8> {
        (from..from + count)
            .map(|n| {
                let sample = (n as f64 * TAU * 200.0 / 8_000.0).sin() * 8_000.0;
                audio_codec_algorithms::encode_ulaw(sample as i16)
            })
            .collect()
    }

    /// Each in a block of its own.
    fn hear(holes: &mut Holes, payload: &[u8]) {
        holes.heard(payload, 0, payload.len());
        holes.gather(payload);
    }

    fn made(holes: &mut Holes, until: i64) -> Vec<(i64, Vec<i16>)> {
        let mut all = Vec::new();
        holes.conceal(until, &mut |at, samples| all.push((at, samples.to_vec())));
        all
    }

    #[test]
    fn a_lost_packet_sounds_like_what_was_before_it() {
        let mut holes = Holes::default();
        for n in 0..5 {
            hear(&mut holes, &octets(n * 160, 160));
        }
        holes.open(Law::Mu, (5, 1), (800, 160), &octets(960, 160), &[]);
        assert!(made(&mut holes, 960).is_empty(), "it may still come");
        let all = made(&mut holes, 961);
        assert_eq!((all.len(), all[0].0, all[0].1.len()), (1, 800, 160));
        let mut want = Vec::new();
        g711::decode(Law::Mu, &octets(800, 160), &mut want);
        let product: f64 =
            want.iter().zip(&all[0].1).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let energy = |list: &[i16]| list.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>();
        let likeness = product / (energy(&want) * energy(&all[0].1)).sqrt();
        assert!(likeness > 0.95, "{likeness}");
        assert!(made(&mut holes, i64::MAX).is_empty(), "once");
    }

    #[test]
    fn a_late_packet_fills_its_part_only() {
        let mut holes = Holes::default();
        hear(&mut holes, &octets(0, 400));
        holes.open(Law::A, (10, 3), (400, 480), &octets(0, 160), &[]);
        holes.fill(9, 0, &octets(0, 160));
        holes.fill(11, 560, &octets(0, 160));
        let parts: Vec<_> =
            made(&mut holes, i64::MAX).into_iter().map(|(at, list)| (at, list.len())).collect();
        assert_eq!(parts, [(400, 160), (720, 160)]);
        holes.open(Law::A, (15, 2), (900, 160), &octets(0, 160), &[]);
        holes.dismiss(17);
        assert_eq!(holes.list.len(), 1);
        holes.dismiss(16);
        assert!(made(&mut holes, i64::MAX).is_empty(), "a telephone event");
        holes.open(Law::A, (20, 1), (1_000, 160), &octets(0, 160), &[]);
        holes.fill(20, 1_000, &octets(0, 160));
        assert!(made(&mut holes, i64::MAX).is_empty());
    }

    #[test]
    fn what_is_not_concealed() {
        let mut holes = Holes::default();
        holes.open(Law::Mu, (1, 1), (0, 160), &[], &[]);
        assert!(made(&mut holes, i64::MAX).is_empty(), "nothing before it");
        hear(&mut holes, &octets(0, 160));
        for (packets, length) in [((1, 0), 160), ((1, 13), 160), ((1, 1), 0), ((1, 1), -5)] {
            holes.open(Law::Mu, packets, (0, length), &[], &[]);
        }
        assert!(made(&mut holes, i64::MAX).is_empty());
        holes.open(Law::Mu, (1, 12), (0, 16_000), &[7], &[]);
        assert_eq!(made(&mut holes, i64::MAX)[0].1.len(), 480, "60 ms of two seconds");
        for n in 0..100 {
            holes.open(Law::Mu, (n, 1), (i64::from(n) * 160, 160), &[], &[]);
        }
        assert_eq!(made(&mut holes, i64::MAX).len(), MOST);
    }
}
