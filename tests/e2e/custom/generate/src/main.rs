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
    for mut item in items {
        // groups of kubernetes.io are only taken with a word on who approved of them
        let approved = ("api-approved.kubernetes.io".to_owned(), "https://github.com/kubernetes-sigs/gateway-api".to_owned());
        item.metadata.annotations.get_or_insert_default().extend([approved]);
        println!("---\n{}", serde_json::to_string(&item).expect("JSON"));
    }
}
