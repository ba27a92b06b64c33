//! The catalogue of wire messages and their encodings.
