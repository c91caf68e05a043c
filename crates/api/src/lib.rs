//! The Kubernetes API: one pipeline for every kind, served over TLS and in process.
//!
//! Knows HTTP, requests and answers; does not know controllers, nodes or disks. A kind is a row of `kinds`; there is no
//! handler per kind, so authentication, authorization, admission, validation and dry run exist once, in the pipeline.
//!
//! In reading order: [`api`] is the whole; `serve` and `tls` are the network; `pipeline` is the way of a request, with
//! `request`, `options`, `negotiate`, `decode` reading it, `authn`, `authz`, `admission` judging it, `verbs` doing it and
//! `respond` and `view` answering it; `core` and `encode` are how the store is seen.

mod access;
mod admission;
mod aggregate;
mod allocate;
mod api;
mod attributes;
mod authn;
mod authz;
mod body;
mod bootstrap;
mod call;
mod config;
mod core;
mod custom;
mod decode;
mod discovery;
mod encode;
mod error;
mod frames;
mod identity;
mod metrics;
mod names;
mod negotiate;
mod options;
mod pipeline;
mod policy;
mod request;
mod respond;
mod review;
mod select;
mod serve;
mod shape;
mod streaming;
#[cfg(test)]
mod testing;
mod tls;
mod tokens;
mod verbs;
mod view;
mod wellknown;

pub use self::{
    admission::{Admission, Admit, Operation},
    aggregate::Offer,
    api::Api,
    attributes::Attributes,
    config::{Config, FrontProxy},
    core::{BuildError, Core},
    encode::stamp,
    error::ApiError,
    identity::User,
};
