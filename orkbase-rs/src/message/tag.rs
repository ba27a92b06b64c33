//! `addtag`: something about a moment of a recording, for example a digit that was pressed.

use super::pairs::{FieldError, Fields, Message, Pairs};

/// Latest offset accepted, in milliseconds: a hundred days.
pub const MAX_OFFSET_MS: u64 = 100 * 86_400_000;
/// Tag type of a digit: one of `0` to `9`, `*`, `#`, `A` to `D`, or `flash`.
pub const DTMF_DIGIT: &str = "dtmfdigit";

/// A tag of a recording: six fields on the wire, `type=addtag` first, in this order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AddTagMessage {
    /// The monitored party; may be empty.
    pub localparty: String,
    /// The recording's name; never empty.
    pub orkuid: String,
    /// What kind of tag; never empty.
    pub tagtype: String,
    /// What it says.
    pub tagtext: String,
    /// Where on the recording, in milliseconds from its start.
    pub offsetmsec: u64,
}

impl AddTagMessage {
    /// Reads a message. Required: `orkuid` and `tagtype` (not empty) and `tagtext`.
    ///
    /// # Errors
    /// The first field that is missing or cannot be read.
    pub fn from_pairs(pairs: &Pairs) -> Result<Self, FieldError> {
        let filled = |key| match pairs.required(key)? {
            "" => Err(FieldError::Missing(key)),
            text => Ok(text.to_owned()),
        };
        Ok(Self {
            localparty: pairs.text("localparty"),
            orkuid: filled("orkuid")?,
            tagtype: filled("tagtype")?,
            tagtext: pairs.required("tagtext")?.to_owned(),
            offsetmsec: pairs.number("offsetmsec", MAX_OFFSET_MS)?,
        })
    }
}

impl Message for AddTagMessage {
    const CLASS: &'static str = "addtag";

    fn fields(&self) -> Fields {
        Fields::new()
            .with("type", Self::CLASS)
            .with("localparty", self.localparty.as_str())
            .with("orkuid", self.orkuid.as_str())
            .with("tagtype", self.tagtype.as_str())
            .with("tagtext", self.tagtext.as_str())
            .with("offsetmsec", self.offsetmsec.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::url;

    fn read(text: &str) -> Result<AddTagMessage, FieldError> {
        AddTagMessage::from_pairs(&url::decode(text.as_bytes()).unwrap_or_default())
    }

    #[test]
    fn as_published() {
        let golden = "type=addtag&localparty=&orkuid=20140127_114145_AAAB&tagtype=dtmfdigit\
                      &tagtext=0&offsetmsec=20006&";
        let tag = AddTagMessage {
            localparty: String::new(),
            orkuid: "20140127_114145_AAAB".to_owned(),
            tagtype: DTMF_DIGIT.to_owned(),
            tagtext: "0".to_owned(),
            offsetmsec: 20_006,
        };
        assert_eq!(url::encode(&tag.fields()), golden);
        assert_eq!(read(golden), Ok(tag.clone()));
        let pound = AddTagMessage { tagtext: "#".to_owned(), ..tag };
        assert_eq!(read(&url::encode(&pound.fields())), Ok(pound));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let missing = |text: &str, key| assert_eq!(read(text), Err(FieldError::Missing(key)));
        missing("tagtype=a&tagtext=b", "orkuid");
        missing("orkuid=&tagtype=a&tagtext=b", "orkuid");
        missing("orkuid=x&tagtext=b", "tagtype");
        missing("orkuid=x&tagtype=a", "tagtext");
        assert!(read("orkuid=x&tagtype=a&tagtext=&offsetmsec=-1").is_err());
        assert_eq!(read("orkuid=x&tagtype=a&tagtext=").map(|tag| tag.offsetmsec), Ok(0));
    }
}
