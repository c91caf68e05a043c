//! Rules of webhooks.

use base::name;
use serde_json::Value;

use super::Faults;
use crate::json::{at, list, text};
use crate::path::Path;

pub(crate) fn webhooks(configuration: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let above = root.field("webhooks");
    let mut names = Vec::new();
    for (index, webhook) in list(configuration, "webhooks").iter().enumerate() {
        let path = above.index(index);
        let name = text(webhook, "name");
        if name.is_empty() {
            faults.required(&path.field("name"), "");
        } else {
            faults.named(&path.field("name"), name, name::dns_subdomain);
            if name.split('.').count() < 3 {
                let detail = "should be a domain with at least three segments separated by dots";
                faults.invalid(&path.field("name"), name, detail);
            }
        }
        if names.contains(&name) {
            faults.duplicate(&path.field("name"), name);
        }
        names.push(name);
        if list(webhook, "admissionReviewVersions").is_empty() {
            faults.required(&path.field("admissionReviewVersions"), "must specify one of v1, v1beta1");
        }
        faults.one_of(webhook, "sideEffects", &path, &["None", "NoneOnDryRun"]);
        let client = at(webhook, "clientConfig");
        if (text(client, "url").is_empty()) == at(client, "service").is_null() {
            faults.required(&path.field("clientConfig"), "exactly one of url or service is required");
        }
    }
}
