//! What each verb does, for every kind alike.
//!
//! Reading needs only the store; every write goes through [`write`], which owns the order of admission, validation,
//! commit and settlement.

pub(crate) mod apply;
pub(crate) mod binding;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod eviction;
pub(crate) mod fresh;
pub(crate) mod list;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod scale;
pub(crate) mod subresource;
pub(crate) mod update;
pub(crate) mod watch;
pub(crate) mod write;
