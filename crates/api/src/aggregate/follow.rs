//! Keeps the table equal to the stored APIService objects, and tells of each whether its server is there.
//!
//! A server is asked for its discovery when its object changes, then every half minute, sooner while it does not answer.
//! Nothing is asked, and no timer runs, where no object names a service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::join_all;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use kinds::Kind;
use serde_json::{Value, json};
use store::{Range, RangeError, Revision, WatchError};
use tokio::time::Instant;

use super::{
    Place, Server, Table, documents, forward,
    table::{Reference, Told},
};
use crate::{
    body,
    core::{Core, parse, text},
    custom::webhook,
    identity::{MASTERS, User},
};

const OBJECTS: &str = "/apiregistration.k8s.io/apiservices/";
const EVERY: Duration = Duration::from_secs(30);
const SOONEST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest discovery document that is read.
const LARGEST: usize = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("cannot read the stored API services")]
    Range(#[from] RangeError),
    #[error("cannot follow the stored API services")]
    Watch(#[from] WatchError),
}

/// One object and its server.
struct Known {
    spec: Value,
    /// None where nothing but rows of ours can serve it.
    server: Option<Arc<Server>>,
    /// When it is asked next; none if it need not be.
    due: Option<Instant>,
    wait: Duration,
}

pub(crate) struct Follower {
    core: Arc<Core>,
    known: HashMap<String, Known>,
    seen: Revision,
}

/// Reads what is stored. Called before the first request.
pub(crate) fn load(core: &Arc<Core>) -> Result<Follower, Error> {
    let mut follower = Follower { core: core.clone(), known: HashMap::new(), seen: 0 };
    follower.reload()?;
    Ok(follower)
}

/// Follows the store until it closes.
pub(crate) async fn follow(mut follower: Follower) -> Result<(), Error> {
    loop {
        match follower.run().await {
            Err(Error::Watch(WatchError::Closed)) => return Ok(()),
            Err(Error::Watch(WatchError::Compacted { .. })) => follower.reload()?,
            other => return other,
        }
    }
}

impl Follower {
    fn reload(&mut self) -> Result<(), Error> {
        let page = self.core.store.range(Range { prefix: OBJECTS, after: None, limit: 0, at: None })?;
        self.seen = page.revision;
        let mut before = std::mem::take(&mut self.known);
        for record in &page.records {
            let name = name(&record.key).to_owned();
            self.known.extend(before.remove_entry(&name));
            self.put(&name, &parse(record));
        }
        self.publish();
        Ok(())
    }

    async fn run(&mut self) -> Result<(), Error> {
        let mut watch = self.core.store.watch(OBJECTS, self.seen)?;
        loop {
            self.ask().await;
            let due = self.known.values().filter_map(|known| known.due).min();
            let wait = async {
                match due {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let events = tokio::select! {
                events = watch.next() => events?,
                () = wait => continue,
            };
            for event in &events {
                let name = name(event.key()).to_owned();
                match &**event {
                    store::Event::Put { record, .. } => self.put(&name, &parse(record)),
                    store::Event::Delete { .. } => drop(self.known.remove(&name)),
                }
            }
            self.seen = watch.revision();
            self.publish();
        }
    }

    /// Takes in an object; one whose specification is as it was keeps its server and what that said.
    fn put(&mut self, name: &str, object: &Value) {
        if self.known.get(name).is_some_and(|known| known.spec == object["spec"]) {
            return;
        }
        let offers = self.core.aggregate.offers.lock();
        let offer = |group: &str, version: &str| offers.get(&(group.to_owned(), version.to_owned())).cloned();
        let server = Server::read(object, offer).map(Arc::new);
        let known = Known { spec: object["spec"].clone(), server, due: Some(Instant::now()), wait: SOONEST };
        drop(offers);
        self.known.insert(name.to_owned(), known);
    }

    fn publish(&self) {
        let servers = self.known.values().filter_map(|known| known.server.clone());
        self.core.aggregate.table.store(Arc::new(Table::new(servers)));
        self.core.aggregate.changed();
    }

    /// Asks every server that is due.
    async fn ask(&mut self) {
        let now = Instant::now();
        let due = self.known.iter().filter(|(_, known)| known.due.is_some_and(|at| at <= now));
        let asked = due.map(|(name, known)| (name.clone(), known.server.clone()));
        let asked: Vec<(String, Option<Arc<Server>>)> = asked.collect();
        let core = &self.core;
        let answers = join_all(asked.into_iter().map(|(name, server)| async move {
            let verdict = match &server {
                Some(server) => check(core, server).await,
                None => Verdict::LOCAL,
            };
            tell(core, &name, &verdict).await;
            (name, verdict.available)
        }));
        for (name, available) in answers.await {
            let Some(known) = self.known.get_mut(&name) else { continue };
            let remote = known.server.as_ref().is_some_and(|server| matches!(server.place, Place::Service(_)));
            known.wait = if available { EVERY } else { (known.wait * 2).min(EVERY) };
            known.due = remote.then(|| Instant::now() + known.wait);
        }
    }
}

fn name(key: &str) -> &str {
    key.strip_prefix(OBJECTS).unwrap_or(key)
}

/// Whether a server is there, in upstream's words.
struct Verdict {
    available: bool,
    reason: &'static str,
    message: String,
}

impl Verdict {
    const LOCAL: Self = Self { available: true, reason: "Local", message: String::new() };

    fn no(reason: &'static str, message: String) -> Self {
        Self { available: false, reason, message }
    }
}

/// Asks a server for its discovery, and remembers it.
async fn check(core: &Core, server: &Server) -> Verdict {
    let before = server.told.load_full();
    let (verdict, told) = match question(core, server).await {
        Ok(told) => match &server.place {
            Place::Here(_) => (Verdict::LOCAL, told),
            Place::Service(_) => {
                (Verdict { available: true, reason: "Passed", message: "all checks passed".into() }, told)
            }
        },
        Err(verdict) => (verdict, documents::stale(before.as_deref())),
    };
    if before.as_deref() != Some(&told) {
        server.told.store(Some(Arc::new(told)));
        core.aggregate.changed();
    }
    verdict
}

async fn question(core: &Core, server: &Server) -> Result<Told, Verdict> {
    let (group, version) = (&server.group, &server.version);
    if let Place::Service(reference) = &server.place {
        reachable(core, reference)?;
    }
    let path = format!("/apis/{group}/{version}");
    let list = get(core, server, &path).await.map_err(|why| {
        let host = match &server.place {
            Place::Service(reference) => format!("{}:{}", reference.host(), reference.port),
            Place::Here(_) => "here".to_owned(),
        };
        let message = format!("failing or missing response from https://{host}{path}: {why}");
        Verdict::no("FailedDiscoveryCheck", message)
    })?;
    // a server without OpenAPI is a server all the same
    let index = get(core, server, "/openapi/v3").await.unwrap_or_default();
    let document = kinds::openapi::document_path(group, version);
    let openapi = index["paths"][&document]["serverRelativeURL"].as_str().map(str::to_owned);
    let swagger = get(core, server, "/openapi/v2").await.unwrap_or_default();
    let swagger = documents::part(&swagger, group, version);
    Ok(Told { resources: documents::aggregated(&list, group, version), openapi, swagger, fresh: true })
}

/// Whether there is a service with somebody behind it.
fn reachable(core: &Core, reference: &Reference) -> Result<(), Verdict> {
    let Reference { namespace, name, port, .. } = reference;
    let service = core.kind("", "services").and_then(|kind| core.get(kind, namespace, name));
    let Some(service) = service else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return Err(Verdict::no("ServiceNotFound", message));
    };
    let is_named = text(&service, "/spec/type") == "ExternalName";
    let mut ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let Some(held) = ports.find(|held| held["port"] == *port).filter(|_| !is_named) else {
        if is_named {
            return Ok(());
        }
        let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
        return Err(Verdict::no("ServicePortError", message));
    };
    match webhook::address(core, namespace, name, *port) {
        Ok(_) => Ok(()),
        Err(_) => {
            let port = text(held, "/name");
            let message =
                format!("endpoints for service/{name} in {namespace:?} have no addresses with port name {port:?}");
            Err(Verdict::no("MissingEndpoints", message))
        }
    }
}

/// A document of the server, asked for in our own name.
async fn get(core: &Core, server: &Server, path: &str) -> Result<Value, String> {
    let user = User::component("system:kube-aggregator", &[MASTERS]);
    let request = Request::get(path)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver")
        .body(body::empty())
        .map_err(|error| error.to_string())?;
    let asking = async {
        let answer = forward::forward(core, server, &user, request).await.map_err(|error| error.message)?;
        let code = answer.status();
        let read = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?;
        if code != StatusCode::OK {
            return Err(format!("bad status from {path}: {}", code.as_u16()));
        }
        let bytes: Bytes = read.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
}

/// Writes the condition where it differs. A write that loses a race is made again with the next answer.
async fn tell(core: &Core, name: &str, verdict: &Verdict) {
    let Some(kind) = core.kind("apiregistration.k8s.io", "apiservices") else { return };
    let Some(next) = core.get(kind, "", name).and_then(|object| judged(&object, verdict)) else { return };
    if let Err(error) = core.replace(kind, next).await {
        tracing::debug!(%error, name, "cannot write whether an API service is available");
    }
}

/// What is served here is available from its birth on, as upstream's strategy has it.
pub(crate) fn born(kind: &Kind, object: &mut Value) {
    if kind.is("apiregistration.k8s.io", "APIService")
        && !object["spec"]["service"].is_object()
        && let Some(next) = judged(object, &Verdict::LOCAL)
    {
        *object = next;
    }
}

/// The object with the condition; none if it has it.
fn judged(object: &Value, verdict: &Verdict) -> Option<Value> {
    let message = match verdict.reason {
        "Local" => "Local APIServices are always available",
        _ => &verdict.message,
    };
    let state = if verdict.available { "True" } else { "False" };
    let mut conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let held = conditions.iter_mut().find(|one| one["type"] == "Available");
    let since = match &held {
        Some(held) if held["status"] == state => held["lastTransitionTime"].clone(),
        _ => json!(base::time::rfc3339(base::time::now())),
    };
    let condition = json!({
        "type": "Available", "status": state, "lastTransitionTime": since, "reason": verdict.reason, "message": message,
    });
    match held {
        Some(held) if *held == condition => return None,
        Some(held) => *held = condition,
        None => conditions.push(condition),
    }
    let mut next = object.clone();
    next["status"]["conditions"] = conditions.into();
    Some(next)
}
