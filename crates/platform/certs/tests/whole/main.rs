//! The whole service against our API server in this process, and against those who sign: an ACME server for tests
//! (Pebble), a Vault that takes only what Vault takes, a name server that takes only signed updates.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod acme;
mod cluster;
mod dns;
mod name_server;
mod own;
mod pebble;
mod vault;
