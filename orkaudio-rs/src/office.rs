//! Commands that are about no live call, carried out beside the engine.

use crate::{
    http::{Answer, Errand},
    import::Importer,
    logging,
    pins::Pins,
    track::ReporterHandle,
};
use std::sync::Arc;

/// Carries them out; may take its time, so not on a thread that others wait for.
#[derive(Debug)]
pub struct Office {
    /// The journal, and who is told.
    pub track: ReporterHandle,
    /// Makes recordings of files.
    pub importer: Importer,
    /// What is never deleted.
    pub pins: Arc<Pins>,
}

impl Office {
    /// Does one thing after another.
    #[must_use]
    pub fn run(&self, errand: Errand) -> Answer {
        match errand {
            Errand::Report { from, until } => match self.track.report_again(from, until) {
                Ok(count) => Answer::done(format!("Reporting {count} recordings")),
                Err(error) => Answer::failed(error.to_string()),
            },
            Errand::Import(import) => match self.importer.run(&import) {
                Ok(orkuid) => Answer::done(format!("Imported as orkuid:{orkuid}")),
                Err(error) => {
                    tracing::warn!(url = import.url, %error, "a recording was not imported");
                    Answer::failed(error.to_string())
                }
            },
            // Always a success without a word, as ever.
            Errand::Skip { num, tracker } => match self.track.skip(num, &tracker) {
                Ok(skipped) => {
                    tracing::warn!(num, tracker, skipped, "messages given up");
                    Answer::done("")
                }
                Err(error) => Answer::failed(error.to_string()),
            },
            Errand::Pin { recid, pin } => match self.pins.set(&recid, pin) {
                Ok(news) => {
                    tracing::info!(recid, pin, news, "a recording that must not be deleted");
                    let what = if pin { "Pinned" } else { "Unpinned" };
                    Answer::done(format!("{what} orkuid:{recid}"))
                }
                Err(why) => Answer::failed(why),
            },
            Errand::ReloadLogging => match logging::reload() {
                Ok(level) => {
                    tracing::info!(level, "the log was set anew");
                    Answer::done("")
                }
                Err(why) => Answer::failed(why),
            },
            Errand::ListLogging => {
                let loggers = logging::loggers();
                let text: String = loggers.iter().map(|logger| format!("{logger}\n")).collect();
                let count = ("count", loggers.len().to_string());
                Answer { more: vec![count, ("loggers", format!("\n{text}"))], ..Answer::done("") }
            }
        }
    }
}
