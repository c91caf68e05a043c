//! What the devices of a claim must have in common, or must not.
//!
//! Invariant: constraints are monotonic: what one refuses it would also refuse with more devices. A device without the
//! attribute meets no constraint about it.

use expressions::device::Attribute;
use k8s_openapi::api::resource::v1::DeviceConstraint;

use super::slice::Device;

/// A constraint, and the values of the devices chosen so far.
#[derive(Debug)]
pub(super) struct Constraint<'a> {
    /// None means all.
    requests: &'a [String],
    attribute: &'a str,
    distinct: bool,
    values: Vec<&'a Attribute>,
}

/// The value of a fully qualified attribute; those without a domain are the driver's own.
fn value<'a>(device: &'a Device, name: &str) -> Option<&'a Attribute> {
    let own = || {
        let (domain, id) = name.split_once('/')?;
        device.attributes.get(id).filter(|_| *domain == *device.id.driver)
    };
    device.attributes.get(name).or_else(own)?.as_ref()
}

impl<'a> Constraint<'a> {
    pub(super) fn new(constraint: &'a DeviceConstraint) -> Self {
        let (same, distinct) = (constraint.match_attribute.as_deref(), constraint.distinct_attribute.as_deref());
        Self {
            requests: constraint.requests.as_deref().unwrap_or_default(),
            attribute: same.or(distinct).unwrap_or_default(),
            distinct: same.is_none(),
            values: Vec::new(),
        }
    }

    fn is_about(&self, request: &str, full_name: &str) -> bool {
        self.requests.is_empty() || self.requests.iter().any(|one| one == request || one == full_name)
    }

    /// Takes the device in, unless that breaks the constraint.
    pub(super) fn add(&mut self, request: &str, full_name: &str, device: &'a Device) -> bool {
        if !self.is_about(request, full_name) {
            return true;
        }
        let Some(value) = value(device, self.attribute) else { return false };
        let fits = if self.distinct {
            !self.values.contains(&value)
        } else {
            self.values.first().is_none_or(|first| *first == value)
        };
        if fits {
            self.values.push(value);
        }
        fits
    }

    /// Undoes the last `add`.
    pub(super) fn undo(&mut self, request: &str, full_name: &str) {
        if self.is_about(request, full_name) {
            self.values.pop();
        }
    }
}
