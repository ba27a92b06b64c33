//! The course of a call as its signalling told it: for the record that goes with its tapes.

use super::party::{Role, Side};
use crate::time::Timestamp;
use std::net::SocketAddr;

/// What happened to a call, and when.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Course {
    /// First message.
    pub began: Timestamp,
    /// First 180 to 189.
    pub ringing: Option<Timestamp>,
    /// First 200.
    pub answered: Option<Timestamp>,
    /// How signalling ended it.
    pub released: Option<Released>,
    /// Software of the caller and of the callee, by role.
    pub agents: [String; 2],
    /// Who diverted it; empty for nobody.
    pub diverted_by: String,
    /// Call-ID of the first call of the conversation it is part of: across a transfer, or a
    /// back-to-back user agent.
    pub conversation: Option<String>,
    /// Call-ID of the first leg, if the call goes through a back-to-back user agent.
    pub legs: Option<String>,
}

/// How signalling ended a call.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Released {
    /// When.
    pub at: Timestamp,
    /// Who hung up, gave up or declined.
    pub by: Role,
    /// Status of a call that was never answered: 300 to 699.
    pub code: Option<u16>,
    /// In the protocol's own terms, if it said: `Q.850 16 Normal call clearing`.
    pub cause: Option<String>,
}

impl Course {
    /// A call that begins now.
    #[must_use]
    pub fn begin(at: Timestamp) -> Self {
        Self { began: at, ..Self::default() }
    }

    /// `role` names its software.
    pub fn name_agent(&mut self, role: Role, agent: &str) {
        if let Some(known) = self.agents.get_mut(role.index())
            && known.is_empty()
        {
            agent.clone_into(known);
        }
    }
}

/// The same from the tape's point of view.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallFacts {
    /// First message; for media that nobody announced, its first packet.
    pub began: Timestamp,
    /// First 180 to 189.
    pub ringing: Option<Timestamp>,
    /// First 200.
    pub answered: Option<Timestamp>,
    /// When, and by whom, signalling ended the call.
    pub released: Option<(Timestamp, Side)>,
    /// Status that ended a call which was never answered.
    pub code: Option<u16>,
    /// Cause of the end, as signalled.
    pub cause: Option<String>,
    /// Software of the local and of the remote party; empty when they do not say.
    pub agents: [String; 2],
    /// Where the first message came from, and where it went to.
    pub signalling: [SocketAddr; 2],
    /// Who diverted the call; empty for nobody.
    pub diverted_by: String,
    /// Call-ID of the first call of the conversation.
    pub conversation: Option<String>,
    /// The rule that decided who is local, in words.
    pub rule: &'static str,
}

impl CallFacts {
    /// From the course of a call whose `local` role is our party.
    #[must_use]
    pub fn new(
        course: &Course,
        local: Role,
        signalling: [SocketAddr; 2],
        rule: &'static str,
    ) -> Self {
        let side = |role: Role| if role == local { Side::Local } else { Side::Remote };
        let agent = |role: Role| course.agents.get(role.index()).cloned().unwrap_or_default();
        let released = course.released.as_ref();
        Self {
            began: course.began,
            ringing: course.ringing,
            answered: course.answered,
            released: released.map(|released| (released.at, side(released.by))),
            code: released.and_then(|released| released.code),
            cause: released.and_then(|released| released.cause.clone()),
            agents: [agent(local), agent(local.other())],
            signalling,
            diverted_by: course.diverted_by.clone(),
            conversation: course.conversation.clone(),
            rule,
        }
    }
}
