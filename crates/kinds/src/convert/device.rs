//! Claims for devices and slices of them in their oldest form: a request told its class itself, and what a device has
//! stood below `basic`.

use serde_json::Value;

use crate::json::{Members, object, object_mut};

/// What a request tells itself in the oldest form.
const OF_REQUEST: [&str; 7] =
    ["deviceClassName", "selectors", "allocationMode", "count", "adminAccess", "tolerations", "capacity"];

/// The requests of a claim, or of the claims that a template makes.
fn requests<'m>(members: &'m mut Members, kind: &str) -> Option<&'m mut Vec<Value>> {
    let mut spec = object_mut(members, "spec")?;
    if kind == "ResourceClaimTemplate" {
        spec = object_mut(spec, "spec")?;
    }
    object_mut(spec, "devices")?.get_mut("requests")?.as_array_mut()
}

fn devices(members: &mut Members) -> Option<&mut Vec<Value>> {
    object_mut(members, "spec")?.get_mut("devices")?.as_array_mut()
}

pub(super) fn newer(members: &mut Members, kind: &str) {
    for request in requests(members, kind).into_iter().flatten().filter_map(Value::as_object_mut) {
        let own: Members =
            OF_REQUEST.iter().filter_map(|name| Some(((*name).to_owned(), request.remove(*name)?))).collect();
        if !own.is_empty() {
            request.insert("exactly".to_owned(), Value::Object(own));
        }
    }
    if kind == "ResourceSlice" {
        for device in devices(members).into_iter().flatten().filter_map(Value::as_object_mut) {
            if let Some(Value::Object(basic)) = device.remove("basic") {
                device.extend(basic);
            }
        }
    }
}

pub(super) fn older(members: &mut Members, kind: &str) {
    for request in requests(members, kind).into_iter().flatten().filter_map(Value::as_object_mut) {
        if let Some(Value::Object(own)) = request.remove("exactly") {
            request.extend(own);
        }
    }
    if kind == "ResourceSlice" {
        for device in devices(members).into_iter().flatten().filter_map(Value::as_object_mut) {
            let name = device.remove("name");
            let basic = std::mem::take(device);
            device.extend(name.map(|name| ("name".to_owned(), name)));
            object(device, "basic").extend(basic);
        }
    }
}
