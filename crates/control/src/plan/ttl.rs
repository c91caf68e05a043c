//! When an ended Job that is kept for a while may be deleted.
//!
//! Invariant: the time is counted from the condition that says how the Job ended, never from when it was looked at.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::job;

/// When to delete a Job.
#[derive(Debug, PartialEq, Eq)]
pub enum Expiry {
    Now,
    In(Duration),
}

/// None for a Job that is not to be deleted by its age.
///
/// # Errors
/// When nobody can tell when the Job ended.
pub fn expiry(one: &Job, now: Timestamp) -> Result<Option<Expiry>, String> {
    let kept = one.spec.as_ref().and_then(|spec| spec.ttl_seconds_after_finished);
    let (Some(kept), Some(end), None) = (kept, job::ended(one), &one.metadata.deletion_timestamp) else {
        return Ok(None);
    };
    let Some(ended) = &end.last_transition_time else {
        let (namespace, name) = (one.namespace().unwrap_or_default(), one.name_any());
        return Err(format!("unable to find the time when the Job {namespace}/{name} finished"));
    };
    let left = SignedDuration::from_secs(i64::from(kept)) - now.duration_since(ended.0);
    Ok(Some(Duration::try_from(left).ok().filter(|left| !left.is_zero()).map_or(Expiry::Now, Expiry::In)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{self, World};

    fn check(text: &str, expected: Result<Option<Expiry>, &str>) {
        let world = World::parse(text);
        assert_eq!(expiry(&world.jobs[0], world::NOW), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn a_job_goes_some_time_after_it_ended() {
        check("job work ttl=60 is=Complete since=59s", Ok(Some(Expiry::In(Duration::from_secs(1)))));
        check("job work ttl=60 is=Complete since=60s", Ok(Some(Expiry::Now)));
        check("job work ttl=60 is=Failed since=2h", Ok(Some(Expiry::Now)));
        check("job work ttl=0 is=Complete since=0s", Ok(Some(Expiry::Now)));
    }

    #[test]
    fn a_job_without_a_time_or_an_end_stays() {
        check("job work ttl=60", Ok(None));
        check("job work ttl=60 is=SuccessCriteriaMet since=2h", Ok(None));
        check("job work is=Complete since=2h", Ok(None));
        check("job work ttl=60 is=Complete since=2h deleting", Ok(None));
    }

    #[test]
    fn an_end_without_a_time_is_a_fault_and_one_in_the_future_is_waited_for() {
        let world = World::parse("job work ttl=60 is=Complete since=0s");
        let mut job = (*world.jobs[0]).clone();
        let earlier = world::NOW - SignedDuration::from_secs(10);
        assert_eq!(expiry(&job, earlier), Ok(Some(Expiry::In(Duration::from_secs(70)))));
        let conditions = job.status.as_mut().and_then(|status| status.conditions.as_mut()).expect("conditions");
        conditions[0].last_transition_time = None;
        let fault = "unable to find the time when the Job default/work finished";
        assert_eq!(expiry(&job, world::NOW), Err(fault.to_owned()));
    }
}
