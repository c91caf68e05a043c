//! Versions of kinds that are going to end.

use crate::catalog::Kind;

/// Group, version, kind (empty for all of the version), the release since which it is deprecated, the one that ends it
/// (0 for never), and what to use.
const TABLE: &[(&str, &str, &str, u32, u32, &str)] = &[
    ("", "v1", "ComponentStatus", 19, 0, ""),
    ("", "v1", "Endpoints", 33, 0, "discovery.k8s.io/v1 EndpointSlice"),
    ("admissionregistration.k8s.io", "v1alpha1", "", 35, 38, ""),
    ("admissionregistration.k8s.io", "v1beta1", "", 37, 40, ""),
    ("certificates.k8s.io", "v1alpha1", "", 34, 37, ""),
    ("certificates.k8s.io", "v1beta1", "ClusterTrustBundle", 37, 40, ""),
    ("certificates.k8s.io", "v1beta1", "PodCertificateRequest", 38, 41, ""),
    ("coordination.k8s.io", "v1alpha2", "", 35, 38, ""),
    ("coordination.k8s.io", "v1beta1", "", 36, 39, ""),
    ("networking.k8s.io", "v1beta1", "", 34, 37, ""),
    ("resource.k8s.io", "v1alpha3", "DeviceTaintRule", 36, 39, ""),
    ("resource.k8s.io", "v1beta1", "", 35, 38, ""),
    ("resource.k8s.io", "v1beta2", "DeviceTaintRule", 39, 42, ""),
    ("resource.k8s.io", "v1beta2", "", 36, 39, ""),
    ("storage.k8s.io", "v1beta1", "", 34, 37, ""),
];

/// The minor release that this server is.
const NOW: u32 = 36;

/// What every request for a deprecated version is told.
pub fn deprecation(kind: &Kind) -> Option<String> {
    let fits = |row: &&(&str, &str, &str, u32, u32, &str)| {
        row.0 == kind.group && row.1 == kind.version && (row.2.is_empty() || row.2 == kind.kind)
    };
    let (_, _, _, since, until, instead) = TABLE.iter().find(fits).filter(|_| kind.custom.is_none())?;
    if *since > NOW {
        return None;
    }
    let mut text = format!("{} {} is deprecated in v1.{since}+", kind.api_version(), kind.kind);
    if *until != 0 {
        text.push_str(&format!(", unavailable in v1.{until}+"));
    }
    if !instead.is_empty() {
        text.push_str(&format!("; use {instead}"));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    #[test]
    fn deprecated_versions_say_since_when_and_what_instead() {
        let told = |group: &str, version: &str, plural: &str| {
            deprecation(Catalog::builtin().resource(group, version, plural).unwrap())
        };
        let endpoints = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
        assert_eq!(told("", "v1", "endpoints").as_deref(), Some(endpoints));
        assert_eq!(told("", "v1", "pods"), None);
        let old = "networking.k8s.io/v1beta1 IPAddress is deprecated in v1.34+, unavailable in v1.37+";
        assert_eq!(told("networking.k8s.io", "v1beta1", "ipaddresses").as_deref(), Some(old));
        assert_eq!(told("certificates.k8s.io", "v1beta1", "clustertrustbundles"), None, "not yet");
    }
}
