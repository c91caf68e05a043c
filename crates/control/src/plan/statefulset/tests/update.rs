//! Updates: from the highest ordinal down, in part, one at a time.

use super::*;

#[test]
fn an_update_begins_at_the_highest_ordinal_and_waits_for_each_pod() {
    let set = "statefulset web replicas=3 image=v2 current=v1
         revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v1 ready\n";
    check(
        &format!("{set} pod web-2 sts=web rev=v1 ready"),
        expect![[r#"
        delete web-2
        status replicas=3 ready=3 available=3 current=2 updated=0 v1 -> v2"#]],
    );
    check(
        &format!("{set} pod web-2 sts=web rev=v1 ready deleting"),
        expect!["status replicas=3 ready=3 available=3 current=2 updated=0 v1 -> v2"],
    );
    check(
        set,
        expect![[r#"
        create web-2 of v2
        status replicas=2 ready=2 available=2 current=2 updated=0 v1 -> v2"#]],
    );
    check(
        &format!("{set} pod web-2 sts=web rev=v2"),
        expect!["status replicas=3 ready=2 available=2 current=2 updated=1 v1 -> v2"],
    );
    check(
        &format!("{set} pod web-2 sts=web rev=v2 ready"),
        expect![[r#"
        delete web-1
        status replicas=3 ready=3 available=3 current=1 updated=1 v1 -> v2"#]],
    );
}

#[test]
fn an_update_replaces_one_at_a_time_whatever_may_be_unavailable() {
    check(
        "statefulset web replicas=3 image=v2 current=v1 unavailable=2
         revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v1 ready
         pod web-2 sts=web rev=v1 ready",
        expect![[r#"
            delete web-2
            status replicas=3 ready=3 available=3 current=2 updated=0 v1 -> v2"#]],
    );
}

#[test]
fn an_update_is_complete_when_all_pods_are_updated_and_ready() {
    check(
        "statefulset web replicas=2 image=v2 current=v1
         revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         pod web-0 sts=web rev=v2 ready
         pod web-1 sts=web rev=v2 ready",
        expect!["status replicas=2 ready=2 available=2 current=2 updated=2 v2 -> v2"],
    );
}

#[test]
fn pods_below_the_partition_stay_and_come_back_as_they_were() {
    let set = "statefulset web replicas=3 image=v2 current=v1 partition=2
         revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         pod web-0 sts=web rev=v1 ready\n";
    check(
        &format!("{set} pod web-1 sts=web rev=v1 ready\n pod web-2 sts=web rev=v1 ready"),
        expect![[r#"
        delete web-2
        status replicas=3 ready=3 available=3 current=2 updated=0 v1 -> v2"#]],
    );
    check(
        &format!("{set} pod web-1 sts=web rev=v1 ready\n pod web-2 sts=web rev=v2 ready"),
        expect!["status replicas=3 ready=3 available=3 current=2 updated=1 v1 -> v2"],
    );
    check(
        &format!("{set} pod web-2 sts=web rev=v2 ready"),
        expect![[r#"
        create web-1 of v1
        status replicas=2 ready=2 available=2 current=1 updated=1 v1 -> v2"#]],
    );
}

#[test]
fn the_partition_counts_from_the_first_ordinal() {
    check(
        "statefulset web replicas=2 start=3 image=v2 current=v1 partition=1
         revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         pod web-3 sts=web rev=v1 ready
         pod web-4 sts=web rev=v1 ready",
        expect![[r#"
            delete web-4
            status replicas=2 ready=2 available=2 current=1 updated=0 v1 -> v2"#]],
    );
}

#[test]
fn on_delete_updates_what_somebody_deletes() {
    let set = "statefulset web replicas=2 image=v2 current=v1 ondelete
         revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         pod web-0 sts=web rev=v1 ready\n";
    check(
        &format!("{set} pod web-1 sts=web rev=v1 ready"),
        expect!["status replicas=2 ready=2 available=2 current=2 updated=0 v1 -> v2"],
    );
    check(
        set,
        expect![[r#"
        create web-1 of v2
        status replicas=1 ready=1 available=1 current=1 updated=0 v1 -> v2"#]],
    );
}

#[test]
fn an_update_goes_on_past_a_broken_pod_only_in_parallel() {
    let pods = "revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         pod web-0 sts=web rev=v1
         pod web-1 sts=web rev=v1 ready\n";
    check(
        &format!("statefulset web replicas=2 image=v2 current=v1\n{pods}"),
        expect!["status replicas=2 ready=1 available=1 current=2 updated=0 v1 -> v2"],
    );
    check(
        &format!("statefulset web replicas=2 image=v2 current=v1 parallel\n{pods}"),
        expect![[r#"
        delete web-1
        status replicas=2 ready=1 available=1 current=1 updated=0 v1 -> v2"#]],
    );
}
