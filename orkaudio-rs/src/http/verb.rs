//! Commands about recordings: who is meant, and what the answer says.

use orkbase::{
    call::command::{Command, Quality, Reply, Retention, Target},
    ids::OrkUid,
    message::{Pairs, tape::KeepSide},
};

/// What is asked of recordings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Record,
    Pause,
    Stop,
    /// Ours, as all below: the original's tracker and its reports know them, its recorder does not.
    Split,
    Flag(Retention),
    Tag,
}

impl Verb {
    /// By name; `resume` is ours: the original resumes by `record` only.
    pub(super) const NAMES: [(&'static str, Self); 9] = [
        ("record", Self::Record),
        ("resume", Self::Record),
        ("pause", Self::Pause),
        ("stop", Self::Stop),
        ("split", Self::Split),
        ("keep", Self::Flag(Retention::Keep)),
        ("discard", Self::Flag(Retention::Discard)),
        ("neither", Self::Flag(Retention::Neither)),
        ("addtag", Self::Tag),
    ];

    pub(super) fn read(class: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(name, _)| *name == class).map(|(_, verb)| verb)
    }

    pub(super) fn command(self, target: Target, side: KeepSide, pairs: &Pairs) -> Command {
        match self {
            Self::Record => Command::Record(target, side),
            Self::Pause => Command::Pause(target),
            Self::Stop => Command::Stop(target),
            Self::Split => Command::Split(target),
            Self::Flag(retention) => Command::Flag(target, retention),
            Self::Tag => Command::Tag(target, tags(pairs)),
        }
    }
}

/// `tagtype` and `tagtext`, or any number of `tagentry=TYPE:TEXT`.
pub(super) fn tags(pairs: &Pairs) -> Vec<(String, String)> {
    let one = pairs.first("tagtype").filter(|key| !key.is_empty());
    let one = one.map(|key| (key.to_owned(), pairs.first("tagtext").unwrap_or("").to_owned()));
    let is_entry = |(key, _): &(&str, &str)| key.eq_ignore_ascii_case("tagentry");
    let entries = pairs.iter().filter(is_entry).map(|(_, entry)| {
        let (key, text) = entry.split_once(':').unwrap_or((entry, ""));
        (key.to_owned(), text.to_owned())
    });
    one.into_iter().chain(entries).collect()
}

/// The selectors as they came, for the comment repeats them.
pub(super) struct Selectors<'a> {
    party: &'a str,
    orkuid: &'a str,
    nativecallid: &'a str,
}

impl<'a> Selectors<'a> {
    pub(super) fn read(pairs: &'a Pairs) -> Self {
        let text = |key| pairs.first(key).unwrap_or_default();
        // What the tracker's commands and the events call it.
        let party = match text("party") {
            "" => text("localparty"),
            party => party,
        };
        Self { party, orkuid: text("orkuid"), nativecallid: text("nativecallid") }
    }

    /// The first that is not empty counts. An orkuid that can be none selects nothing.
    pub(super) fn target(&self) -> Option<Target> {
        if !self.orkuid.is_empty() {
            OrkUid::parse(self.orkuid).map(Target::OrkUid)
        } else if !self.nativecallid.is_empty() {
            Some(Target::NativeCallId(self.nativecallid.to_owned()))
        } else if !self.party.is_empty() {
            Some(Target::Party(self.party.to_owned()))
        } else {
            None
        }
    }

    /// The comment of an answer; the recording that was found is written back.
    pub(super) fn comment(&self, verb: Verb, side: KeepSide, reply: &Reply) -> String {
        let found = reply.orkuid.as_ref().map_or(self.orkuid, OrkUid::as_str);
        let (what, tail) = match verb {
            Verb::Record => ("Starting", format!(" side:{}", side.as_str())),
            Verb::Pause => ("Pausing", String::new()),
            Verb::Stop if reply.matched == 0 => ("Stopping", " ".to_owned()),
            Verb::Stop => ("Stopping", format!(" {}", quality(&reply.quality))),
            Verb::Split => ("Splitting", String::new()),
            Verb::Flag(Retention::Keep) => ("Keeping", String::new()),
            Verb::Flag(Retention::Discard) => ("Discarding", String::new()),
            Verb::Flag(Retention::Neither) => ("Neither keeping nor discarding", String::new()),
            Verb::Tag => ("Tagging", String::new()),
        };
        let Self { party, nativecallid, .. } = self;
        format!("{what} capture for party:{party} orkuid:{found} nativecallid:{nativecallid}{tail}")
    }
}

/// The original's "gap" is the step between neighbours, so an undisturbed call has 1.
fn quality(quality: &Quality) -> String {
    let Quality { packets, missing, gaps, longest_gap } = quality;
    let longest_step = if *packets > 1 { longest_gap.saturating_add(1) } else { 0 };
    format!(
        "RtpNumPkts:{packets} RtpNumMissingPkts:{missing} RtpNumSeqGaps:{gaps} \
         RtpMaxSeqGap:{longest_step}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use orkbase::message::url;

    #[test]
    fn the_words_of_stop() {
        let quality = |packets, missing, gaps, longest_gap| {
            quality(&Quality { packets, missing, gaps, longest_gap })
        };
        let undisturbed = "RtpNumPkts:546 RtpNumMissingPkts:0 RtpNumSeqGaps:0 RtpMaxSeqGap:1";
        assert_eq!(quality(546, 0, 0, 0), undisturbed);
        let silent = "RtpNumPkts:0 RtpNumMissingPkts:0 RtpNumSeqGaps:0 RtpMaxSeqGap:0";
        assert_eq!(quality(0, 0, 0, 0), silent);
        let holes = "RtpNumPkts:10 RtpNumMissingPkts:4 RtpNumSeqGaps:2 RtpMaxSeqGap:4";
        assert_eq!(quality(10, 4, 2, 3), holes);
    }

    #[test]
    fn one_selector_counts() {
        let target = |query: &str| {
            let pairs = url::decode(query.as_bytes()).unwrap();
            Selectors::read(&pairs).target()
        };
        let party = |text: &str| Some(Target::Party(text.to_owned()));
        assert_eq!(target("party=1"), party("1"));
        let call = Some(Target::NativeCallId("2".to_owned()));
        assert_eq!(target("party=1&nativecallid=2&orkuid="), call);
        let uid = OrkUid::parse("20261121_022325_KMCX").map(Target::OrkUid);
        assert_eq!(target("party=1&nativecallid=2&OrkUid=20261121_022325_KMCX"), uid);
        assert_eq!(target("party=1&orkuid=../x"), None);
        assert_eq!(target(""), None);
    }
}
