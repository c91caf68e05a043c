//! The parts of a Service that the cluster fills in: families, cluster addresses, node ports.
//!
//! Clients send services back without what was allocated for them, change types and expect the rest to follow; upstream
//! divines what they mean, and so do we, in the same order: join what belongs together, put back what was left out, drop
//! what no longer applies, then allocate what is missing. Numbers are taken here and settled when the write is over; they
//! are given back by whoever sees the store no longer show them (`allocate`).
//!
//! - [`shape`]: the joining, putting back and dropping; pure.
//! - [`families`]: which IP families a service has; pure.

mod families;
mod shape;

use std::sync::Arc;

use async_trait::async_trait;
use kinds::{FieldError, Kind};
use serde_json::{Value, json};

use super::{Admission, Admit, Operation};
use crate::{
    allocate::{self, Family, Number, Services},
    core::{self, Core},
    error::ApiError,
};

pub(super) struct ServiceNumbers;

#[async_trait]
impl Admission for ServiceNumbers {
    fn looks_again(&self) -> bool {
        false // what it has taken is taken
    }

    fn name(&self) -> &'static str {
        "ServiceNumbers"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let service = admit.kind.group.is_empty() && admit.kind.plural == "services" && admit.subresource.is_empty();
        if !service || !matches!(admit.operation, Operation::Create | Operation::Update) {
            return Ok(());
        }
        let Some(object) = admit.object.as_deref_mut() else { return Ok(()) };
        let owner: Arc<str> = core::key(admit.kind, admit.namespace, admit.name).into();
        let mut take = Take { services: &core.access.services, owner, taken: admit.taken };
        fill(&mut take, object, admit.old).map_err(|refusal| refusal.told(admit.kind, admit.name))
    }

    fn settle(&self, core: &Core, admit: &Admit<'_>, committed: bool) {
        core.access.services.settle(admit.taken, committed && !admit.dry_run);
    }
}

/// Why a service cannot have what it needs.
#[derive(Debug)]
enum Refusal {
    Invalid(Vec<FieldError>),
    Internal(String),
}

impl Refusal {
    fn told(self, kind: &Kind, name: &str) -> ApiError {
        match self {
            Self::Invalid(faults) => ApiError::invalid(kind, name, &faults),
            Self::Internal(why) => ApiError::internal(why),
        }
    }
}

/// Fills in a service that is created without admission; what it takes is added to `taken`, to be settled by the caller.
pub(crate) fn complete(
    core: &Core,
    kind: &Kind,
    key: &str,
    service: &mut Value,
    taken: &mut Vec<Number>,
) -> Result<(), ApiError> {
    let mut take = Take { services: &core.access.services, owner: key.into(), taken };
    fill(&mut take, service, None).map_err(|refusal| refusal.told(kind, core::text(service, "/metadata/name")))
}

impl From<FieldError> for Refusal {
    fn from(fault: FieldError) -> Self {
        Self::Invalid(vec![fault])
    }
}

/// Takes numbers for one write and remembers them.
struct Take<'a> {
    services: &'a Services,
    owner: Arc<str>,
    taken: &'a mut Vec<Number>,
}

impl Take<'_> {
    fn address(&mut self, asked: Option<&str>, family: Family, all: &Value) -> Result<String, Refusal> {
        let Some(asked) = asked else {
            let address = self.services.take_any_address(family, &self.owner).map_err(|why| match why {
                allocate::Error::Full => {
                    let name = self.owner.rsplit('/').next().unwrap_or_default();
                    Refusal::Internal(format!("failed to allocate a serviceIP for Service {name:?}: {why}"))
                }
                why => {
                    FieldError::invalid("spec.clusterIPs", all.clone(), format!("failed to allocate IP: {why}")).into()
                }
            })?;
            self.taken.push(Number::Address(address));
            return Ok(address.to_string());
        };
        let fault = |why: String| FieldError::invalid("spec.clusterIPs", all.clone(), why);
        let address = asked.parse().map_err(|_| fault("must be a valid IP address".to_owned()))?;
        let taken = self.services.take_address(address, &self.owner);
        self.taken.push(taken.map_err(|why| fault(format!("failed to allocate IP {asked}: {why}")))?);
        Ok(asked.to_owned())
    }

    fn any_port(&mut self) -> Result<u16, Refusal> {
        let any = self.services.take_any_port(&self.owner);
        let port = any.map_err(|why| Refusal::Internal(format!("failed to allocate a nodePort: {why}")))?;
        self.taken.push(Number::Port(port));
        Ok(port)
    }

    fn port(&mut self, port: u16) -> Result<(), allocate::Error> {
        self.taken.push(self.services.take_port(port, &self.owner)?);
        Ok(())
    }
}

fn fill(take: &mut Take<'_>, service: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
    shape::join_addresses(service, old);
    if let Some(old) = old {
        shape::put_back(service, old);
        shape::drop_stale(service, old);
        let faults = shape::immutable(service, old);
        if !faults.is_empty() {
            return Err(Refusal::Invalid(faults));
        }
    }
    families::settle(service, old, &take.services.families()).map_err(Refusal::Invalid)?;
    let held: Vec<Number> = old.map(allocate::numbers).unwrap_or_default();
    addresses(take, service, &held)?;
    node_ports(take, service, &held)?;
    health_port(take, service, &held)
}

fn addresses(take: &mut Take<'_>, service: &mut Value, held: &[Number]) -> Result<(), Refusal> {
    if service["spec"]["type"] == "ExternalName" || service["spec"]["clusterIP"] == "None" {
        return Ok(());
    }
    let families: Vec<Family> =
        shape::strings(&service["spec"]["ipFamilies"]).iter().filter_map(|f| Family::parse(f)).collect();
    let mut all = shape::strings(&service["spec"]["clusterIPs"]);
    for (index, family) in families.into_iter().enumerate() {
        let asked = all.get(index).filter(|address| !address.is_empty()).cloned();
        let ours =
            asked.as_ref().and_then(|asked| asked.parse().ok()).is_some_and(|a| held.contains(&Number::Address(a)));
        if ours {
            continue;
        }
        let address = take.address(asked.as_deref(), family, &json!(all))?;
        if index < all.len() {
            all[index] = address;
        } else {
            all.push(address);
        }
    }
    if let Some(first) = all.first() {
        service["spec"]["clusterIP"] = json!(first);
        service["spec"]["clusterIPs"] = json!(all);
    }
    Ok(())
}

/// Gives each port its node port; ports that share their number (TCP and UDP of one service) share the node port.
fn node_ports(take: &mut Take<'_>, service: &mut Value, held: &[Number]) -> Result<(), Refusal> {
    if !shape::has_node_ports(service) {
        return Ok(());
    }
    let wanted = shape::wants_node_ports(service);
    let node_port =
        |port: &Value| port["nodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).filter(|p| *p != 0);
    let ports = service["spec"]["ports"].as_array().cloned().unwrap_or_default();
    let mut given: Vec<(Option<u64>, u16)> = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let number = port["port"].as_u64();
        let asked = node_port(port).or_else(|| {
            let sibling = ports.iter().find(|other| other["port"].as_u64() == number && node_port(other).is_some());
            sibling.filter(|_| wanted).and_then(node_port)
        });
        let shared = given.iter().find(|(other, _)| *other == number).map(|(_, port)| *port).filter(|_| wanted);
        let Some(asked) = asked.or(shared) else {
            if wanted {
                let any = take.any_port()?;
                given.push((number, any));
                service["spec"]["ports"][index]["nodePort"] = json!(any);
            }
            continue;
        };
        let known = held.contains(&Number::Port(asked)) || given.iter().any(|(_, port)| *port == asked);
        if !known {
            take.port(asked)
                .map_err(|why| FieldError::invalid(format!("spec.ports[{index}].nodePort"), asked, why.to_string()))?;
        }
        given.push((number, asked));
        service["spec"]["ports"][index]["nodePort"] = json!(asked);
    }
    Ok(())
}

fn health_port(take: &mut Take<'_>, service: &mut Value, held: &[Number]) -> Result<(), Refusal> {
    if !shape::has_health_port(service) {
        return Ok(());
    }
    let asked =
        service["spec"]["healthCheckNodePort"].as_u64().and_then(|port| u16::try_from(port).ok()).filter(|p| *p != 0);
    match asked {
        Some(asked) if held.contains(&Number::Port(asked)) => Ok(()),
        Some(asked) => take.port(asked).map_err(|why| {
            Refusal::Internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
        }),
        None => {
            let any = take.any_port()?;
            service["spec"]["healthCheckNodePort"] = json!(any);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
