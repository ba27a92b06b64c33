//! Pauses, tampering, holds (R70 to R74).

use super::{Row, lines, net::apart, wire::both};

/// The rows.
pub(super) const ROWS: [Row; 4] = [
    Row {
        id: "R71",
        fault: "a byte flipped, a file cut, swapped, taken away, put there; a line or a day of the ledger changed; an old database",
        promised: "`verify` names it",
        run: |bench| {
            let tests = ["ledger::", "verify::"];
            bench.suite("orkvault", &["--lib"], &tests)
        },
    },
    Row {
        id: "R72",
        fault: "every way in which a recording can be deleted, on one under a legal hold",
        promised: "it stays: file, second copy, rows; its recorder is not told to delete it",
        run: |bench| {
            let tests = ["holds::", "what_is_held", "a_hold_that_races", "what_is_held_stays"];
            bench.suite("orktrack", &["--lib"], &tests)
        },
    },
    Row {
        id: "R73",
        fault: "every route of the tracker by every role, by a stranger, by a foreign group",
        promised: "deny by default",
        run: |bench| {
            let tests =
                ["every_route_by_every_role", "foreign_group", "who_leaves_a_group", "from_afar"];
            bench.suite("orktrack", &["--lib"], &tests)
        },
    },
    Row {
        id: "R74",
        fault: "guessed passwords, old tokens, foreign pages, paths that lead elsewhere; line ends, NUL, ESC, bidi and shell signs in names",
        promised: "locked, refused, contained; in the log, the audit file, events, messages to a tracker and heads of answers lines stay lines",
        run: |bench| {
            let tests = [
                "five_wrong",
                "tokens_are_told",
                "sign_in_and_out",
                "leads_nowhere_else",
                "no_name_leads_out_of_its_header",
            ];
            both(bench.suite("orktrack", &["--lib"], &tests), apart(|| lines::told(bench)))
        },
    },
];
