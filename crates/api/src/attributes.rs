//! What is being asked, in the words of authorization.
//!
//! Made once per request from the path and the method, before the body is read; both RBAC and the "forbidden" message
//! read the same value, so what is refused is what the message says.

use std::sync::Arc;

use crate::identity::User;

#[derive(Clone, Debug)]
pub struct Attributes {
    pub user: Arc<User>,
    /// get, list, watch, create, update, patch, delete, deletecollection; the lower-case method for other paths.
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
    pub is_resource: bool,
    /// Of a list, watch or deletecollection, as it was sent: a node may list its own pods only.
    pub field_selector: String,
}

impl Attributes {
    /// A question about a resource, for reviews and for admission that asks on somebody's behalf.
    pub fn resource(user: &User, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Self {
            user: Arc::new(user.clone()),
            verb: verb.to_owned(),
            group: group.to_owned(),
            version: String::new(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: String::new(),
            is_resource: true,
            field_selector: String::new(),
        }
    }

    /// `pods/log` where there is a subresource, else `pods`: how RBAC rules spell it.
    pub fn resource_path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// `deployments.apps`, or `pods` in the core group: how messages spell it.
    pub fn group_resource(&self) -> String {
        if self.group.is_empty() { self.resource.clone() } else { format!("{}.{}", self.resource, self.group) }
    }

    /// Upstream's sentence for a refusal, without the reason a plugin may add.
    pub fn refusal(&self) -> String {
        let user = &self.user.name;
        let verb = &self.verb;
        if !self.is_resource {
            return format!("User \"{user}\" cannot {verb} path \"{}\"", self.path);
        }
        let resource = self.resource_path();
        let group = &self.group;
        let scope = if self.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", self.namespace)
        };
        format!("User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}")
    }
}
