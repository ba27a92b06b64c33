//! SIP and SDP text as two ordinary phones would write it.
//!
//! Not here: reading SIP (that is what the recorder is tested for), and any transaction logic.

use std::net::{IpAddr, SocketAddr};

use crate::generator::law::Codec;

/// One phone.
#[derive(Clone, Debug)]
pub struct Phone {
    /// User part of its address.
    pub number: String,
    /// Where it believes it sends and receives SIP.
    pub sip: SocketAddr,
}

/// The words that stay the same through one dialog.
#[derive(Clone, Debug)]
pub struct Dialog {
    /// Call-ID.
    pub call_id: String,
    /// Who sent the first INVITE.
    pub caller: Phone,
    /// Who was called.
    pub callee: Phone,
    /// From tag of the caller.
    pub caller_tag: String,
    /// To tag of the callee.
    pub callee_tag: String,
}

/// One message of a dialog.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `Ok(method)` for a request, `Err(code)` for a response.
    pub what: Result<&'a str, u16>,
    /// True where the request of this transaction goes from caller to callee.
    pub forward: bool,
    /// Method in `CSeq`.
    pub method: &'a str,
    /// Number in `CSeq`.
    pub cseq: u32,
    /// False before the callee has given its tag.
    pub tagged: bool,
    /// More header lines, each ended by CRLF.
    pub extra: &'a str,
    /// Session description, if any.
    pub sdp: Option<&'a str>,
}

impl Dialog {
    /// The bytes of one message.
    #[must_use]
    pub fn text(&self, message: Message<'_>) -> Vec<u8> {
        let (from, to, from_tag, to_tag) = if message.forward {
            (&self.caller, &self.callee, Some(&self.caller_tag), Some(&self.callee_tag))
        } else {
            (&self.callee, &self.caller, Some(&self.callee_tag), Some(&self.caller_tag))
        };
        let tag = |tag: Option<&String>| tag.map_or(String::new(), |tag| format!(";tag={tag}"));
        let start = match message.what {
            Ok(method) => format!("{method} {} SIP/2.0", uri(to)),
            Err(code) => format!("SIP/2.0 {code} {}", reason(code)),
        };
        let body = message.sdp.unwrap_or("");
        let sender = if message.what.is_ok() { from } else { to };
        let mut lines = format!(
            "{start}\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK-{}-{}-{}\r\n\
             From: \"Phone {}\" <{}>{}\r\nTo: <{}>{}\r\nCall-ID: {}\r\nCSeq: {} {}\r\n\
             Max-Forwards: 70\r\nContact: <sip:{}@{}>\r\n{}",
            from.sip,
            self.caller_tag,
            message.cseq,
            if message.method == "ACK" { "ack" } else { "t" },
            from.number,
            uri(from),
            tag(from_tag),
            uri(to),
            if message.tagged { tag(to_tag) } else { String::new() },
            self.call_id,
            message.cseq,
            message.method,
            sender.number,
            sender.sip,
            message.extra,
        );
        if message.sdp.is_some() {
            lines.push_str("Content-Type: application/sdp\r\n");
        }
        lines.push_str("Content-Length: ");
        lines.push_str(&body.len().to_string());
        lines.push_str("\r\n\r\n");
        lines.push_str(body);
        lines.into_bytes()
    }
}

/// A session description for one G.711 stream.
#[derive(Clone, Debug)]
pub struct Offer<'a> {
    /// Where the sender wants to receive RTP.
    pub media: SocketAddr,
    /// Codecs, best first.
    pub codecs: &'a [Codec],
    /// Milliseconds in a packet.
    pub ptime: u32,
    /// `sendrecv`, `sendonly`, `recvonly` or `inactive`.
    pub direction: &'a str,
    /// Grows with every new description.
    pub version: u32,
    /// The line that tells the key of encrypted media.
    pub crypto: Option<String>,
}

impl Offer<'_> {
    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let family = if self.media.is_ipv4() { "IP4" } else { "IP6" };
        let ip = self.media.ip();
        let mut out = format!(
            "v=0\r\no=- 1 {} IN {family} {ip}\r\ns=call\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
             m=audio {} RTP/{}",
            self.version,
            self.media.port(),
            if self.crypto.is_some() { "SAVP" } else { "AVP" },
        );
        for codec in self.codecs {
            out.push_str(&format!(" {}", codec.payload_type()));
        }
        out.push_str(" 101\r\n");
        for codec in self.codecs {
            let (number, name) = (codec.payload_type(), codec.name());
            out.push_str(&format!("a=rtpmap:{number} {name}/8000\r\n"));
        }
        out.push_str(&format!(
            "a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:{}\r\na={}\r\n",
            self.ptime, self.direction
        ));
        out.push_str(self.crypto.as_deref().unwrap_or_default());
        out
    }
}

fn uri(phone: &Phone) -> String {
    let host = match phone.sip.ip() {
        IpAddr::V4(four) => four.to_string(),
        IpAddr::V6(six) => format!("[{six}]"),
    };
    format!("sip:{}@{host}", phone.number)
}

fn reason(code: u16) -> &'static str {
    match code {
        100 => "Trying",
        180 => "Ringing",
        183 => "Session Progress",
        200 => "OK",
        302 => "Moved Temporarily",
        401 => "Unauthorized",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        480 => "Temporarily Unavailable",
        486 => "Busy Here",
        487 => "Request Terminated",
        500 => "Server Internal Error",
        603 => "Decline",
        _ => "Something",
    }
}
