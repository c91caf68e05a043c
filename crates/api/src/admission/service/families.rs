//! Which IP families a service has, from what the client said and what the cluster has.

use kinds::FieldError;
use serde_json::{Value, json};

use super::shape::{has_address, strings};
use crate::allocate::Family;

const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// Sets `ipFamilyPolicy` and `ipFamilies`, or tells why they cannot be.
pub(super) fn settle(service: &mut Value, old: Option<&Value>, cluster: &[Family]) -> Result<(), Vec<FieldError>> {
    if !has_address(service) || unchanged_preference(service, old) {
        return Ok(());
    }
    let headless = service["spec"]["clusterIP"] == "None";
    let selects = service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    let policy = match service["spec"]["ipFamilyPolicy"].as_str() {
        Some(policy) => policy.to_owned(),
        None => {
            let before = old.and_then(|old| old["spec"]["ipFamilyPolicy"].as_str());
            before.unwrap_or(if headless && !selects { REQUIRE } else { SINGLE }).to_owned()
        }
    };
    service["spec"]["ipFamilyPolicy"] = json!(policy);
    if let Some(old) = old {
        release(service, old, &policy)?;
    }
    let addresses = strings(&service["spec"]["clusterIPs"]);
    let mut names = strings(&service["spec"]["ipFamilies"]);
    let mut faults = Vec::new();
    let mut wrong = |field: &str, value: Value, why: &str| {
        faults.push(FieldError::invalid(format!("spec.{field}"), value, why));
    };
    if policy == SINGLE {
        if addresses.len() == 2 {
            let why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified";
            wrong("ipFamilyPolicy", json!(policy), why);
        }
        if names.len() == 2 {
            let why = "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified";
            wrong("ipFamilyPolicy", json!(policy), why);
        }
    }
    for (index, address) in addresses.iter().enumerate().filter(|(_, address)| *address != "None") {
        let Ok(address) = address.parse() else { continue }; // validation tells
        let family = Family::of(address);
        if index < names.len() {
            continue;
        }
        if cluster.contains(&family) {
            names.push(family.name().to_owned());
        } else {
            let why = format!("{} is not configured on this cluster", family.name());
            wrong(&format!("clusterIPs[{index}]"), json!(addresses), &why);
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let default = cluster.first().map_or("IPv4", |family| family.name());
    if headless && !selects {
        complete(&mut names, default, policy != SINGLE);
        service["spec"]["ipFamilies"] = json!(names);
        return Ok(());
    }
    if policy == REQUIRE && cluster.len() < 2 {
        let why = "this cluster is not configured for dual-stack services";
        faults.push(FieldError::invalid("spec.ipFamilyPolicy", policy.as_str(), why));
    }
    for (index, name) in names.iter().enumerate() {
        if Family::parse(name).is_some_and(|family| !cluster.contains(&family)) {
            let why = "not configured on this cluster";
            faults.push(FieldError::invalid(format!("spec.ipFamilies[{index}]"), name.as_str(), why));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    complete(&mut names, default, policy != SINGLE && cluster.len() == 2);
    service["spec"]["ipFamilies"] = json!(names);
    Ok(())
}

fn complete(names: &mut Vec<String>, default: &str, both: bool) {
    if names.is_empty() {
        names.push(default.to_owned());
    }
    if both && names.len() == 1 {
        names.push(if names[0] == "IPv4" { "IPv6" } else { "IPv4" }.to_owned());
    }
}

/// A service that only prefers two families keeps what it has when the cluster changes.
fn unchanged_preference(service: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else { return false };
    let same = |field: &str| service["spec"][field] == old["spec"][field];
    service["spec"]["ipFamilyPolicy"] == PREFER
        && ["ipFamilyPolicy", "type", "clusterIPs", "ipFamilies"].iter().all(|field| same(field))
}

/// From two families to one: clear when the policy says so, a mistake otherwise.
fn release(service: &mut Value, old: &Value, policy: &str) -> Result<(), Vec<FieldError>> {
    let mut faults = Vec::new();
    let fields = [
        ("clusterIPs", "must be 'SingleStack' to release the secondary cluster IP"),
        ("ipFamilies", "must be 'SingleStack' to release the secondary IP family"),
    ];
    for (field, why) in fields {
        let (new, before) = (strings(&service["spec"][field]), strings(&old["spec"][field]));
        if policy == SINGLE {
            if new == before && new.len() > 1 {
                service["spec"][field] = json!([new[0]]);
            }
        } else if !new.is_empty() && new.len() < before.len() {
            faults.push(FieldError::invalid("spec.ipFamilyPolicy", policy, why));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}
