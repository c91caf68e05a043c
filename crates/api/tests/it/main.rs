//! The API server from outside: requests in, answers out, over the in-process client and over TLS.

extern crate knarr_api as api;

mod aggregate;
mod apply;
mod conversion;
mod cost;
mod custom;
mod custom_rules;
mod delete;
mod discovery;
mod form;
mod hooks;
mod network;
mod patches;
mod policies;
mod read;
mod ready;
mod rows;
mod services;
mod support;
mod watch;
mod wire;
mod write;
