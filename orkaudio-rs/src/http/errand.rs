//! Commands that are about no live call: read from their parameters, done by the recorder.

use jiff::{civil::DateTime, tz::TimeZone};
use orkbase::message::{Fields, Message as _, Pairs, response::SimpleResponse, words::Direction};

/// Something to be done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Errand {
    /// `reporttape`: tell the trackers once more of the recordings of a time, Unix seconds.
    Report {
        /// From here on.
        from: i64,
        /// Until then, included.
        until: i64,
    },
    /// `importtape`: make a recording of a file.
    Import(Box<Import>),
    /// `reportingskiptape`: give up messages that a tracker fails.
    Skip {
        /// At most so many.
        num: u64,
        /// By host; empty means the only one.
        tracker: String,
    },
    /// `pin`, `unpin`: whether a recording may ever be deleted here.
    Pin {
        /// Which, by its orkuid; finished or not.
        recid: String,
        /// From now on it must not.
        pin: bool,
    },
    /// `reloadloggingconfig`.
    ReloadLogging,
    /// `listloggingconfig`.
    ListLogging,
}

/// A recording made elsewhere.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Import {
    /// `A`: audio.
    pub mediatype: String,
    /// The file.
    pub url: String,
    /// When it began, Unix seconds.
    pub timestamp: u64,
    /// How long the call was, in seconds; 0 measures the audio.
    pub duration: u64,
    /// As told.
    pub direction: Direction,
    /// As told.
    pub localparty: String,
    /// As told.
    pub remoteparty: String,
    /// As told.
    pub nativecallid: String,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// It was done.
    pub success: bool,
    /// What there is to say.
    pub comment: String,
    /// Fields behind the comment.
    pub more: Vec<(&'static str, String)>,
}

impl Answer {
    /// It was done.
    #[must_use]
    pub fn done(comment: impl Into<String>) -> Self {
        Self { success: true, comment: comment.into(), more: Vec::new() }
    }

    /// It was not, and this is why.
    #[must_use]
    pub fn failed(comment: impl Into<String>) -> Self {
        Self { success: false, comment: comment.into(), more: Vec::new() }
    }

    pub(super) fn fields(&self) -> Fields {
        let comment = Some(self.comment.clone());
        let fields = SimpleResponse { success: self.success, comment }.fields();
        self.more.iter().fold(fields, |fields, (key, value)| fields.with(key, value.as_str()))
    }
}

/// Names of commands that are read here.
pub(super) const CLASSES: [&str; 7] = [
    "reporttape",
    "importtape",
    "reportingskiptape",
    "pin",
    "unpin",
    "reloadloggingconfig",
    "listloggingconfig",
];

impl Errand {
    /// Reads it; `None` for another command, an error for one whose parameters cannot be read.
    pub(super) fn read(class: &str, pairs: &Pairs) -> Option<Result<Self, String>> {
        match class {
            "reporttape" => Some(span(pairs)),
            "importtape" => Some(import(pairs)),
            "reportingskiptape" => Some(
                number(pairs, "num", 1)
                    .map(|num| Self::Skip { num, tracker: text(pairs, "tracker") }),
            ),
            "pin" | "unpin" => Some(
                required(pairs, "orkuid")
                    .map(|recid| Self::Pin { recid: recid.to_owned(), pin: class == "pin" }),
            ),
            "reloadloggingconfig" => Some(Ok(Self::ReloadLogging)),
            "listloggingconfig" => Some(Ok(Self::ListLogging)),
            _ => None,
        }
    }
}

fn required<'a>(pairs: &'a Pairs, key: &str) -> Result<&'a str, String> {
    let text = pairs.first(key);
    text.ok_or_else(|| format!("Serializer::GetString: required parameter missing:{key}"))
}

fn text(pairs: &Pairs, key: &str) -> String {
    pairs.first(key).unwrap_or_default().to_owned()
}

/// Empty or absent is the default.
fn number(pairs: &Pairs, key: &str, default: u64) -> Result<u64, String> {
    match pairs.first(key).unwrap_or_default().trim() {
        "" => Ok(default),
        text => text.parse().map_err(|_| {
            format!("StringToInt: invalid integer:{}", super::command::printable(text))
        }),
    }
}

fn span(pairs: &Pairs) -> Result<Errand, String> {
    let [from, until] = ["fromdate", "todate"].map(|key| {
        let text = required(pairs, key)?;
        moments(text, &TimeZone::system())
            .ok_or_else(|| format!("{key} is not a date of the form YYYYMMDD_HHMMSS"))
    });
    // An hour that came twice counts as often.
    let (from, until) = (from?.0, until?.1);
    if from > until {
        return Err("fromdate is later than todate".to_owned());
    }
    Ok(Errand::Report { from, until })
}

/// The earliest and the latest second that a local date names.
fn moments(text: &str, zone: &TimeZone) -> Option<(i64, i64)> {
    let plain = text.len() == 15 && text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let date = plain.then(|| DateTime::strptime("%Y%m%d_%H%M%S", text).ok())??;
    let ambiguous = zone.to_ambiguous_timestamp(date);
    let earlier = ambiguous.earlier().ok()?.as_second();
    let later = ambiguous.later().ok()?.as_second();
    Some((earlier.min(later), earlier.max(later)))
}

fn import(pairs: &Pairs) -> Result<Errand, String> {
    let url = required(pairs, "url")?.to_owned();
    let timestamp = number(pairs, "timestamp", 0)?;
    if timestamp == 0 || timestamp > 253_402_300_799 {
        return Err("Serializer::GetString: required parameter missing:timestamp".to_owned());
    }
    Ok(Errand::Import(Box::new(Import {
        mediatype: text(pairs, "mediatype"),
        url,
        timestamp,
        duration: number(pairs, "duration", 0)?.min(100 * 86_400),
        direction: Direction::read(pairs.first("direction").unwrap_or_default()),
        localparty: text(pairs, "localparty"),
        remoteparty: text(pairs, "remoteparty"),
        nativecallid: text(pairs, "nativecallid"),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orkbase::message::url;

    fn read(class: &str, query: &str) -> Result<Errand, String> {
        let pairs = url::decode(query.as_bytes()).map_err(|error| error.to_string())?;
        Errand::read(class, &pairs).ok_or("no errand")?
    }

    #[test]
    fn an_hour_that_came_twice_is_both() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(moments("20231029_023000", &zone), Some((1_698_539_400, 1_698_543_000)));
        assert_eq!(moments("20231028_023000", &zone), Some((1_698_453_000, 1_698_453_000)));
        // One that never came.
        let (from, until) = moments("20230326_023000", &zone).unwrap();
        assert_eq!(until - from, 3_600);
        for bad in ["", "20231029", "20231329_023000", "2023102 _023000", "20231029_0230001"] {
            assert_eq!(moments(bad, &zone), None, "{bad}");
        }
    }

    #[test]
    fn parameters_are_read_as_ever() {
        let missing = |key| Err(format!("Serializer::GetString: required parameter missing:{key}"));
        assert_eq!(read("reporttape", "fromdate=20080605_080000"), missing("todate"));
        assert!(read("reporttape", "fromdate=20080605_080000&todate=20080604_090000").is_err());
        assert!(matches!(
            read("reporttape", "todate=20080605_090000&fromdate=20080605_080000"),
            Ok(Errand::Report { from, until }) if until - from == 3_600
        ));
        assert_eq!(read("importtape", "timestamp=1"), missing("url"));
        assert_eq!(read("importtape", "url=/a.wav"), missing("timestamp"));
        let query = "mediatype=A&url=/path/to/audio/file&timestamp=1352481737&duration=20\
                     &localparty=1234&remoteparty=5&direction=OUT&nativecallid=x";
        assert_eq!(
            read("importtape", query),
            Ok(Errand::Import(Box::new(Import {
                mediatype: "A".to_owned(),
                url: "/path/to/audio/file".to_owned(),
                timestamp: 1_352_481_737,
                duration: 20,
                direction: Direction::Out,
                localparty: "1234".to_owned(),
                remoteparty: "5".to_owned(),
                nativecallid: "x".to_owned(),
            })))
        );
        let skip = |num, tracker: &str| Ok(Errand::Skip { num, tracker: tracker.to_owned() });
        assert_eq!(read("reportingskiptape", ""), skip(1, ""));
        assert_eq!(read("reportingskiptape", "num=3&tracker=t"), skip(3, "t"));
        let bad = Err("StringToInt: invalid integer:abc".to_owned());
        assert_eq!(read("reportingskiptape", "num=abc"), bad);
    }
}
