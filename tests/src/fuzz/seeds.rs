//! First inputs for every target, made here: packets of the sample captures, calls of the scenario
//! language, texts written for the purpose. libFuzzer goes on from them.

use crate::{scenario::play, torture};
use orkaudio::capture::file::CaptureFile;
use std::{fs, io, path::Path};

/// Frames taken of each capture: a dialog's first messages and some media.
const FRAMES: usize = 40;

/// A call with everything in it.
const CALL: &str = "a->b INVITE pcmu pcma pai=7; b->a 100; b->a 183; rtp 100ms; b->a 200; a->b ACK; \
    rtp 200ms; dtmf a->b 5; a->b reINVITE sendonly; b->a 200 recvonly; a->b ACK; idle 1s; \
    a->b reINVITE; b->a 200; rtp 100ms; a->b REFER; a->b INFO; a->b BYE; b->a 200";

const SIP: [&str; 9] = [
    "INVITE sip:2@h SIP/2.0\r\nv: SIP/2.0/TCP h;branch=z9hG4bK1\r\nf: \"A \\\" B\" <sip:1@h>;tag=a\r\n\
     t: <sip:2@h>\r\ni: 1@h\r\nCSeq: 1 INVITE\r\nm: <sip:1@h:5060;transport=tcp>\r\n\
     c: multipart/mixed;boundary=b\r\nl: 72\r\n\r\n--b\r\nc: text/plain\r\n\r\nx\r\n--b\r\n\
     c: application/sdp\r\n\r\nv=0\r\nm=audio 4000 RTP/AVP 0\r\n--b--\r\n",
    "SIP/2.0 200 OK\r\nFrom: 1 <sip:1@h>;tag=a\r\nTo: sip:2@h;tag=b\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\n\
     Server: x\r\nContact: <sip:2@[2001:db8::1]:5061>\r\nContent-Type: application/sdp\r\n\
     Content-Length: 60\r\n\r\nv=0\r\no=- 1 1 IN IP6 ::1\r\nc=IN IP6 ::1\r\nm=audio 2 RTP/AVP 8\r\n\r\n",
    "REFER sip:2@h SIP/2.0\r\nFrom: <sip:1@h>;tag=a\r\nTo: <sip:2@h>;tag=b\r\nCall-ID: 1\r\nCSeq: 2 REFER\r\n\
     Refer-To: <sip:3@h?Replaces=9%40h%3Bto-tag%3D1%3Bfrom-tag%3D2>\r\nReferred-By: <sip:1@h>\r\n\r\n",
    "INFO sip:2@h SIP/2.0\r\nFrom: <sip:1@h>;tag=a\r\nTo: <sip:2@h>;tag=b\r\nCall-ID: 1\r\nCSeq: 3 INFO\r\n\
     Content-Type: application/dtmf-relay\r\nContent-Length: 26\r\n\r\nSignal=5\r\nDuration=160\r\n\r\n",
    "GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Protocol: sip\r\n\r\n\
     \u{1}\u{1f}OPTIONS sip:a SIP/2.0\r\nl: 0\r\n\r\n",
    "INVITE tel:+49-30;phone-context=x SIP/2.0\nTo: \"\" <tel:+49>\nFrom: \"unclosed <sip:a@b>;tag=1\n\
     Call-ID: 2\nCSeq: 1 INVITE\nP-Asserted-Identity: \"N\" <sip:7@h>, <tel:+7>\n\
     Remote-Party-ID: <sip:8@h>;party=calling\nDiversion: <sip:9@h>;reason=unknown\n\
     Replaces: 1@h;to-tag=b;from-tag=a\nX-Id: %41\n\n",
    "\r\n\r\nBYE sip:2@h SIP/2.0\r\nFrom: <sip:1@h>;tag=a\r\nTo: <sip:2@h>;tag=b\r\nCall-ID: 1\r\n\
     CSeq: 9 BYE\r\nReason: Q.850;cause=16;text=\"Bye\"\r\nContent-Length: 0\r\n\r\n\
     SIP/2.0 481 No\r\nCall-ID: 1\r\nFrom: <sip:1@h>\r\nTo: <sip:2@h>\r\nCSeq: 9 BYE\r\nl:0\r\n\r\n",
    "CANCEL sip:2@h SIP/2.0\r\nFrom:\r\n <sip:1@h>\r\n\t;tag=a\r\nTo: <sip:2@h>\r\nCall-ID: 1\r\nCSeq: 1 CANCEL\r\n\r\n",
    "SIP/2.0 486 Busy\r\nVia: a, b;branch=\"x\"\r\nFrom: <sip:%31;x=y:pw@h:1;a=b?c=d>;tag=\r\nTo: *\r\nCSeq: 1 INVITE\r\nCall-ID:\r\n\r\n",
];

const SDP: [&str; 4] = [
    "v=0\r\no=- 1 2 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1/127\r\nt=0 0\r\na=sendonly\r\n\
     m=audio 4000 RTP/AVP 0 8 18 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\n\
     a=fmtp:101 0-16\r\na=ptime:20\r\na=maxptime:40\r\na=rtcp:4001 IN IP4 10.0.0.2\r\na=rtcp-mux\r\n\
     m=video 0 RTP/AVP 34\r\nm=image 4004 udptl t38\r\n",
    "v=0\nc=IN IP6 2001:db8::1\nm=audio 9 UDP/TLS/RTP/SAVPF 111 9\na=rtpmap:111 opus/48000/2\n\
     a=fmtp:111 minptime=10;useinbandfec=1\na=fingerprint:sha-256 AB:CD\na=setup:actpass\na=mid:0\n\
     a=candidate:1 1 udp 2130706431 10.0.0.7 50000 typ host\na=candidate:2 2 UDP 1 ::1 50001 typ srflx\n\
     a=ice-ufrag:x\na=ssrc:1 cname:y\na=inactive\na=label:1\n",
    "v=0\r\nm=audio 4000/2 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
     inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd|2^20|1:4 UNENCRYPTED_SRTCP\r\na=crypto:2 AEAD_AES_128_GCM inline:x\r\n",
    "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n--b\r\nc: x/y\r\n\r\n--b--\r\n",
];

const CONFIG: [&str; 3] = [
    "listen = \"127.0.0.1:8080\"\nmax_connections = 20 # few\n[log]\nlevel = 'debug'\n[calls]\nmax_calls = 1_000\n",
    "[parties]\nlan = [\"10.0.0.0/8\", \"::1\"]\n[tapes]\nstereo = false\nstereo = 1\n[captur]\ninterfaces=[\"eth0\"]\n",
    "calls.max_calls=0x10\ncapture.interfaces=eth0,eth1\ndoors.command=0.0.0.0:1\ntapes.mode=0640\ntapes.rate=8000\nlog.level=info,x=debug\n",
];

const WORDS: [&str; 6] = [
    "type=tape&recid=20140127_114145_AAAB&stage=start&captureport=AAAB&timestamp=1390822905&\
     filename=2014/01/27/11/20140127_114145_AAAB&localparty=1001&localentrypoint=&remoteparty=%2B49&\
     direction=out&duration=0&service=s&localip=10.0.0.1&remoteip=10.0.0.2&nativecallid=1%40h&\
     tags=a:b,c%25pk:d&ondemand=false&side=both&live=true&hostname=h&",
    "type=addtag&localparty=&orkuid=20140127_114145_AAAB&tagtype=dtmfdigit&tagtext=%23&offsetmsec=20006&",
    "class=taperesponse success=true comment=a%cb%sc%pd%e deletetape=false ",
    "type=init&name=orkaudio-h&hostname=h&type=A&tcpport=59140&absolutepath=%2Fx&hostname=h&",
    "class=simpleresponse success=false comment= \r\n",
    "a:b,c:%c%pk,,:,d",
];

/// Writes the seeds: a folder of each target below `folder`, a file of each seed.
///
/// # Errors
/// When the sample captures in `captures` cannot be read, or a file cannot be written.
pub fn write(folder: &Path, captures: &Path) -> io::Result<()> {
    let mut out = Folder(folder);
    for (target, texts) in
        [("sip", &SIP[..]), ("sdp", &SDP[..]), ("config", &CONFIG[..]), ("message", &WORDS[..])]
    {
        for text in texts {
            out.add(target, text.as_bytes())?;
        }
    }
    for case in torture::cases() {
        out.add("sip", &case.text)?;
    }
    let mut samples: Vec<_> = fs::read_dir(captures)?.flatten().map(|entry| entry.path()).collect();
    samples.retain(|path| path.extension().is_some_and(|end| end == "pcap"));
    samples.sort();
    for sample in samples {
        let bytes = fs::read(&sample)?;
        out.add("capture", bytes.get(..3_000).unwrap_or(&bytes))?;
        let mut file = CaptureFile::open(&sample).map_err(io::Error::other)?;
        let mut frames = Vec::new();
        while let (true, Some(frame)) =
            (frames.len() < FRAMES, file.next_frame().map_err(io::Error::other)?)
        {
            frames.push(frame.bytes.to_vec());
        }
        out.frames(&frames)?;
    }
    let call = play(CALL).map_err(io::Error::other)?;
    let frames: Vec<_> = call.frames.into_iter().map(|(_, frame)| frame).collect();
    out.frames(&frames)?;
    super::seeds_binary::write(&mut |target, bytes| out.add(target, bytes))?;
    super::seeds_signals::write(&mut |target, bytes| out.add(target, bytes))?;
    super::seeds_rest::write(&mut |target, bytes| out.add(target, bytes))
}

struct Folder<'a>(&'a Path);

impl Folder<'_> {
    /// Named by its content, as libFuzzer does.
    fn add(&mut self, target: &str, bytes: &[u8]) -> io::Result<()> {
        let folder = self.0.join(target);
        fs::create_dir_all(&folder)?;
        let name = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        fs::write(folder.join(format!("seed-{name:016x}")), bytes)
    }

    /// Ethernet frames for whoever reads frames or what is in them.
    fn frames(&mut self, frames: &[Vec<u8>]) -> io::Result<()> {
        for some in frames.chunks(4) {
            let frame = |frame: &Vec<u8>| decode_frame(1, frame);
            self.add("decode", &some.iter().flat_map(frame).collect::<Vec<_>>())?;
        }
        let mut stream = vec![0];
        let mut core = vec![0];
        for frame in frames {
            let payload = frame.get(42..).unwrap_or_default();
            if payload.first().is_some_and(u8::is_ascii_uppercase) {
                self.add("sip", payload)?;
                if let Some(at) = payload.windows(4).position(|end| end == b"\r\n\r\n") {
                    self.add("sdp", payload.get(at + 4..).unwrap_or_default())?;
                }
            } else {
                stream.extend([20, 0]);
                stream.extend(chunk(payload));
            }
            // Step 10 of the core: a frame as it is.
            core.extend([10, 1]);
            core.extend(chunk(frame));
        }
        self.add("rtp", stream.get(..2_000).unwrap_or(&stream))?;
        self.add("tap", core.get(..6_000).unwrap_or(&core))
    }
}

/// A 16-bit length and the bytes.
pub(super) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    let mut all = length.to_le_bytes().to_vec();
    all.extend(bytes.iter().take(usize::from(length)));
    all
}

/// A frame of that link type, 20 ms after the last.
pub(super) fn decode_frame(link: u16, bytes: &[u8]) -> Vec<u8> {
    let [low, high] = link.to_le_bytes();
    [&[low, high, 20, 0, 0], chunk(bytes).as_slice()].concat()
}
