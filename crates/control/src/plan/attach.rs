//! Which volumes are attached to which nodes: those that pods need there, through the drivers that attach (CSI).
//!
//! Invariant: a node hears that a volume is no longer there for it before the attachment goes, and that it is there only
//! after the driver said so; between the two the node mounts nothing. A volume that may be at one node only is attached to
//! another after the first attachment is gone altogether: not when its deletion was asked for, but when the driver let go.
//! Why attachments and node statuses are all that is read of the past: they survive us. Only how long something has been
//! unwanted, and what was told, is kept in [`Memory`]; losing it costs time, never data.
//! Upstream: `pkg/controller/volume/attachdetach` and `pkg/volume/csi/csi_attacher.go`. Not as upstream: there are no volume
//! plugins in the controllers, so nothing but CSI is attached.

mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::pod_gc;
pub use wanted::{Volume, Want, Wants, World, is_managed, node_of, volume, wants};

/// How long a volume that nobody wants may stay mounted at a node that is not healthy.
const UNMOUNT: Duration = Duration::from_secs(6 * 60);
/// How long a driver may take to attach before people are told.
const ATTACH: Duration = Duration::from_secs(2 * 60);

/// What must be remembered between two plans, by the name of the attachment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Since when nobody wants it.
    unwanted: BTreeMap<String, Timestamp>,
    /// What was last told about it.
    told: BTreeMap<String, String>,
}

/// One thing to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// To say of a node what is attached to it, in place of what it says.
    Report {
        node: String,
        volumes: Vec<AttachedVolume>,
    },
    /// To tell people of pods.
    Tell {
        pods: Vec<Arc<Pod>>,
        warning: bool,
        reason: &'static str,
        message: String,
    },
    /// To delete an attachment. If `safely`, only if the node does not use the volume, as it says itself by then; but only
    /// after the node was told.
    Detach {
        attachment: String,
        node: String,
        volume: Option<String>,
        safely: bool,
    },
    Attach(Box<VolumeAttachment>),
}

/// What is next.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub memory: Memory,
    /// When to look again, whatever happens.
    pub again: Option<Duration>,
}

/// The attachments of one moment, and what they mean.
struct Attachment<'a> {
    object: &'a VolumeAttachment,
    node: &'a str,
    /// None if the volume is gone, which alone knows its handle.
    volume: Option<Volume>,
    /// To be deleted by this plan, or already being deleted.
    leaving: bool,
}

impl Attachment<'_> {
    fn is_attached(&self) -> bool {
        self.object.status.as_ref().is_some_and(|status| status.attached)
    }

    fn unique(&self) -> Option<String> {
        self.volume.as_ref().map(Volume::unique_name)
    }
}

/// Whether there is anything to decide: in most clusters no volume is attached by a driver, and none was.
pub fn is_asked_for(
    volumes: &[Arc<PersistentVolume>],
    nodes: &[Arc<Node>],
    attachments: &[Arc<VolumeAttachment>],
) -> bool {
    !attachments.is_empty()
        || volumes.iter().any(|one| volume(one).is_some())
        || nodes.iter().any(|node| reported(node).any(|volume| volume.name.starts_with(wanted::PREFIX)))
}

/// Decides what is attached and detached.
pub fn plan(wants: &Wants, world: &World<'_>, memory: &Memory, now: Timestamp) -> Plan {
    let nodes: BTreeMap<String, &Node> = world.nodes.iter().map(|node| (node.name_any(), &**node)).collect();
    let mut attachments = attachments(world, &nodes);
    let mut plan = Plan::default();
    let mut detach = Vec::new();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (name, one) in &mut attachments {
        match wants.get(name) {
            Some(want) => judge_wanted(name, one, want, &nodes, memory, now, (&mut plan, &mut good, &mut bad)),
            None if one.leaving => {}
            None => {
                let since = memory.unwanted.get(name).copied().unwrap_or(now);
                plan.memory.unwanted.insert(name.clone(), since);
                let waited = Duration::try_from(now.duration_since(since)).unwrap_or_default();
                match judge_unwanted(one, nodes.get(one.node).copied(), waited) {
                    Verdict::Detach { safely } => {
                        one.leaving = true;
                        let (attachment, volume) = (name.clone(), one.unique());
                        detach.push(Action::Detach { attachment, node: one.node.to_owned(), volume, safely });
                    }
                    Verdict::Wait(left) => plan.wait(left),
                    Verdict::Stay => {}
                }
            }
        }
    }
    let attach = attach(wants, &attachments, memory, &mut plan.memory, &mut bad);
    plan.actions.extend(reports(&nodes, &attachments));
    plan.actions.append(&mut good);
    plan.actions.append(&mut detach);
    plan.actions.extend(attach);
    plan.actions.append(&mut bad);
    plan
}

impl Plan {
    fn wait(&mut self, left: Duration) {
        self.again = Some(self.again.map_or(left, |again| again.min(left)));
    }
}

/// The attachments that are ours to judge: made for a persistent volume, by the name we would give them.
fn attachments<'a>(world: &World<'a>, nodes: &BTreeMap<String, &Node>) -> BTreeMap<String, Attachment<'a>> {
    let mut ours = BTreeMap::new();
    for object in world.attachments {
        let (name, node) = (object.name_any(), object.spec.node_name.as_str());
        let Some(source) = object.spec.source.persistent_volume_name.as_deref() else { continue };
        if nodes.get(node).is_some_and(|node| !is_managed(node)) {
            continue;
        }
        let live = (world.volumes)(source);
        let known = live.as_deref().and_then(volume);
        let ours_by_name = match (&live, &known) {
            (_, Some(volume)) => volume.attachment(node) == name,
            (Some(_), None) => false,
            (None, _) => name.strip_prefix("csi-").is_some_and(|hash| hash.len() == 64),
        };
        if ours_by_name {
            let leaving = object.metadata.deletion_timestamp.is_some();
            ours.insert(name, Attachment { object, node, volume: known, leaving });
        }
    }
    ours
}

type Told<'t> = (&'t mut Plan, &'t mut Vec<Action>, &'t mut Vec<Action>);

/// Tells how far an attachment is that somebody wants.
fn judge_wanted(
    name: &str,
    one: &Attachment<'_>,
    want: &Want,
    nodes: &BTreeMap<String, &Node>,
    memory: &Memory,
    now: Timestamp,
    (plan, good, bad): Told<'_>,
) {
    if one.leaving {
        return;
    }
    let shown = &want.volume.name;
    if one.is_attached() {
        let unique = want.volume.unique_name();
        let reported = nodes.get(one.node).is_some_and(|node| reported(node).any(|known| known.name == unique));
        if !reported {
            let message = format!("AttachVolume.Attach succeeded for volume {shown:?} ");
            let pods = want.pods.clone();
            good.push(Action::Tell { pods, warning: false, reason: "SuccessfulAttachVolume", message });
        }
        return;
    }
    let failure = one.object.status.as_ref().and_then(|status| status.attach_error.as_ref());
    let (key, why) = if let Some(failure) = failure {
        let message = failure.message.clone().unwrap_or_default();
        let at = failure.time.as_ref().map(|time| time.0.to_string()).unwrap_or_default();
        (format!("{at} {message}"), message)
    } else {
        let born = one.object.metadata.creation_timestamp.as_ref().map_or(now, |born| born.0);
        let waited = Duration::try_from(now.duration_since(born)).unwrap_or_default();
        if let Some(left) = ATTACH.checked_sub(waited).filter(|left| !left.is_zero()) {
            plan.wait(left);
            return;
        }
        let (driver, handle) = (&want.volume.driver, &want.volume.handle);
        let why = format!("timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}");
        (why.clone(), why)
    };
    let message = format!("AttachVolume.Attach failed for volume {shown:?} : {why}");
    tell(name, key, message, want, memory, &mut plan.memory, bad);
}

/// Tells of a failure, unless it was told.
fn tell(
    name: &str,
    key: String,
    message: String,
    want: &Want,
    before: &Memory,
    after: &mut Memory,
    bad: &mut Vec<Action>,
) {
    if before.told.get(name) != Some(&key) {
        let pods = want.pods.clone();
        bad.push(Action::Tell { pods, warning: true, reason: "FailedAttachVolume", message });
    }
    after.told.insert(name.to_owned(), key);
}

enum Verdict {
    Detach {
        safely: bool,
    },
    Wait(Duration),
    /// Until the node says something else.
    Stay,
}

/// What becomes of an attachment that nobody wants for so long.
fn judge_unwanted(one: &Attachment<'_>, node: Option<&Node>, waited: Duration) -> Verdict {
    let late = waited > UNMOUNT;
    let given_up = node.is_some_and(pod_gc::is_given_up);
    // a node that is gone cannot say that it does not use the volume
    let mounted = node.is_none_or(|node| uses(node, one));
    let healthy = node.is_some_and(is_ready);
    if !mounted || given_up || (late && !healthy) {
        return Verdict::Detach { safely: !late && !given_up };
    }
    match UNMOUNT.checked_sub(waited) {
        Some(left) => Verdict::Wait(left + Duration::from_secs(1)),
        None => Verdict::Stay,
    }
}

/// Whether a node says that it uses the volume; if the volume is gone, that it uses any of its driver.
fn uses(node: &Node, one: &Attachment<'_>) -> bool {
    let mut used = node.status.iter().flat_map(|status| status.volumes_in_use.iter().flatten());
    match one.unique() {
        Some(unique) => used.any(|name| *name == unique),
        None => {
            let of_driver = wanted::unique_name(&one.object.spec.attacher, "");
            used.any(|name| name.starts_with(&of_driver))
        }
    }
}

/// What of a node is looked at.
pub fn seen_of(node: &Node) -> impl PartialEq + use<> {
    let status = node.status.as_ref();
    let names = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let used =
        names(status.iter().flat_map(|status| status.volumes_in_use.iter().flatten()).map(String::as_str).collect());
    let attached = names(reported(node).map(|volume| volume.name.as_str()).collect());
    (used, attached, is_managed(node), is_ready(node), pod_gc::is_given_up(node))
}

/// Whether a node says that it uses a volume.
pub fn is_in_use(node: &Node, unique: &str) -> bool {
    node.status.iter().flat_map(|status| status.volumes_in_use.iter().flatten()).any(|name| name == unique)
}

fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn reported(node: &Node) -> impl Iterator<Item = &AttachedVolume> {
    node.status.iter().flat_map(|status| status.volumes_attached.iter().flatten())
}

/// What nodes must be told: of CSI volumes exactly those that are attached and stay; of others what they say.
fn reports(nodes: &BTreeMap<String, &Node>, attachments: &BTreeMap<String, Attachment<'_>>) -> Vec<Action> {
    let mut there: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for one in attachments.values().filter(|one| one.is_attached() && !one.leaving) {
        there.entry(one.node).or_default().extend(one.unique());
    }
    let mut actions = Vec::new();
    for (name, node) in nodes.iter().filter(|(_, node)| is_managed(node)) {
        let wanted = there.remove(name.as_str()).unwrap_or_default();
        let (csi, mut others): (Vec<AttachedVolume>, Vec<AttachedVolume>) =
            reported(node).cloned().partition(|volume| volume.name.starts_with(wanted::PREFIX));
        let said: BTreeSet<String> = csi.iter().map(|volume| volume.name.clone()).collect();
        if said != wanted || csi.len() != wanted.len() {
            others.extend(wanted.into_iter().map(|name| AttachedVolume { name, device_path: String::new() }));
            actions.push(Action::Report { node: name.clone(), volumes: others });
        }
    }
    actions
}

/// The attachments to make, and who must wait for another node.
fn attach(
    wants: &Wants,
    attachments: &BTreeMap<String, Attachment<'_>>,
    before: &Memory,
    after: &mut Memory,
    bad: &mut Vec<Action>,
) -> Vec<Action> {
    let mut made = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for (name, want) in wants {
        if attachments.contains_key(name) {
            continue;
        }
        if want.volume.exclusive {
            let unique = want.volume.unique_name();
            let held: Vec<&Attachment<'_>> =
                attachments.values().filter(|one| one.unique().is_some_and(|other| other == unique)).collect();
            // one that is going is waited for in silence
            if held.iter().any(|one| one.is_attached() && !one.leaving) {
                refuse(name, want, wants, before, after, bad);
            }
            if !held.is_empty() || !taken.insert(unique) {
                continue;
            }
        }
        made.push(Action::Attach(Box::new(VolumeAttachment {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            spec: VolumeAttachmentSpec {
                attacher: want.volume.driver.clone(),
                node_name: want.node.clone(),
                source: VolumeAttachmentSource {
                    persistent_volume_name: Some(want.volume.name.clone()),
                    ..VolumeAttachmentSource::default()
                },
            },
            status: None,
        })));
    }
    made
}

/// Tells each pod once that its volume is at another node; of pods there only those of its own namespace by name.
fn refuse(name: &str, want: &Want, wants: &Wants, before: &Memory, after: &mut Memory, bad: &mut Vec<Action>) {
    let key = "Multi-Attach";
    after.told.insert(name.to_owned(), key.to_owned());
    if before.told.get(name).is_some_and(|told| told == key) {
        return;
    }
    let unique = want.volume.unique_name();
    let elsewhere = wants.values().filter(|other| other.node != want.node && other.volume.unique_name() == unique);
    let others: Vec<&Arc<Pod>> = elsewhere.flat_map(|other| &other.pods).collect();
    for pod in &want.pods {
        let local: Vec<String> =
            others.iter().filter(|other| other.namespace() == pod.namespace()).map(|other| other.name_any()).collect();
        let foreign = others.len() - local.len();
        let why = match (local.is_empty(), foreign) {
            (true, 0) => {
                "Volume is already exclusively attached to one node and can't be attached to another".to_owned()
            }
            (true, _) => format!("Volume is already used by {foreign} pod(s) in different namespaces"),
            (false, 0) => format!("Volume is already used by pod(s) {}", local.join(", ")),
            (false, _) => {
                let local = local.join(", ");
                format!("Volume is already used by pod(s) {local} and {foreign} pod(s) in different namespaces")
            }
        };
        let message = format!("Multi-Attach error for volume {:?} {why}", want.volume.name);
        bad.push(Action::Tell { pods: vec![Arc::clone(pod)], warning: true, reason: "FailedAttachVolume", message });
    }
}

#[cfg(test)]
mod tests;
