//! The controllers and the scheduler.
//!
//! Knows the Kubernetes API through a client and the informers, not who serves it. In reading order:
//! - [`plan`]: what each controller decides, pure; no async, no clock, no client.
//! - `run`: the shells that read caches, act on plans and write status once.
//! - [`events`]: telling people about objects.
//! - [`scheduler`]: puts pods on nodes; a service of its own with its own identity.
//! - [`CONTROLLERS`]: every controller with the kinds it reads and owns; [`run()`] starts exactly these.

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use base::zone::Zone;
use informer::{Informers, Queue};
use kube::Client;

pub mod events;
#[cfg(test)]
mod fake;
pub mod plan;
mod run;
pub mod scheduler;
mod slim;
mod time;
#[cfg(test)]
mod world;

use events::Events;

/// Every key is looked at again after this long even if nothing changed: the answer to a lost wake-up.
const FULL_PASS: Duration = Duration::from_secs(600);

/// What the controllers need to run.
#[derive(Clone)]
pub struct Config {
    /// A client with the identity of the named controller; "" is the identity for shared reads.
    pub clients: Arc<dyn Fn(&str) -> Client + Send + Sync>,
    /// What `kube-root-ca.crt` publishes in every namespace.
    pub cluster_ca_pem: String,
    /// Where schedules that name no time zone are meant.
    pub time_zone: Zone,
    /// Signs requests for certificates; without it none is signed.
    pub sign: Option<Sign>,
    /// Makes tokens of service accounts; without it none is made.
    pub sign_token: Option<SignToken>,
}

/// Makes a token for an account that dies with a Secret; or why there is none. The key stays with who gives this.
pub type SignToken = Arc<dyn Fn(&plan::account_token::Subject) -> Result<String, String> + Send + Sync>;

/// Signs a request (DER) with the authority of those who are to believe it, for these uses and so long; the certificate,
/// PEM, or why there is none. The keys stay with who gives this.
pub type Sign =
    Arc<dyn Fn(plan::certificate::Trust, &[u8], &[String], Duration) -> Result<String, String> + Send + Sync>;

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").finish_non_exhaustive()
    }
}

/// A controller: the identity it writes with, what it reads, what it writes.
pub struct Controller {
    /// The service account name, as upstream's `system:controller:<name>` role.
    pub name: &'static str,
    /// `plural.group` of what it watches; `*` for everything.
    pub reads: &'static [&'static str],
    /// `plural.group` of what it creates, changes or deletes.
    pub owns: &'static [&'static str],
    start: fn(&Shared) -> Launch,
}

impl std::fmt::Debug for Controller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller")
            .field("name", &self.name)
            .field("reads", &self.reads)
            .field("owns", &self.owns)
            .finish()
    }
}

/// Every controller there is.
pub static CONTROLLERS: &[Controller] = &[
    Controller {
        name: "namespace-controller",
        reads: &["namespaces", "pods", "*"],
        owns: &["namespaces", "namespaces/status", "namespaces/finalize", "*"],
        start: run::namespace::start,
    },
    Controller {
        name: "service-account-controller",
        reads: &["namespaces", "serviceaccounts"],
        owns: &["serviceaccounts"],
        start: run::service_account::start,
    },
    Controller {
        // writes as the controller manager itself, as upstream's
        name: "tokens-controller",
        reads: &["serviceaccounts", "secrets"],
        owns: &["secrets", "serviceaccounts"],
        start: run::account_token::start,
    },
    Controller {
        name: "legacy-service-account-token-cleaner",
        reads: &["secrets", "serviceaccounts", "pods", "configmaps"],
        owns: &["secrets"],
        start: run::legacy_token::start,
    },
    Controller {
        name: "root-ca-cert-publisher",
        reads: &["namespaces", "configmaps"],
        owns: &["configmaps"],
        start: run::root_ca::start,
    },
    Controller {
        name: "deployment-controller",
        reads: &["deployments.apps", "replicasets.apps", "pods"],
        owns: &["deployments.apps", "deployments.apps/status", "replicasets.apps", "events"],
        start: run::deployment::start,
    },
    Controller {
        name: "replicaset-controller",
        reads: &["replicasets.apps", "pods"],
        owns: &["replicasets.apps/status", "pods", "events"],
        start: run::replicaset::start,
    },
    Controller {
        name: "replication-controller",
        reads: &["replicationcontrollers", "pods"],
        owns: &["replicationcontrollers/status", "pods", "events"],
        start: run::replication::start,
    },
    Controller {
        name: "statefulset-controller",
        reads: &["statefulsets.apps", "controllerrevisions.apps", "persistentvolumeclaims", "pods"],
        owns: &["statefulsets.apps/status", "controllerrevisions.apps", "persistentvolumeclaims", "pods", "events"],
        start: run::statefulset::start,
    },
    Controller {
        name: "daemon-set-controller",
        reads: &["daemonsets.apps", "controllerrevisions.apps", "nodes", "pods"],
        owns: &["daemonsets.apps/status", "controllerrevisions.apps", "pods", "events"],
        start: run::daemonset::start,
    },
    Controller {
        name: "endpoint-controller",
        reads: &["services", "pods", "endpoints"],
        owns: &["endpoints", "events"],
        start: run::endpoints::start,
    },
    Controller {
        name: "endpointslice-controller",
        reads: &["services", "pods", "nodes", "endpointslices.discovery.k8s.io"],
        owns: &["endpointslices.discovery.k8s.io", "events"],
        start: run::endpointslice::start,
    },
    Controller {
        name: "endpointslicemirroring-controller",
        reads: &["services", "endpoints", "endpointslices.discovery.k8s.io"],
        owns: &["endpointslices.discovery.k8s.io", "events"],
        start: run::endpointslice_mirroring::start,
    },
    Controller { name: "generic-garbage-collector", reads: &["*"], owns: &["*"], start: run::garbage::start },
    Controller {
        name: "node-controller",
        reads: &["nodes", "leases.coordination.k8s.io", "pods"],
        owns: &["nodes", "nodes/status", "pods", "pods/status", "events"],
        start: run::node_lifecycle::start,
    },
    Controller { name: "ttl-controller", reads: &["nodes"], owns: &["nodes"], start: run::node_ttl::start },
    Controller {
        name: "service-cidrs-controller",
        reads: &["servicecidrs.networking.k8s.io", "ipaddresses.networking.k8s.io"],
        owns: &["servicecidrs.networking.k8s.io", "servicecidrs.networking.k8s.io/status"],
        start: run::service_cidr::start,
    },
    Controller {
        name: "pod-garbage-collector",
        reads: &["pods", "nodes"],
        owns: &["pods", "pods/status"],
        start: run::pod_gc::start,
    },
    Controller {
        name: "job-controller",
        reads: &["jobs.batch", "pods"],
        owns: &["jobs.batch/status", "pods", "events"],
        start: run::job::start,
    },
    Controller {
        name: "cronjob-controller",
        reads: &["cronjobs.batch", "jobs.batch"],
        owns: &["cronjobs.batch/status", "jobs.batch", "events"],
        start: run::cronjob::start,
    },
    Controller {
        name: "ttl-after-finished-controller",
        reads: &["jobs.batch"],
        owns: &["jobs.batch"],
        start: run::ttl::start,
    },
    Controller {
        name: "disruption-controller",
        reads: &[
            "poddisruptionbudgets.policy",
            "pods",
            "replicationcontrollers",
            "replicasets.apps",
            "deployments.apps",
            "statefulsets.apps",
        ],
        owns: &["poddisruptionbudgets.policy/status", "pods/status", "events"],
        start: run::disruption::start,
    },
    Controller {
        name: "horizontal-pod-autoscaler",
        reads: &[
            "horizontalpodautoscalers.autoscaling",
            "pods",
            "pods.metrics.k8s.io",
            "*.custom.metrics.k8s.io",
            "*.external.metrics.k8s.io",
        ],
        owns: &["horizontalpodautoscalers.autoscaling/status", "*/scale", "events"],
        start: run::autoscaler::start,
    },
    Controller {
        name: "resourcequota-controller",
        reads: &["resourcequotas", "pods", "services", "persistentvolumeclaims", "resourceclaims.resource.k8s.io", "*"],
        owns: &["resourcequotas/status"],
        start: run::quota::start,
    },
    Controller {
        name: "persistent-volume-binder",
        reads: &["persistentvolumes", "persistentvolumeclaims", "storageclasses.storage.k8s.io", "pods"],
        owns: &[
            "persistentvolumes",
            "persistentvolumes/status",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "events",
        ],
        start: run::volume::start,
    },
    Controller {
        name: "pvc-protection-controller",
        reads: &["persistentvolumeclaims", "pods"],
        owns: &["persistentvolumeclaims"],
        start: run::volume::protect::claims,
    },
    Controller {
        name: "pv-protection-controller",
        reads: &["persistentvolumes"],
        owns: &["persistentvolumes"],
        start: run::volume::protect::volumes,
    },
    Controller {
        name: "volumeattributesclass-protection-controller",
        reads: &["volumeattributesclasses.storage.k8s.io", "persistentvolumeclaims", "persistentvolumes"],
        owns: &["volumeattributesclasses.storage.k8s.io"],
        start: run::volume::protect::attributes,
    },
    Controller {
        name: "ephemeral-volume-controller",
        reads: &["pods", "persistentvolumeclaims"],
        owns: &["persistentvolumeclaims", "events"],
        start: run::volume::ephemeral::start,
    },
    Controller {
        name: "expand-controller",
        reads: &["persistentvolumeclaims", "persistentvolumes"],
        owns: &["events"],
        start: run::volume::expand::start,
    },
    Controller {
        name: "attachdetach-controller",
        reads: &[
            "pods",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "csidrivers.storage.k8s.io",
            "volumeattachments.storage.k8s.io",
        ],
        owns: &["volumeattachments.storage.k8s.io", "nodes/status", "events"],
        start: run::attach::start,
    },
    Controller {
        name: "resource-claim-controller",
        reads: &["pods", "resourceclaims.resource.k8s.io", "resourceclaimtemplates.resource.k8s.io"],
        owns: &["resourceclaims.resource.k8s.io", "resourceclaims.resource.k8s.io/status", "pods/status", "events"],
        start: run::resource_claim::start,
    },
    Controller {
        name: "device-taint-eviction-controller",
        reads: &["pods", "resourceclaims.resource.k8s.io", "resourceslices.resource.k8s.io"],
        owns: &["pods", "pods/status", "events"],
        start: run::device_taint_eviction::start,
    },
    Controller {
        name: "certificate-controller",
        reads: &["certificatesigningrequests.certificates.k8s.io"],
        owns: &[
            "certificatesigningrequests.certificates.k8s.io",
            "certificatesigningrequests.certificates.k8s.io/approval",
            "certificatesigningrequests.certificates.k8s.io/status",
        ],
        start: run::certificate::start,
    },
    Controller {
        name: "validatingadmissionpolicy-status-controller",
        reads: &["validatingadmissionpolicies.admissionregistration.k8s.io"],
        owns: &["validatingadmissionpolicies.admissionregistration.k8s.io/status"],
        start: run::policy_status::start,
    },
    Controller {
        name: "bootstrap-signer",
        reads: &["secrets", "configmaps"],
        owns: &["configmaps"],
        start: run::bootstrap::signer,
    },
    Controller { name: "token-cleaner", reads: &["secrets"], owns: &["secrets"], start: run::bootstrap::cleaner },
];

/// Starts the workers of a controller, once all caches are filled.
pub(crate) type Launch = Box<dyn FnOnce() + Send>;

/// What all controllers of one process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) informers: Informers,
    pub(crate) events: Events,
    pub(crate) context: tasks::Context,
    pub(crate) cluster_ca_pem: String,
    pub(crate) time_zone: Zone,
    pub(crate) sign: Option<Sign>,
    pub(crate) sign_token: Option<SignToken>,
    clients: Arc<dyn Fn(&str) -> Client + Send + Sync>,
}

impl Shared {
    /// A client with the identity of `controller`.
    pub(crate) fn client(&self, controller: &str) -> Client {
        (self.clients)(controller)
    }

    /// Queues everything again each `FULL_PASS`.
    pub(crate) fn resync(&self, queue: &Queue<Key>, keys: impl Fn() -> Vec<Key> + Send + 'static) {
        let queue = queue.clone();
        self.context.children.spawn("full pass", async move {
            loop {
                tokio::time::sleep(FULL_PASS).await;
                keys().into_iter().for_each(|key| queue.add(key));
            }
        });
    }
}

/// Runs all controllers until the service is told to stop. Ready when the caches are filled.
///
/// # Errors
/// When a worker ends although nobody asked it to.
pub async fn run(config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    run_some(CONTROLLERS, config, ctx).await
}

async fn run_some(
    controllers: impl IntoIterator<Item = &'static Controller> + Send,
    config: Config,
    ctx: tasks::Context,
) -> anyhow::Result<()> {
    let informers = Informers::new((config.clients)(""), &ctx).keeping(slim::pod);
    let events = Events::new(Arc::clone(&config.clients), &ctx);
    let shared = Shared {
        informers: informers.clone(),
        events,
        context: ctx.clone(),
        cluster_ca_pem: config.cluster_ca_pem,
        time_zone: config.time_zone,
        sign: config.sign,
        sign_token: config.sign_token,
        clients: config.clients,
    };
    let launches: Vec<Launch> = controllers.into_iter().map(|controller| (controller.start)(&shared)).collect();
    ctx.ready.waiting_for("the controllers' caches");
    tokio::select! {
        () = ctx.stop.cancelled() => return Ok(()),
        () = informers.synced() => {}
    }
    launches.into_iter().for_each(|launch| launch());
    ctx.ready.set();
    ctx.stop.cancelled().await;
    Ok(())
}

#[cfg(test)]
mod tests;
