//! The packet layer: any frames of any link type.

use super::input::Input;
use orkbase::packet::{
    Datagram, Frame, LinkType, Malformed,
    decoder::{Decoder, Limits, Sink, TcpStream},
    fast::FlowKey,
};
use orkbase::time::Timestamp;
use std::{collections::BTreeSet, net::SocketAddr};

/// Bounds small enough to be reached by small inputs.
pub(super) fn narrow() -> Limits {
    Limits {
        fragment_bytes: 16 << 10,
        tcp_stream_bytes: 4 << 10,
        tcp_total_bytes: 16 << 10,
        tcp_streams: 6,
        ..Limits::default()
    }
}

/// Counts what is delivered and keeps the law of streams: what was begun is closed, once.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) datagrams: u64,
    pub(super) bytes: u64,
    pub(super) refused: u64,
    open: BTreeSet<(SocketAddr, SocketAddr)>,
    last: Option<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Sink for Ledger {
    fn udp(&mut self, datagram: Datagram<'_>) {
        self.datagrams += 1;
        let Datagram { source, destination, payload } = datagram;
        assert!(payload.len() <= 0xffff, "a datagram of {} bytes", payload.len());
        self.last = Some((source, destination, payload.to_vec()));
    }

    fn tcp(&mut self, stream: TcpStream<'_>) {
        self.bytes += u64::try_from(stream.data.len()).unwrap_or(u64::MAX);
        assert!(stream.closed || !stream.data.is_empty(), "news of nothing");
        if stream.closed {
            self.open.remove(&(stream.source, stream.destination));
        } else {
            self.open.insert((stream.source, stream.destination));
        }
    }

    fn refused(&mut self, _malformed: Malformed) {
        self.refused += 1;
    }
}

/// Input: per frame a link type, milliseconds since the last one, bytes cut off, and the bytes.
pub(super) fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    let mut decoder = Decoder::new(narrow());
    let mut ledger = Ledger::default();
    let mut at = Timestamp(1_700_000_000_000_000_000);
    let mut count = 0;
    while !input.is_empty() {
        let link = LinkType::from_number(u16::from(input.byte()) | u16::from(input.byte()) << 8);
        at = at.plus_millis(u64::from(input.number::<u16>()));
        let cut = u32::from(input.byte());
        let bytes = input.chunk();
        let wire_len = u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(cut);
        let frame = Frame { at, link, wire_len, bytes };
        decoder.handle_frame(&frame, &mut ledger);
        count += 1;
        short_way(&decoder, &frame);
    }
    decoder.deliver_due(at.plus_millis(10), &mut ledger);
    decoder.finish(&mut ledger);
    let counters = decoder.counters().clone();
    assert_eq!((counters.frames, counters.udp), (count, ledger.datagrams));
    assert_eq!(counters.tcp_bytes, ledger.bytes);
    let malformed = counters.malformed_link
        + counters.malformed_ip
        + counters.malformed_transport
        + counters.malformed_tunnel;
    assert_eq!(malformed, ledger.refused);
    assert!(counters.reassembled <= counters.fragments);
    assert!(ledger.open.is_empty(), "directions never closed: {:?}", ledger.open);
    // Nothing is left behind that a second end could deliver.
    decoder.finish(&mut ledger);
    assert_eq!(*decoder.counters(), counters);
}

/// Where the short way has an answer, the long one gives the same and nothing else.
fn short_way(decoder: &Decoder, frame: &Frame<'_>) {
    let Some(fast) = decoder.fast_udp(frame) else { return };
    let mut slow = Ledger::default();
    let mut fresh = Decoder::new(narrow());
    fresh.handle_frame(frame, &mut slow);
    let (source, destination) = (fast.key.source(), fast.key.destination());
    assert_eq!((slow.datagrams, slow.bytes, slow.refused), (1, 0, 0));
    assert_eq!(slow.last, Some((source, destination, fast.payload.to_vec())));
    assert_eq!(FlowKey::from_addrs(&source, &destination), Some(fast.key));
    assert_eq!(fast.key.reversed().source(), destination);
}
