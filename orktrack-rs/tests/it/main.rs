//! The program as its users run it.

#[cfg(test)]
mod program;
#[cfg(test)]
#[path = "../../src/tests/server.rs"]
mod server;
#[cfg(test)]
mod shared;
