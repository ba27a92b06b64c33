//! Torture messages: one of our own for each test of RFC 4475, with the same twist, and what is made
//! of it. Wording, hosts and numbers are ours.

mod invalid;
mod meaning;
mod valid;

/// One message.
#[derive(Clone, Debug)]
pub struct Case {
    /// Section of RFC 4475.
    pub section: &'static str,
    /// What is odd about it.
    pub twist: &'static str,
    /// Its bytes.
    pub text: Vec<u8>,
    /// What is made of it.
    pub want: Want,
}

/// What is made of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Want {
    /// It is read, and this is in it.
    Read(Read),
    /// It is refused and counted, for this reason.
    Refused(&'static str),
}

/// What is read of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    /// Method or status code.
    pub start: String,
    /// Call-ID; empty when there is none.
    pub call_id: String,
    /// `CSeq`, number and method; empty when it is missing or no number.
    pub cseq: String,
    /// `user@host` of From; empty when there is none.
    pub from: String,
    /// `user@host` of To.
    pub to: String,
    /// What it says of a call: `offered`, `accepted`, or `nothing`.
    pub states: &'static str,
}

impl Want {
    /// The outcome in words, for the table.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Read(read) => format!("read; states {}", read.states),
            Self::Refused(why) => format!("refused: {why}"),
        }
    }
}

/// All messages in the order of the RFC.
#[must_use]
pub fn cases() -> Vec<Case> {
    [valid::cases(), invalid::cases(), meaning::cases()].concat()
}

/// A session description of one audio stream.
const SDP: &str = "v=0\r\no=t 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
    m=audio 41000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n";

/// What most messages here say of the parties.
const CALLER: &str = "caller@net.example";
const CALLEE: &str = "callee@com.example";

/// A message whose headers are the usual ones until something else is said.
#[derive(Clone)]
struct Text {
    start: Vec<u8>,
    lines: Vec<(&'static str, Vec<u8>)>,
    body: Vec<u8>,
    counted: bool,
}

impl Text {
    /// A request or a response with what RFC 3261 wants of it; `method` is that of its `CSeq`.
    fn new(start: &str, method: &str, name: &str) -> Self {
        let line = |name, value: String| (name, format!("{name}: {value}").into_bytes());
        Self {
            start: start.as_bytes().to_vec(),
            lines: vec![
                line("Via", format!("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK-{name}")),
                line("Max-Forwards", "70".to_owned()),
                line("From", format!("<sip:{CALLER}>;tag=f-{name}")),
                line("To", format!("<sip:{CALLEE}>")),
                line("Call-ID", format!("{name}@torture.example")),
                line("CSeq", format!("7 {method}")),
                line("Contact", "<sip:caller@198.51.100.7>".to_owned()),
            ],
            body: Vec::new(),
            counted: true,
        }
    }

    fn invite(name: &str) -> Self {
        Self::new(&format!("INVITE sip:{CALLEE} SIP/2.0"), "INVITE", name).sdp()
    }

    fn options(name: &str) -> Self {
        Self::new(&format!("OPTIONS sip:{CALLEE} SIP/2.0"), "OPTIONS", name)
    }

    fn register(name: &str) -> Self {
        Self::new("REGISTER sip:com.example SIP/2.0", "REGISTER", name)
    }

    fn answer(start: &str, name: &str) -> Self {
        Self::new(start, "INVITE", name)
    }

    fn start(mut self, start: &str) -> Self {
        self.start = start.as_bytes().to_vec();
        self
    }

    /// Lines of that name give way to this one, which is written as it is.
    fn line(mut self, name: &'static str, line: impl AsRef<[u8]>) -> Self {
        self.counted &= name != "Content-Length";
        let line = line.as_ref().to_vec();
        match self.lines.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = line,
            None => self.lines.push((name, line)),
        }
        self
    }

    fn without(mut self, names: &[&str]) -> Self {
        self.lines.retain(|(name, _)| !names.contains(name));
        self
    }

    fn sdp(self) -> Self {
        self.line("Content-Type", "Content-Type: application/sdp").body(SDP)
    }

    fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    fn bytes(self) -> Vec<u8> {
        let mut bytes = [self.start.as_slice(), b"\r\n"].concat();
        for (_, line) in &self.lines {
            bytes.extend(line);
            bytes.extend(b"\r\n");
        }
        if self.counted {
            bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).into_bytes());
        }
        bytes.extend(b"\r\n");
        bytes.extend(self.body);
        bytes
    }

    /// A case of this message.
    fn case(self, section: &'static str, twist: &'static str, want: Want) -> Case {
        Case { section, twist, text: self.bytes(), want }
    }
}

/// What is read of a message that says what [`Text::new`] says.
fn read(start: &str, name: &str, states: &'static str) -> Want {
    let method = if start.parse::<u16>().is_ok() { "INVITE" } else { start };
    Want::Read(Read {
        start: start.to_owned(),
        call_id: format!("{name}@torture.example"),
        cseq: format!("7 {method}"),
        from: CALLER.to_owned(),
        to: CALLEE.to_owned(),
        states,
    })
}

/// The same, but for some of it.
fn but(want: Want, change: impl FnOnce(&mut Read)) -> Want {
    match want {
        Want::Read(mut read) => {
            change(&mut read);
            Want::Read(read)
        }
        refused @ Want::Refused(_) => refused,
    }
}
