//! Whole connections against the table.
