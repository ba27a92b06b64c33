//! RFC 4475 section 3.1.1: messages that are valid, however odd.

use super::{Case, SDP, Text, but, read};

pub(super) fn cases() -> Vec<Case> {
    let long = "verylong".repeat(30);
    let many: String = (0..30).map(|n| format!("Via: SIP/2.0/TCP hop{n}.example\r\n")).collect();
    let second = Text::invite("behind").bytes();
    let parts = "--of\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: binary\r\n\r\nread me\r\n--of\r\n\
         Content-Type: application/octet-stream\r\n\r\n\u{1}\u{2}\0\u{3}\r\n--of--\r\n";
    vec![
        Text::invite("folded")
            .start("INVITE sip:callee@com.example;unknown=x SIP/2.0")
            .line("To", "TO :\r\n sip:callee@com.example ;   tag    = 19n")
            .line("From", "from   : \"Ro \\\\\\\"\"       <sip:caller@net.example>\r\n  ;\r\n  tag = 98a")
            .line("Max-Forwards", "MaX-fOrWaRdS: 0068")
            .line("Call-ID", "Call-ID: folded@torture.example")
            .line("Content-Length", format!("Content-Length   : {}", SDP.len()))
            .line("CSeq", "cseq: 0007\r\n  INVITE")
            .line("Via", "Via  : SIP  /   2.0\r\n /UDP\r\n    198.51.100.7;branch=390skd")
            .line("s", "s :")
            .line("New", "NewFangledHeader:   newfangled value\r\n continued newfangled value")
            .line("Odd", "UnknownWithOddValue: ;;,,;;,;")
            .line("Route", "Route:\r\n <sip:services.example;lr;unknown=with-value;flag>")
            .line("v", "v:  SIP  / 2.0  / TCP     198.51.100.9   ;\r\n  branch  =   z9hG4bK9ik8")
            .line("Contact", "m:\"Quoted \\\"\\\"\" <sip:caller@net.example;new=\";\" >; x = \"=\"\r\n ,")
            .case(
                "3.1.1.1",
                "folded lines, white space around colons and parameters, any case, compact forms",
                read("INVITE", "folded", "offered"),
            ),
        Text::new(
            "!a-Method0123456789_*+`.%b'~ sip:1_unusual.~(a!b)&c't+d$/e?,/;;*:&it+has=1,x%2f@com.example SIP/2.0",
            "!a-Method0123456789_*+`.%b'~",
            "characters",
        )
        .line("Call-ID", "Call-ID: word%ZK-!.*_+'@word`~)(><:\\/\"][?}{")
        .line("From", "From: token1~` token2'+_ t3*%!.- <sip:caller@net.example>;param='%x';tag=_t~1'+`*%!-.")
        .line("To", b"To: \"BEL:\\\x07 NUL:\\\x00 DEL:\\\x7f\" <sip:callee@com.example>")
        .case(
            "3.1.1.2",
            "every character that tokens, quoted strings and URIs may have",
            but(read("!a-Method0123456789_*+`.%b'~", "characters", "nothing"), |read| {
                read.start = "Other".to_owned();
                read.cseq = "7 Other".to_owned();
                read.call_id = "word%ZK-!.*_+'@word`~)(><:\\/\"][?}{".to_owned();
            }),
        ),
        Text::invite("escaped")
            .start("INVITE sip:sips%3Acallee%40com.example@net.example SIP/2.0")
            .line("To", "To: sip:%63alle%65@com.example")
            .line("From", "From: <sip:two%20words@net.example>;tag=938")
            .case(
                "3.1.1.3",
                "%-escapes in the user parts of URIs",
                but(read("INVITE", "escaped", "offered"), |read| {
                    read.from = "two words@net.example".to_owned();
                }),
            ),
        Text::register("nulls")
            .line("To", "To: sip:null-%00-null@com.example")
            .line("From", "From: sip:null-%00-null@com.example;tag=8")
            .line("Contact", "Contact: <sip:%00@host5.example>, <sip:%00%00@host5.example>")
            .case(
                "3.1.1.4",
                "escaped NULs in URIs (text for people and files has none)",
                but(read("REGISTER", "nulls", "nothing"), |read| {
                    read.from = "null--null@com.example".to_owned();
                    read.to.clone_from(&read.from);
                }),
            ),
        Text::new("RE%47IST%45R sip:registrar.example SIP/2.0", "RE%47IST%45R", "percent")
            .line("To", "To: \"%Z%45\" <sip:callee@com.example>")
            .case(
                "3.1.1.5",
                "% where it escapes nothing: in a method, in a display name",
                but(read("Other", "percent", "nothing"), |_| {}),
            ),
        Text::options("close").line("From", "From: caller<sip:caller@net.example>;tag=323").case(
            "3.1.1.6",
            "no space between display name and <",
            read("OPTIONS", "close", "nothing"),
        ),
        Text::invite("long")
            .line("To", format!("To: \"A name of {long} length\" <sip:callee@com.example:5060;{long}=1>"))
            .line("From", format!("From: sip:{long}@net.example;tag={long}{long};{long};p={long}"))
            .line("Call-ID", format!("Call-ID: {long}"))
            .line("Unknown", format!("Unknown-{long}: {long};{long}={long}"))
            .line("Via", many.trim_end())
            .case(
                "3.1.1.7",
                "long values everywhere (names are cut to 256 characters)",
                but(read("INVITE", "long", "offered"), |read| {
                    read.from = format!("{long}@net.example");
                    read.call_id.clone_from(&long);
                }),
            ),
        Text::register("double")
            .line("Content-Length", "Content-Length: 0")
            .body(second)
            .case(
                "3.1.1.8",
                "another request behind Content-Length in the same datagram (it is not read)",
                read("REGISTER", "double", "nothing"),
            ),
        Text::options("semicolon")
            .start("OPTIONS sip:callee;par=u%40net.example@com.example SIP/2.0")
            .line("Accept", "Accept: application/sdp, application/pkcs7-mime,\r\n  multipart/mixed")
            .case(
                "3.1.1.9",
                "parameters in the user part of the Request-URI",
                read("OPTIONS", "semicolon", "nothing"),
            ),
        Text::options("transports")
            .line(
                "Via",
                "Via: SIP/2.0/UDP t1.example;branch=z9hG4bK-1\r\nVia: SIP/2.0/SCTP t2.example\r\n\
                 Via: SIP/2.0/TLS t3.example\r\nVia: SIP/2.0/UNKNOWN t4.example\r\n\
                 Via: SIP/2.0/TCP t5.example",
            )
            .case("3.1.1.10", "unusual transports in Via", read("OPTIONS", "transports", "nothing")),
        Text::new("MESSAGE sip:callee@com.example SIP/2.0", "MESSAGE", "parts")
            .line("Content-Type", "Content-Type: multipart/mixed;boundary=of")
            .body(parts)
            .case(
                "3.1.1.11",
                "a body of several parts, one of them binary",
                read("MESSAGE", "parts", "nothing"),
            ),
        Text::answer(
            "SIP/2.0 200 = 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e} - \u{43f}\u{440}\u{43e}\u{441}\u{442}\u{43e}\u{435}",
            "reason",
        )
        .line("To", "To: <sip:callee@com.example>;tag=t")
        .sdp()
        .case("3.1.1.12", "a reason phrase of arithmetic and UTF-8", read("200", "reason", "accepted")),
        Text::answer("SIP/2.0 100 ", "silent").case(
            "3.1.1.13",
            "an empty reason phrase (100 states nothing)",
            read("100", "silent", "nothing"),
        ),
    ]
}
