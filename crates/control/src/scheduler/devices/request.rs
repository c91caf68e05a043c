//! What claims ask for, ready to be searched for.
//!
//! Invariant: everything that can be said of a claim without looking at devices is said here, once for all nodes. Owns its
//! data, for the claim that extended resources stand for differs from node to node.

use std::collections::HashMap;
use std::sync::Arc;

use base::quantity::Quantity;
use expressions::{Budget, PER_CALL, Program, Type, Value, listing};
use k8s_openapi::api::resource::v1::{
    self as api, DeviceClaim, DeviceClassSpec, DeviceSelector, DeviceSubRequest, DeviceToleration, ExactDeviceRequest,
};
use parking_lot::Mutex;

use super::slice::{Amounts, Device};

/// So many devices one claim can have.
pub(super) const MOST: usize = 32;
/// So many selectors are kept compiled.
const SELECTORS: usize = 512;

/// A DeviceClass.
#[derive(Debug)]
pub(in crate::scheduler) struct Class {
    pub(in crate::scheduler) name: String,
    pub(in crate::scheduler) created: Option<jiff::Timestamp>,
    pub(in crate::scheduler) spec: DeviceClassSpec,
}

/// An expression that chooses devices.
pub(super) struct Selector(Result<Program, String>);

impl std::fmt::Debug for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Selector").field(&self.0.as_ref().map(drop)).finish()
    }
}

impl Selector {
    fn compile(text: &str) -> Self {
        let failed = |why: String| format!("CEL compile error: {why}");
        let program = expressions::compile(text, expressions::device::stored())
            .map_err(|faults| failed(format!("compilation failed: {}", listing(&faults))));
        Self(program.and_then(|program| match (program.result_type(), program.broken()) {
            (Type::Bool | Type::Any, None) => Ok(program),
            (Type::Bool | Type::Any, Some(why)) => Err(failed(format!("program instantiation failed: {why}"))),
            (other, _) => {
                let found = other.full_name();
                Err(failed(format!("must evaluate to bool or the unknown type, not {found}")))
            }
        }))
    }

    /// Whether it chooses the device.
    fn matches(&self, device: &Device) -> Result<bool, String> {
        let program = self.0.as_ref().map_err(String::clone)?;
        let failed = |why: String| format!("CEL runtime error: {why}");
        let seen = device.seen.as_ref().map_err(|why| failed(why.clone()))?;
        let value = program.evaluate(seen, &mut Budget::new(PER_CALL, PER_CALL));
        match value.map_err(|failure| failed(failure.to_string()))? {
            Value::Bool(matches) => Ok(matches),
            other => Err(failed(format!("CEL result of type {other} could not be converted to bool"))),
        }
    }
}

/// Selectors by their text, so that each is compiled once.
#[derive(Debug, Default)]
pub(super) struct Selectors(Mutex<HashMap<String, Arc<Selector>>>);

impl Selectors {
    fn get(&self, text: &str) -> Arc<Selector> {
        let mut known = self.0.lock();
        if let Some(selector) = known.get(text) {
            return selector.clone();
        }
        if known.len() >= SELECTORS {
            known.clear();
        }
        let selector = Arc::new(Selector::compile(text));
        known.insert(text.to_owned(), selector.clone());
        selector
    }
}

/// How many devices are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Exactly(usize),
    All,
}

/// One way to satisfy a request.
#[derive(Debug)]
pub(super) struct Choice {
    /// Of the subrequest; empty when the request has no alternatives.
    pub(super) name: String,
    pub(super) class: Arc<Class>,
    /// Each with how its failures are introduced.
    selectors: Vec<(String, Arc<Selector>)>,
    pub(super) mode: Mode,
    pub(super) admin: bool,
    pub(super) tolerations: Option<Vec<DeviceToleration>>,
    pub(super) capacity: Amounts,
}

impl Choice {
    /// Whether the selectors of class and request choose the device.
    ///
    /// # Errors
    /// When one of them cannot tell.
    pub(super) fn selects(&self, device: &Device) -> Result<bool, String> {
        for (whose, selector) in &self.selectors {
            if !selector.matches(device).map_err(|why| format!("{whose}: {why}"))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A request, which one of its choices satisfies.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) name: String,
    pub(super) choices: Vec<Choice>,
}

impl Request {
    /// As results name what was chosen.
    pub(super) fn full_name(&self, choice: &Choice) -> String {
        if choice.name.is_empty() { self.name.clone() } else { format!("{}/{}", self.name, choice.name) }
    }

    pub(super) fn has_alternatives(&self) -> bool {
        self.choices.iter().any(|choice| !choice.name.is_empty())
    }
}

/// A claim that is to be given devices.
#[derive(Debug)]
pub(in crate::scheduler) struct Want {
    /// Namespace and name, for messages.
    pub(super) claim: String,
    pub(super) requests: Vec<Request>,
    pub(super) spec: Arc<DeviceClaim>,
}

/// What requests are made of.
pub(in crate::scheduler) struct Stock<'a> {
    pub(super) classes: &'a HashMap<String, Arc<Class>>,
    pub(super) selectors: &'a Selectors,
}

/// The common part of requests and subrequests.
struct Asked<'a> {
    class: &'a str,
    mode: Option<&'a str>,
    count: Option<i64>,
    selectors: &'a [DeviceSelector],
    admin: bool,
    tolerations: Option<&'a Vec<DeviceToleration>>,
    capacity: Option<&'a api::CapacityRequirements>,
}

impl<'a> From<&'a ExactDeviceRequest> for Asked<'a> {
    fn from(one: &'a ExactDeviceRequest) -> Self {
        Self {
            class: &one.device_class_name,
            mode: one.allocation_mode.as_deref(),
            count: one.count,
            selectors: one.selectors.as_deref().unwrap_or_default(),
            admin: one.admin_access == Some(true),
            tolerations: one.tolerations.as_ref(),
            capacity: one.capacity.as_ref(),
        }
    }
}

impl<'a> From<&'a DeviceSubRequest> for Asked<'a> {
    fn from(one: &'a DeviceSubRequest) -> Self {
        Self {
            class: &one.device_class_name,
            mode: one.allocation_mode.as_deref(),
            count: one.count,
            selectors: one.selectors.as_deref().unwrap_or_default(),
            admin: false,
            tolerations: one.tolerations.as_ref(),
            capacity: one.capacity.as_ref(),
        }
    }
}

impl Want {
    /// Reads a claim.
    ///
    /// # Errors
    /// When something of it is not known here, or its class is gone.
    pub(in crate::scheduler) fn read(
        claim: String,
        spec: &Arc<DeviceClaim>,
        stock: &Stock<'_>,
    ) -> Result<Self, String> {
        let mut requests = Vec::new();
        for request in spec.requests.iter().flatten() {
            let mut choices = Vec::new();
            if let Some(exactly) = &request.exactly {
                choices.push(stock.choice(&claim, "", &request.name, &Asked::from(exactly))?);
            }
            for one in request.first_available.iter().flatten() {
                choices.push(stock.choice(&claim, &one.name, &one.name, &Asked::from(one))?);
            }
            requests.push(Request { name: request.name.clone(), choices });
        }
        for (index, constraint) in spec.constraints.iter().flatten().enumerate() {
            if constraint.match_attribute.is_none() && constraint.distinct_attribute.is_none() {
                let why = "empty constraint (unsupported constraint type?)";
                return Err(format!("claim {claim}, constraint #{index}: {why}"));
            }
        }
        Ok(Self { claim, requests, spec: spec.clone() })
    }
}

impl Stock<'_> {
    fn choice(&self, claim: &str, name: &str, shown: &str, asked: &Asked<'_>) -> Result<Choice, String> {
        let wrong = |why: String| format!("claim {claim}, request {shown}: {why}");
        if asked.class.is_empty() {
            return Err(wrong("missing device class name (unsupported request type?)".to_owned()));
        }
        let Some(class) = self.classes.get(asked.class) else {
            let class = asked.class;
            return Err(wrong(format!(
                "could not retrieve device class {class}: deviceclass.resource.k8s.io {class:?} not found"
            )));
        };
        let mode = match asked.mode.unwrap_or("ExactCount") {
            "All" => Mode::All,
            "ExactCount" => match usize::try_from(asked.count.unwrap_or(1)) {
                Ok(count) => Mode::Exactly(count),
                Err(_) => return Err(wrong(format!("exact count {} is too large", asked.count.unwrap_or(1)))),
            },
            other => return Err(wrong(format!("unsupported count mode {other}"))),
        };
        let mut selectors = Vec::new();
        let of_class = class.spec.selectors.iter().flatten().map(|one| (format!("class {}", class.name), one));
        for (index, (whose, selector)) in of_class.enumerate() {
            let text = selector.cel.as_ref().map_or("", |cel| cel.expression.as_str());
            selectors.push((format!("{whose}: selector #{index}"), self.selectors.get(text)));
        }
        for (index, selector) in asked.selectors.iter().enumerate() {
            let Some(cel) = &selector.cel else {
                let why = "CEL expression empty (unsupported selector type?)";
                return Err(format!("claim {claim}, request {shown}, selector #{index}: {why}"));
            };
            selectors.push((format!("claim {claim}: selector #{index}"), self.selectors.get(&cel.expression)));
        }
        let capacity = asked.capacity.and_then(|capacity| capacity.requests.as_ref()).into_iter().flatten();
        let unreadable = Quantity::from_value(i64::MAX, base::quantity::Format::DecimalSi); // never met
        Ok(Choice {
            name: name.to_owned(),
            class: class.clone(),
            selectors,
            mode,
            admin: asked.admin,
            tolerations: asked.tolerations.cloned(),
            capacity: capacity.map(|(name, text)| (name.clone(), text.0.parse().unwrap_or(unreadable))).collect(),
        })
    }
}
