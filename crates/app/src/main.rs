//! The `knarr` binary: reads what a person asked for, builds it, runs it.
//!
//! The shim must stay single-threaded (it clones namespaces and runs code in the child), so it is
//! dispatched before any runtime, thread or allocation-heavy set-up exists.

mod bench;
mod cli;
mod credentials;
mod detach;
mod down;
mod edge;
mod failure;
mod gateway_cli;
mod host;
mod image;
mod lock;
mod log;
mod meant;
mod network;
mod platform;
mod progress;
mod roles;
mod scheduler;
mod settings;
mod status;
mod up;

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|verb| verb == "shim") {
        node::shim::main(arguments.collect());
    }
    if let Err(other) = rustls::crypto::ring::default_provider().install_default() {
        tracing::debug!("a TLS provider was installed before ours: {other:?}");
    }
    match cli::run(std::env::args_os().collect()) {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
