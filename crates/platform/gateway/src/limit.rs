//! How much a route or a client may ask for: rates, connections, requests at once.
//!
//! - [`Rate`] and [`Cell`]: one bucket, as the generic cell rate algorithm (ITU-T I.371): a single
//!   number, changed without a lock.
//! - [`Clients`]: a bucket per client in bounded memory that strangers cannot make unfair.
//! - [`Places`]: how much is under way per client, or in all.
//! - [`headers`]: what an answer says of a limit.

mod clients;
mod gcra;
pub mod headers;
mod places;

pub use clients::{Clients, client_key};
pub use gcra::{Cell, Left, Rate, Wait};
pub use places::{Place, Places};
