//! Telephone events (RFC 4733): from the packets of one stream to the keys that were pressed.
//!
//! Law: an event is one key, told with the first packet that is seen of it, however many packets it
//! has, in whatever order they come, and whichever of them are lost. What tells events apart is their
//! timestamp, not the marker and not the end bit, for those may be in packets that never came.
//!
//! Not here: several events in one packet (RFC 4733 section 2.5.1.5; nobody was seen to send them, and
//! padding would read as zeros); redundancy (RFC 2198).

use std::fmt;

/// Events remembered, for packets that come late. A key takes 40 ms at least: this is 300 ms or more.
const REMEMBERED: usize = 8;
/// Longest duration that an event packet can state; a longer event goes on in segments.
const LONGEST: u32 = 0xffff;
/// A segment has ended by itself when its newest packet says this much: the last few may be lost, and
/// some senders stop at the last whole packet.
const NEARLY_LONGEST: u32 = 0xe000;

/// A key of a telephone: an event number from 0 to 16.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key(u8);

impl Key {
    /// Names by event number (RFC 4733 section 3.2); the digits alone are of one character.
    const NAMES: [&str; 17] =
        ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#", "A", "B", "C", "D", "flash"];

    /// The key of an event number; `None` for tones and whatever else events can be.
    #[must_use]
    pub fn from_event(event: u8) -> Option<Self> {
        (usize::from(event) < Self::NAMES.len()).then_some(Self(event))
    }

    /// Reads the name without regard to case.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        let place = Self::NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        u8::try_from(place).ok().map(Self)
    }

    /// `0` to `9`, `*`, `#`, `A` to `D`, `flash`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES.get(usize::from(self.0)).copied().unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One event as far as it is known.
#[derive(Clone, Copy, Debug)]
struct Event {
    number: u8,
    /// RTP timestamp of its first segment.
    from: u32,
    /// It lasted at least this long, over all its segments.
    length: u32,
    /// Where its newest segment begins, counted from `from`, and how long that is by now.
    segment: (u32, u32),
    ended: bool,
}

impl Event {
    /// Whether a packet tells more of this event. An event that begins while this one lasts must be
    /// this one; one that begins where this one stands now goes on with it, unless it ended.
    const fn goes_on(&self, number: u8, timestamp: u32, marker: bool) -> bool {
        let since = timestamp.wrapping_sub(self.from);
        if self.number != number {
            return false;
        }
        if since == 0 || since < self.length {
            return true;
        }
        let (begin, duration) = self.segment;
        let full = duration >= NEARLY_LONGEST
            && since - self.length <= LONGEST
            && since <= begin.saturating_add(LONGEST);
        !self.ended && !marker && (since == self.length || full)
    }

    fn extend(&mut self, timestamp: u32, duration: u32, end: bool) {
        let begin = timestamp.wrapping_sub(self.from);
        if begin >= self.segment.0 {
            let known = if begin == self.segment.0 { self.segment.1 } else { 0 };
            self.segment = (begin, known.max(duration));
        }
        self.length = self.length.max(begin.saturating_add(duration));
        self.ended |= end;
    }
}

/// Finds the keys in the event packets of one stream.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    events: [Option<Event>; REMEMBERED],
    /// Where the next event is remembered.
    next: usize,
}

impl Detector {
    /// Takes in the payload of an event packet with its RTP timestamp and marker; the key, if this is
    /// the first that is seen of a new event.
    pub fn handle_packet(&mut self, payload: &[u8], timestamp: u32, marker: bool) -> Option<Key> {
        let [number, flags, high, low] = *payload.first_chunk::<4>()?;
        let key = Key::from_event(number)?;
        let duration = u32::from(u16::from_be_bytes([high, low]));
        let end = flags & 0x80 != 0;
        let mut known = self.events.iter_mut().flatten();
        if let Some(event) = known.find(|event| event.goes_on(number, timestamp, marker)) {
            event.extend(timestamp, duration, end);
            return None;
        }
        let event =
            Event { number, from: timestamp, length: duration, segment: (0, duration), ended: end };
        if let Some(place) = self.events.get_mut(self.next) {
            *place = Some(event);
        }
        self.next = (self.next + 1) % REMEMBERED;
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One packet: event, timestamp, duration, marker, end.
    type Packet = (u8, u32, u16, bool, bool);

    fn keys(packets: &[Packet]) -> String {
        let mut detector = Detector::default();
        let key = |&(event, timestamp, duration, marker, end): &Packet| {
            let [high, low] = duration.to_be_bytes();
            let payload = [event, if end { 0x8a } else { 0x0a }, high, low];
            detector.handle_packet(&payload, timestamp, marker)
        };
        packets.iter().filter_map(key).map(Key::as_str).collect()
    }

    /// A key as phones send it: five packets, then the end three times.
    fn press(event: u8, timestamp: u32) -> Vec<Packet> {
        let step = |k: u16| (event, timestamp, 160 * (k + 1).min(6), k == 0, k >= 5);
        (0..8).map(step).collect()
    }

    fn presses(events: &[u8]) -> Vec<Packet> {
        let begin = |k: usize| 0xffff_f000_u32.wrapping_add(u32::try_from(k).unwrap() * 1_600);
        events.iter().enumerate().flat_map(|(k, event)| press(*event, begin(k))).collect()
    }

    #[test]
    fn every_key_once() {
        let all: Vec<u8> = (0..=16).collect();
        assert_eq!(keys(&presses(&all)), "0123456789*#ABCDflash");
        assert_eq!(keys(&presses(&[5, 5, 5, 1, 5])), "55515");
        assert_eq!(keys(&presses(&[17, 36, 66, 255])), "");
        for event in 0..=16 {
            let key = Key::from_event(event).unwrap();
            assert_eq!(Key::read(&key.to_string().to_lowercase()), Some(key));
        }
        assert_eq!((Key::read(""), Key::read("10"), Key::from_event(17)), (None, None, None));
    }

    #[test]
    fn whatever_is_lost_doubled_or_late() {
        let two = presses(&[7, 7]);
        for keep in 1..256_u32 {
            // Any of the packets of each press, but at least one.
            let left =
                |(k, packet): (usize, &Packet)| (keep >> (k % 8) & 1 == 1).then_some(*packet);
            let packets: Vec<Packet> = two.iter().enumerate().filter_map(left).collect();
            assert_eq!(keys(&packets), "77", "{keep:08b}");
        }
        let mut doubled: Vec<Packet> = two.iter().flat_map(|packet| [*packet; 2]).collect();
        assert_eq!(keys(&doubled), "77");
        doubled.reverse();
        assert_eq!(keys(&doubled), "77");
        // The last end of one comes behind the begin of the next.
        let mut mixed = presses(&[1, 2]);
        mixed.swap(7, 9);
        assert_eq!(keys(&mixed), "12");
    }

    #[test]
    fn the_same_key_at_once_again() {
        let again = [(3, 0, 400, true, true), (3, 400, 160, true, false)];
        assert_eq!(keys(&again), "33");
        let ended = [(3, 0, 400, true, true), (3, 400, 160, false, false)];
        assert_eq!(keys(&ended), "33");
    }

    #[test]
    fn a_long_key_is_one_key() {
        // RFC 4733 section 2.5.1.3: segments of the longest duration, no marker on what follows.
        let mut packets = Vec::new();
        for segment in 0..4_u32 {
            let begin = segment * LONGEST;
            for k in 1..=100_u16 {
                packets.push((9, begin, k * 655, segment == 0 && k == 1, false));
            }
            packets.push((9, begin, u16::MAX, false, false));
        }
        packets.push((9, 4 * LONGEST, 800, false, true));
        assert_eq!(keys(&packets), "9");
        let no_full: Vec<Packet> = packets.iter().copied().filter(|p| p.2 < 65_000).collect();
        assert_eq!(keys(&no_full), "9", "last packets of the segments lost");
        packets.extend(press(9, 4 * LONGEST + 900));
        assert_eq!(keys(&packets), "99");
        // Senders whose timestamp goes on with every packet.
        let steps: Vec<Packet> = (0..20_u32).map(|k| (4, k * 160, 160, k == 0, k == 19)).collect();
        assert_eq!(keys(&steps), "4");
    }

    #[test]
    fn short_payloads_are_nothing() {
        let mut detector = Detector::default();
        for payload in [&[][..], &[5], &[5, 0x80, 0]] {
            assert_eq!(detector.handle_packet(payload, 0, true), None);
        }
        assert_eq!(detector.handle_packet(&[5, 0x80, 0, 0, 9, 9], 0, true), Key::read("5"));
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            packets in proptest::collection::vec((any::<[u8; 5]>(), 0..6_usize, any::<u32>(), any::<bool>()), 0..200)
        ) {
            let mut detector = Detector::default();
            for (payload, length, timestamp, marker) in packets {
                detector.handle_packet(payload.get(..length).unwrap_or(&payload), timestamp, marker);
            }
        }

        #[test]
        fn loss_never_makes_or_merges_keys(
            events in proptest::collection::vec(0..17_u8, 1..40), lost in any::<u64>()
        ) {
            let left = |(k, packet): (usize, Packet)| {
                (k % 8 == 4 || lost >> (k % 61) & 1 == 0).then_some(packet)
            };
            let packets: Vec<Packet> =
                presses(&events).into_iter().enumerate().filter_map(left).collect();
            let wanted: String = events.iter().filter_map(|e| Key::from_event(*e)).map(Key::as_str).collect();
            prop_assert_eq!(keys(&packets), wanted);
        }
    }
}
