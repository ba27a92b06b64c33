//! A packet of a known stream allocates nothing, from its frame to the samples of its tape.

#[cfg(test)]
mod tests {
    use ork_tests::{
        generator::calls::{Spec, write},
        path::Way,
        wrap::Capture,
    };
    use orkbase::{
        packet::{Frame, LinkType},
        time::Timestamp,
    };
    use std::fs::File;

    #[test]
    fn nothing_is_allocated_while_calls_go_on() {
        let spec = Spec { calls: 20, seconds: 20.0, stagger: 1.0, ..Spec::default() };
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("calls.pcap");
        let truth = write(&spec, File::create(&path).unwrap()).unwrap();
        let frames = Capture::read(&path).unwrap().frames;
        let first = Timestamp(frames[0].at);
        let mut way = Way::new(true);
        let (mut measured, mut packets, mut blocks) = (0, 0, 0);
        for frame in &frames {
            let (at, bytes) = (Timestamp(frame.at), &frame.bytes);
            let wire_len = u32::try_from(bytes.len()).unwrap();
            let frame = Frame { at, link: LinkType::Ethernet, wire_len, bytes };
            // Every call goes on, and everything that is used again has been used.
            let steady = (10_000..18_000).contains(&at.millis_since(first));
            let before = way.frames.0;
            let cost = allocation_counter::measure(|| {
                way.foresee(&frame);
                way.handle(&frame);
            });
            if steady {
                measured += cost.count_total;
                packets += 1;
                blocks += u64::from(way.frames.0 > before);
            }
        }
        assert!(packets > 15_000, "{packets} of {}", truth.rtp_packets);
        assert!(blocks > 50, "{blocks}");
        assert_eq!(measured, 0, "allocations for {packets} packets in {blocks} blocks");
    }
}
