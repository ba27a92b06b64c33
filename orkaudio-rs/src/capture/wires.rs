//! Live frames by one thread, which is the one that records, or by several others.

use super::CaptureError;
use super::agents::AgentCounts;
use super::ahead::Taker;
use super::crew::Crew;
use super::live::{KernelCounts, Live, LiveConfig, PollReport, Waker};
use std::io;
use std::net::SocketAddr;

/// Where live frames come from.
#[derive(Debug)]
pub enum Wires {
    /// The thread that asks empties the rings.
    Alone(Box<Live>),
    /// Others do.
    Crew(Crew),
}

impl Wires {
    /// Opens all interfaces, and listens for agents; with `threads` above 1 by so many.
    ///
    /// # Errors
    /// As [`Live::open`] says.
    pub fn open(config: &LiveConfig, threads: usize) -> Result<Self, CaptureError> {
        if threads > 1 {
            return Crew::open(config, threads).map(Self::Crew);
        }
        Ok(Self::Alone(Box::new(Live::open(config)?)))
    }

    /// Lets the threads begin, if there are any.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(&mut self) -> io::Result<()> {
        match self {
            Self::Alone(_) => Ok(()),
            Self::Crew(crew) => crew.start(),
        }
    }

    /// As [`Live::poll`].
    ///
    /// # Errors
    /// As there, or when a thread is gone.
    pub fn poll<T: Taker + ?Sized>(
        &mut self,
        timeout_ms: u32,
        taker: &mut T,
    ) -> Result<PollReport, CaptureError> {
        match self {
            Self::Alone(live) => live.poll(timeout_ms, taker),
            Self::Crew(crew) => crew.poll(timeout_ms, taker),
        }
    }

    /// Wakes [`poll`](Self::poll) from another thread.
    #[must_use]
    pub fn waker(&self) -> Waker {
        match self {
            Self::Alone(live) => live.waker(),
            Self::Crew(crew) => crew.waker(),
        }
    }

    /// Each interface: whether it is open, and its kernel counters since the start, as of the last second.
    #[must_use]
    pub fn kernel_counts(&self) -> Vec<(String, bool, KernelCounts)> {
        match self {
            Self::Alone(live) => live
                .kernel_counts()
                .map(|(name, open, counts)| (name.to_owned(), open, counts))
                .collect(),
            Self::Crew(crew) => crew.kernel_counts(),
        }
    }

    /// What capture agents sent so far, and how many are connected.
    #[must_use]
    pub fn agents(&self) -> Option<(AgentCounts, usize)> {
        match self {
            Self::Alone(live) => live.agents(),
            Self::Crew(crew) => crew.agents(),
        }
    }

    /// Where capture agents reach us.
    #[must_use]
    pub fn agents_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Alone(live) => live.agents_address(),
            Self::Crew(crew) => crew.agents_address(),
        }
    }
}
