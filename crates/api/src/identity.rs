//! Who is asking.
//!
//! A [`User`] is what authentication yields and what authorization, admission and `managedFields` read. It is a value:
//! nothing in it can be looked up again later, so a request is judged by the groups it arrived with.

use std::collections::BTreeMap;

/// Group of everybody who proved an identity.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Group of everybody who did not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Members may do everything; RBAC is not asked.
pub(crate) const MASTERS: &str = "system:masters";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: Option<String>,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// An identity we vouch for ourselves: one of our own components, or a verified credential.
    pub fn component(name: impl Into<String>, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name: name.into(), uid: None, groups, extra: BTreeMap::new() }
    }

    /// A component that runs as a service account, with the groups its token would carry.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::component(
            format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")],
        )
    }

    pub fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            uid: None,
            groups: vec![UNAUTHENTICATED.to_owned()],
            extra: BTreeMap::new(),
        }
    }

    /// The program that acts under this name, as managedFields tell it: `kubelet`, `kube-scheduler`, and for the accounts
    /// of controllers the manager that runs them.
    pub fn program(&self) -> &str {
        if self.is_in("system:nodes") {
            return "kubelet";
        }
        match self.name.strip_prefix("system:").unwrap_or(&self.name).rsplit_once(':') {
            Some(("serviceaccount:kube-system", _)) => "kube-controller-manager",
            Some((_, last)) => last,
            None => self.name.strip_prefix("system:").unwrap_or(&self.name),
        }
    }

    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|held| held == group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_is_authenticated_once() {
        let user = User::component("system:kube-scheduler", &[AUTHENTICATED]);
        assert_eq!(user.groups, [AUTHENTICATED]);
        assert!(User::component("a", &[]).is_in(AUTHENTICATED));
        assert!(!User::anonymous().is_in(AUTHENTICATED));
    }

    #[test]
    fn a_component_writes_under_the_name_of_its_program() {
        for (user, program) in [
            (User::component("system:kube-scheduler", &[]), "kube-scheduler"),
            (User::component("system:kube-controller-manager", &[]), "kube-controller-manager"),
            (User::service_account("kube-system", "deployment-controller"), "kube-controller-manager"),
            (User::service_account("knarr-system", "dns"), "dns"),
            (User::component("system:node:a", &["system:nodes"]), "kubelet"),
            (User::component("kubernetes-admin", &[MASTERS]), "kubernetes-admin"),
        ] {
            assert_eq!(user.program(), program);
        }
    }

    #[test]
    fn a_service_account_carries_the_groups_of_its_namespace() {
        let user = User::service_account("kube-system", "gc");
        assert_eq!(user.name, "system:serviceaccount:kube-system:gc");
        assert!(user.is_in("system:serviceaccounts") && user.is_in("system:serviceaccounts:kube-system"));
    }
}
