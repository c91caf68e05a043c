//! Every function, grouped by what it works on.
//!
//! Invariant: a function never panics and never allocates more than its result needs; one whose result can be much
//! larger than its arguments asks the meter first.

pub(crate) mod access;
pub(crate) mod convert;
pub(crate) mod formats;
pub(crate) mod formatting;
mod lists;
pub(crate) mod net;
pub(crate) mod operators;
mod optionals;
mod quantities;
pub(crate) mod regexes;
mod semvers;
mod strings;
mod times;
pub(crate) mod urls;

use crate::library::Row;

/// All rows of the library.
pub(crate) fn all() -> impl Iterator<Item = &'static Row> {
    [
        operators::ROWS,
        convert::ROWS,
        strings::ROWS,
        regexes::ROWS,
        lists::ROWS,
        times::ROWS,
        optionals::ROWS,
        quantities::ROWS,
        semvers::ROWS,
        net::ROWS,
        urls::ROWS,
        formats::ROWS,
        access::ROWS,
    ]
    .into_iter()
    .flatten()
}
