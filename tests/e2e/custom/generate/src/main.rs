//! The Gateway API's definitions a document each: the standard kinds, then those that are experiments.

use gateway_api::apis::{experimental, standard};
use kube::CustomResourceExt as _;

fn main() {
    let items = [
        standard::backendtlspolicies::BackendTlsPolicy::crd(),
        standard::gatewayclasses::GatewayClass::crd(),
        standard::gateways::Gateway::crd(),
        standard::grpcroutes::GrpcRoute::crd(),
        standard::httproutes::HttpRoute::crd(),
        standard::listenersets::ListenerSet::crd(),
        standard::referencegrants::ReferenceGrant::crd(),
        standard::tlsroutes::TlsRoute::crd(),
        experimental::tcproutes::TcpRoute::crd(),
        experimental::udproutes::UdpRoute::crd(),
        experimental::xbackendtrafficpolicies::XBackendTrafficPolicy::crd(),
        experimental::xmeshes::XMesh::crd(),
    ];
    for item in items {
        println!("---\n{}", serde_json::to_string(&item).expect("JSON"));
    }
}
