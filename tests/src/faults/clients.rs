//! Clients that read slowly, never, or are too many (R30 to R34).

use super::Row;

/// The rows.
pub(super) const ROWS: [Row; 0] = [];
