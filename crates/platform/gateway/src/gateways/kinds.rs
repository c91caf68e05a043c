//! The kinds of `gateway.networking.k8s.io`, as far as they are acted on.
//!
//! Facts: Gateway API v1.6.3, experimental channel. Why not the crate `gateway-api`: its types belong to another major version
//! of `kube`, so no client of ours can read them, and they keep what nobody here reads. Invariants: objects are only read, and
//! of each only its status is ever written; references that are written back into a status keep every field that the definitions
//! know; what the API server defaults may be missing here, for objects are also read from files and tests.

mod gateway;
mod policy;
mod references;
mod route;

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::Resource;

pub use gateway::{
    AllowedListeners, AllowedRoutes, Frontend, FrontendPort, FrontendTls, FrontendValidation, Gateway, GatewayAddress,
    GatewayClass, GatewayClassSpec, GatewayClassStatus, GatewaySpec, GatewayStatus, GatewayTls, GroupKind, Listener,
    ListenerSet, ListenerSetSpec, ListenerSetStatus, ListenerStatus, ListenerTls, Namespaces, ParentGateway,
    SupportedFeature,
};
pub use policy::{
    Ancestor, BackendTlsPolicy, BackendTlsSpec, BackendTlsStatus, BackendValidation, Grant, GrantFrom, GrantSpec,
    GrantTo, SubjectAltName, TargetRef,
};
pub use references::{BackendRef, LocalRef, ObjectRef, ParentRef, SecretRef};
pub use route::{
    BackendFilters, Cors, ExternalAuth, Filter, Fraction, GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule, Header,
    HeaderEdits, HttpAuth, HttpMatch, HttpRoute, HttpRule, Mirror, ParentStatus, PathMatch, PathModifier, Persistence,
    Redirect, Retry, Rewrite, RouteSpec, RouteStatus, StreamRule, TcpRoute, Timeouts, TlsRoute, UdpRoute, ValueMatch,
};

/// The group of all kinds here.
pub const GROUP: &str = "gateway.networking.k8s.io";
/// The version of all kinds here but one.
pub const VERSION: &str = "v1";

macro_rules! kinds {
    ($($type:ident $kind:literal $plural:literal $version:literal $scope:ident)*) => {$(
        impl Resource for $type {
            type DynamicType = ();
            type Scope = $scope;
            fn kind((): &()) -> Cow<'_, str> {
                $kind.into()
            }
            fn group((): &()) -> Cow<'_, str> {
                GROUP.into()
            }
            fn version((): &()) -> Cow<'_, str> {
                $version.into()
            }
            fn plural((): &()) -> Cow<'_, str> {
                $plural.into()
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

kinds! {
    GatewayClass "GatewayClass" "gatewayclasses" "v1" ClusterResourceScope
    Gateway "Gateway" "gateways" "v1" NamespaceResourceScope
    ListenerSet "ListenerSet" "listenersets" "v1" NamespaceResourceScope
    HttpRoute "HTTPRoute" "httproutes" "v1" NamespaceResourceScope
    GrpcRoute "GRPCRoute" "grpcroutes" "v1" NamespaceResourceScope
    TlsRoute "TLSRoute" "tlsroutes" "v1" NamespaceResourceScope
    TcpRoute "TCPRoute" "tcproutes" "v1" NamespaceResourceScope
    UdpRoute "UDPRoute" "udproutes" "v1" NamespaceResourceScope
    Grant "ReferenceGrant" "referencegrants" "v1beta1" NamespaceResourceScope
    BackendTlsPolicy "BackendTLSPolicy" "backendtlspolicies" "v1" NamespaceResourceScope
}
