//! Port 59140: what an operator or the tracker asks of live recordings.
//!
//! Law: the words and bodies are the original's; so is `success=true` when nothing matched, which is
//! why the number of matches is in the header `X-Matched`. What the original gets wrong is not
//! repeated: the answer's form depends on this request alone, parameters come in any order, in the
//! URL or in a form, and a request may arrive in any number of pieces.

use super::{Busy, Desk};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Body,
    ext::ReasonPhrase,
    header::{self, HeaderValue},
    http::request::Parts,
};
use orkbase::{
    call::command::{Command, Quality, Reply, Target},
    ids::OrkUid,
    message::{
        Fields, Message, Pairs, TooBig,
        response::SimpleResponse,
        single_line,
        tape::KeepSide,
        url::{self, encode_value},
        xml,
    },
};
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::timeout;

/// Longest form body.
const MAX_BODY: usize = 64 << 10;
/// How much of an unknown command's name is repeated in the answer.
const MAX_ECHO: usize = 64;

/// Messages of the protocol that are no requests to a recorder.
const SILENT: [&str; 4] = ["tape", "init", "taperesponse", "simpleresponse"];

/// The form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Xml,
    SingleLine,
    Json,
}

impl Form {
    /// `text/single-line` anywhere in the request, then JSON if accepted, then XML.
    fn wanted(parts: &Parts) -> Self {
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

    const fn content_type(self) -> &'static str {
        match self {
            Self::Xml => "text/xml",
            Self::SingleLine => "text/single-line",
            Self::Json => "application/json",
        }
    }

    fn encode(self, fields: &Fields) -> String {
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

/// What is asked of recordings.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verb {
    Record,
    Pause,
    Stop,
}

impl Verb {
    /// `resume` is ours: the original resumes by `record` only.
    fn read(class: &str) -> Option<Self> {
        match class {
            "record" | "resume" => Some(Self::Record),
            "pause" => Some(Self::Pause),
            "stop" => Some(Self::Stop),
            _ => None,
        }
    }
}

/// The selectors as they came, for the comment repeats them.
struct Selectors<'a> {
    party: &'a str,
    orkuid: &'a str,
    nativecallid: &'a str,
}

impl<'a> Selectors<'a> {
    fn read(pairs: &'a Pairs) -> Self {
        let text = |key| pairs.first(key).unwrap_or_default();
        Self { party: text("party"), orkuid: text("orkuid"), nativecallid: text("nativecallid") }
    }

    /// The first that is not empty counts. An orkuid that can be none selects nothing.
    fn target(&self) -> Option<Target> {
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
    fn comment(&self, verb: Verb, side: KeepSide, reply: &Reply) -> String {
        let found = reply.orkuid.as_ref().map_or(self.orkuid, OrkUid::as_str);
        let (what, tail) = match verb {
            Verb::Record => ("Starting", format!(" side:{}", side.as_str())),
            Verb::Pause => ("Pausing", String::new()),
            Verb::Stop if reply.matched == 0 => ("Stopping", " ".to_owned()),
            Verb::Stop => ("Stopping", format!(" {}", quality(&reply.quality))),
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

/// An answer that is none: what the original says with status 404.
struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    fn not_found(why: impl Into<String>) -> Self {
        Self { status: StatusCode::NOT_FOUND, why: why.into() }
    }
}

/// What fails in a body, whatever it is made of.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Answers requests.
pub(super) struct Clerk<'a, D> {
    pub(super) desk: &'a D,
    /// How long a body may take, and how long the engine may.
    pub(super) patience: Duration,
}

impl<D: Desk> Clerk<'_, D> {
    /// Answers one request; `doors` are this module's own numbers for the status.
    pub(super) async fn answer<B>(
        &self,
        doors: impl FnOnce() -> Value,
        request: Request<B>,
    ) -> Response<Full<Bytes>>
    where
        B: Body<Error: Into<BodyError>>,
    {
        let (parts, body) = request.into_parts();
        match parts.uri.path() {
            "/healthz" => return respond(StatusCode::OK, "text/plain", "ok\n".to_owned()),
            "/api/status" => {
                let mut status = self.desk.status();
                if let Value::Object(map) = &mut status {
                    map.entry("http").or_insert_with(doors);
                }
                return respond(StatusCode::OK, "application/json", format!("{status}\n"));
            }
            _ => {}
        }
        let refusal = match self.command(&parts, body).await {
            Ok(response) => return response,
            Err(refusal) => refusal,
        };
        let body = format!("Error\r\n{}\r\n", refusal.why);
        let mut response = respond(refusal.status, "text/html", body);
        if refusal.status == StatusCode::NOT_FOUND {
            response.extensions_mut().insert(ReasonPhrase::from_static(b"not found"));
        }
        response
    }

    async fn command<B>(&self, parts: &Parts, body: B) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Error: Into<BodyError>>,
    {
        let pairs = self.pairs(parts, body).await?;
        let class = class(&pairs)?;
        let form = Form::wanted(parts);
        let fields = match (class.as_str(), Verb::read(&class)) {
            (_, Some(verb)) => return self.record_pause_stop(verb, &pairs, form).await,
            ("ping", _) => SimpleResponse::bare(true).fields(),
            ("orkaudioversion", _) => {
                SimpleResponse::done("").fields().with("version", env!("CARGO_PKG_VERSION"))
            }
            (silent, _) if SILENT.contains(&silent) => {
                let why = format!("Command does not return a response:{silent}");
                return Err(Refusal::not_found(why));
            }
            (unknown, _) => {
                let name = printable(unknown);
                return Err(Refusal::not_found(format!("Command not found:{name}")));
            }
        };
        Ok(respond(StatusCode::OK, form.content_type(), form.encode(&fields)))
    }

    async fn record_pause_stop(
        &self,
        verb: Verb,
        pairs: &Pairs,
        form: Form,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let selectors = Selectors::read(pairs);
        let side = match KeepSide::read(pairs.first("side").unwrap_or_default()) {
            KeepSide::Invalid => KeepSide::Both,
            side @ (KeepSide::Both | KeepSide::Local | KeepSide::Remote | KeepSide::None) => side,
        };
        let reply = match selectors.target() {
            None => Reply::default(),
            Some(target) => {
                let command = match verb {
                    Verb::Record => Command::Record(target, side),
                    Verb::Pause => Command::Pause(target),
                    Verb::Stop => Command::Stop(target),
                };
                let reply = timeout(self.patience, self.desk.command(command)).await;
                reply.unwrap_or(Err(Busy)).map_err(|busy| Refusal {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    why: busy.to_string(),
                })?
            }
        };
        let fields = SimpleResponse::done(selectors.comment(verb, side, &reply)).fields();
        let mut response = respond(StatusCode::OK, form.content_type(), form.encode(&fields));
        response.headers_mut().insert("x-matched", HeaderValue::from(reply.matched));
        Ok(response)
    }

    /// The parameters: those in the URL, then those of a form. The path does not matter, except that
    /// a URL without `?` may be nothing but parameters, as in `/type=ping`.
    async fn pairs<B>(&self, parts: &Parts, body: B) -> Result<Pairs, Refusal>
    where
        B: Body<Error: Into<BodyError>>,
    {
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        if !target.bytes().all(|byte| (33..127).contains(&byte)) {
            return Err(Refusal::not_found("Malformed command URL with invalid character(s)"));
        }
        let bare = parts.uri.path().trim_start_matches('/');
        let query = parts.uri.query().unwrap_or(if bare.contains('=') { bare } else { "" });
        let too_big = |why: TooBig| Refusal::not_found(why.to_string());
        let mut pairs = url::decode(query.as_bytes()).map_err(too_big)?;
        if parts.method == Method::POST && is_form(&parts.headers) {
            let read = timeout(self.patience, Limited::new(body, MAX_BODY).collect()).await;
            let read = read.map_err(|_| Refusal {
                status: StatusCode::REQUEST_TIMEOUT,
                why: "Request body incomplete".to_owned(),
            })?;
            let body = read.map_err(|_| Refusal {
                status: StatusCode::PAYLOAD_TOO_LARGE,
                why: format!("Request body broken off or longer than {MAX_BODY} bytes"),
            })?;
            let form = url::decode(&body.to_bytes()).map_err(too_big)?;
            for (key, value) in form.iter() {
                pairs.push(key.to_owned(), value.to_owned()).map_err(too_big)?;
            }
        }
        Ok(pairs)
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_none_or(|kind| {
        kind.to_str().is_ok_and(|kind| {
            kind.trim().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded")
        })
    })
}

/// The command's name in lower case. Without `type` the original takes the first value, whatever
/// its key, and then misses `type` if it knows the command.
fn class(pairs: &Pairs) -> Result<String, Refusal> {
    if let Some(class) = pairs.first("type") {
        return Ok(class.to_ascii_lowercase());
    }
    let first = pairs.iter().next().map_or("", |(_, value)| value).to_ascii_lowercase();
    let known = Verb::read(&first).is_some()
        || ["ping", "orkaudioversion"].contains(&first.as_str())
        || SILENT.contains(&first.as_str());
    Err(Refusal::not_found(if known {
        "Serializer::GetString: required parameter missing:type".to_owned()
    } else {
        format!("Command not found:{}", printable(&first))
    }))
}

/// A stranger's word in an answer of type text/html: escaped and short.
fn printable(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars() {
        if out.len() >= MAX_ECHO {
            break;
        }
        encode_value(c.encode_utf8(&mut [0; 4]), &mut out);
    }
    out
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_strangers_word_is_escaped_and_short() {
        assert_eq!(printable("<b>é"), "%3Cb%3E%C3%A9");
        assert!(printable(&"<".repeat(1000)).len() < 70);
    }
}
