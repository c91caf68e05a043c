//! The cache in a proxy, over sockets: what clients get, and how often the origin is asked.

mod faults;
mod house;
mod kept;
mod rfc9111;
