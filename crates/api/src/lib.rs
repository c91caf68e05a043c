//! The Kubernetes API: one pipeline for every kind, served over TLS and in process.
//!
//! Knows HTTP, requests and answers; does not know controllers, nodes or disks. A kind is a row of `kinds`; there is no
//! handler per kind, so authentication, authorization, admission, validation and dry run exist once, in the pipeline.

mod admission;
mod attributes;
mod body;
mod config;
mod core;
mod encode;
mod error;
mod identity;
mod names;

pub use self::{
    admission::{Admission, Admit, Operation},
    attributes::Attributes,
    config::Config,
    core::Core,
    encode::stamp,
    error::ApiError,
    identity::User,
};
