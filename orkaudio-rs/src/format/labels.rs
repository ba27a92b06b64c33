//! What a recording is, in the words of each format: `LIST INFO`, Vorbis comments, ID3.

use orkbase::message::{Message as _, tape::TapeMessage, url};

/// Who wrote a file.
pub const SOFTWARE: &str = concat!("orkaudio ", env!("CARGO_PKG_VERSION"));

/// What a file tells of its recording.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Labels {
    /// Its name.
    pub orkuid: String,
    /// Who was on it.
    pub local: String,
    /// The other party.
    pub remote: String,
    /// When it began, as of RFC 3339.
    pub date: String,
    /// The tape message in the URL form, which holds everything.
    pub message: String,
}

impl Labels {
    /// Those of a message; `date` is in the calendar of the recorder.
    #[must_use]
    pub fn of(message: &TapeMessage, date: &str) -> Self {
        Self {
            orkuid: message.recid.clone(),
            local: message.localparty.clone(),
            remote: message.remoteparty.clone(),
            date: date.to_owned(),
            message: url::encode(&message.fields()),
        }
    }

    /// Those of a WAV file.
    #[must_use]
    pub fn read(info: &[([u8; 4], String)]) -> Self {
        let text = |wanted: &[u8; 4]| {
            let found = info.iter().find(|(id, _)| id == wanted);
            found.map(|(_, text)| text.clone()).unwrap_or_default()
        };
        Self {
            orkuid: text(b"INAM"),
            local: text(b"IART"),
            remote: text(b"ISBJ"),
            date: text(b"ICRD"),
            message: text(b"ICMT"),
        }
    }

    /// For `LIST INFO`.
    #[must_use]
    pub fn info(&self) -> [(&[u8; 4], &str); 6] {
        [
            (b"INAM", self.orkuid.as_str()),
            (b"IART", &self.local),
            (b"ISBJ", &self.remote),
            (b"ICRD", &self.date),
            (b"ISFT", SOFTWARE),
            (b"ICMT", &self.message),
        ]
    }

    /// The message, if there is one.
    #[must_use]
    pub fn message(&self) -> Option<TapeMessage> {
        TapeMessage::from_pairs(&url::decode(self.message.as_bytes()).ok()?).ok()
    }

    /// Names that people look for, and the field each comes from; without those that are empty.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, String)> {
        let message = self.message();
        let of = |field: fn(&TapeMessage) -> &str| {
            message.as_ref().map(field).unwrap_or_default().to_owned()
        };
        let all = [
            ("TITLE", self.orkuid.clone()),
            ("ARTIST", self.local.clone()),
            ("DATE", self.date.clone()),
            ("ORKUID", self.orkuid.clone()),
            ("LOCALPARTY", self.local.clone()),
            ("REMOTEPARTY", self.remote.clone()),
            ("DIRECTION", of(|message| message.direction.as_str())),
            ("NATIVECALLID", of(|message| &message.nativecallid)),
            ("ENCODER", SOFTWARE.to_owned()),
            ("COMMENT", self.message.clone()),
        ];
        all.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }
}
