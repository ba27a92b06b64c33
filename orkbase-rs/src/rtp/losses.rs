//! How losses lie: runs, bursts and gaps (RFC 3611 section 4.7.2).
//!
//! Law: packets are reported lost once, in order, when they can no longer come; what lies between two
//! losses was received.

/// So many packets received in a row end a burst (`Gmin` of RFC 3611).
const GMIN: u64 = 16;

/// The account of one stream's losses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Losses {
    /// Packets lost.
    pub lost: u64,
    /// Losses that follow each other without a packet between them.
    pub runs: u64,
    /// Longest of them, in packets.
    pub longest_run: u64,
    /// Bursts: two losses or more with fewer than 16 packets between one and the next.
    pub bursts: u64,
    /// Packets of the bursts, received and lost.
    pub burst_packets: u64,
    /// Packets lost in the bursts; the others were lost one by one in the gaps between them.
    pub burst_lost: u64,
    /// Extended numbers of the first and the last loss of what may become a burst.
    open: Option<(u64, u64)>,
    open_lost: u64,
    run: u64,
}

impl Losses {
    /// `count` packets from extended number `first` on are lost.
    #[cold]
    pub fn lose(&mut self, first: u64, count: u64) {
        if count == 0 {
            return;
        }
        let last = first + count - 1;
        self.lost += count;
        match self.open {
            Some((begin, before)) if first.saturating_sub(before + 1) < GMIN => {
                if first == before + 1 {
                    self.run += count;
                } else {
                    self.run = count;
                    self.runs += 1;
                }
                self.open = Some((begin, last));
                self.open_lost += count;
            }
            Some(_) | None => {
                self.close();
                self.open = Some((first, last));
                self.open_lost = count;
                self.run = count;
                self.runs += 1;
            }
        }
        self.longest_run = self.longest_run.max(self.run);
    }

    /// No more losses follow closely: the stream is over, or began anew.
    pub fn close(&mut self) {
        if let Some((first, last)) = self.open.take()
            && self.open_lost > 1
        {
            self.bursts += 1;
            self.burst_packets += last - first + 1;
            self.burst_lost += self.open_lost;
        }
        self.open_lost = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_and_gaps() {
        let mut losses = Losses::default();
        losses.lose(100, 1);
        // 15 received between: the same burst; 16: another.
        losses.lose(116, 2);
        losses.lose(134, 1);
        losses.lose(200, 1);
        losses.lose(201, 3);
        losses.close();
        let want = Losses {
            lost: 8,
            runs: 4,
            longest_run: 4,
            bursts: 2,
            burst_packets: 18 + 4,
            burst_lost: 3 + 4,
            open: None,
            open_lost: 0,
            run: 4,
        };
        assert_eq!(losses, want);
    }

    #[test]
    fn a_single_loss_is_no_burst() {
        let mut losses = Losses::default();
        losses.lose(7, 0);
        losses.lose(7, 1);
        losses.close();
        losses.close();
        assert_eq!((losses.lost, losses.runs, losses.bursts, losses.burst_lost), (1, 1, 0, 0));
    }
}
