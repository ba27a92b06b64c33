//! Disks that are full, slow, or read-only (R10 to R13).

use super::Row;

/// The rows.
pub(super) const ROWS: [Row; 0] = [];
