//! `tape`: what became of a recording; told to the tracker and to the event stream.

use super::pairs::{FieldError, Fields, Message, Pairs};
pub use super::words::{Direction, KeepSide};
use super::words::{bool_str, encode_tags, read_tags};
use std::collections::BTreeMap;

/// Latest moment and longest duration accepted, in seconds: the end of the year 9999.
pub const MAX_SECONDS: u64 = 253_402_300_799;

/// Where a recording is in its life.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Stage {
    /// It began; the file name has no extension yet.
    Start,
    /// The call is over; the duration is known.
    Stop,
    /// The file is finished and may be fetched.
    Ready,
    /// Something about it changed, for example a tag.
    Update,
    /// The call was put on hold.
    Hold,
    /// The call was taken off hold.
    Resume,
}

impl Stage {
    /// Every stage.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Stop, Self::Ready, Self::Update, Self::Hold, Self::Resume];

    /// The wire word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Ready => "ready",
            Self::Update => "update",
            Self::Hold => "hold",
            Self::Resume => "resume",
        }
    }

    /// Reads the wire word without regard to case. `complete`, which the Java tracker knows as
    /// another end of a call, is [`Stage::Stop`].
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        if is("complete") {
            return Some(Self::Stop);
        }
        Self::ALL.into_iter().find(|stage| is(stage.as_str()))
    }

    /// `start` and `stop` are of the moment: an old recorder drops them when they fail, and tries
    /// every other stage again without end.
    #[must_use]
    pub const fn is_realtime(self) -> bool {
        match self {
            Self::Start | Self::Stop => true,
            Self::Ready | Self::Update | Self::Hold | Self::Resume => false,
        }
    }
}

/// A stage in the life of a recording: 20 fields on the wire, `type=tape` first, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TapeMessage {
    /// The recording's name (orkuid), `20140127_114145_AAAB`; never empty.
    pub recid: String,
    /// What happened.
    pub stage: Stage,
    /// The recorder channel, `AAAB`; empty in what follows a `stop` command.
    pub captureport: String,
    /// When the recording began, Unix seconds.
    pub timestamp: u64,
    /// `YYYY/MM/DD/HH/<recid><ext>`, relative to the recorder's audio directory; no extension at
    /// `start`.
    pub filename: String,
    /// The monitored party.
    pub localparty: String,
    /// The number through which the call reached the local party.
    pub localentrypoint: String,
    /// The other party.
    pub remoteparty: String,
    /// Who called.
    pub direction: Direction,
    /// Whole seconds; 0 until `stop`.
    pub duration: u64,
    /// Service name of the recorder.
    pub service: String,
    /// Address of the local party.
    pub localip: String,
    /// Address of the remote party.
    pub remoteip: String,
    /// The SIP Call-ID; empty for RTP without signalling.
    pub nativecallid: String,
    /// Free tags.
    pub tags: BTreeMap<String, String>,
    /// Somebody asked for this recording.
    pub ondemand: bool,
    /// Which sides are kept.
    pub side: KeepSide,
    /// Always true in the original.
    pub live: bool,
    /// Host name of the recorder.
    pub hostname: String,
}

impl TapeMessage {
    /// Reads a message. Required: `recid` (not empty), `stage`, `captureport`, `timestamp` and
    /// `filename`; unknown enumeration words take their place in the table, unknown keys are ignored.
    ///
    /// # Errors
    /// The first field that is missing or cannot be read.
    pub fn from_pairs(pairs: &Pairs) -> Result<Self, FieldError> {
        let recid = pairs.required("recid")?;
        if recid.is_empty() {
            return Err(FieldError::Missing("recid"));
        }
        let stage = pairs.required("stage")?;
        pairs.required("timestamp")?;
        Ok(Self {
            recid: recid.to_owned(),
            stage: Stage::read(stage).ok_or_else(|| FieldError::invalid("stage", stage))?,
            captureport: pairs.required("captureport")?.to_owned(),
            timestamp: pairs.number("timestamp", MAX_SECONDS)?,
            filename: pairs.required("filename")?.to_owned(),
            localparty: pairs.text("localparty"),
            localentrypoint: pairs.text("localentrypoint"),
            remoteparty: pairs.text("remoteparty"),
            direction: Direction::read(pairs.first("direction").unwrap_or_default()),
            duration: pairs.number("duration", MAX_SECONDS)?,
            service: pairs.text("service"),
            localip: pairs.text("localip"),
            remoteip: pairs.text("remoteip"),
            nativecallid: pairs.text("nativecallid"),
            tags: read_tags(pairs.first("tags").unwrap_or_default()),
            ondemand: pairs.boolean("ondemand", false)?,
            side: KeepSide::read(pairs.first("side").unwrap_or_default()),
            live: pairs.boolean("live", true)?,
            hostname: pairs.text("hostname"),
        })
    }
}

impl Message for TapeMessage {
    const CLASS: &'static str = "tape";

    fn fields(&self) -> Fields {
        Fields::new()
            .with("type", Self::CLASS)
            .with("recid", self.recid.as_str())
            .with("stage", self.stage.as_str())
            .with("captureport", self.captureport.as_str())
            .with("timestamp", self.timestamp.to_string())
            .with("filename", self.filename.as_str())
            .with("localparty", self.localparty.as_str())
            .with("localentrypoint", self.localentrypoint.as_str())
            .with("remoteparty", self.remoteparty.as_str())
            .with("direction", self.direction.as_str())
            .with("duration", self.duration.to_string())
            .with("service", self.service.as_str())
            .with("localip", self.localip.as_str())
            .with("remoteip", self.remoteip.as_str())
            .with("nativecallid", self.nativecallid.as_str())
            .with("tags", encode_tags(&self.tags))
            .with("ondemand", bool_str(self.ondemand))
            .with("side", self.side.as_str())
            .with("live", bool_str(self.live))
            .with("hostname", self.hostname.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{single_line, url, xml};
    use proptest::{collection::btree_map, prelude::*, sample::select};

    /// Queries of the original recorder, observed: a SIP call, RTP without signalling, a wanted call,
    /// hold, and a call after a `stop` command.
    const OBSERVED: [&str; 6] = [
        "type=tape&recid=20261121_021704_EZIP&stage=start&captureport=EZIP&timestamp=1795227424&filename=2026%2F11%2F21%2F02%2F20261121_021704_EZIP&localparty=100000&localentrypoint=&remoteparty=200000&direction=out&duration=0&service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1&nativecallid=gen-1-000000-493196cc&tags=&ondemand=false&side=both&live=true&hostname=vm&",
        "type=tape&recid=20261121_022201_EVJD&stage=ready&captureport=EVJD&timestamp=1795227721&filename=2026%2F11%2F21%2F02%2F20261121_022201_EVJD.wav&localparty=sipp&localentrypoint=&remoteparty=4321&direction=out&duration=7&service=orkaudio-peer&localip=10.9.1.1&remoteip=10.9.1.2&nativecallid=3-25318@10.9.1.1&tags=&ondemand=false&side=both&live=true&hostname=vm&",
        "type=tape&recid=20261121_022048_ODHS&stage=stop&captureport=ODHS&timestamp=1795227648&filename=2026%2F11%2F21%2F02%2F20261121_022048_ODHS.wav&localparty=10.1.0.1&localentrypoint=&remoteparty=10.2.0.1&direction=unkn&duration=1&service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1&nativecallid=&tags=&ondemand=false&side=both&live=true&hostname=vm&",
        "type=tape&recid=20261121_030220_LWCT&stage=update&captureport=LWCT&timestamp=1795230140&filename=2026%2F11%2F21%2F03%2F20261121_030220_LWCT.wav&localparty=100005&localentrypoint=&remoteparty=200005&direction=out&duration=0&service=orkaudio-peer&localip=10.1.0.6&remoteip=10.2.0.1&nativecallid=gen-1-000005-5266ac89&tags=ondemand%3Atrue&ondemand=true&side=both&live=true&hostname=vm&",
        "type=tape&recid=20261121_031126_FZDI&stage=hold&captureport=FZDI&timestamp=1795230686&filename=2026%2F11%2F21%2F03%2F20261121_031126_FZDI.wav&localparty=100000&localentrypoint=&remoteparty=200000&direction=out&duration=0&service=orkaudio-peer&localip=10.1.0.1&remoteip=10.2.0.1&nativecallid=gen-5-000000-9f767c45&tags=&ondemand=false&side=both&live=true&hostname=vm&",
        "type=tape&recid=20261121_022332_KMDJ&stage=stop&captureport=&timestamp=1795227812&filename=2026%2F11%2F21%2F02%2F20261121_022332_KMDJ.wav&localparty=100000&localentrypoint=&remoteparty=200000&direction=out&duration=24&service=orkaudio-peer&localip=0.0.0.0&remoteip=0.0.0.0&nativecallid=gen-1-000000-493196cc&tags=&ondemand=false&side=both&live=true&hostname=vm&",
    ];

    fn read(query: &str) -> Result<TapeMessage, FieldError> {
        TapeMessage::from_pairs(&url::decode(query.as_bytes()).unwrap_or_default())
    }

    #[test]
    fn observed_messages_come_back_to_the_byte() {
        for golden in OBSERVED {
            let message = read(golden).unwrap();
            assert_eq!(url::encode(&message.fields()), golden);
            assert_eq!(message.fields().iter().count(), 20);
        }
        let wanted = read(OBSERVED[3]).unwrap();
        assert_eq!((wanted.stage, wanted.direction), (Stage::Update, Direction::Out));
        assert_eq!(wanted.tags.get("ondemand").map(String::as_str), Some("true"));
        assert!(wanted.ondemand && wanted.filename == "2026/11/21/03/20261121_030220_LWCT.wav");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = "recid=a&stage=STOP&captureport=&timestamp=&filename=&";
        let message = read(good).unwrap();
        assert_eq!((message.stage, message.timestamp, message.live), (Stage::Stop, 0, true));
        for (key, value) in [("recid", ""), ("recid", "gone"), ("filename", "gone")] {
            let broken = match value {
                "gone" => good.replace(&format!("{key}="), "other="),
                _ => good.replace("recid=a", "recid="),
            };
            assert_eq!(read(&broken), Err(FieldError::Missing(key)));
        }
        let invalid = |query: &str| read(query).unwrap_err().to_string();
        assert_eq!(invalid(&good.replace("STOP", "pause")), "invalid value for stage: pause");
        assert_eq!(
            invalid(&good.replace("timestamp=", "timestamp=-1")),
            "invalid value for timestamp: -1"
        );
        assert_eq!(invalid(&format!("{good}live=maybe")), "invalid value for live: maybe");
    }

    prop_compose! {
        fn any_tape()(
            texts in proptest::collection::vec(any::<String>(), 11),
            recid in ".+", stage in select(&Stage::ALL), side in select(&KeepSide::ALL),
            timestamp in 0..=MAX_SECONDS, duration in 0..=MAX_SECONDS,
            tags in btree_map(".*\\PC", any::<String>(), 0..5),
            (ondemand, live, outgoing) in any::<(bool, bool, bool)>(),
        ) -> TapeMessage {
            let mut texts = texts.into_iter();
            let mut text = || texts.next().unwrap();
            TapeMessage {
                recid, stage, captureport: text(), timestamp, filename: text(), localparty: text(),
                localentrypoint: text(), remoteparty: text(),
                direction: if outgoing { Direction::Out } else { Direction::In }, duration,
                service: text(), localip: text(), remoteip: text(), nativecallid: text(), tags,
                ondemand, side, live, hostname: text(),
            }
        }
    }

    proptest! {
        #[test]
        fn any_message_comes_back(message in any_tape()) {
            let fields = message.fields();
            for text in [url::encode(&fields), single_line::encode(&fields), xml::encode(&fields)] {
                prop_assert!(!text.contains(['\r', '\n', '\0']));
            }
            prop_assert_eq!(read(&url::encode(&fields)), Ok(message));
        }
    }
}
