//! `orkaudio verify`: are recordings what they were?

use crate::{cli::VerifyArguments, config::Config, setup};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget};
use orkbase::legible::is_legible;
use orkvault::{
    shelf::Finding,
    verify::{self, Progress, Task, Totals},
};
use serde_json::json;
use std::io::{self, IsTerminal as _, Write as _, stderr};

/// Looks at everything and tells what is wrong; gives how much that is.
///
/// # Errors
/// In words, when something cannot be looked at.
pub fn run(config: &Config, arguments: &VerifyArguments) -> Result<u64, String> {
    let root = arguments.folder.clone().unwrap_or_else(|| config.tapes.folder.clone());
    let shown = root.display().to_string();
    let task = Task {
        root,
        link: setup::ledger_link(config)?,
        since: arguments.since.clone(),
        head: arguments.head.clone(),
    };
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(None, target);
    let mut progress = |Progress { files, of, bytes }| {
        if !bar.is_hidden() {
            bar.set_message(format!("{files} of {of} files, {}", HumanBytes(bytes)));
            bar.tick();
        }
    };
    let mut written = Ok(());
    let mut tell = |finding: Finding| {
        let line = if arguments.json {
            json!(finding).to_string()
        } else {
            let Finding { kind, path, detail } = finding;
            // A name must not steer the terminal.
            let line = format!("{kind:?}: {path}: {detail}").replace(|c| !is_legible(c), "?");
            line.to_string()
        };
        if written.is_ok() {
            written = bar.suspend(|| writeln!(io::stdout(), "{line}"));
        }
    };
    let done = verify::verify(&task, &mut progress, &mut tell);
    bar.finish_and_clear();
    let totals = done.map_err(|error| format!("cannot look through {shown}: {error}"))?;
    let last =
        if arguments.json { json!({ "summary": totals }).to_string() } else { summary(&totals) };
    // `| head` has seen enough.
    drop(written.and_then(|()| writeln!(io::stdout(), "{last}")));
    Ok(totals.findings)
}

fn summary(totals: &Totals) -> String {
    let Totals { days, lines, files, bytes, gone, not_kept, cut, sequence, head, findings } =
        totals;
    let bytes = HumanBytes(*bytes);
    let mut text = format!(
        "{files} files ({bytes}), {gone} deleted, {not_kept} not kept; {lines} lines of {days} days"
    );
    if *cut > 0 {
        text.push_str(&format!(", {cut} torn when a recorder was killed"));
    }
    let verdict = if *findings == 0 {
        "all is as it was".to_owned()
    } else {
        format!("findings: {findings}")
    };
    format!("{text}; {verdict}\nlast line: {sequence} {head}")
}
