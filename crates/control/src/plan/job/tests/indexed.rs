//! Indexed jobs: which indexes run, fail and count.

use super::*;

#[test]
fn an_indexed_job_runs_the_first_indexes_that_are_missing() {
    check(
        "job work indexed completions=7 parallelism=5 started=5m succeeded=2 done=0,3
         pod a job=work index=1 ready
         pod b job=work index=2 phase=Succeeded",
        expect![[r#"
            create work-4-
            create work-5-
            create work-6-"#]],
    );
    check(
        "job work indexed completions=4 parallelism=4 started=5m
         pod a job=work index=1 ready node=n1
         pod b job=work index=1 phase=Pending
         pod c job=work index=9 ready
         pod d job=work ready",
        expect![[r#"
            drop c
            drop d
            drop b"#]],
    );
    check(
        "job work indexed completions=3 parallelism=3 started=5m succeeded=1 done=0
         pod a job=work index=2 phase=Succeeded
         pod b job=work index=2 phase=Succeeded
         pod c job=work index=5 phase=Succeeded
         pod d job=work index=1 ready",
        expect![[r#"
            status active=1 ready=1 succeeded=2 done=0,2 started=300s
            let go a
            let go b
            let go c"#]],
    );
}

#[test]
fn a_limit_by_index_lets_the_other_indexes_go_on() {
    // The failed pod stays until its successor is there, to hand on the count.
    check(
        "job work indexed completions=2 parallelism=2 perindex=1 started=5m
         pod a job=work index=0 phase=Failed ended=4s
         pod b job=work index=1 ready",
        expect![[r#"
            look again in 6s
            status active=1 ready=1 lost= started=300s"#]],
    );
    check(
        "job work indexed completions=2 parallelism=2 perindex=2 started=5m
         pod a job=work index=0 phase=Failed ended=1h failures=1
         pod b job=work index=1 ready",
        expect!["create work-0- failure-count=2"],
    );
    check(
        "job work indexed completions=2 parallelism=2 perindex=2 started=5m
         pod a job=work index=0 phase=Failed ended=1h failures=1
         pod b job=work index=0 ready failures=2
         pod c job=work index=1 ready",
        expect![[r#"
            status active=2 ready=2 lost= uncounted-failed=pod-a started=300s
            let go a"#]],
    );
    check(
        "job work indexed completions=2 parallelism=2 perindex=1 started=5m
         pod a job=work index=0 phase=Failed ended=1h failures=1
         pod b job=work index=1 ready",
        expect![[r#"
            status active=1 ready=1 lost=0 uncounted-failed=pod-a started=300s
            let go a"#]],
    );
    check(
        "job work indexed completions=2 parallelism=2 perindex=1 started=5m succeeded=1 done=1 lost=0 failed=2",
        expect![[r#"
            status succeeded=1 failed=2 done=1 lost=0 started=300s
              FailureTarget=True FailedIndexes: Job has failed indexes
              Failed=True FailedIndexes: Job has failed indexes
            tell Warning FailedIndexes: Job has failed indexes"#]],
    );
    check(
        "job work indexed completions=9 parallelism=2 perindex=0 maxfailed=0 started=5m lost=0 failed=1 \
         is=FailureTarget:MaxFailedIndexesExceeded
         pod b job=work index=2 ready deleting",
        expect![[r#"
            status terminating=1 failed=1 lost=0 uncounted-failed=pod-b started=300s
              FailureTarget=True MaxFailedIndexesExceeded: told before
            let go b"#]],
    );
    check(
        "job work indexed completions=9 parallelism=2 perindex=0 maxfailed=1 started=5m lost=0 failed=1
         pod a job=work index=1 phase=Failed
         pod b job=work index=2 ready deleting",
        expect![[r#"
            status terminating=1 failed=1 lost=0-2 uncounted-failed=pod-a,pod-b started=300s
              FailureTarget=True MaxFailedIndexesExceeded: Job has exceeded the specified maximal number of failed indexes
            let go a
            let go b"#]],
    );
}

#[test]
fn rules_about_indexes() {
    check(
        "job work indexed completions=2 parallelism=2 perindex=5 rule=FailIndex:42 started=5m
         pod a job=work index=0 phase=Failed exit=42
         pod b job=work index=1 ready",
        expect![[r#"
            status active=1 ready=1 lost=0 uncounted-failed=pod-a started=300s
            let go a"#]],
    );
    check(
        "job work indexed completions=2 parallelism=2 perindex=0 rule=Ignore:DisruptionTarget started=5m
         pod a job=work index=0 phase=Failed ended=1h disrupted=EvictionByEvictionAPI
         pod b job=work index=1 ready",
        expect!["create work-0- failure-count=0 ignored-failure-count=1"],
    );
}

#[test]
fn some_indexes_may_be_enough() {
    check(
        "job work indexed completions=5 parallelism=5 enough=0,2-3 started=5m succeeded=2 done=0,2
         pod a job=work index=3 phase=Succeeded
         pod b job=work index=1 ready",
        expect![[r#"
            status active=1 ready=1 succeeded=3 done=0,2,3 started=300s
              SuccessCriteriaMet=True SuccessPolicy: Matched rules at index 0
            let go a"#]],
    );
    check(
        "job work indexed completions=5 parallelism=5 enough=0,2-3 started=5m succeeded=2 done=0,2
         pod a job=work index=3 phase=Succeeded
         pod b job=work index=1 ready deleting",
        expect![[r#"
            status terminating=1 succeeded=3 done=0,2,3 started=300s
              SuccessCriteriaMet=True SuccessPolicy: Matched rules at index 0
            let go b
            let go a"#]],
    );
    check(
        "job work indexed completions=5 parallelism=0 enough=9 enough=0-3:2 started=5m succeeded=2 done=0,4",
        expect!["status succeeded=2 done=0,4 started=300s"],
    );
    check(
        "job work indexed completions=5 parallelism=0 enough=0-3:2 enough=:2 started=5m succeeded=2 done=0,4",
        expect![[r#"
            status succeeded=2 done=0,4 started=300s
              SuccessCriteriaMet=True SuccessPolicy: Matched rules at index 1
              Complete=True SuccessPolicy: Matched rules at index 1
            tell Normal Completed: Job completed"#]],
    );
}

#[test]
fn a_pod_knows_its_index_by_name_label_annotation_host_name_and_environment() {
    let world = World::parse("job work indexed completions=3 perindex=1");
    let mut job = (*world.jobs[0]).clone();
    let spec = job.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a template");
    let own: Value = json!({ "name": "own", "env": [{ "name": "JOB_COMPLETION_INDEX", "value": "mine" }] });
    spec.init_containers = Some(vec![serde_json::from_value(own).expect("a container")]);
    let pod = serde_json::to_value(new_pod(&job, Some(2), None)).expect("a pod");
    let metadata = &pod["metadata"];
    assert_eq!(metadata["generateName"], "work-2-");
    assert_eq!(metadata["labels"]["batch.kubernetes.io/job-completion-index"], "2");
    assert_eq!(metadata["annotations"]["batch.kubernetes.io/job-completion-index"], "2");
    assert_eq!(metadata["annotations"]["batch.kubernetes.io/job-index-failure-count"], "0");
    assert_eq!(metadata["finalizers"], json!([FINALIZER]));
    assert_eq!(metadata["ownerReferences"][0]["uid"], "job-work");
    assert_eq!(pod["spec"]["hostname"], "work-2");
    let path = "metadata.labels['batch.kubernetes.io/job-completion-index']";
    assert_eq!(pod["spec"]["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["fieldPath"], path);
    assert_eq!(pod["spec"]["initContainers"][0]["env"], json!([{ "name": "JOB_COMPLETION_INDEX", "value": "mine" }]));
    job.metadata.name = Some("x".repeat(63));
    let name = new_pod(&job, Some(17), None).metadata.generate_name.expect("a prefix");
    assert_eq!(name, format!("{}-17-", "x".repeat(54)));
    assert_eq!(new_pod(&job, None, None).metadata.annotations, None);
}
