//! What a listener would say: R-factor and MOS by the E-model (ITU-T G.107), from what a tap can see.
//!
//! Law: an estimate only where the codec's impairment is published (G.113 appendix I); where it is
//! not there is none. A tap knows no round trip: the delay assumed is one packet and the buffer that
//! takes up twice the jitter.

/// The default of all other inputs of G.107 together.
const R0: f64 = 93.2;

/// An estimate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Opinion {
    /// R-factor, 0 to 100, times 100.
    pub r_centi: u16,
    /// Mean opinion score, 1 to 4.5, times 100.
    pub mos_centi: u16,
}

/// What a stream went through.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    /// RTP encoding name.
    pub codec: &'a str,
    /// Packets sent.
    pub expected: u64,
    /// Of them, packets that were lost or came too late.
    pub missing: u64,
    /// Losses without a packet between them; 0 counts as one for each loss.
    pub runs: u64,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f64,
    /// Length of a packet in milliseconds.
    pub packet_ms: f64,
}

/// Impairment of a codec, and its robustness against loss: `Ie` and `Bpl` of G.113 appendix I.
fn impairment(codec: &str) -> Option<(f64, f64)> {
    let table = [
        // With concealment, as our tapes have it.
        ("PCMU", (0.0, 25.1)),
        ("PCMA", (0.0, 25.1)),
        ("G729", (11.0, 19.0)),
        ("G723", (15.0, 16.1)),
        // 12.2 kbit/s, which is GSM-EFR.
        ("AMR", (5.0, 10.0)),
    ];
    table.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(codec)).map(|(_, known)| known)
}

/// The estimate for a stream; `None` without packets, or for a codec of unknown impairment.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of packets, far below 2^52")]
pub fn opinion(path: &Path<'_>) -> Option<Opinion> {
    if path.expected == 0 {
        return None;
    }
    let (ie, bpl) = impairment(path.codec)?;
    let share = (path.missing as f64 / path.expected as f64).clamp(0.0, 1.0);
    let loss = share * 100.0;
    // Losses that come together hurt more than the same number apart (G.107 section 7.4).
    let runs = if path.runs == 0 { path.missing } else { path.runs };
    let length = if runs == 0 { 1.0 } else { path.missing as f64 / runs as f64 };
    let burst = (length * (1.0 - share)).max(1.0);
    let ie_eff = ie + (95.0 - ie) * loss / (loss / burst + bpl);
    let delay = path.packet_ms + 2.0 * path.jitter_ms;
    let id = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let r = (R0 - id - ie_eff).clamp(0.0, 100.0);
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    Some(Opinion { r_centi: centi(r), mos_centi: centi(mos.clamp(1.0, 4.5)) })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 100, so at most 10000"
)]
fn centi(value: f64) -> u16 {
    (value * 100.0).round().clamp(0.0, 10_000.0) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Path<'_> = Path {
        codec: "PCMU",
        expected: 1000,
        missing: 0,
        runs: 0,
        jitter_ms: 0.0,
        packet_ms: 20.0,
    };

    fn mos(path: &Path<'_>) -> u16 {
        opinion(path).unwrap().mos_centi
    }

    #[test]
    fn known_points() {
        // R 92.72 without loss: MOS 4.40; G.729 loses eleven points.
        assert_eq!(opinion(&GOOD), Some(Opinion { r_centi: 9272, mos_centi: 440 }));
        assert_eq!(opinion(&Path { codec: "g729", ..GOOD }).unwrap().r_centi, 8172);
        assert_eq!(opinion(&Path { codec: "opus", ..GOOD }), None);
        assert_eq!(opinion(&Path { expected: 0, ..GOOD }), None);
        // 5 % at random: Ie,eff = 95 * 5 / (5 + 25.1).
        let lossy = Path { missing: 50, runs: 50, ..GOOD };
        assert_eq!(opinion(&lossy).unwrap().r_centi, 9272 - 1578);
    }

    #[test]
    fn worse_is_worse() {
        let lossy = Path { missing: 50, runs: 50, ..GOOD };
        let bursty = Path { runs: 5, ..lossy };
        let jittery = Path { jitter_ms: 100.0, ..GOOD };
        assert!(mos(&GOOD) > mos(&lossy) && mos(&lossy) > mos(&bursty));
        assert!(mos(&GOOD) > mos(&jittery));
        let all = Path { missing: 2000, runs: 0, jitter_ms: 1e9, ..GOOD };
        assert_eq!(opinion(&all), Some(Opinion { r_centi: 0, mos_centi: 100 }));
    }
}
