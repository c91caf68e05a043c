//! Starting, stopping and watching the tasks of a process.
//!
//! Invariant: every task has a name and an owner, and its end is noticed. A service that ends
//! while the process runs stops the process; a child that panics is reported with its name.
//! This is the only crate that may call `tokio::spawn` (clippy holds the others to that).
//!
//! - [`Services`] owns the long-running services of a process and stops them in reverse order.
//! - [`Context`] is what a service gets: a stop signal, a way to say it is ready, and [`Children`].
//! - [`Status`] is what others see of a service: starting (and what it waits for), ready, ended.

mod children;
mod services;

pub use children::{Children, Task};
pub use services::{Context, Ready, Services, State, Status, context_for_tests};
pub use tokio_util::sync::CancellationToken;
