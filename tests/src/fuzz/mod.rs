//! What the fuzzers do with an input: one function for each target, and the laws it must keep.
//!
//! Law: a target never panics, whatever the bytes; where it does, a law is broken. The same functions
//! are run by libFuzzer (`tests/fuzz`, started by `scripts/fuzz`) and, over the committed corpus, by
//! `scripts/test` (`tests/it/corpus.rs`).
//!
//! A new target is a function here, a line in [`TARGETS`], a file in `tests/fuzz/targets` with its
//! `[[bin]]`, and seeds in [`seeds`].

mod capture;
mod codecs;
mod config;
mod decode;
mod disk;
mod h323;
mod house;
mod iax2;
mod input;
mod ledger;
mod message;
mod mgcp;
mod reassembly;
mod remains;
mod rtp;
mod sealed;
pub mod seeds;
mod seeds_binary;
mod seeds_rest;
mod seeds_signals;
mod signals;
mod sip;
mod skinny;
mod tap;
mod tls;
mod tls_seal;
mod tunnels;

/// Looks at one input; panics when a law is broken.
pub type Target = fn(&[u8]);

/// Every target by its name: that of its folder in the corpus and of its file in `tests/fuzz/targets`.
pub const TARGETS: &[(&str, Target)] = &[
    ("capture", capture::file),
    ("codecs", codecs::decode),
    ("config", config::texts),
    ("decode", decode::frames),
    ("h323", h323::streams),
    ("hep", tunnels::hep),
    ("iax2", iax2::datagrams),
    ("ledger", ledger::chain),
    ("message", message::words),
    ("mgcp", mgcp::datagrams),
    ("oreka", tunnels::oreka),
    ("reassembly", reassembly::pieces),
    ("remains", remains::found),
    ("rtp", rtp::stream),
    ("sdp", sip::sdp),
    ("sealed", sealed::container),
    ("sip", sip::message),
    ("skinny", skinny::stream),
    ("srtp", rtp::srtp),
    ("tap", tap::core),
    ("tls", tls::connection),
];

/// Runs a target by its name.
///
/// # Panics
/// When a law is broken, or there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    assert!(found.is_some(), "no target {name}");
    if let Some((_, target)) = found {
        target(data);
    }
}
