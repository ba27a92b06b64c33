//! From a SIP message to the fact it states (RFC 3261, 3264, 3515, 6086).

use super::{
    Message, Method, NameAddr, Reason, Sdp, StartLine,
    sdp::{MediaDirection, MediaKind, Proto},
    text,
};
use crate::signal::{
    Fact, Flow, Format, Media, Name, Offer, Remarks, SdesKey, Security, Signal, Speaker,
};
use std::net::SocketAddr;

/// A Call-ID is cut to this many bytes.
const CALL_ID_BYTES: usize = 256;
/// Values of configured headers are cut to this many characters.
const HEADER_CHARS: usize = 256;

/// The fact a message states about a call; `None` for what concerns no call (REGISTER, OPTIONS, 100
/// Trying, ..). `headers` names the headers whose values are wanted.
#[must_use]
pub fn read(
    message: &Message<'_>,
    source: SocketAddr,
    destination: SocketAddr,
    headers: &[String],
) -> Option<Signal> {
    let call = call_name(message)?;
    let from = message.from()?;
    let to = message.to();
    let (answering, fact) = match &message.start {
        StartLine::Request { method, uri } => {
            (false, request(message, *method, uri, to.as_ref(), headers)?)
        }
        StartLine::Response { code, .. } => (true, response(message, *code)?),
    };
    let opener = from.tag.map(|tag| String::from_utf8_lossy(tag).into_owned()).unwrap_or_default();
    Some(Signal {
        call,
        source,
        destination,
        speaker: Speaker { opener, answering },
        from: name(&from),
        to: to.as_ref().map(name).unwrap_or_default(),
        remarks: Remarks {
            agent: message.user_agent().unwrap_or_default(),
            cause: message.reason().map(|reason| cause(&reason)),
        },
        fact,
    })
}

/// The name of the call that a message is about.
#[must_use]
pub fn call_name(message: &Message<'_>) -> Option<String> {
    let call = message.call_id().filter(|id| !id.is_empty())?;
    let call = call.get(..CALL_ID_BYTES).unwrap_or(call);
    Some(String::from_utf8_lossy(call).chars().filter(|c| !c.is_control()).collect())
}

/// `Q.850 16 Normal call clearing`
fn cause(reason: &Reason<'_>) -> String {
    let mut words = vec![text::clean(reason.protocol, 32)];
    words.extend(reason.cause.map(|code| code.to_string()));
    words.extend(reason.text.as_deref().map(str::to_owned));
    words.join(" ")
}

fn request(
    message: &Message<'_>,
    method: Method,
    uri: &super::Uri<'_>,
    to: Option<&NameAddr<'_>>,
    headers: &[String],
) -> Option<Fact> {
    match method {
        Method::Invite => {
            let asserted = message.asserted_identity().or_else(|| message.remote_party_id());
            let wanted = |key: &String| {
                let value: String = message.header_text(key)?.chars().take(HEADER_CHARS).collect();
                Some((key.clone(), value))
            };
            Some(Fact::Offered(Box::new(Offer {
                initial: to.is_none_or(|to| to.tag.is_none()),
                request: Name {
                    user: uri.user_text(),
                    host: uri.host_text(),
                    display: String::new(),
                },
                asserted: asserted.as_ref().map(name).filter(|name| !name.user.is_empty()),
                replaces: message
                    .replaces()
                    .map(|r| String::from_utf8_lossy(r.call_id).into_owned()),
                referred_by: message.referred_by().map(|by| by.uri.user_text()).unwrap_or_default(),
                diverted_by: message.diverted_by().unwrap_or_default(),
                session: message.session_id().unwrap_or_default(),
                headers: headers.iter().filter_map(wanted).collect(),
                media: message.sdp().map(media),
            })))
        }
        Method::Ack | Method::Update | Method::Prack => {
            message.sdp().map(|sdp| Fact::MediaStated(media(sdp)))
        }
        Method::Cancel => Some(Fact::Cancelled),
        Method::Bye => Some(Fact::Ended),
        Method::Refer => message.refer_to().map(|target| Fact::Transferred {
            target: target.uri.user_text(),
            replaces: message.refer_to_replaces(),
        }),
        Method::Info => digit(message).map(|digit| Fact::Digit {
            digit,
            number: message.cseq().map_or(0, |(number, _)| number),
        }),
        Method::Notify
        | Method::Subscribe
        | Method::Options
        | Method::Register
        | Method::Message
        | Method::Publish
        | Method::Other => None,
    }
}

fn response(message: &Message<'_>, code: u16) -> Option<Fact> {
    let (_, method) = message.cseq()?;
    match method {
        Method::Invite => match code {
            101..=299 => Some(Fact::Accepted { code, media: message.sdp().map(media) }),
            300..=699 => Some(Fact::Refused { code }),
            _ => None,
        },
        Method::Update | Method::Prack => message.sdp().map(|sdp| Fact::MediaStated(media(sdp))),
        Method::Ack
        | Method::Bye
        | Method::Cancel
        | Method::Refer
        | Method::Info
        | Method::Notify
        | Method::Subscribe
        | Method::Options
        | Method::Register
        | Method::Message
        | Method::Publish
        | Method::Other => None,
    }
}

fn name(address: &NameAddr<'_>) -> Name {
    Name {
        user: address.uri.user_text(),
        host: address.uri.host_text(),
        display: address.display.clone().unwrap_or_default(),
    }
}

/// The digit in an INFO body: `Signal=5` (dtmf-relay) or the body itself (dtmf).
fn digit(message: &Message<'_>) -> Option<String> {
    let kind = message.content_type()?;
    let body =
        String::from_utf8_lossy(message.body.get(..128).unwrap_or(message.body)).into_owned();
    let text = if kind.is("application", "dtmf-relay") {
        let line = body.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            key.trim().eq_ignore_ascii_case("signal").then(|| value.trim().to_owned())
        });
        line?
    } else if kind.is("application", "dtmf") {
        body.trim().to_owned()
    } else {
        return None;
    };
    let key = match text.as_str() {
        "10" => "*",
        "11" => "#",
        other => other,
    };
    let known = key.len() == 1 && key.bytes().all(|b| b"0123456789*#ABCDabcd".contains(&b));
    known.then(|| key.to_ascii_uppercase())
}

/// What a description says, in the words of facts.
pub(in crate::signal) fn media(sdp: Sdp) -> Vec<Media> {
    sdp.media.into_iter().map(one_media).collect()
}

fn one_media(stream: super::sdp::Media) -> Media {
    let rtp = !matches!(stream.proto, Proto::Udptl | Proto::Other);
    let security = if !stream.crypto.is_empty() {
        let key = |crypto: super::sdp::Crypto| SdesKey {
            tag: crypto.tag,
            suite: crypto.suite,
            inline: crypto.inline,
        };
        Security::Sdes(stream.crypto.into_iter().map(key).collect())
    } else if stream.fingerprint || matches!(stream.proto, Proto::DtlsSavp | Proto::DtlsSavpf) {
        Security::Sealed("DTLS-SRTP")
    } else {
        Security::Clear
    };
    let format = |format: super::sdp::Format| Format {
        payload_type: format.payload_type,
        name: format.name,
        clock_rate: format.clock_rate,
        channels: format.channels,
        parameters: format.fmtp,
    };
    Media {
        audio: stream.kind == MediaKind::Audio && rtp,
        address: stream.address,
        port: stream.port,
        rtcp_port: stream.rtcp_port,
        candidates: stream.candidates,
        flow: match stream.direction {
            MediaDirection::SendRecv => Flow::SendReceive,
            MediaDirection::SendOnly => Flow::SendOnly,
            MediaDirection::RecvOnly => Flow::ReceiveOnly,
            MediaDirection::Inactive => Flow::Inactive,
        },
        formats: stream.formats.into_iter().map(format).collect(),
        security,
    }
}
