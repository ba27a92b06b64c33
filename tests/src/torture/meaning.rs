//! RFC 4475 sections 3.2 to 3.4: messages that transactions, applications, or the older RFC 2543 would
//! take or refuse for what they mean.

use super::{Case, Text, but, read};

pub(super) fn cases() -> Vec<Case> {
    let older = "v=0\r\no=t 1 1 IN IP4 198.51.100.7\r\nc=IN IP4 198.51.100.7\r\nm=audio 41000 RTP/AVP 0\r\n";
    vec![
        Text::options("branch").line("Via", "Via: SIP/2.0/UDP 198.51.100.1;branch=z9hG4bK").case(
            "3.2.1",
            "a branch that is its magic cookie alone",
            read("OPTIONS", "branch", "nothing"),
        ),
        Text::invite("missing").without(&["From", "To", "Call-ID", "Via", "Max-Forwards"]).case(
            "3.3.1",
            "no From, To, Call-ID, Via (no call is named: nothing is begun)",
            but(read("INVITE", "missing", "nothing"), |read| {
                (read.call_id, read.from, read.to) = Default::default();
            }),
        ),
        Text::options("opaque").start("OPTIONS nobodyKnowsThisScheme:opaque SIP/2.0").case(
            "3.3.2",
            "a Request-URI of a scheme that nobody knows",
            read("OPTIONS", "opaque", "nothing"),
        ),
        Text::options("beep").start("OPTIONS soap.beep://198.51.100.103:3002 SIP/2.0").case(
            "3.3.3",
            "a Request-URI of a scheme that is no telephone's",
            read("OPTIONS", "beep", "nothing"),
        ),
        Text::register("schemes")
            .line("To", "To: isbn:2983792873")
            .line("From", "From: <http://www.net.example>;tag=3")
            .line("Contact", "Contact: <name:John_Smith>")
            .case(
                "3.3.4",
                "unknown schemes in From, To and Contact",
                but(read("REGISTER", "schemes", "nothing"), |read| {
                    read.from = "@www.net.example".to_owned();
                    read.to = "isbn:2983792873@".to_owned();
                }),
            ),
        Text::options("require")
            .line("Require", "Require: nothingSupportsThis, nothingSupportsThisEither")
            .line("Proxy-Require", "Proxy-Require: noProxiesSupportThis")
            .case(
                "3.3.5",
                "Require and Proxy-Require of what nobody supports",
                read("OPTIONS", "require", "nothing"),
            ),
        Text::invite("type")
            .line("Content-Type", "Content-Type: application/unknownformat")
            .body("<audio>\r\n <pcmu port=\"443\"/>\r\n</audio>\r\n")
            .case(
                "3.3.6",
                "a body of a type that nobody knows (an offer without media)",
                read("INVITE", "type", "offered"),
            ),
        Text::register("scheme")
            .line("Authorization", "Authorization: NoOneKnowsThisScheme opaque-data=here")
            .case(
                "3.3.7",
                "an unknown authorization scheme",
                read("REGISTER", "scheme", "nothing"),
            ),
        Text::invite("twice")
            .line("CSeq", "CSeq: 7 INVITE\r\nCSeq: 59 INVITE")
            .line("Call-ID", "Call-ID: twice@torture.example\r\nCall-ID: other@torture.example")
            .line(
                "From",
                "From: <sip:caller@net.example>;tag=1\r\nFrom: <sip:other@net.example>;tag=2",
            )
            .line("To", "To: <sip:callee@com.example>\r\nTo: <sip:other@com.example>")
            .line("Max-Forwards", "Max-Forwards: 70\r\nMax-Forwards: 5")
            .case(
                "3.3.8",
                "two each of CSeq, Call-ID, From, To (the first counts)",
                read("INVITE", "twice", "offered"),
            ),
        Text::options("lengths")
            .line("Content-Length", "Content-Length: 13\r\nContent-Length: 5")
            .line("Content-Type", "Content-Type: text/plain")
            .body("There's no way to know how many octets are supposed to be here.\r\n")
            .case(
                "3.3.9",
                "two lengths that differ (the first counts)",
                read("OPTIONS", "lengths", "nothing"),
            ),
        Text::answer("SIP/2.0 200 OK", "broadcast")
            .line(
                "Via",
                "Via: SIP/2.0/UDP 198.51.100.198;branch=z9hG4bK1\r\n\
                 Via: SIP/2.0/UDP 255.255.255.255;branch=z9hG4bK2",
            )
            .line("To", "To: <sip:callee@com.example>;tag=2229")
            .sdp()
            .case(
                "3.3.10",
                "an answer by way of the broadcast address",
                read("200", "broadcast", "accepted"),
            ),
        Text::options("forwards").line("Max-Forwards", "Max-Forwards: 0").case(
            "3.3.11",
            "Max-Forwards of zero",
            read("OPTIONS", "forwards", "nothing"),
        ),
        Text::register("contact-parameter")
            .line("Contact", "Contact: sip:+19725552222@gw1.example;unknownparam")
            .case(
                "3.3.12",
                "REGISTER with a parameter of Contact",
                read("REGISTER", "contact-parameter", "nothing"),
            ),
        Text::register("uri-parameter")
            .line("Contact", "Contact: <sip:+19725552222@gw1.example;unknownparam>")
            .case(
                "3.3.13",
                "REGISTER with a parameter of the Contact's URI",
                read("REGISTER", "uri-parameter", "nothing"),
            ),
        Text::register("uri-header")
            .line("Contact", "Contact: <sip:callee@com.example?Route=%3Csip:sip.example%3E>")
            .case(
                "3.3.14",
                "REGISTER with a header in the Contact's URI",
                read("REGISTER", "uri-header", "nothing"),
            ),
        Text::invite("accept").line("Accept", "Accept: text/nobodyKnowsThis").case(
            "3.3.15",
            "Accept of what nobody gives",
            read("INVITE", "accept", "offered"),
        ),
        Text::invite("older")
            .line("Via", "Via: SIP/2.0/UDP iftgw.example")
            .line("From", "From: <sip:+13035551111@net.example;user=phone>")
            .line("To", "To: sip:+16505552222@com.example;user=phone")
            .line("Max-Forwards", "Record-Route: <sip:callee@com.example;maddr=ss1.example>")
            .line("Content-Length", "Subject: no length")
            .body(older)
            .case(
                "3.4.1",
                "RFC 2543: no tag, no branch, no Max-Forwards, no Content-Length",
                but(read("INVITE", "older", "offered"), |read| {
                    read.from = "+13035551111@net.example".to_owned();
                    read.to = "+16505552222@com.example".to_owned();
                }),
            ),
    ]
}
