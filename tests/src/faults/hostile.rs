//! What nobody sends by mistake (R60 to R69).

use super::{
    Found, Row, hash, media, mutate, names,
    net::{apart, said},
    wire::{both, tests},
};

/// The rows.
pub(super) const ROWS: [Row; 10] = [
    Row {
        id: "R60",
        fault: "the 49 torture messages of RFC 4475 beside a live call",
        promised: "each read or refused as the table says; the call does not notice",
        run: |bench| tests(bench, &["torture::"]),
    },
    Row {
        id: "R61",
        fault: "SIP messages changed at random, one after another, beside a live call",
        promised: "no crash, flat memory, the call whole",
        run: |bench| said(mutate::messages(bench)),
    },
    Row {
        id: "R62",
        fault: "every sample capture with bytes changed at random",
        promised: "no crash, no hang",
        run: |bench| said(mutate::captures(bench)),
    },
    Row {
        id: "R63",
        fault: "the corpus that coverage fuzzing has gathered",
        promised: "every input keeps the laws of its target",
        run: |bench| tests(bench, &["corpus::"]),
    },
    Row {
        id: "R64",
        fault: "undefined behaviour: where the compiler cannot rule it out",
        promised: "only in the few files that are known for it",
        run: mutate::without_guard,
    },
    Row {
        id: "R65",
        fault: "malformed RTP to the ports of a live call",
        promised: "counted or left aside; the call whole",
        run: |bench| both(said(media::rtp(bench)), bench.suite("orkbase", &["--lib"], &["rtp::"])),
    },
    Row {
        id: "R66",
        fault: "session descriptions, bodies and documents made to overwhelm",
        promised: "limits: refused or read as far as they go; the next call whole, doors open",
        run: |bench| both(said(media::sdp(bench)), apart(|| media::bodies(bench))),
    },
    Row {
        id: "R67",
        fault: "a million keys that collide under a seed that is not ours",
        promised: "no dearer than random keys (twice)",
        run: |bench| said(hash::flooding(bench)),
    },
    Row {
        id: "R68",
        fault: "names with ../, NUL, line ends, shell characters, bidi, 4,000 letters, [IN]",
        promised: "files stay below the root, lines stay lines, no shell",
        run: |bench| apart(|| names::hostile(bench)),
    },
    Row {
        id: "R69",
        fault: "a recording server's port pool used up, CANCEL races, replayed INVITE",
        promised: "503, and nothing injected",
        run: |_| Found::NotRun("SIPREC is not built: this recorder is passive only".to_owned()),
    },
];
