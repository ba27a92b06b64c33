//! Pauses, tampering, holds (R70 to R74).

use super::Row;

/// The rows.
pub(super) const ROWS: [Row; 0] = [];
