//! Prints the definition of `AccessPolicy`, for clusters where the gateway may not install it itself:
//! `cargo run -p knarr-identity --example definition | kubectl apply -f -`.

use kube::CustomResourceExt as _;

fn main() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&knarr_identity::AccessPolicy::crd())?);
    Ok(())
}
