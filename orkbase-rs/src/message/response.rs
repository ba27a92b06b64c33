//! The answers: `simpleresponse` to most requests, `taperesponse` to `tape`.

use super::pairs::{FieldError, Fields, Message, Pairs};
use super::words::bool_str;

/// Did it work, and what is there to say.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SimpleResponse {
    /// Whether the request was carried out.
    pub success: bool,
    /// The comment; `None` leaves the field out, as the recorder's answer to `ping` does.
    pub comment: Option<String>,
}

impl SimpleResponse {
    /// It worked.
    #[must_use]
    pub fn done(comment: impl Into<String>) -> Self {
        Self { success: true, comment: Some(comment.into()) }
    }

    /// It did not, and this is why.
    #[must_use]
    pub fn failed(comment: impl Into<String>) -> Self {
        Self { success: false, comment: Some(comment.into()) }
    }

    /// An answer without a comment field.
    #[must_use]
    pub const fn bare(success: bool) -> Self {
        Self { success, comment: None }
    }

    /// Reads an answer; no key is required and `success` defaults to false.
    ///
    /// # Errors
    /// A `success` that is not a boolean.
    pub fn from_pairs(pairs: &Pairs) -> Result<Self, FieldError> {
        Ok(Self {
            success: pairs.boolean("success", false)?,
            comment: pairs.first("comment").map(str::to_owned),
        })
    }
}

impl Message for SimpleResponse {
    const CLASS: &'static str = "simpleresponse";

    fn fields(&self) -> Fields {
        let fields = Fields::new().with("success", bool_str(self.success));
        match &self.comment {
            Some(comment) => fields.with("comment", comment.as_str()),
            None => fields,
        }
    }
}

/// The tracker's answer to a `tape` message.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TapeResponse {
    /// Whether the message was taken.
    pub success: bool,
    /// What there is to say.
    pub comment: String,
    /// At stage `ready`: the recorder must delete the recording, no program keeps it.
    pub deletetape: bool,
}

impl TapeResponse {
    /// Reads an answer; no key is required and both booleans default to false.
    ///
    /// # Errors
    /// A `success` or `deletetape` that is not a boolean.
    pub fn from_pairs(pairs: &Pairs) -> Result<Self, FieldError> {
        Ok(Self {
            success: pairs.boolean("success", false)?,
            comment: pairs.text("comment"),
            deletetape: pairs.boolean("deletetape", false)?,
        })
    }
}

impl Message for TapeResponse {
    const CLASS: &'static str = "taperesponse";

    fn fields(&self) -> Fields {
        Fields::new()
            .with("success", bool_str(self.success))
            .with("comment", self.comment.as_str())
            .with("deletetape", bool_str(self.deletetape))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::single_line;

    #[test]
    fn answers_come_back() {
        let delete =
            TapeResponse { success: true, comment: "no = program".into(), deletetape: true };
        let pairs = single_line::decode(single_line::encode_reply(&delete).as_bytes()).unwrap();
        assert_eq!(TapeResponse::from_pairs(&pairs), Ok(delete));
        let failed = SimpleResponse::failed("nothing: 100% lost");
        let pairs = single_line::decode(single_line::encode_reply(&failed).as_bytes()).unwrap();
        assert_eq!(SimpleResponse::from_pairs(&pairs), Ok(failed));
        assert_eq!(TapeResponse::from_pairs(&Pairs::default()), Ok(TapeResponse::default()));
    }
}
