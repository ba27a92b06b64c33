//! Skinny between phones and their call manager.

use super::input::Input;
use orkbase::signal::{
    Fact,
    skinny::{Framer, Message, Phones, looks_like_skinny},
};
use std::net::SocketAddr;

/// Most bytes a framer may hold.
const MAX_HELD: usize = 2_056;

/// Input: pieces of four connections, each with a byte that says whose and whether bytes were lost.
pub(super) fn stream(data: &[u8]) {
    let mut input = Input::new(data);
    let mut phones = Phones::default();
    let mut framers: [Framer; 8] = std::array::from_fn(|_| Framer::default());
    while !input.is_empty() {
        let how = input.byte();
        let bytes = input.chunk();
        let manager: SocketAddr = ([10, 0, 0, 9], 2_000).into();
        let phone: SocketAddr = ([10, 0, 0, 1 + (how & 3)], 50_000).into();
        let (source, destination) = if how & 4 == 0 { (phone, manager) } else { (manager, phone) };
        let Some(framer) = framers.get_mut(usize::from(how & 7)) else { return };
        let _look = looks_like_skinny(bytes, [source.port(), destination.port()]);
        framer.push(bytes, how & 8 != 0, &mut |message: &[u8]| {
            assert!((12..=MAX_HELD).contains(&message.len()));
            let Some(read) = Message::read(message) else { return };
            let Some(signal) = phones.read(&read, source, destination) else { return };
            assert!(!signal.call.is_empty(), "a fact about no call");
            for name in [&signal.from, &signal.to] {
                assert!(name.user.len() <= 512 && name.display.len() <= 512);
                assert!(!name.user.chars().chain(name.display.chars()).any(char::is_control));
            }
            if let Fact::Offered(offer) = &signal.fact {
                assert!(offer.media.as_ref().is_none_or(|media| media.len() == 1));
            }
        });
        assert!(framer.held_bytes() < MAX_HELD);
        if how & 16 != 0 {
            phones.forget(source, destination);
        }
    }
}
