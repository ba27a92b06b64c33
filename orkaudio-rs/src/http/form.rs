//! The form of an answer: XML as ever, one line, or JSON.

use hyper::{
    header::{self, HeaderValue},
    http::request::Parts,
};
use orkbase::message::{Fields, single_line, xml};
use serde_json::{Map, Value};

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Xml,
    SingleLine,
    Json,
}

impl Form {
    /// `text/single-line` anywhere in the request, then JSON if accepted, then XML.
    pub(super) fn wanted(parts: &Parts) -> Self {
        const SINGLE_LINE: &[u8] = b"text/single-line";
        let mentions = |text: &[u8]| {
            text.windows(SINGLE_LINE.len()).any(|part| part.eq_ignore_ascii_case(SINGLE_LINE))
        };
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        if mentions(target.as_bytes()) || parts.headers.values().any(|v| mentions(v.as_bytes())) {
            return Self::SingleLine;
        }
        let json = |value: &HeaderValue| {
            value.to_str().is_ok_and(|v| v.to_ascii_lowercase().contains("application/json"))
        };
        if parts.headers.get_all(header::ACCEPT).iter().any(json) { Self::Json } else { Self::Xml }
    }

    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Xml => "text/xml",
            Self::SingleLine => "text/single-line",
            Self::Json => "application/json",
        }
    }

    pub(super) fn encode(self, fields: &Fields) -> String {
        match self {
            Self::Xml => xml::encode(fields),
            Self::SingleLine => single_line::encode(fields),
            Self::Json => json(fields).to_string(),
        }
    }
}

fn json(fields: &Fields) -> Value {
    let value = |key: &str, text: &str| match (key, text) {
        ("success", "true") => Value::Bool(true),
        ("success", "false") => Value::Bool(false),
        (_, text) => Value::String(text.to_owned()),
    };
    Value::Object(fields.iter().map(|(k, v)| (k.to_owned(), value(k, v))).collect::<Map<_, _>>())
}
