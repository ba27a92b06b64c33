//! Answers of the Oreka API: one class word, fields in the published order, in the form asked for.

use crate::http::{Reply, with_type};
use hyper::{
    StatusCode,
    header::{ACCEPT, HeaderName, HeaderValue, RETRY_AFTER},
    http::request::Parts,
};
use orkbase::message::{Fields, Message, single_line, words::bool_str, xml};

/// Tells what became of a message.
const STORED: HeaderName = HeaderName::from_static("x-ork-stored");
/// Tells whether the recorder heard of it, too.
const RECORDER: HeaderName = HeaderName::from_static("x-ork-recorder");
/// The status that the answer would have if the API did not demand 200.
const STATUS: HeaderName = HeaderName::from_static("x-ork-status");
/// Keys whose values are booleans in JSON.
const BOOLEANS: [&str; 4] = ["success", "deletetape", "wanted", "active"];

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    SingleLine,
    Json,
    Xml,
}

impl Form {
    /// The first form that `Accept` names; the published one if it names none.
    pub(super) fn wanted(head: &Parts) -> Self {
        let accepts = head.headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        for kind in accepts.flat_map(|accept| accept.split(',')) {
            let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            match kind.as_str() {
                "application/json" => return Self::Json,
                "text/xml" | "application/xml" => return Self::Xml,
                "text/plain" | "text/single-line" => return Self::SingleLine,
                _ => {}
            }
        }
        Self::SingleLine
    }
}

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    class: &'static str,
    fields: Fields,
    /// The status that fits.
    honest: StatusCode,
    /// The status that is sent.
    sent: StatusCode,
    stored: Option<&'static str>,
    recorder: Option<&'static str>,
}

impl Answer {
    /// An answer of this class.
    pub(super) const fn new(class: &'static str, fields: Fields) -> Self {
        let (honest, sent) = (StatusCode::OK, StatusCode::OK);
        Self { class, fields, honest, sent, stored: None, recorder: None }
    }

    /// A message of the catalogue.
    pub(super) fn of<M: Message>(message: &M) -> Self {
        Self::new(M::CLASS, message.fields())
    }

    /// `simpleresponse`: done.
    pub(super) fn done(comment: impl Into<String>) -> Self {
        let fields = Fields::new().with("success", bool_str(true)).with("comment", comment);
        Self::new("simpleresponse", fields)
    }

    /// `simpleresponse`: not done.
    pub(super) fn failed(honest: StatusCode, comment: impl Into<String>) -> Self {
        let fields = Fields::new().with("success", bool_str(false)).with("comment", comment);
        Self { honest, ..Self::new("simpleresponse", fields) }
    }

    /// Done, with a return code, in the published order of `userresponse` and `groupresponse`.
    pub(super) fn coded(class: &'static str, code: Option<(&str, StatusCode)>) -> Self {
        let fields = Fields::new().with("success", bool_str(code.is_none()));
        match code {
            None => Self::new(class, fields.with("comment", "").with("returncode", "NO_ERROR")),
            Some((code, honest)) => {
                let comment = format!("Error: {code}");
                let fields = fields.with("comment", comment).with("returncode", code);
                Self { honest, ..Self::new(class, fields) }
            }
        }
    }

    /// The database did not take it; it may be sent again.
    pub(super) fn not_stored(mut self) -> Self {
        self.honest = StatusCode::SERVICE_UNAVAILABLE;
        self.sent = StatusCode::SERVICE_UNAVAILABLE;
        self
    }

    /// What became of a message.
    pub(super) const fn stored(mut self, word: &'static str) -> Self {
        self.stored = Some(word);
        self
    }

    /// Whether the recorder was told (`told`), does not know the command (`unknown`), or has not heard it
    /// (`unreachable`).
    pub(super) const fn recorder(mut self, word: &'static str) -> Self {
        self.recorder = Some(word);
        self
    }

    /// Whether the request could never succeed.
    pub(super) fn is_refusal(&self) -> bool {
        self.stored == Some("refused")
    }

    /// Whether it says success, and if not, why.
    pub(super) fn verdict(&self) -> (bool, String) {
        let value = |wanted: &str| {
            self.fields.iter().find(|(key, _)| *key == wanted).map_or("", |(_, value)| value)
        };
        (value("success") == "true", value("comment").to_owned())
    }

    /// The answer as bytes.
    pub(super) fn into_reply(self, form: Form) -> Reply {
        let (kind, body) = match form {
            Form::SingleLine => ("text/plain; charset=utf-8", self.line()),
            Form::Json => ("application/json", self.json()),
            Form::Xml => ("text/xml; charset=utf-8", xml::encode(&self.fields) + "\n"),
        };
        let mut reply = with_type(self.sent, kind, body);
        let headers = reply.headers_mut();
        headers.insert(STATUS, HeaderValue::from(self.honest.as_u16()));
        if let Some(stored) = self.stored {
            headers.insert(STORED, HeaderValue::from_static(stored));
        }
        if let Some(recorder) = self.recorder {
            headers.insert(RECORDER, HeaderValue::from_static(recorder));
        }
        if self.sent == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
        }
        reply
    }

    fn line(&self) -> String {
        let class = single_line::encode(&Fields::new().with("class", self.class));
        class + &single_line::encode(&self.fields) + "\n"
    }

    fn json(&self) -> String {
        let mut object = serde_json::Map::new();
        object.insert("class".to_owned(), self.class.into());
        for (key, text) in self.fields.iter() {
            let value = if BOOLEANS.contains(&key) { (text == "true").into() } else { text.into() };
            object.insert(key.to_owned(), value);
        }
        format!("{}\n", serde_json::Value::Object(object))
    }
}
