//! Claims and volumes, from what there is to where nothing is left to write.

use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::claim::Observed;
use super::protect::Needs;
use super::*;
use crate::plan::labels::Labels;
use crate::world::World;

fn phase(status: Option<&String>) -> &str {
    status.map_or("", String::as_str)
}

/// A write in a few words.
fn print(write: &Write) -> String {
    let marks = |annotations: &Labels| {
        let known = [(BIND_COMPLETED, "complete"), (BOUND_BY_CONTROLLER, "ours")];
        let set = known.iter().filter(|(key, _)| annotations.contains_key(*key)).map(|(_, word)| format!(" {word}"));
        let asked = annotations.get(PROVISIONER).map(|asked| format!(" asked={asked}"));
        set.chain(asked).collect::<String>()
    };
    match write {
        Write::Volume(volume) => {
            let held = claimed_by(volume).map_or("nobody".to_owned(), |held| {
                let part = |part: &Option<String>| part.clone().unwrap_or_default();
                format!("{}:{}", part(&held.name), part(&held.uid))
            });
            format!("volume {} for {held}{}", volume.name_any(), marks(volume.annotations()))
        }
        Write::VolumeStatus(volume) => {
            let status = volume.status.as_ref().expect("a status");
            let message = status.message.as_ref().map_or(String::new(), |message| format!(": {message}"));
            format!("volume {} is {}{message}", volume.name_any(), phase(status.phase.as_ref()))
        }
        Write::Claim(claim) => {
            let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or("-");
            format!("claim {} has {} of {class}{}", claim.name_any(), volume_of(claim), marks(claim.annotations()))
        }
        Write::ClaimStatus(claim) => {
            let status = claim.status.as_ref().expect("a status");
            let size = status.capacity.as_ref().map_or(String::new(), |size| format!(" with {}", size["storage"].0));
            format!("claim {} is {}{size}", claim.name_any(), phase(status.phase.as_ref()))
        }
    }
}

fn tell(note: &Note) -> String {
    let kind = if note.warning { "Warning" } else { "Normal" };
    format!("{:?}: {kind} {} {}", note.about, note.reason, note.message)
}

fn apply(world: &mut World, write: Write) {
    match write {
        Write::Volume(next) | Write::VolumeStatus(next) => {
            let old = world.volumes.iter_mut().find(|one| one.metadata.name == next.metadata.name);
            *old.expect("a known volume") = Arc::new(*next);
        }
        Write::Claim(next) | Write::ClaimStatus(next) => {
            let old = world.claims.iter_mut().find(|one| one.metadata.name == next.metadata.name);
            *old.expect("a known claim") = Arc::new(*next);
        }
    }
}

/// The next step of anything, claims first, as one round of the shell sees it.
fn steps(world: &World) -> Vec<Step> {
    let observed = Observed { volumes: &world.volumes, classes: &world.classes, pods: &world.pods };
    let of_claims = world.claims.iter().map(|claim| claim::plan(claim, &observed));
    let of_volumes = world.volumes.iter().map(|volume| {
        let named =
            claimed_by(volume).and_then(|held| world.claims.iter().find(|claim| claim.metadata.name == held.name));
        let held = claimed_by(volume).and_then(|held| held.uid.clone());
        persistent::plan(volume, named.filter(|claim| claim.metadata.uid == held).map(|claim| &**claim)).step
    });
    of_claims.chain(of_volumes).collect()
}

/// Makes every write, one by one; the lines of what was written and told. Some end always comes.
fn settle(world: &mut World) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..200 {
        let all = steps(world);
        let Some(step) = all.iter().find(|step| step.write.is_some()) else {
            lines.extend(all.iter().flat_map(|step| &step.notes).map(tell));
            return lines;
        };
        let step = step.clone();
        lines.extend(step.write.as_ref().map(print));
        lines.extend(step.notes.iter().map(tell));
        step.write.into_iter().for_each(|write| apply(world, write));
    }
    panic!("never settled:\n{}", lines.join("\n"));
}

fn check(text: &str, expected: Expect) {
    let mut world = World::parse(text);
    expected.assert_eq(&settle(&mut world).join("\n"));
    assert!(steps(&world).iter().all(|step| step.write.is_none()), "planning again must yield nothing");
}

#[test]
fn the_smallest_volume_that_fits_is_bound_volume_first() {
    check(
        "volume large size=5Gi
         volume small size=2Gi
         volume tiny size=500Mi
         volume taken size=1Gi claim=other:u phase=Released
         pvc data size=1Gi",
        expect![[r#"
            volume small for data:claim-data ours
            volume small is Bound
            claim data has small of c complete ours
            claim data is Bound with 2Gi"#]],
    );
}

#[test]
fn class_mode_labels_and_access_must_fit() {
    check(
        "volume class class=other
         volume block block
         volume modes modes=ROX
         volume labels labels=tier=slow
         volume leaving deleting labels=tier=fast
         volume waiting phase=Pending labels=tier=fast deleting
         pvc data labels=tier=fast class=c
         class c by=example.com/disk",
        expect![[r#"
            claim data has  of c asked=example.com/disk
            volume waiting is Available
            Claim: Normal ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'example.com/disk' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."#]],
    );
}

#[test]
fn a_volume_that_can_do_less_is_better() {
    check(
        "volume a modes=RWO,ROX,RWX size=1Gi
         volume b modes=RWO,ROX size=9Gi
         pvc data modes=RWO,ROX",
        expect![[r#"
            volume b for data:claim-data ours
            volume b is Bound
            claim data has b of c complete ours
            claim data is Bound with 9Gi"#]],
    );
}

#[test]
fn a_reserved_volume_is_taken_and_stays_reserved() {
    check(
        "volume a size=1Gi
         volume mine size=3Gi claim=data phase=Available
         pvc data",
        expect![[r#"
            volume mine for data:claim-data
            volume mine is Bound
            claim data has mine of c complete ours
            claim data is Bound with 3Gi"#]],
    );
}

#[test]
fn a_claim_may_name_its_volume() {
    check(
        "volume a
         pvc data volume=a",
        expect![[r#"
            volume a for data:claim-data ours
            volume a is Bound
            claim data has a of c complete
            claim data is Bound with 1Gi"#]],
    );
    check(
        "volume a size=1Mi
         pvc data volume=a",
        expect![[r#"Claim: Warning VolumeMismatch Cannot bind to requested volume "a": requested PV is too small"#]],
    );
    check(
        "volume a claim=other:claim-other phase=Bound
         pvc other volume=a complete phase=Bound
         pvc data volume=a",
        expect![[r#"Claim: Warning FailedBinding volume "a" already bound to a different claim."#]],
    );
    check("pvc data volume=none", expect![""]);
}

#[test]
fn a_late_class_waits_for_a_pod_and_then_asks() {
    let class = "class c by=example.com/disk waits";
    check(
        &format!("{class}\nvolume a\npvc data"),
        expect!["Claim: Normal WaitForFirstConsumer waiting for first consumer to be created before binding"],
    );
    check(
        &format!("{class}\npvc data\npod p mount=d:data\npod q mount=d:data node=n1\npod r mount=d:data phase=Failed"),
        expect!["Claim: Normal WaitForPodScheduled waiting for pod p to be scheduled"],
    );
    check(
        &format!("{class}\npvc data selected=n1"),
        expect![[r#"
            claim data has  of c asked=example.com/disk
            Claim: Normal ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'example.com/disk' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."#]],
    );
    // the scheduler chose a volume that was there
    check(
        &format!("{class}\nvolume a claim=data:claim-data ours\npvc data"),
        expect![[r#"
            volume a is Bound
            claim data has a of c complete ours
            claim data is Bound with 1Gi"#]],
    );
}

#[test]
fn who_has_not_chosen_gets_the_newest_default_class_also_later() {
    check(
        "class old default age=9m
         class new default age=1m
         pvc data noclass",
        expect![[r#"
            claim data has  of new
            claim data has  of new asked=example.com/disk
            Claim: Normal ExternalProvisioning Waiting for a volume to be created either by the external provisioner 'example.com/disk' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."#]],
    );
    check(
        "pvc data noclass",
        expect![
            "Claim: Normal FailedBinding no persistent volumes available for this claim and no storage class is set"
        ],
    );
    check(
        "class c by=kubernetes.io/no-provisioner
         pvc data",
        expect!["Claim: Warning ProvisioningFailed no volume plugin matched name: kubernetes.io/no-provisioner"],
    );
    check(
        "pvc data class=gone",
        expect![[r#"Claim: Warning ProvisioningFailed storageclass.storage.k8s.io "gone" not found"#]],
    );
}

#[test]
fn a_claim_that_lost_its_volume_is_lost() {
    check(
        "pvc data volume=a complete phase=Bound",
        expect![[r#"
            claim data is Lost
            Claim: Warning ClaimLost Bound claim has lost its PersistentVolume. Data on the volume is lost!"#]],
    );
    check(
        "pvc data complete phase=Bound",
        expect![[r#"
            claim data is Lost
            Claim: Warning ClaimLost Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"#]],
    );
    check(
        "volume a claim=other:claim-other phase=Bound
         pvc other volume=a complete phase=Bound
         pvc data volume=a complete phase=Bound",
        expect![[r#"
            claim data is Lost
            Claim: Warning ClaimMisbound Two claims are bound to the same volume, this one is bound incorrectly"#]],
    );
}

#[test]
fn a_volume_without_its_claim_is_released_and_reclaimed_by_policy() {
    check("volume a claim=data:claim-data phase=Bound", expect!["volume a is Released"]);
    check(
        "volume a claim=data:other-uid phase=Bound\npvc data class=x\nclass x waits",
        expect![[r#"
        volume a is Released
        Claim: Normal WaitForFirstConsumer waiting for first consumer to be created before binding"#]],
    );
    check("volume a claim=data:u phase=Bound policy=Delete by=knarr.local", expect!["volume a is Released"]);
    check("volume a claim=data:u phase=Bound policy=Delete csi", expect!["volume a is Released"]);
    check(
        "volume a claim=data:u phase=Bound policy=Delete",
        expect![[r#"
            volume a is Released
            volume a is Failed: error getting deleter volume plugin for volume "a": no deletable volume plugin matched
            Volume: Warning VolumeFailedDelete error getting deleter volume plugin for volume "a": no deletable volume plugin matched"#]],
    );
    check(
        "volume a claim=data:u phase=Released policy=Recycle",
        expect![[r#"
            volume a is Failed: No recycler plugin found for the volume!
            Volume: Warning VolumeFailedRecycle No recycler plugin found for the volume!"#]],
    );
}

#[test]
fn a_volume_whose_claim_went_elsewhere_is_free_again() {
    let bound = "pvc data volume=b complete phase=Bound\nvolume b claim=data:claim-data phase=Bound\n";
    check(
        &format!("{bound}volume a claim=data:claim-data ours phase=Bound"),
        expect![[r#"
            volume a for nobody
            volume a is Available"#]],
    );
    check(
        &format!("{bound}volume a claim=data:claim-data phase=Bound"),
        expect![[r#"
            volume a for data:
            volume a is Available"#]],
    );
    check(
        &format!("{bound}volume a claim=data:claim-data ours by=knarr.local policy=Delete phase=Bound"),
        expect!["volume a is Released"],
    );
}

#[test]
fn a_provisioned_volume_finds_its_claim() {
    check(
        "class c waits
         volume p claim=data:claim-data by=example.com/disk phase=Pending
         pvc data selected=n1 asked=example.com/disk",
        expect![[r#"
            volume p is Bound
            claim data has p of c complete ours asked=example.com/disk
            claim data is Bound with 1Gi"#]],
    );
}

#[test]
fn a_claim_stays_while_a_placed_pod_uses_it() {
    let world = World::parse(
        "pvc data deleting
         pod placed mount=d:data node=n1
         pod waiting mount=d:data
         pod other mount=d:log node=n1
         pod ended mount=d:data node=n1 phase=Succeeded",
    );
    let uses: Vec<bool> = world.pods.iter().map(|pod| protect::uses(pod, &world.claims[0])).collect();
    assert_eq!(uses, [true, false, false, true]);
    assert_eq!(protect::needs(&*world.claims[0], protect::CLAIM), Needs::Nothing, "it has no finalizer");
    let held = protect::changed(&*world.claims[0], protect::CLAIM, true);
    assert_eq!(protect::needs(&held, protect::CLAIM), Needs::Release);
    assert_eq!(protect::changed(&held, protect::CLAIM, false).finalizers().len(), 0);
    let live = World::parse("pvc data");
    assert_eq!(protect::needs(&*live.claims[0], protect::CLAIM), Needs::Finalizer);
}

fn ephemeral_pod() -> Pod {
    serde_json::from_value(serde_json::json!({
        "metadata": { "name": "p", "namespace": "default", "uid": "pod-p" },
        "spec": { "containers": [], "volumes": [{ "name": "tmp", "ephemeral": { "volumeClaimTemplate": {
            "metadata": { "labels": { "a": "b" } },
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } } } }] },
    }))
    .expect("a pod")
}

#[test]
fn a_pod_gets_the_claims_of_its_ephemeral_volumes_once() {
    let pod = ephemeral_pod();
    let made: Vec<_> = ephemeral::missing(&pod, |_| None).into_iter().map(|one| one.expect("a claim")).collect();
    assert_eq!(made.len(), 1);
    let owner = &made[0].metadata.owner_references.as_ref().expect("owners")[0];
    assert_eq!((made[0].name_any().as_str(), owner.uid.as_str(), owner.controller), ("p-tmp", "pod-p", Some(true)));
    assert_eq!(made[0].labels()["a"], "b");
    let claim = Arc::new(made[0].clone());
    assert!(ephemeral::missing(&pod, |_| Some(claim.clone())).is_empty(), "planning again must yield nothing");
    let foreign = World::parse("pvc p-tmp").claims[0].clone();
    let why = "PVC default/p-tmp was not created for pod default/p (pod is not owner)";
    let found = ephemeral::missing(&pod, |_| Some(foreign.clone()));
    assert_eq!(found, [Err(("tmp".to_owned(), why.to_owned()))]);
}

fn volume_line() -> impl Strategy<Value = String> {
    let name = 0..4u8;
    let words = prop::collection::vec(
        prop::sample::select(vec![
            "size=2Gi",
            "modes=RWX,RWO",
            "class=d",
            "claim=c0",
            "claim=c0:claim-c0",
            "claim=c1:claim-c1",
            "claim=c1:old",
            "ours",
            "policy=Delete",
            "policy=Recycle",
            "by=x",
            "block",
            "phase=Bound",
            "phase=Released",
            "phase=Pending",
        ]),
        0..4,
    );
    (name, words).prop_map(|(name, words)| format!("volume v{name} {}", words.join(" ")))
}

fn claim_line() -> impl Strategy<Value = String> {
    let name = 0..3u8;
    let words = prop::collection::vec(
        prop::sample::select(vec![
            "size=2Gi",
            "modes=RWX",
            "class=d",
            "noclass",
            "volume=v0",
            "volume=v1",
            "complete",
            "ours",
            "phase=Bound",
            "block",
            "selected=n1",
        ]),
        0..4,
    );
    (name, words).prop_map(|(name, words)| format!("pvc c{name} {}", words.join(" ")))
}

proptest! {
    /// From any state they settle, no volume ends with two claims that were not lost, and planning again yields nothing.
    #[test]
    fn whatever_was_left_settles(
        volumes in prop::collection::btree_map(0..4u8, volume_line(), 0..4),
        claims in prop::collection::btree_map(0..3u8, claim_line(), 0..3),
        waits in any::<bool>(),
    ) {
        let rename = |line: &str, name: String| {
            let mut words: Vec<&str> = line.split(' ').collect();
            words[1] = &name;
            words.join(" ")
        };
        let mut text: Vec<String> = volumes.iter().map(|(n, line)| rename(line, format!("v{n}"))).collect();
        text.extend(claims.iter().map(|(n, line)| rename(line, format!("c{n}"))));
        text.push(format!("class c {}", if waits { "waits" } else { "" }));
        let mut world = World::parse(&text.join("\n"));
        settle(&mut world);
        let bound = |claim: &&Arc<PersistentVolumeClaim>| {
            claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
        };
        let held = world.claims.iter().filter(bound).map(|claim| volume_of(claim));
        let mut held: Vec<&str> = held.filter(|volume| !volume.is_empty()).collect();
        held.sort_unstable();
        let count = held.len();
        held.dedup();
        prop_assert_eq!(held.len(), count, "two claims have one volume");
    }
}
