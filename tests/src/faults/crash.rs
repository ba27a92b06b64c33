//! Processes and power that end at any moment (R01 to R06).

use super::Row;

/// The rows.
pub(super) const ROWS: [Row; 0] = [];
