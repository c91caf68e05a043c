//! The kubeconfig text a client needs to reach a cluster with a client certificate.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::Pair;

/// A kubeconfig (YAML) with one cluster, one user and one context that joins them.
#[must_use]
pub fn kubeconfig(cluster: &str, server: &str, ca_pem: &str, user: &str, pair: &Pair) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string(); // a JSON string is a YAML string
    let data = |pem: &str| BASE64_STANDARD.encode(pem);
    let (cluster, server, user_name) = (text(cluster), text(server), text(user));
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: {cluster}\n\
         \x20 cluster:\n\
         \x20   server: {server}\n\
         \x20   certificate-authority-data: {ca}\n\
         users:\n\
         - name: {user_name}\n\
         \x20 user:\n\
         \x20   client-certificate-data: {cert}\n\
         \x20   client-key-data: {key}\n\
         contexts:\n\
         - name: {cluster}\n\
         \x20 context:\n\
         \x20   cluster: {cluster}\n\
         \x20   user: {user_name}\n\
         current-context: {cluster}\n",
        ca = data(ca_pem),
        cert = data(&pair.cert_pem),
        key = data(&pair.key_pem),
    )
}
