//! Words that every part of Knarr shares: names, keys, quantities, selectors, time, plans in time and error text.
//!
//! Invariant: nothing here does I/O or knows an API kind; every parser is total (bad input is an error, never a panic).
//! Why a crate of its own: these are the only things that the node, the network and the API all need, and a crate that
//! refuses I/O cannot become a drawer for helpers.

pub mod cron;
pub mod error;
pub mod key;
pub mod name;
pub mod names;
pub mod quantity;
pub mod quota;
pub mod selector;
pub mod time;
pub mod zone;

pub use key::Key;
pub use quantity::Quantity;
