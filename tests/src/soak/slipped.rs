//! Blocks that have a sample more or less: the recorder follows a clock, a sample a packet.
//!
//! Law: such a block lies about where its neighbour says, and its neighbour may be another such block: while a
//! clock is followed there may be no whole one for half a minute.

use super::traffic::Block;
use crate::generator::law::{BLOCK, Law, Mark, Side};
use std::collections::BTreeMap;

/// So many samples from where it should be a block is looked for.
const NEAR: i64 = 16;

/// Which of the blocks that were sent are neither at one of these places nor found beside another; and how many
/// were found so. `channels` are those of caller and callee.
pub(super) fn find(
    law: &Law,
    call: u32,
    sent: BTreeMap<Block, u64>,
    mut places: BTreeMap<Block, usize>,
    channels: &[Vec<i16>],
) -> (Vec<(Block, u64)>, u64) {
    let (mut missing, mut slipped) = (Vec::new(), 0);
    for (block, at) in sent {
        if places.contains_key(&block) {
            continue;
        }
        let samples = channels.get(usize::from(!block.0)).map_or(&[][..], Vec::as_slice);
        if let Some(place) = place(law, call, block, &places, samples) {
            places.insert(block, place);
            slipped += 1;
        } else {
            missing.push((block, at));
        }
    }
    (missing, slipped)
}

fn place(
    law: &Law,
    call: u32,
    block: Block,
    places: &BTreeMap<Block, usize>,
    samples: &[i16],
) -> Option<usize> {
    let side = if block.0 { Side::Caller } else { Side::Callee };
    let mark = Mark { side, call, block: block.1 };
    let near = places.range(..block).next_back().filter(|(other, _)| other.0 == block.0);
    let near = near.or_else(|| places.range(block..).next().filter(|(o, _)| o.0 == block.0));
    let (other, at) = near?;
    let number = |n: u32| i64::from(n);
    let step = i64::try_from(BLOCK).unwrap_or(0);
    let place = i64::try_from(*at).unwrap_or(0) + (number(block.1) - number(other.1)) * step;
    (place - NEAR..place + NEAR)
        .filter_map(|at| usize::try_from(at).ok())
        .find(|at| samples.get(*at..).is_some_and(|samples| law.resembles(samples, mark)))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few samples")]
mod tests {
    use super::*;
    use crate::generator::law::Codec;

    /// Ten packets as they are, three hundred of 30 ms with a sample less, and one that is not there.
    #[test]
    fn a_clock_that_is_followed_for_long_loses_nothing() {
        let law = Law::new(Codec::Pcmu);
        let mut heard = Vec::new();
        let mut sent = BTreeMap::new();
        for packet in 0..311_u32 {
            let blocks = packet * 3..packet * 3 + 3;
            let marks = blocks.map(|block| Mark { side: Side::Callee, call: 3, block });
            sent.extend(marks.clone().map(|mark| ((false, mark.block), u64::from(mark.block))));
            let whole: Vec<i16> = marks.flat_map(|mark| law.samples(mark)).collect();
            match packet {
                0..10 => heard.extend(whole),
                310 => {}
                _ => heard.extend((0..239_u16).map(|k| {
                    let at = f64::from(k) * 239.0 / 238.0;
                    let from = (at.floor() as usize).min(238);
                    let (one, two) = (f64::from(whole[from]), f64::from(whole[from + 1]));
                    (one + (two - one) * (at - at.floor())).round() as i16
                })),
            }
        }
        let places: BTreeMap<Block, usize> =
            law.marks(&heard).into_iter().map(|(at, mark)| ((false, mark.block), at)).collect();
        let whole = places.len() as u64;
        let (missing, slipped) = find(&law, 3, sent, places, &[Vec::new(), heard]);
        let lost: Vec<u64> = missing.iter().map(|(_, at)| *at).collect();
        assert_eq!((lost, whole + slipped), (vec![930, 931, 932], 930));
        assert!(slipped > 800, "{slipped}");
    }
}
