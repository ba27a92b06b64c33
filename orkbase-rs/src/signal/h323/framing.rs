//! TPKT (RFC 1006 §6): a version, a zero and the length before each message on TCP.

/// Octets before a message.
const HEADER: usize = 4;
/// Longest message taken; a SETUP with every codec has two thousand octets.
const MAX_BYTES: usize = 16 * 1024;
/// The well-known port of call signalling.
const PORT: u16 = 1720;

/// Whether a TCP direction carries call signalling, by its first bytes.
#[must_use]
pub fn looks_like_call_signalling(data: &[u8], ports: [u16; 2]) -> bool {
    match data {
        // Q.931 with a call reference of two octets.
        [3, 0, _, _, 8, 2, ..] => true,
        // Some send the header alone.
        [3, 0, _, _] => ports.contains(&PORT),
        _ => false,
    }
}

/// Whether a message may begin here.
#[must_use]
pub fn may_be_tpkt(data: &[u8]) -> bool {
    matches!(data, [3, 0, ..])
}

/// Cuts one direction of a connection into messages.
#[derive(Debug, Default)]
pub struct Framer {
    held: Vec<u8>,
    /// Waiting for a segment that begins with a message.
    lost: bool,
}

impl Framer {
    /// Takes in bytes; `gap` says that some before them are missing.
    pub fn push(&mut self, data: &[u8], gap: bool, each: &mut dyn FnMut(&[u8])) {
        if gap {
            self.held.clear();
            self.lost = true;
        }
        if self.lost && !data.is_empty() {
            self.lost = !may_be_tpkt(data);
        }
        if self.lost {
            return;
        }
        self.held.extend_from_slice(data);
        let mut rest = self.held.as_slice();
        while let Some((&[version, zero, high, low], _)) = rest.split_first_chunk::<HEADER>() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            if version != 3 || zero != 0 || !(HEADER + 1..=MAX_BYTES).contains(&length) {
                self.lost = true;
                break;
            }
            let Some((message, after)) = rest.split_at_checked(length) else { break };
            each(message.get(HEADER..).unwrap_or_default());
            rest = after;
        }
        let done = if self.lost { self.held.len() } else { self.held.len() - rest.len() };
        self.held.drain(..done);
    }

    /// Bytes held of a message that is not yet whole.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(pushes: &[(&[u8], bool)]) -> Vec<Vec<u8>> {
        let (mut framer, mut all) = (Framer::default(), Vec::new());
        for (data, gap) in pushes {
            framer.push(data, *gap, &mut |message| all.push(message.to_vec()));
        }
        all
    }

    #[test]
    fn messages_are_cut_wherever_segments_end() {
        let bytes = [3, 0, 0, 6, 8, 2, 3, 0, 0, 5, 9];
        for at in 0..bytes.len() {
            assert_eq!(cut(&[(&bytes[..at], false), (&bytes[at..], false)]), [vec![8, 2], vec![9]]);
        }
    }

    #[test]
    fn after_a_gap_the_next_beginning_is_looked_for() {
        let whole = [3, 0, 0, 5, 9];
        assert_eq!(cut(&[(&[3, 0, 0, 9, 1], false), (&[7, 7], true), (&whole, false)]), [vec![9]]);
        assert_eq!(cut(&[(&[3, 0, 0, 4, 3, 0], false), (&whole, false)]), [vec![9]]);
    }

    #[test]
    fn signalling_is_known_by_content_or_port() {
        assert!(looks_like_call_signalling(&[3, 0, 0, 9, 8, 2, 1], [4000, 5000]));
        assert!(looks_like_call_signalling(&[3, 0, 0, 9], [4000, 1720]));
        assert!(!looks_like_call_signalling(&[3, 0, 0, 9], [4000, 5000]));
        assert!(!looks_like_call_signalling(&[3, 0, 0, 19, 14, 0xE0], [4000, 3389]));
    }

    proptest! {
        #[test]
        fn any_bytes_keep_the_bound(pushes in proptest::collection::vec((proptest::collection::vec(prop_oneof![any::<u8>(), Just(3), Just(0)], 0..300), any::<bool>()), 0..60)) {
            let mut framer = Framer::default();
            for (data, gap) in pushes {
                framer.push(&data, gap, &mut |message| assert!(!message.is_empty()));
                prop_assert!(framer.held.len() < MAX_BYTES);
            }
        }
    }
}
