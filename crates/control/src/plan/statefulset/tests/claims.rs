//! The claims of pods: made before them, and owned as the retention policy says.

use super::*;

#[test]
fn claims_come_before_their_pod() {
    check(
        "statefulset web replicas=1 claim=data claim=log deleted
         revision v1 sts=web
         claim log-web-0",
        expect![[r#"
            create claim data-web-0 of StatefulSet/web
            write claim log-web-0 of StatefulSet/web
            create web-0 of v1
            status replicas=0 ready=0 available=0 current=0 updated=0 v1 -> v1"#]],
    );
}

#[test]
fn a_pending_pod_gets_the_claims_it_lacks() {
    check(
        "statefulset web replicas=1 claim=data
         revision v1 sts=web
         pod web-0 sts=web rev=v1 mount=data:data-web-0",
        expect![[r#"
            create claim data-web-0
            status replicas=1 ready=0 available=0 current=1 updated=1 v1 -> v1"#]],
    );
}

#[test]
fn a_claim_on_its_way_out_is_waited_for() {
    check(
        "statefulset web replicas=1 claim=data claim=log
         revision v1 sts=web
         claim data-web-0 deleting",
        expect![[r#"
            create claim log-web-0
            refuse: pvc data-web-0 is being deleted
            status replicas=0 ready=0 available=0 current=0 updated=0 v1 -> v1"#]],
    );
    check(
        "statefulset web replicas=1 claim=data scaled
         revision v1 sts=web
         claim data-web-0 owner=Pod:web-0:older",
        expect!["status replicas=0 ready=0 available=0 current=0 updated=0 v1 -> v1"],
    );
}

#[test]
fn the_retention_policy_is_a_matter_of_who_owns_the_claim() {
    let pods = "revision v1 sts=web
         pod web-0 sts=web rev=v1 ready mount=data:data-web-0
         pod web-1 sts=web rev=v1 ready mount=data:data-web-1
         claim data-web-0 owner=StatefulSet:web
         claim data-web-1\n";
    for (policy, expected) in [
        (
            "",
            expect![[r#"
            write claim data-web-0
            delete web-1
            status replicas=2 ready=2 available=2 current=2 updated=2 v1 -> v1"#]],
        ),
        (
            "deleted",
            expect![[r#"
            write claim data-web-1 of StatefulSet/web
            delete web-1
            status replicas=2 ready=2 available=2 current=2 updated=2 v1 -> v1"#]],
        ),
        (
            "scaled",
            expect![[r#"
            write claim data-web-0
            write claim data-web-1 of Pod/web-1
            delete web-1
            status replicas=2 ready=2 available=2 current=2 updated=2 v1 -> v1"#]],
        ),
        (
            "deleted scaled",
            expect![[r#"
            write claim data-web-1 of Pod/web-1
            delete web-1
            status replicas=2 ready=2 available=2 current=2 updated=2 v1 -> v1"#]],
        ),
    ] {
        check(&format!("statefulset web replicas=1 claim=data {policy}\n{pods}"), expected);
    }
}

#[test]
fn a_claim_that_somebody_else_controls_is_left_to_them() {
    check(
        "statefulset web replicas=1 claim=data claim=log deleted
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready mount=data:data-web-0 mount=log:log-web-0
         claim data-web-0 owner=Backup:nightly owner=StatefulSet:web
         claim log-web-0 owner=StatefulSet:web:older",
        expect![[r#"
            write claim data-web-0 of Backup/nightly
            conflict over data-web-0
            conflict over log-web-0
            status replicas=1 ready=1 available=1 current=1 updated=1 v1 -> v1"#]],
    );
    check(
        "statefulset web replicas=1 claim=data deleted
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready mount=data:data-web-0
         claim data-web-0 owner=StatefulSet:web half",
        expect![[r#"
            write claim data-web-0 of StatefulSet/web
            status replicas=1 ready=1 available=1 current=1 updated=1 v1 -> v1"#]],
    );
}

#[test]
fn a_pod_that_lost_its_name_or_its_claims_gets_them_back() {
    check(
        "statefulset web replicas=2 claim=data
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready nameless mount=data:data-web-0
         pod web-1 sts=web rev=v1 ready mount=data:other
         claim data-web-0",
        expect![[r#"
            repair web-0 {"metadata":{"labels":{"apps.kubernetes.io/pod-index":"0","statefulset.kubernetes.io/pod-name":"web-0"},"uid":"pod-web-0"}}
            create claim data-web-1
            repair web-1 {"metadata":{"uid":"pod-web-1"},"spec":{"volumes":[{"name":"data","persistentVolumeClaim":{"claimName":"data-web-1"}}]}}
            status replicas=2 ready=2 available=2 current=2 updated=2 v1 -> v1"#]],
    );
}
