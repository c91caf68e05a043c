//! Bytes that are not HTTP: TCP, TLS passed on by name or ended here, and UDP.

pub mod hello;
