//! Tells whoever watches the terminal how long a replay will take.
//!
//! Law: nothing is drawn where nobody watches (standard error is not a terminal).

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, stderr};

/// Drawing ten times a second is smooth and costs nothing against reading.
const DRAWS_PER_SECOND: u8 = 10;

const BAR: &str = "{bar:30} {percent:>3}%  {bytes}/{total_bytes}  {msg}  {eta} left";
const COUNT: &str = "{spinner} {bytes}  {msg}  {elapsed}";

/// A progress bar for a replay.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar with time left when the total is known, else a count; hidden without a terminal.
    #[must_use]
    pub fn new(total_bytes: Option<u64>) -> Self {
        let target = if stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(total_bytes, target);
        let template = if total_bytes.is_some() { BAR } else { COUNT };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// Where the replay is; cheap enough for every batch, not for every frame.
    pub fn update(&self, position: u64, frames: u64) {
        if !self.bar.is_hidden() {
            self.bar.set_message(format!("{} frames", HumanCount(frames)));
            self.bar.set_position(position);
        }
    }

    /// Runs `write` with the bar out of the way, for log lines on the same terminal.
    pub fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Removes the bar.
    pub fn close(self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_understood_and_nothing_is_drawn_unwatched() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        assert!(ProgressStyle::with_template(COUNT).is_ok());
        for total in [None, Some(0), Some(4096)] {
            let progress = Progress::new(total);
            progress.update(1024, 12_345);
            assert_eq!(progress.suspend(|| 7), 7);
            progress.close();
        }
    }
}
