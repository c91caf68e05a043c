//! Rules of TLSRoutes, TCPRoutes and UDPRoutes.
//!
//! Of several rules only the first counts: nothing in a connection could tell them apart.

use std::sync::Arc;

use http::StatusCode;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{place, weight};
use crate::gateways::backends::Resolver;
use crate::gateways::kinds::StreamRule;
use crate::model::{Host, Share, Split, StreamRoute, Target};

/// Where connections go; hosts are for who adds it to a listener.
pub(crate) fn streams(resolver: &mut Resolver<'_>, metadata: &ObjectMeta, rules: &[StreamRule]) -> Option<StreamRoute> {
    let made: Vec<Split> = rules
        .iter()
        .map(|rule| {
            let share = |backend| (weight(backend), backend);
            let shares = rule.backend_refs.iter().map(share).map(|(weight, backend)| Share {
                weight,
                target: resolver.target(backend),
                filters: Vec::new(),
            });
            let shares: Vec<Share> = shares.collect();
            if shares.is_empty() {
                return Split::all(Target::Nobody(StatusCode::BAD_GATEWAY, "the rule names no backend\n".into()));
            }
            Split::new(shares)
        })
        .collect();
    let (rank, source) = place(resolver.kind, metadata, 0, None);
    let split = made.into_iter().next()?;
    Some(StreamRoute { hosts: vec![Host::Any], split, rank, source: Arc::new(source) })
}
