//! Names of kernel objects: made from the cluster's name, within the kernel's 15 characters.

/// FNV-1a, for names that must be short, stable and almost surely different.
fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The bridge of a cluster.
pub(crate) fn bridge(cluster: &str) -> String {
    if cluster.len() <= 12 { format!("kn-{cluster}") } else { format!("kn-{:08x}", hash(cluster)) }
}

/// The host's end of a pod's pair.
pub(crate) fn veth(cluster: &str, uid: &str) -> String {
    format!("kn{:04x}{:08x}", hash(cluster) & 0xffff, hash(uid))
}

/// The nf_tables table of a cluster.
pub(crate) fn table(cluster: &str) -> String {
    format!("knarr-{cluster}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_by_cluster() {
        let uid = "6dd9dc3c-6f9c-4f3e-8f4d-0d6c0f7d1a11";
        for cluster in ["knarr", "blue", "a-name-of-twenty-chr"] {
            assert!(bridge(cluster).len() <= 15 && veth(cluster, uid).len() <= 15);
        }
        assert_ne!(veth("blue", uid), veth("knarr", uid));
        assert_ne!(bridge("a-name-of-twenty-chr"), bridge("a-name-of-twenty-chs"));
    }
}
