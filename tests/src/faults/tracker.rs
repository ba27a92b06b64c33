//! Trackers that are away, frozen, or lie (R20 to R25).

use super::Row;

/// The rows.
pub(super) const ROWS: [Row; 0] = [];
