mod indexed;
mod simulation;

use expect_test::{Expect, expect};
use kube::ResourceExt;
use serde_json::{Value, json};

use super::*;
use crate::world::{self, World};

fn look<'a>(world: &'a World, backoff: &'a mut Backoff) -> Observed<'a> {
    backoff.observe(&world.jobs[0], &world.pods);
    Observed { pods: &world.pods, backoff, now: world::NOW }
}

fn seconds(wait: Option<Duration>) -> String {
    wait.map_or_else(String::new, |wait| format!("look again in {}s\n", wait.as_secs()))
}

fn describe_action(action: &Action) -> String {
    match action {
        Action::Adopt(pod) => format!("adopt {}", pod.name_any()),
        Action::Release(pod) => format!("release {}", pod.name_any()),
        Action::Create(pod) => {
            let counts: Vec<String> = ["failure-count", "ignored-failure-count"]
                .iter()
                .filter_map(|name| {
                    let count = pod.annotations().get(&format!("batch.kubernetes.io/job-index-{name}"))?;
                    Some(format!(" {name}={count}"))
                })
                .collect();
            format!("create {}{}", pod.metadata.generate_name.as_deref().unwrap_or(""), counts.concat())
        }
        Action::Drop(pod) => format!("drop {}", pod.name_any()),
        Action::Stop(pod) => format!("stop {}", pod.name_any()),
    }
}

fn describe_status(status: &JobStatus) -> String {
    let mut text = String::from("status");
    for (name, count) in [
        ("active", status.active),
        ("ready", status.ready),
        ("terminating", status.terminating),
        ("succeeded", status.succeeded),
        ("failed", status.failed),
    ] {
        if let Some(count) = count.filter(|count| *count > 0) {
            text += &format!(" {name}={count}");
        }
    }
    for (name, indexes) in [("done", &status.completed_indexes), ("lost", &status.failed_indexes)] {
        if let Some(indexes) = indexes {
            text += &format!(" {name}={indexes}");
        }
    }
    let lists = status.uncounted_terminated_pods.clone().unwrap_or_default();
    for (name, list) in [("uncounted", lists.succeeded), ("uncounted-failed", lists.failed)] {
        if let Some(list) = list {
            text += &format!(" {name}={}", list.join(","));
        }
    }
    let ago = |time: &Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.as_ref().map(|time| world::NOW.duration_since(time.0).as_secs())
    };
    if let Some(ago) = ago(&status.start_time) {
        text += &format!(" started={ago}s");
    }
    for one in status.conditions.iter().flatten() {
        let [reason, message] = [&one.reason, &one.message].map(|text| text.as_deref().unwrap_or(""));
        text += &format!("\n  {}={} {reason}: {message}", one.type_, one.status);
    }
    text + "\n"
}

fn describe_books(books: &Books) -> String {
    let mut text = books.status.as_ref().map_or_else(String::new, describe_status);
    for note in &books.notes {
        let kind = if note.warning { "Warning" } else { "Normal" };
        text += &format!("tell {kind} {}: {}\n", note.reason, note.message);
    }
    for pod in &books.let_go {
        text += &format!("let go {}\n", pod.name_any());
    }
    text
}

/// What is done with the pods; if nothing is, what the books then say.
fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    let (job, mut backoff) = (world.jobs[0].clone(), Backoff::default());
    let observed = look(&world, &mut backoff);
    let plan = plan(&job, &observed);
    let mut told: String = plan.actions.iter().map(|action| describe_action(action) + "\n").collect();
    told += &seconds(plan.recheck);
    if plan.actions.is_empty() {
        told += &describe_books(&books(&job, &observed));
    }
    expected.assert_eq(told.trim_end());
}

#[test]
fn as_many_pods_run_as_the_work_needs_and_no_more_than_parallelism() {
    check(
        "job work completions=5 parallelism=2",
        expect![[r#"
        create work-
        create work-"#]],
    );
    check(
        "job work completions=5 parallelism=3 succeeded=3
         pod a job=work ready",
        expect!["create work-"],
    );
    check("job work completions=5 parallelism=0", expect!["status started=0s"]);
}

#[test]
fn a_job_without_completions_runs_until_a_pod_succeeds_and_the_rest_has_ended() {
    check(
        "job work worklist parallelism=2",
        expect![[r#"
        create work-
        create work-"#]],
    );
    check(
        "job work worklist parallelism=3
         pod a job=work phase=Succeeded
         pod b job=work ready",
        expect![[r#"
            status active=1 ready=1 uncounted=pod-a started=0s
            let go a"#]],
    );
    check(
        "job work worklist parallelism=3 succeeded=1
         pod a job=work phase=Succeeded counted
         pod b job=work phase=Failed",
        expect![[r#"
            status succeeded=1 uncounted-failed=pod-b started=300s
              SuccessCriteriaMet=True CompletionsReached: Reached expected number of succeeded pods
            let go b"#]],
    );
}

#[test]
fn a_surplus_is_dropped_without_being_counted_the_least_done_first() {
    check(
        "job work completions=3 parallelism=1
         pod a job=work ready node=n1
         pod b job=work phase=Pending node=n1
         pod c job=work phase=Pending",
        expect![[r#"
            drop c
            drop b"#]],
    );
}

#[test]
fn an_ended_pod_is_first_named_then_let_go_then_counted() {
    check(
        "job work completions=2 parallelism=1 started=5m
         pod a job=work phase=Succeeded
         pod b job=work ready",
        expect![[r#"
            status active=1 ready=1 uncounted=pod-a started=300s
            let go a"#]],
    );
    check(
        "job work completions=2 parallelism=1 started=5m uncounted=pod-a
         pod a job=work phase=Succeeded
         pod b job=work ready",
        expect![[r#"
            status active=1 ready=1 uncounted=pod-a started=300s
            let go a"#]],
    );
    check(
        "job work completions=2 parallelism=1 started=5m uncounted=pod-a
         pod a job=work phase=Succeeded counted
         pod b job=work ready",
        expect!["status active=1 ready=1 succeeded=1 started=300s"],
    );
    // A pod that is gone was let go as well.
    check(
        "job work completions=2 parallelism=1 started=5m uncounted=pod-a uncounted-failed=pod-x
         pod b job=work ready",
        expect!["status active=1 ready=1 succeeded=1 failed=1 started=300s"],
    );
}

#[test]
fn the_end_is_told_twice_when_it_is_certain_and_when_all_is_counted() {
    check(
        "job work started=5m
         pod a job=work phase=Succeeded",
        expect![[r#"
            status uncounted=pod-a started=300s
              SuccessCriteriaMet=True CompletionsReached: Reached expected number of succeeded pods
            let go a"#]],
    );
    check(
        "job work started=5m uncounted=pod-a is=SuccessCriteriaMet:CompletionsReached
         pod a job=work phase=Succeeded counted",
        expect![[r#"
            status succeeded=1 started=300s
              SuccessCriteriaMet=True CompletionsReached: told before
              Complete=True CompletionsReached: told before
            tell Normal Completed: Job completed"#]],
    );
    check("job work started=5m succeeded=1 is=Complete completed=1m", expect![[r#""#]]);
}

#[test]
fn the_last_condition_waits_for_pods_that_terminate() {
    check(
        "job work started=5m succeeded=1 is=SuccessCriteriaMet:CompletionsReached
         pod b job=work ready deleting counted",
        expect![[r#"
            status terminating=1 succeeded=1 started=300s
              SuccessCriteriaMet=True CompletionsReached: told before"#]],
    );
}

#[test]
fn failures_make_the_next_pod_wait_longer_each_time_until_one_succeeds() {
    check(
        "job work completions=2 started=5m
         pod a job=work phase=Failed ended=4s",
        expect![[r#"
            look again in 6s
            status uncounted-failed=pod-a started=300s
            let go a"#]],
    );
    check(
        "job work completions=2 started=5m failed=3
         pod a job=work phase=Failed ended=5m counted
         pod b job=work phase=Failed ended=3m counted
         pod c job=work phase=Failed ended=15s counted",
        expect![[r#"
            look again in 25s
            status failed=3 started=300s"#]],
    );
    check(
        "job work completions=2 started=5m failed=2 succeeded=1
         pod a job=work phase=Failed ended=3m counted
         pod b job=work phase=Failed ended=2m counted
         pod c job=work phase=Succeeded ended=1s counted",
        expect!["create work-"],
    );
}

#[test]
fn more_failures_than_the_limit_end_the_job_and_stop_its_pods() {
    check(
        "job work completions=3 parallelism=2 limit=1 started=5m failed=1
         pod a job=work phase=Failed
         pod b job=work ready",
        expect![[r#"
            status active=1 ready=1 failed=1 uncounted-failed=pod-a started=300s
              FailureTarget=True BackoffLimitExceeded: Job has reached the specified backoff limit
            let go a"#]],
    );
    check(
        "job work completions=3 parallelism=2 limit=1 started=5m failed=2 is=FailureTarget:BackoffLimitExceeded
         pod b job=work ready",
        expect!["stop b"],
    );
    check(
        "job work completions=3 parallelism=2 limit=1 started=5m failed=1
         pod a job=work phase=Failed
         pod b job=work ready deleting",
        expect![[r#"
            status terminating=1 failed=1 uncounted-failed=pod-a,pod-b started=300s
              FailureTarget=True BackoffLimitExceeded: Job has reached the specified backoff limit
            let go a
            let go b"#]],
    );
    check(
        "job work completions=3 parallelism=2 limit=1 started=5m failed=3 is=FailureTarget:BackoffLimitExceeded
         pod a job=work phase=Failed counted",
        expect![[r#"
            status failed=3 started=300s
              FailureTarget=True BackoffLimitExceeded: told before
              Failed=True BackoffLimitExceeded: told before
            tell Warning BackoffLimitExceeded: told before"#]],
    );
}

#[test]
fn restarts_in_place_count_against_the_limit_too() {
    check(
        "job work limit=3 restart=OnFailure started=5m
         pod a job=work phase=Running restarts=3",
        expect![[r#"
            status active=1 started=300s
              FailureTarget=True BackoffLimitExceeded: Job has reached the specified backoff limit"#]],
    );
    check(
        "job work limit=0 restart=OnFailure started=5m
         pod a job=work phase=Running restarts=1",
        expect![[r#"
            status active=1 started=300s
              FailureTarget=True BackoffLimitExceeded: Job has reached the specified backoff limit"#]],
    );
    check(
        "job work limit=3 restart=Never started=5m
         pod a job=work phase=Running restarts=3",
        expect!["status active=1 started=300s"],
    );
}

#[test]
fn a_job_that_is_active_for_too_long_fails() {
    check(
        "job work deadline=600 started=5m
         pod a job=work ready",
        expect![[r#"
            look again in 300s
            status active=1 ready=1 started=300s"#]],
    );
    check(
        "job work deadline=300 started=5m
         pod a job=work ready",
        expect![[r#"
            status active=1 ready=1 started=300s
              FailureTarget=True DeadlineExceeded: Job was active longer than specified deadline"#]],
    );
    check(
        "job work deadline=300 started=5m suspend",
        expect![[r#"
        status
          Suspended=True JobSuspended: Job suspended
        tell Normal Suspended: Job suspended"#]],
    );
}

#[test]
fn a_suspended_job_has_no_pods_and_starts_anew_when_it_goes_on() {
    check(
        "job work completions=2 parallelism=2 suspend started=5m succeeded=1
         pod a job=work ready",
        expect!["drop a"],
    );
    check(
        "job work completions=2 parallelism=2 suspend started=5m succeeded=1",
        expect![[r#"
        status succeeded=1
          Suspended=True JobSuspended: Job suspended
        tell Normal Suspended: Job suspended"#]],
    );
    check(
        "job work suspend",
        expect![[r#"
        status
          Suspended=True JobSuspended: Job suspended
        tell Normal Suspended: Job suspended"#]],
    );
    let world = World::parse("job work parallelism=0");
    let mut job = (*world.jobs[0]).clone();
    let suspended =
        json!([{ "type": "Suspended", "status": "True", "reason": "JobSuspended", "message": "Job suspended" }]);
    job.status = serde_json::from_value(json!({ "conditions": suspended })).expect("a status");
    let mut backoff = Backoff::default();
    let observed = look(&world, &mut backoff);
    expect![[r#"
        status started=0s
          Suspended=False JobResumed: Job resumed
        tell Normal Resumed: Job resumed"#]]
    .assert_eq(describe_books(&books(&job, &observed)).trim_end());
}

#[test]
fn pods_that_terminate_are_replaced_at_once_or_when_they_have_ended() {
    check(
        "job work started=5m
         pod a job=work ready deleting=1h",
        expect!["create work-"],
    );
    check(
        "job work started=5m replace=Failed
         pod a job=work ready deleting=1h",
        expect!["status terminating=1 started=300s"],
    );
    check(
        "job work started=5m replace=Failed
         pod a job=work phase=Failed deleting=1h",
        expect!["create work-"],
    );
}

#[test]
fn rules_say_which_failures_count() {
    check(
        "job work rule=Ignore:DisruptionTarget rule=FailJob:42 started=5m limit=0
         pod a job=work phase=Failed disrupted=EvictionByEvictionAPI",
        expect!["create work-"],
    );
    check(
        "job work rule=Count:1 rule=FailJob:!0 started=5m
         pod a job=work phase=Failed exit=1",
        expect!["create work-"],
    );
    check(
        "job work rule=Ignore:DisruptionTarget rule=FailJob:41+42 started=5m
         pod a job=work phase=Failed exit=42",
        expect![[r#"
            status uncounted-failed=pod-a started=300s
              FailureTarget=True PodFailurePolicy: Container c for pod default/a failed with exit code 42 matching FailJob rule at index 1
            let go a"#]],
    );
    check(
        "job work rule=FailJob:DisruptionTarget started=5m
         pod a job=work phase=Failed disrupted=PreemptionByScheduler",
        expect![[r#"
            status uncounted-failed=pod-a started=300s
              FailureTarget=True PodFailurePolicy: Pod default/a has condition DisruptionTarget matching FailJob rule at index 0
            let go a"#]],
    );
    // A pod that is only on its way out has not failed yet.
    check(
        "job work rule=FailJob:DisruptionTarget started=5m
         pod a job=work ready deleting disrupted=EvictionByEvictionAPI",
        expect!["status terminating=1 started=300s"],
    );
}

#[test]
fn orphans_are_adopted_and_pods_with_other_labels_released() {
    check(
        "job work completions=3 parallelism=3 started=5m
         pod a job=work orphan ready
         pod b job=work labels=app=other ready
         pod c job=other labels=batch.kubernetes.io/controller-uid=job-work ready",
        expect![[r#"
            adopt a
            release b"#]],
    );
}

#[test]
fn a_job_that_is_deleted_or_not_ours_makes_no_pods() {
    check(
        "job work completions=3 parallelism=3 started=5m deleting
         pod a job=work ready
         pod b job=work phase=Succeeded",
        expect![[r#"
            status active=1 ready=1 uncounted=pod-b started=300s
            let go a
            let go b"#]],
    );
    check("job work completions=3 managed=example.com/queue", expect![[r#""#]]);
    check(
        "job work completions=3 mode=Sparse",
        expect!["tell Warning UnknownCompletionMode: Skipped Job sync because completion mode is unknown"],
    );
    check("job work completions=3 managed=kubernetes.io/job-controller", expect!["create work-"]);
}

#[test]
fn a_finalizer_is_kept_while_somebody_may_count_the_pod() {
    let keeps = |text: &str| {
        let world = World::parse(text);
        keeps_finalizer(&world.pods[0], world.jobs.first().map(|job| &**job))
    };
    assert!(keeps("job work\npod a job=work"));
    assert!(keeps("job work managed=example.com/queue is=Complete completed=1m\npod a job=work"));
    assert!(keeps("pod a of=web"));
    assert!(!keeps("job work is=Complete completed=1m\npod a job=work"));
    assert!(!keeps("pod a job=work"));
    assert!(!keeps("job work\npod a job=other"));
    assert!(!keeps("job work\npod a job=work orphan"));
}
