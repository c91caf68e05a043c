//! The zone behind UDP and TCP; what is not ours is forwarded, with a cache.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hickory_proto::op::{MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::{
    DnsError, NetError,
    runtime::{Time, TokioRuntimeProvider},
};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use parking_lot::RwLock;

use crate::zone::{Answer, Data, Type, Zone};

/// How long clients may keep an answer, seconds. Short, since endpoints move; as CoreDNS ships.
const TTL: u32 = 5;
/// Answers kept from upstream servers.
const CACHED: u64 = 1024;

/// A zone that the server reads and `run` writes.
pub type Shared = Arc<RwLock<Zone>>;

/// Answers questions.
pub struct Handler {
    zone: Shared,
    upstream: Option<TokioResolver>,
    turn: AtomicUsize,
}

/// What goes back to the client.
struct Reply {
    code: ResponseCode,
    authoritative: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additional: Vec<Record>,
}

impl Reply {
    fn empty(code: ResponseCode) -> Self {
        Self { code, authoritative: false, answers: Vec::new(), authorities: Vec::new(), additional: Vec::new() }
    }
}

/// A resolver that asks `servers`; none when there are none.
///
/// # Errors
/// When the resolver cannot be built.
pub fn forwarder(servers: &[IpAddr]) -> Result<Option<TokioResolver>, NetError> {
    if servers.is_empty() {
        return Ok(None);
    }
    let servers = servers.iter().map(|server| NameServerConfig::udp_and_tcp(*server)).collect();
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.ndots = 0;
    options.cache_size = CACHED;
    options.timeout = Duration::from_secs(2);
    options.use_hosts_file = ResolveHosts::Never;
    options.preserve_intermediates = true;
    builder.build().map(Some)
}

impl Handler {
    /// A handler over `zone` that forwards with `upstream`.
    #[must_use]
    pub fn new(zone: Shared, upstream: Option<TokioResolver>) -> Self {
        Self { zone, upstream, turn: AtomicUsize::new(0) }
    }

    async fn reply(&self, name: &Name, kind: RecordType) -> Reply {
        let text = name.to_lowercase().to_ascii();
        let answer = self.zone.read().answer(text.trim_end_matches('.'), type_of(kind));
        match answer {
            Answer::Elsewhere => self.forward(name.clone(), kind).await,
            Answer::NoName => self.negative(ResponseCode::NXDomain),
            Answer::NoData => self.negative(ResponseCode::NoError),
            Answer::Records { mut records, additional } => {
                if records.len() > 1 {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % records.len();
                    records.rotate_left(turn); // clients that take the first share the load
                }
                let mut reply = Reply { authoritative: true, ..Reply::empty(ResponseCode::NoError) };
                for data in records {
                    let alias = matches!(data, Data::Cname(_)) && kind != RecordType::CNAME;
                    let Some(rdata) = rdata(&data) else { continue };
                    if alias && let RData::CNAME(target) = &rdata {
                        let target = target.0.clone();
                        reply.answers.push(Record::from_rdata(name.clone(), TTL, rdata));
                        reply.answers.extend(Box::pin(self.reply(&target, kind)).await.answers);
                    } else {
                        reply.answers.push(Record::from_rdata(name.clone(), TTL, rdata));
                    }
                }
                let extra = additional.into_iter().filter_map(|(host, address)| {
                    Some(Record::from_rdata(absolute(&host)?, TTL, rdata(&Data::Address(address))?))
                });
                reply.additional.extend(extra);
                reply
            }
        }
    }

    fn negative(&self, code: ResponseCode) -> Reply {
        let domain = self.zone.read().domain().to_owned();
        let soa =
            absolute(&domain).zip(absolute(&format!("ns.dns.{domain}"))).zip(absolute(&format!("hostmaster.{domain}")));
        let authorities = soa.map(|((zone, server), mailbox)| {
            let soa = SOA::new(server, mailbox, 1, 7200, 1800, 86_400, TTL);
            Record::from_rdata(zone, TTL, RData::SOA(soa))
        });
        Reply { authoritative: true, authorities: authorities.into_iter().collect(), ..Reply::empty(code) }
    }

    async fn forward(&self, mut name: Name, kind: RecordType) -> Reply {
        let Some(upstream) = &self.upstream else { return Reply::empty(ResponseCode::Refused) };
        name.set_fqdn(true);
        match upstream.lookup(name, kind).await {
            Ok(lookup) => Reply { answers: lookup.answers().to_vec(), ..Reply::empty(ResponseCode::NoError) },
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let soa = none.soa.map(|soa| (*soa).into_record_of_rdata());
                Reply { authorities: soa.into_iter().collect(), ..Reply::empty(none.response_code) }
            }
            Err(error) => {
                tracing::debug!("forwarding failed: {error}");
                Reply::empty(ResponseCode::ServFail)
            }
        }
    }
}

#[async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let query = request.metadata.message_type == MessageType::Query && request.metadata.op_code == OpCode::Query;
        let reply = match (query, request.request_info()) {
            (false, _) => Reply::empty(ResponseCode::NotImp),
            (true, Err(_)) => Reply::empty(ResponseCode::FormErr),
            (true, Ok(info)) => self.reply(info.query.original().name(), info.query.query_type()).await,
        };
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = reply.code;
        metadata.authoritative = reply.authoritative;
        metadata.recursion_available = self.upstream.is_some();
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = request.edns.as_ref() {
            builder.edns(edns);
        }
        let message = builder.build(metadata, &reply.answers, &reply.authorities, &[], &reply.additional);
        match response.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(client = %request.src(), "cannot answer: {error}");
                let mut failed = metadata;
                failed.response_code = ResponseCode::ServFail;
                hickory_proto::op::Header { metadata: failed, counts: hickory_proto::op::HeaderCounts::default() }
                    .into()
            }
        }
    }
}

fn type_of(kind: RecordType) -> Type {
    match kind {
        RecordType::A => Type::A,
        RecordType::AAAA => Type::Aaaa,
        RecordType::SRV => Type::Srv,
        RecordType::PTR => Type::Ptr,
        RecordType::TXT => Type::Txt,
        RecordType::CNAME => Type::Cname,
        _ => Type::Other,
    }
}

fn absolute(name: &str) -> Option<Name> {
    let mut name = Name::from_ascii(name).ok()?;
    name.set_fqdn(true);
    Some(name)
}

fn rdata(data: &Data) -> Option<RData> {
    Some(match data {
        Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Data::Srv { port, target } => RData::SRV(SRV::new(0, 100, *port, absolute(target)?)),
        Data::Ptr(target) => RData::PTR(PTR(absolute(target)?)),
        Data::Txt(text) => RData::TXT(TXT::new(vec![text.clone()])),
        Data::Cname(target) => RData::CNAME(CNAME(absolute(target)?)),
    })
}
