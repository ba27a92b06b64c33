//! MGCP messages (RFC 3435 §3.2), borrowed from a datagram.

/// Parameter lines read of one message.
const MAX_LINES: usize = 64;
/// Messages read of one datagram.
const MAX_MESSAGES: usize = 16;
/// Longest word kept, in characters: endpoint, call and connection names.
const MAX_WORD: usize = 128;
/// Events read of one notification.
const MAX_EVENTS: usize = 64;

/// One message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message<'a> {
    /// Command or response.
    pub start: Start,
    /// Its transaction.
    pub transaction: u32,
    /// C: the call.
    pub call: Option<String>,
    /// I: the connection.
    pub connection: Option<String>,
    /// Z: the endpoint that was chosen, where the command left it open.
    pub endpoint: Option<String>,
    /// M: the connection's mode.
    pub mode: Option<Mode>,
    /// O: what happened, without its package.
    pub observed: Vec<Event>,
    /// S: what the endpoint is to play or show.
    pub signals: Vec<Event>,
    /// The session description.
    pub sdp: Option<&'a [u8]>,
}

/// How a message begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Start {
    /// A command.
    Command(Verb, String),
    /// A response, with its code.
    Response(u16),
}

/// The commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verb {
    /// `CreateConnection`
    Crcx,
    /// `ModifyConnection`
    Mdcx,
    /// `DeleteConnection`
    Dlcx,
    /// `NotificationRequest`
    Rqnt,
    /// Notify
    Ntfy,
    /// Audits, restarts and configuration: nothing of calls.
    Other,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Both.
    SendReceive,
    /// The endpoint sends.
    SendOnly,
    /// The endpoint receives.
    ReceiveOnly,
    /// Nothing.
    Inactive,
    /// Tests and loops.
    Other,
}

/// An event or signal.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Its code in lower case, without the package.
    pub code: String,
    /// What stands in brackets behind it.
    pub parameters: String,
}

/// Whether a datagram begins with a command.
#[must_use]
pub fn looks_like_command(bytes: &[u8]) -> bool {
    let line = bytes.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    let mut words = line.split(|b| *b == b' ').filter(|word| !word.is_empty());
    let verb = words.next().and_then(Verb::read).is_some();
    let number = words.next().is_some_and(|word| word.iter().all(u8::is_ascii_digit));
    verb && number && words.nth(1).is_some_and(|word| word.eq_ignore_ascii_case(b"MGCP"))
}

/// Whether a datagram may begin with a response; only its transaction can tell.
#[must_use]
pub fn may_be_response(bytes: &[u8]) -> bool {
    matches!(bytes, [a, b, c, b' ', d, ..] if [a, b, c, d].iter().all(|b| b.is_ascii_digit()))
}

/// The messages of a datagram: a line with a single dot stands between them.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let all = rest?;
        let mut at = 0;
        for line in all.split_inclusive(|b| *b == b'\n') {
            let end = at + line.len();
            if line.trim_ascii() == b"." {
                rest = all.get(end..);
                return Some(all.get(..at).unwrap_or_default());
            }
            at = end;
        }
        rest = None;
        Some(all)
    })
    .take(MAX_MESSAGES)
    .filter_map(Message::read)
}

impl<'a> Message<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let first = line(&mut rest)?;
        let mut words = first.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let (verb, transaction) = (words.next()?, number(words.next()?)?);
        let start = if let Some(verb) = Verb::read(verb) {
            Start::Command(verb, word(words.next()?).to_lowercase())
        } else {
            let code = number(verb).filter(|code| verb.len() == 3 && *code < 1000)?;
            Start::Response(u16::try_from(code).ok()?)
        };
        let mut message = Self {
            start,
            transaction,
            call: None,
            connection: None,
            endpoint: None,
            mode: None,
            observed: Vec::new(),
            signals: Vec::new(),
            sdp: None,
        };
        let mut lines = 0;
        while let Some(text) = line(&mut rest) {
            if text.is_empty() {
                message.sdp = Some(rest).filter(|sdp| !sdp.trim_ascii().is_empty());
                break;
            }
            lines += 1;
            if lines <= MAX_LINES {
                message.parameter(text);
            }
        }
        Some(message)
    }

    fn parameter(&mut self, text: &[u8]) {
        let Some(colon) = text.iter().position(|b| *b == b':') else { return };
        let (name, value) = text.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        match name.trim_ascii() {
            b"C" | b"c" => self.call = Some(word(value)).filter(|call| !call.is_empty()),
            b"I" | b"i" => self.connection = Some(word(value)).filter(|name| !name.is_empty()),
            b"Z" | b"z" => self.endpoint = Some(word(value).to_lowercase()),
            b"M" | b"m" => self.mode = Some(Mode::read(value)),
            b"O" | b"o" => self.observed = events(value),
            b"S" | b"s" => self.signals = events(value),
            _ => {}
        }
    }
}

impl Verb {
    fn read(word: &[u8]) -> Option<Self> {
        let Ok(word) = <[u8; 4]>::try_from(word) else { return None };
        Some(match &word.map(|letter| letter.to_ascii_uppercase()) {
            b"CRCX" => Self::Crcx,
            b"MDCX" => Self::Mdcx,
            b"DLCX" => Self::Dlcx,
            b"RQNT" => Self::Rqnt,
            b"NTFY" => Self::Ntfy,
            b"AUEP" | b"AUCX" | b"RSIP" | b"EPCF" | b"MESG" => Self::Other,
            _ => return None,
        })
    }
}

impl Mode {
    const fn read(value: &[u8]) -> Self {
        if value.eq_ignore_ascii_case(b"sendrecv") || value.eq_ignore_ascii_case(b"confrnce") {
            Self::SendReceive
        } else if value.eq_ignore_ascii_case(b"sendonly") {
            Self::SendOnly
        } else if value.eq_ignore_ascii_case(b"recvonly") {
            Self::ReceiveOnly
        } else if value.eq_ignore_ascii_case(b"inactive") {
            Self::Inactive
        } else {
            Self::Other
        }
    }
}

/// `L/hd, D/5, ci(10/14/17/26, 5551234, "Ann")`: commas in brackets and quotes separate nothing.
fn events(value: &[u8]) -> Vec<Event> {
    let (mut depth, mut quoted) = (0_u32, false);
    let split = value.split(|b| {
        match b {
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        *b == b',' && depth == 0 && !quoted
    });
    let event = |text: &[u8]| {
        let text = text.trim_ascii();
        let bracket = text.iter().position(|b| *b == b'(').unwrap_or(text.len());
        let (code, parameters) = text.split_at(bracket);
        let code = code.rsplit(|b| *b == b'/').next().unwrap_or_default();
        // `@connection` may follow.
        let code = code.split(|b| *b == b'@').next().unwrap_or_default();
        let parameters = parameters.strip_prefix(b"(").unwrap_or_default();
        let parameters = parameters.strip_suffix(b")").unwrap_or(parameters);
        Event { code: word(code).to_lowercase(), parameters: word(parameters) }
    };
    split.take(MAX_EVENTS).map(event).filter(|event| !event.code.is_empty()).collect()
}

/// The next line, without its end.
fn line<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    if rest.is_empty() {
        return None;
    }
    let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    let (text, after) = rest.split_at(end);
    *rest = after.get(1..).unwrap_or_default();
    Some(text.trim_ascii())
}

fn number(word: &[u8]) -> Option<u32> {
    let digits = !word.is_empty() && word.len() <= 9 && word.iter().all(u8::is_ascii_digit);
    digits.then(|| word.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')))
}

fn word(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn only(text: &str) -> Message<'_> {
        let mut all = messages(text.as_bytes());
        let first = all.next().unwrap();
        assert_eq!(all.next(), None);
        first
    }

    #[test]
    fn a_connection_is_created() {
        let text = "crcx 10511 AALN/1@cpg2 MGCP 1.0 NCS 1.0\r\nC: A68\r\nL: p:20, a:PCMA\r\n\
            M: SENDRECV\r\n\r\nv=0\r\nc=IN IP4 10.0.0.9\r\nm=audio 40362 RTP/AVP 0\r\n";
        let read = only(text);
        assert_eq!(read.start, Start::Command(Verb::Crcx, "aaln/1@cpg2".to_owned()));
        assert_eq!((read.transaction, read.call.as_deref()), (10_511, Some("A68")));
        assert_eq!(read.mode, Some(Mode::SendReceive));
        assert!(read.sdp.unwrap().starts_with(b"v=0"));
        let read = only("200 10511 OK\nI: 7c\n\nv=0\n");
        assert_eq!((read.start, read.connection.as_deref()), (Start::Response(200), Some("7c")));
        assert_eq!(only("250 1 OK\n\n \n").sdp, None);
    }

    #[test]
    fn events_are_read_without_their_packages() {
        let read = only("NTFY 1 aaln/1@gw MGCP 1.0\nX: 1\nO: L/hd, D/9,#, hu(3), D/T\n");
        let codes: Vec<_> = read.observed.iter().map(|event| event.code.as_str()).collect();
        assert_eq!(codes, ["hd", "9", "#", "hu", "t"]);
        let read = only("RQNT 2 a@g MGCP 1.0\nS: L/ci(10/14/17/26, 5551234, \"B), Ann\"), rg@7c\n");
        assert_eq!(read.signals[0].parameters, "10/14/17/26, 5551234, \"B), Ann\"");
        assert_eq!((read.signals.len(), read.signals[1].code.as_str()), (2, "rg"));
    }

    #[test]
    fn several_messages_share_a_datagram() {
        let text = "200 7 OK\r\nI: 3\r\n.\r\nNTFY 8 a@g MGCP 1.0\r\nO: hu\r\n.\r\njunk";
        let all: Vec<_> = messages(text.as_bytes()).map(|message| message.transaction).collect();
        assert_eq!(all, [7, 8]);
    }

    #[test]
    fn commands_are_known_by_their_first_line() {
        assert!(looks_like_command(b"RSIP 1 *@gw MGCP 0.1\r\n"));
        assert!(looks_like_command(b"ntfy 1 a@b mgcp 1.0"));
        for other in ["INFO 1 a@b MGCP 1.0", "NTFY x a MGCP", "NTFY 1 a SIP/2.0", "NTFY", ""] {
            assert!(!looks_like_command(other.as_bytes()), "{other}");
        }
        assert!(may_be_response(b"200 1 OK") && !may_be_response(b"2000 1 OK"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(
            head in prop_oneof![Just("NTFY 1 a@b MGCP 1.0\n"), Just("200 1\n"), Just("")],
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b':'), Just(b'O'), Just(b'('), Just(b',')], 0..300),
        ) {
            let all = [head.as_bytes(), &bytes].concat();
            prop_assert!(looks_like_command(&all) || !head.starts_with("NTFY"));
            for message in messages(&all) {
                prop_assert!(message.observed.len() <= MAX_EVENTS);
            }
        }
    }
}
