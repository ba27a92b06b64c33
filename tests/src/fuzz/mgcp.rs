//! MGCP between call agents and gateways.

use super::{input::Input, signals};
use orkbase::signal::mgcp::{Mgcp, message};
use orkbase::time::Timestamp;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

/// Messages read of one datagram.
const MAX_MESSAGES: usize = 16;
/// Words kept are this long at most.
const MAX_WORD: usize = 128;

/// Input: datagrams; a byte says who sends each to whom, another the seconds since the last. Twice the
/// same gives twice the same.
pub(super) fn datagrams(data: &[u8]) {
    assert_eq!(play(data), play(data), "the same datagrams gave something else");
}

fn play(data: &[u8]) -> u64 {
    let mut input = Input::new(data);
    let mut mgcp = Mgcp::default();
    let mut story = DefaultHasher::new();
    let mut at = Timestamp(1_700_000_000_000_000_000);
    let (mut facts, mut most) = (0, 0);
    while !input.is_empty() {
        let (how, wait) = (input.byte(), input.byte());
        at = at.plus_millis(u64::from(wait) * 200);
        let payload = input.chunk();
        let agent: SocketAddr = ([10, 0, 0, 1 + (how & 1)], 2_727).into();
        let gateway: SocketAddr = ([10, 0, 0, 5 + (how >> 1 & 3)], 2_427).into();
        let (source, destination) = if how & 8 == 0 { (agent, gateway) } else { (gateway, agent) };
        most += read(payload);
        let mut told = 0;
        let taken = mgcp.handle(at, source, destination, payload, &mut |signal| {
            signals::stated(signal);
            told += 1;
            format!("{signal:?}").hash(&mut story);
        });
        assert!(taken || told == 0, "facts out of what is no MGCP");
        let named = message::looks_like_command(payload) || message::may_be_response(payload);
        assert!(named || !taken);
        facts += told;
    }
    let counters = mgcp.counters();
    assert_eq!(counters.facts, facts);
    assert!(counters.messages <= most && counters.repeated <= counters.messages);
    assert!(counters.forgotten <= counters.calls && counters.calls <= counters.messages);
    format!("{counters:?}").hash(&mut story);
    story.finish()
}

/// Reads a datagram on its own; the number of its messages.
fn read(payload: &[u8]) -> u64 {
    let messages: Vec<_> = message::messages(payload).collect();
    assert!(messages.len() <= MAX_MESSAGES);
    for message in &messages {
        let texts = [&message.call, &message.connection, &message.endpoint];
        let events = message.observed.iter().chain(&message.signals);
        let words = events.flat_map(|event| [&event.code, &event.parameters]);
        for word in texts.into_iter().flatten().chain(words) {
            // Lower case may be longer.
            assert!(word.chars().count() <= 3 * MAX_WORD, "{} characters", word.chars().count());
            assert!(!word.chars().any(char::is_control), "{word:?}");
        }
        assert!(message.sdp.is_none_or(|sdp| !sdp.is_empty() && sdp.len() < payload.len()));
    }
    u64::try_from(messages.len()).unwrap_or(u64::MAX)
}
