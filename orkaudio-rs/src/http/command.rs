//! Port 59140: what an operator or the tracker asks of live recordings.
//!
//! Law: the words and bodies are the original's; so is `success=true` when nothing matched, which is
//! why the number of matches is in the header `X-Matched`. What the original gets wrong is not
//! repeated: the answer's form depends on this request alone, parameters come in any order, in the
//! URL or in a form, and a request may arrive in any number of pieces.

use super::{
    Busy, Desk,
    entrance::Seat,
    errand::{self, Errand},
    form::Form,
    pages::{self, Page},
    verb::{Selectors, Verb, tags},
};
use crate::{
    audit::Entry,
    gate::{Caller, Denied, Gate, Head, Right, Who},
};
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
    call::command::{Reply, Retention},
    message::{
        Fields, Message, Pairs, TooBig,
        response::SimpleResponse,
        tape::KeepSide,
        url::{self, encode_value},
    },
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::timeout;

/// Longest form body.
const MAX_BODY: usize = 64 << 10;
/// What is said of a licence.
const LICENCE: &str = "License info: none is needed, nothing is limited valid:true";
/// How much of an unknown command's name is repeated in the answer.
const MAX_ECHO: usize = 64;

/// Commands that only tell something everybody may know: not worth a line of the audit.
pub(super) const HARMLESS: [&str; 4] =
    ["ping", "orkaudioversion", "listloggingconfig", "loadlicensefile"];
/// Messages of the protocol that are no requests to a recorder.
const SILENT: [&str; 4] = ["tape", "init", "taperesponse", "simpleresponse"];

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

impl From<Denied> for Refusal {
    fn from(why: Denied) -> Self {
        Self { status: why.status(), why: why.to_string() }
    }
}

/// An answer, and what came of the request.
struct Done {
    response: Response<Full<Bytes>>,
    matched: Option<u32>,
    success: bool,
}

impl Done {
    fn new(form: Form, fields: &Fields, success: bool) -> Self {
        let response = respond(StatusCode::OK, form.content_type(), form.encode(fields));
        Self { response, matched: None, success }
    }
}

/// What fails in a body, whatever it is made of.
type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Answers requests.
pub(super) struct Clerk<'a, D> {
    pub(super) desk: &'a D,
    /// Who may ask what.
    pub(super) gate: &'a Gate,
    /// Who asks.
    pub(super) caller: Caller,
    /// His place; his own as soon as all of his request is there.
    pub(super) seat: &'a Seat,
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
        let answer = match Page::at(parts.uri.path()) {
            Some(page) => {
                self.seat.serve(true);
                self.page(page, &parts, doors)
            }
            None => self.command(&parts, body).await,
        };
        let refusal = match answer {
            Ok(response) => return response,
            Err(refusal) => refusal,
        };
        let body = format!("Error\r\n{}\r\n", refusal.why);
        let mut response = respond(refusal.status, "text/html", body);
        if refusal.status == StatusCode::NOT_FOUND {
            response.extensions_mut().insert(ReasonPhrase::from_static(b"not found"));
        }
        if refusal.status == StatusCode::UNAUTHORIZED {
            let bearer = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
        }
        response
    }

    /// What there is to see of the recorder itself.
    fn page(
        &self,
        page: Page,
        parts: &Parts,
        doors: impl FnOnce() -> Value,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        if !page.is_public() {
            let query = parts.uri.query().unwrap_or_default();
            let pairs = url::decode(query.as_bytes()).unwrap_or_default();
            self.pass(parts, &pairs, Right::Read)?;
        }
        let status = || {
            let mut status = self.desk.status();
            if let Value::Object(map) = &mut status {
                map.entry("http").or_insert_with(doors);
            }
            status
        };
        Ok(match page {
            Page::Health => respond(StatusCode::OK, "text/plain", "ok\n".to_owned()),
            Page::Ready => {
                let problems = self.desk.problems();
                let ready = problems.is_empty();
                let body = json!({ "ready": ready, "problems": problems });
                let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                respond(status, "application/json", format!("{body}\n"))
            }
            Page::Status => respond(StatusCode::OK, "application/json", format!("{}\n", status())),
            Page::Metrics => {
                const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";
                respond(StatusCode::OK, KIND, pages::metrics(&status()))
            }
            Page::Description => {
                respond(StatusCode::OK, "application/json", pages::DESCRIPTION.to_owned())
            }
        })
    }

    fn pass(&self, parts: &Parts, pairs: &Pairs, right: Right) -> Result<Who, Denied> {
        let token = pairs.first("token").unwrap_or_default();
        self.gate.pass(self.caller, &Head::of(&parts.headers), token, right)
    }

    /// Does what is asked, and has it written down.
    async fn command<B>(&self, parts: &Parts, body: B) -> Result<Response<Full<Bytes>>, Refusal>
    where
        B: Body<Error: Into<BodyError>>,
    {
        let pairs = self.pairs(parts, body).await?;
        self.seat.serve(true);
        let named = class(&pairs);
        let mut by = None;
        let done = match &named {
            Ok(class) => {
                match right(class).map(|right| self.pass(parts, &pairs, right)).transpose() {
                    Ok(who) => {
                        by = who.flatten();
                        self.carry_out(class, &pairs, Form::wanted(parts)).await
                    }
                    Err(denied) => Err(denied.into()),
                }
            }
            Err(why) => Err(Refusal::not_found(why.as_str())),
        };
        let class = named.as_deref().unwrap_or_default();
        if !HARMLESS.contains(&class) {
            let (status, matched, success) = match &done {
                Ok(done) => (StatusCode::OK, done.matched, done.success),
                Err(refusal) => (refusal.status, None, false),
            };
            self.desk.audit(&Entry {
                from: Some(self.caller.from),
                by: by.as_deref(),
                method: parts.method.as_str(),
                command: class,
                pairs: &pairs,
                status: status.as_u16(),
                success,
                matched,
            });
        }
        done.map(|done| done.response)
    }

    async fn carry_out(&self, class: &str, pairs: &Pairs, form: Form) -> Result<Done, Refusal> {
        if let Some(verb) = Verb::read(class) {
            return self.about_recording(verb, pairs, form).await;
        }
        if let Some(errand) = Errand::read(class, pairs) {
            let answer = self.desk.errand(errand.map_err(Refusal::not_found)?).await;
            return Ok(Done::new(form, &answer.fields(), answer.success));
        }
        let fields = match class {
            "ping" => SimpleResponse::bare(true).fields(),
            "orkaudioversion" => {
                SimpleResponse::done("").fields().with("version", env!("CARGO_PKG_VERSION"))
            }
            // Nothing here needs one; who asks wants to hear that recording goes on.
            "loadlicensefile" => SimpleResponse::done(LICENCE).fields(),
            "capture" => return capture(pairs, form),
            silent if SILENT.contains(&silent) => {
                let why = format!("Command does not return a response:{silent}");
                return Err(Refusal::not_found(why));
            }
            // `deletetape`, `tcpping` and `crash` too: they delete any file, probe any host, or crash.
            unknown => {
                let name = printable(unknown);
                return Err(Refusal::not_found(format!("Command not found:{name}")));
            }
        };
        Ok(Done::new(form, &fields, true))
    }

    async fn about_recording(
        &self,
        verb: Verb,
        pairs: &Pairs,
        form: Form,
    ) -> Result<Done, Refusal> {
        if verb == Verb::Tag && tags(pairs).is_empty() {
            let why = "Serializer::GetString: required parameter missing:tagtype";
            return Err(Refusal::not_found(why));
        }
        let selectors = Selectors::read(pairs);
        let side = match KeepSide::read(pairs.first("side").unwrap_or_default()) {
            KeepSide::Invalid => KeepSide::Both,
            side @ (KeepSide::Both | KeepSide::Local | KeepSide::Remote | KeepSide::None) => side,
        };
        let reply = match selectors.target() {
            None => Reply::default(),
            Some(target) => {
                let command = verb.command(target, side, pairs);
                let reply = timeout(self.patience, self.desk.command(command)).await;
                reply.unwrap_or(Err(Busy)).map_err(|busy| Refusal {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    why: busy.to_string(),
                })?
            }
        };
        let mut comment = selectors.comment(verb, side, &reply);
        if let Some(why) = reply.refused {
            comment = format!("{comment} refused: {why}");
        }
        let success = reply.refused.is_none();
        let fields = SimpleResponse { success, comment: Some(comment) }.fields();
        let mut done = Done::new(form, &fields, success);
        done.matched = Some(reply.matched);
        done.response.headers_mut().insert("x-matched", HeaderValue::from(reply.matched));
        Ok(done)
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
fn class(pairs: &Pairs) -> Result<String, String> {
    if let Some(class) = pairs.first("type") {
        return Ok(class.to_ascii_lowercase());
    }
    let first = pairs.iter().next().map_or("", |(_, value)| value).to_ascii_lowercase();
    let named = first.as_str();
    let known = Verb::read(named).is_some()
        || HARMLESS.contains(&named)
        || named == "capture"
        || errand::CLASSES.contains(&named)
        || SILENT.contains(&named);
    Err(if known {
        "Serializer::GetString: required parameter missing:type".to_owned()
    } else {
        format!("Command not found:{}", printable(named))
    })
}

/// What a command wants; nothing to be greeted, and for what there is not.
fn right(class: &str) -> Option<Right> {
    match Verb::read(class) {
        Some(Verb::Flag(Retention::Discard)) => Some(Right::Discard),
        Some(_) => Some(Right::Control),
        None if class == "unpin" => Some(Right::Discard),
        None if class == "listloggingconfig" => Some(Right::Read),
        None if errand::CLASSES.contains(&class) || class == "capture" => Some(Right::Control),
        None => None,
    }
}

/// `capture` has never done anything but answer.
fn capture(pairs: &Pairs, form: Form) -> Result<Done, Refusal> {
    for key in ["captureport", "state"] {
        if pairs.first(key).is_none() {
            let why = format!("Serializer::GetString: required parameter missing:{key}");
            return Err(Refusal::not_found(why));
        }
    }
    let state = pairs.first("state").unwrap_or_default();
    Ok(if ["start", "stop"].contains(&state) {
        Done::new(form, &SimpleResponse::done("").fields(), true)
    } else {
        let why = "state needs to be start or stop";
        Done::new(form, &SimpleResponse::failed(why).fields(), false)
    })
}

/// A stranger's word in an answer of type text/html: escaped and short.
pub(super) fn printable(word: &str) -> String {
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
    fn a_strangers_word_is_escaped_and_short() {
        assert_eq!(printable("<b>é"), "%3Cb%3E%C3%A9");
        assert!(printable(&"<".repeat(1000)).len() < 70);
    }
}
