//! What nobody sends by mistake (R60 to R69).

use super::Row;

/// The rows.
pub(super) const ROWS: [Row; 0] = [];
