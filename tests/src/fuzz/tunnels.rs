//! What other recorders and capture agents send on: each input is the payload of one datagram.

use super::decode::{Ledger, narrow};
use crate::wire;
use orkbase::packet::{
    Datagram, Frame, LinkType, decoder::Decoder, decoder::Sink, decoder::TcpStream,
};
use orkbase::time::Timestamp;

/// Longest payload that fits a datagram over IPv4.
const MAX_PAYLOAD: usize = 65_507;

/// Longest message that is unpacked.
const MAX_INFLATED: usize = 64 << 10;

/// HEP of any version. It is opened or taken as it is, never both and never twice.
pub(super) fn hep(data: &[u8]) {
    let data = data.get(..MAX_PAYLOAD).unwrap_or(data);
    let mut sink = Payloads::default();
    let decoder = handle(9060, data, &mut sink);
    let counters = decoder.counters();
    match (counters.hep, counters.hep_inflated, counters.hep_compressed) {
        (1, 0, 0) => assert!(sink.0.len() == 1 && within(data, &sink.0)),
        (1, 1, 0) => {
            let length = sink.0.first().map(Vec::len);
            assert!(sink.0.len() == 1 && length.is_some_and(|length| length <= MAX_INFLATED));
        }
        (0, 0, 1) => assert!(sink.0.is_empty()),
        none => assert!(none == (0, 0, 0) && sink.0 == [data], "{none:?}"),
    }
    assert!(counters.hep + counters.hep_refused <= 1);
}

/// Oreka's encapsulation. A datagram of it is opened, any other delivered as it is.
pub(super) fn oreka(data: &[u8]) {
    let data = data.get(..MAX_PAYLOAD).unwrap_or(data);
    let mut sink = Payloads::default();
    let decoder = handle(10_002, data, &mut sink);
    let counters = decoder.counters();
    if counters.oreka == 0 && counters.udp == 1 {
        assert!(sink.0.len() == 1 && within(data, &sink.0));
    }
    // Each record has a header of 9 bytes and a frame of 14 at least, a datagram in it 28 more.
    let most = u64::try_from(data.len() / 51).unwrap_or(u64::MAX).max(1);
    assert!(counters.udp <= most, "{} datagrams in {} bytes", counters.udp, data.len());
    let mut ledger = Ledger::default();
    assert_eq!(handle(10_002, data, &mut ledger).counters().udp, ledger.datagrams);
}

fn handle(port: u16, data: &[u8], sink: &mut dyn Sink) -> Decoder {
    let mut decoder = Decoder::new(narrow());
    let ends = [([10, 0, 0, 1], 40_000).into(), ([10, 0, 0, 2], port).into()];
    let frame = wire::Frame::udp(&[], ends[0], ends[1], data).into_bytes();
    let wire_len = u32::try_from(frame.len()).unwrap_or(u32::MAX);
    let at = Timestamp(1_700_000_000_000_000_000);
    let frame = Frame { at, link: LinkType::Ethernet, wire_len, bytes: &frame };
    decoder.handle_frame(&frame, sink);
    decoder.finish(sink);
    decoder
}

#[derive(Default)]
struct Payloads(Vec<Vec<u8>>);

impl Sink for Payloads {
    fn udp(&mut self, datagram: Datagram<'_>) {
        self.0.push(datagram.payload.to_vec());
    }

    fn tcp(&mut self, _stream: TcpStream<'_>) {}
}

/// Whether each payload stands in `data` as it is.
fn within(data: &[u8], payloads: &[Vec<u8>]) -> bool {
    payloads.iter().all(|payload| {
        payload.is_empty() || data.windows(payload.len()).any(|window| window == payload)
    })
}
