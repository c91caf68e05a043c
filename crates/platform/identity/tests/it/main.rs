//! The crate from outside: guards that are asked, against a strict provider and services that decide.

mod browser;
mod external;
mod login;
mod provider;
mod tokens;
