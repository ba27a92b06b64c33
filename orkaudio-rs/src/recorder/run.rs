//! The turns of the daemon: frames, commands, time, and once a second the numbers.

use super::{InterfaceState, RunError, folders, now, prepare};
use crate::{
    capture::{ahead::Taker, clock::WallClock, live::LiveConfig, wires::Wires},
    config::Config,
    confine,
    engine::Engine,
    keylog::Follower,
    live::LiveDoor,
};
use orkbase::{packet::Frame, time::Timestamp};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Pieces of the key log, of 64 KiB, taken between two looks at the interfaces.
const KEY_TEXTS: usize = 4;
/// Numbers for the doors are renewed this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// Whether the clock was set: that is no time that passed.
fn note_clock(clock: &mut WallClock, engine: &mut Engine) {
    let wall = now();
    if let Some(by) = clock.was_set(wall, Instant::now()) {
        let by_ms = by / 1_000_000;
        tracing::error!(by_ms, "the clock of this host was set: live calls go on, and are tagged");
        engine.handle_clock_set(wall, by);
    }
}

/// Frames on their way to the engine, with an eye on the clock that stamps them.
struct Watched<'a> {
    clock: &'a mut WallClock,
    engine: &'a mut Engine,
}

impl Taker for Watched<'_> {
    #[inline]
    fn take(&mut self, frame: &Frame<'_>) {
        if self.clock.is_odd(frame.at) {
            note_clock(self.clock, self.engine);
            let at = self.clock.place(frame.at, now(), Instant::now());
            return self.engine.handle_frame(&Frame { at, ..*frame });
        }
        self.engine.handle_frame(frame);
    }

    #[inline]
    fn foresee(&mut self, frame: &Frame<'_>) {
        let _seen = self.engine.foresee(frame);
    }
}

/// Records from the configured interfaces until `stop` is set. Confines the whole process; see [`confine`].
///
/// # Errors
/// When the recorder cannot start, or waiting for packets fails.
pub fn run(
    config: &Config,
    stop: &Arc<AtomicBool>,
    on_waker: impl FnOnce(crate::capture::live::Waker),
) -> Result<(), RunError> {
    let settings = LiveConfig {
        interfaces: config.capture.interfaces.clone(),
        snaplen: config.capture.snaplen,
        buffer_bytes: config.capture.buffer_mib << 20,
        promiscuous: config.capture.promiscuous,
        filter: Some(config.capture.filter.clone()).filter(|text| !text.is_empty()),
        agents: config.capture.hep_listen,
        ..LiveConfig::default()
    };
    // Interfaces first: a wrong name must not leave a lock, a database, or an open door behind.
    let threads = usize::from(config.capture.threads);
    let mut live = Wires::open(&settings, threads)?;
    confine::become_user(&config.security.user)?;
    folders(config)?;
    let confined = confine::all(config)?;
    tracing::info!(user = rustix::process::geteuid().as_raw(), confined);
    let mut services = prepare(config)?;
    let mut engine = services.engine(config)?;
    let begun = live.start();
    begun.map_err(|error| RunError::Io { what: "cannot start a thread", error })?;
    let key_log = config.capture.key_log.clone().map(Follower::start).transpose();
    let key_log = key_log.map_err(|error| RunError::Io { what: "cannot start a thread", error })?;
    let waker = live.waker();
    services.set_waker(move || waker.wake());
    on_waker(live.waker());
    let agents = live.agents_address().map(tracing::field::display);
    let at = |address: Option<std::net::SocketAddr>| address.map(tracing::field::display);
    let (command, events) = (services.doors().command_address(), services.doors().events_address());
    let (command, events, listening) =
        (at(command), at(events), at(services.live().map(LiveDoor::address)));
    tracing::info!(interfaces = ?settings.interfaces, agents, command, events, live = listening, folder = %config.tapes.folder.display(), "recording");
    let mut kernel = crate::capture::live::KernelCounts::default();
    let mut clock = WallClock::new(now(), Instant::now());
    // Not by the clock on the wall, which may be set.
    let mut next_housekeeping = Instant::now();
    while !stop.load(Ordering::Relaxed) && services.volume.given_up().is_none() {
        let report = live.poll(50, &mut Watched { clock: &mut clock, engine: &mut engine })?;
        note_clock(&mut clock, &mut engine);
        kernel.received += report.kernel.received;
        kernel.dropped += report.kernel.dropped;
        kernel.if_dropped += report.kernel.if_dropped;
        if report.kernel.dropped + report.kernel.if_dropped > 0 {
            engine.note_drops(report.kernel.dropped + report.kernel.if_dropped);
            tracing::error!(
                dropped = report.kernel.dropped,
                by_interface = report.kernel.if_dropped,
                "the kernel dropped packets: calls live now may have lost audio"
            );
        }
        if report.agents_dropped > 0 {
            engine.note_drops(report.agents_dropped);
            tracing::error!(
                dropped = report.agents_dropped,
                "the kernel dropped packets of capture agents: calls live now may have lost audio"
            );
        }
        for lost in &report.lost {
            tracing::error!(
                interface = lost.interface,
                reason = lost.reason,
                "interface lost; trying again every second"
            );
        }
        for back in &report.recovered {
            tracing::warn!(interface = back.interface, gap = ?back.gap, "interface is back");
        }
        // A long file comes in portions: packets do not wait for it.
        for text in key_log.iter().flat_map(|log| (0..KEY_TEXTS).map_while(|_| log.next())) {
            engine.handle_keys(&text);
        }
        services.answer_commands(&mut engine);
        // Frames wait in the kernel for some milliseconds: time must not overtake them.
        let behind = now().0.saturating_sub(100_000_000);
        engine.handle_timeout(Timestamp(behind).max(engine.last()));
        if Instant::now() >= next_housekeeping {
            next_housekeeping = Instant::now() + HOUSEKEEPING;
            let (agents, connected) = live.agents().unwrap_or_default();
            let seen = live.kernel_counts();
            let open = seen.iter().filter(|(_, open, _)| *open).count();
            let extra = [
                ("capture.kernel_received", kernel.received),
                ("capture.kernel_dropped", kernel.dropped),
                ("capture.interface_dropped", kernel.if_dropped),
                ("capture.interfaces_open", u64::try_from(open).unwrap_or(0)),
                ("agents.udp_packets", agents.udp_packets),
                ("agents.tcp_packets", agents.tcp_packets),
                ("agents.connections", agents.connections),
                ("agents.connected", u64::try_from(connected).unwrap_or(0)),
                ("agents.refused", agents.refused),
                ("agents.skipped_bytes", agents.skipped_bytes),
                ("agents.kernel_dropped", agents.dropped),
            ];
            let states = seen.into_iter().map(|(name, open, counts)| InterfaceState {
                name,
                open,
                received: counts.received,
                dropped: counts.dropped,
                driver_dropped: counts.if_dropped,
            });
            services.note_interfaces(states.collect());
            services.housekeeping(&engine, &extra);
        }
    }
    tracing::info!("stopping");
    let given_up = services.volume.given_up();
    services.stop(engine);
    given_up.map_or(Ok(()), |why| Err(RunError::Disk(why)))
}
