//! Networks that lose, copy, reorder, and flood (R40 to R59).

use super::Row;

/// The rows.
pub(super) const ROWS: [Row; 0] = [];
