//! The Gateway API's definitions as one List of JSON: the standard kinds, then those that are experiments.

use gateway_api::apis::{experimental, standard};
use kube::CustomResourceExt as _;

fn main() {
    let items = [
        standard::backendtlspolicies::BackendTLSPolicy::crd(),
        standard::gatewayclasses::GatewayClass::crd(),
        standard::gateways::Gateway::crd(),
        standard::grpcroutes::GRPCRoute::crd(),
        standard::httproutes::HTTPRoute::crd(),
        standard::listenersets::ListenerSet::crd(),
        standard::referencegrants::ReferenceGrant::crd(),
        standard::tlsroutes::TLSRoute::crd(),
        experimental::tcproutes::TCPRoute::crd(),
        experimental::udproutes::UDPRoute::crd(),
        experimental::xbackendtrafficpolicies::XBackendTrafficPolicy::crd(),
        experimental::xmeshes::XMesh::crd(),
    ];
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items });
    println!("{}", serde_json::to_string_pretty(&list).expect("JSON"));
}
