//! RFC 4475 section 3.1.2: messages that break the grammar. A recorder cannot answer 400: what the
//! phones may have understood is read.

use super::{Case, SDP, Text, Want, but, read};

pub(super) fn cases() -> Vec<Case> {
    let dated = "Date: Fri, 01 Jan 2010 16:00:00 EST";
    vec![
        Text::invite("separators")
            .line("To", "To: <sip:callee@com.example>;;")
            .line("Via", "Via: SIP/2.0/UDP 198.51.100.15;;,;,,")
            .line("Contact", "Contact: \"Joe\" <sip:joe@com.example>;;;;,,")
            .case("3.1.2.1", "separators between nothing", read("INVITE", "separators", "offered")),
        Text::invite("larger").line("Content-Length", "Content-Length: 9999").case(
            "3.1.2.2",
            "Content-Length beyond the datagram (the body is what is there)",
            read("INVITE", "larger", "offered"),
        ),
        Text::invite("negative").line("Content-Length", "Content-Length: -999").case(
            "3.1.2.3",
            "a negative Content-Length (as if there was none)",
            read("INVITE", "negative", "offered"),
        ),
        Text::register("request-numbers")
            .line("CSeq", "CSeq: 36893488147419103232 REGISTER")
            .line("Max-Forwards", "Max-Forwards: 300")
            .line("Expires", "Expires: 1000000000000000000000000000000000000000000")
            .case(
                "3.1.2.4",
                "numbers in a request beyond their range (an overlarge CSeq is none)",
                but(read("REGISTER", "request-numbers", "nothing"), |read| read.cseq.clear()),
            ),
        Text::answer("SIP/2.0 503 Service Unavailable", "response-numbers")
            .line("CSeq", "CSeq: 9292394834772304023312 OPTIONS")
            .line("Retry-After", "Retry-After: 949302838503028349304023988")
            .line("Warning", "Warning: 1812 overture \"In Progress\"")
            .case(
                "3.1.2.5",
                "numbers in a response beyond their range",
                but(read("503", "response-numbers", "nothing"), |read| read.cseq.clear()),
            ),
        Text::invite("quote").line("To", "To: \"Mr. Callee <sip:callee@com.example>").case(
            "3.1.2.6",
            "a display name whose quote is never closed",
            read("INVITE", "quote", "offered"),
        ),
        Text::invite("angles").start("INVITE <sip:callee@com.example> SIP/2.0").case(
            "3.1.2.7",
            "<> around the Request-URI",
            read("INVITE", "angles", "offered"),
        ),
        Text::invite("white").start("INVITE sip:callee@com.example; lr SIP/2.0").case(
            "3.1.2.8",
            "white space inside the Request-URI",
            read("INVITE", "white", "offered"),
        ),
        Text::invite("spaces").start("INVITE  sip:callee@com.example  SIP/2.0").case(
            "3.1.2.9",
            "several spaces in the request line",
            read("INVITE", "spaces", "offered"),
        ),
        Text::options("trailing").start("OPTIONS sip:callee@com.example SIP/2.0  ").case(
            "3.1.2.10",
            "spaces at the end of the request line",
            read("OPTIONS", "trailing", "nothing"),
        ),
        Text::invite("route")
            .start("INVITE sip:callee@com.example?Route=%3Csip:sip.example%3E SIP/2.0")
            .case("3.1.2.11", "headers in the Request-URI", read("INVITE", "route", "offered")),
        Text::invite("date").line("Date", dated).case(
            "3.1.2.12",
            "a Date not in GMT (nobody asks for it)",
            read("INVITE", "date", "offered"),
        ),
        Text::register("contact")
            .line("Contact", "Contact: sip:callee@com.example?Route=%3Csip:s%3E")
            .case(
                "3.1.2.13",
                "headers in a Contact URI that stands without <>",
                read("REGISTER", "contact", "nothing"),
            ),
        Text::options("address").line("To", "To: \"Callee, A\" < sip:callee@com.example >").case(
            "3.1.2.14",
            "white space inside <>",
            read("OPTIONS", "address", "nothing"),
        ),
        Text::options("token")
            .line("From", "From: Caller, A <sip:caller@net.example>;tag=43")
            .case(
                "3.1.2.15",
                "a comma in a display name without quotes",
                read("OPTIONS", "token", "nothing"),
            ),
        Text::options("version")
            .start("OPTIONS sip:callee@com.example SIP/7.0")
            .line("Via", "Via: SIP/7.0/UDP c.example;branch=z9hG4bK-v")
            .case(
                "3.1.2.16",
                "a version that nobody knows",
                Want::Refused("version is not SIP/2.0"),
            ),
        Text::options("mismatch").line("CSeq", "CSeq: 7 INVITE").case(
            "3.1.2.17",
            "OPTIONS whose CSeq says INVITE (the request line counts)",
            but(read("OPTIONS", "mismatch", "nothing"), |read| {
                read.cseq = "7 INVITE".to_owned();
            }),
        ),
        Text::new("NEWMETHOD sip:callee@com.example SIP/2.0", "INVITE", "unknown")
            .line("Content-Type", "Content-Type: application/sdp")
            .body(SDP)
            .case(
                "3.1.2.18",
                "an unknown method whose CSeq says INVITE, with SDP",
                but(read("Other", "unknown", "nothing"), |read| {
                    read.cseq = "7 INVITE".to_owned();
                }),
            ),
        Text::answer("SIP/2.0 4294967301 better not break the receiver", "code").case(
            "3.1.2.19",
            "a status code that wraps to 5 in 32 bits",
            Want::Refused("status code is not 100 to 699"),
        ),
    ]
}
