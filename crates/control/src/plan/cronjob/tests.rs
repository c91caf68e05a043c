use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::world::{self, World};

/// What a look sees: every listed Job that is not there is gone, and schedules without a zone are meant in UTC.
fn look(world: &World, cron: &CronJob, now: Timestamp) -> Plan {
    let gone: HashSet<String> = absent(cron, &world.jobs).into_iter().filter_map(|one| one.uid.clone()).collect();
    plan(cron, &Observed { jobs: &world.jobs, gone: &gone, here: Zone::UTC, now })
}

fn describe(plan: &Plan) -> String {
    let mut text: String = plan.forget.iter().map(|job| format!("forget {}\n", job.name_any())).collect();
    if let Some(Start { replaces, job, at }) = &plan.start {
        let replaced: Vec<&str> = replaces.iter().filter_map(|one| one.name.as_deref()).collect();
        let scheduled = job.annotations().get(SCHEDULED).map_or("", String::as_str);
        text += &format!("start {} for {scheduled}", job.name_any());
        assert_eq!(time::parse(scheduled), Ok(*at));
        text += &if replaced.is_empty() { "\n".to_owned() } else { format!(" instead of {}\n", replaced.join(",")) };
    }
    let names: Vec<&str> = plan.status.active.iter().flatten().filter_map(|one| one.name.as_deref()).collect();
    let shown = |time: &Option<Time>| time.as_ref().map_or("never".to_owned(), |time| time::rfc3339(time.0));
    text += &format!("active {names:?} last {}", shown(&plan.status.last_schedule_time));
    if plan.status.last_successful_time.is_some() {
        text += &format!(" successful {}", shown(&plan.status.last_successful_time));
    }
    for note in &plan.notes {
        text +=
            &format!("\ntell {} {}: {}", if note.warning { "Warning" } else { "Normal" }, note.reason, note.message);
    }
    if let Some(wait) = plan.recheck {
        text += &format!("\nlook again in {:.1}s", wait.as_secs_f64());
    }
    text
}

/// It is Friday, 2027-01-15, eight o'clock in the morning.
fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    expected.assert_eq(&describe(&look(&world, &world.cron_jobs[0].clone(), world::NOW)));
}

#[test]
fn a_job_is_started_when_its_time_has_come_and_not_before() {
    check(
        "cronjob report age=7m",
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z
        active [] last never
        look again in 600.1s"#]],
    );
    check(
        "cronjob report schedule=5_*_*_*_* age=7m",
        expect![[r#"
        active [] last never
        look again in 300.1s"#]],
    );
    check(
        "cronjob report age=70m last=10m",
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z
        active [] last 2027-01-15T07:50:00Z
        look again in 600.1s"#]],
    );
    check(
        "cronjob report age=70m last=0s",
        expect![[r#"
        active [] last 2027-01-15T08:00:00Z
        look again in 600.1s"#]],
    );
}

#[test]
fn of_many_missed_times_only_the_last_is_made_up_for() {
    check(
        "cronjob report age=7h last=6h",
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z
        active [] last 2027-01-15T02:00:00Z
        look again in 600.1s"#]],
    );
    check(
        "cronjob report schedule=*_*_*_*_* age=7h last=6h",
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z
        active [] last 2027-01-15T02:00:00Z
        tell Warning TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew
        look again in 60.1s"#]],
    );
    check(
        "cronjob report schedule=3_*_*_*_* age=100h last=9h",
        expect![[r#"
        start report-29999943 for 2027-01-15T07:03:00Z
        active [] last 2027-01-14T23:00:00Z
        look again in 180.1s"#]],
    );
}

#[test]
fn a_deadline_limits_how_late_a_start_may_be() {
    check(
        "cronjob report schedule=3_*_*_*_* age=7h last=6h within=600",
        expect![[r#"
        active [] last 2027-01-15T02:00:00Z
        look again in 180.1s"#]],
    );
    check(
        "cronjob report schedule=3_*_*_*_* age=7h last=6h within=4000",
        expect![[r#"
        start report-29999943 for 2027-01-15T07:03:00Z
        active [] last 2027-01-15T02:00:00Z
        look again in 180.1s"#]],
    );
    check(
        "cronjob report schedule=*_*_*_*_* age=7h last=6h within=120",
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z
        active [] last 2027-01-15T02:00:00Z
        look again in 60.1s"#]],
    );
}

#[test]
fn policies_say_what_happens_to_a_job_that_still_runs() {
    let running = |policy: &str| {
        format!(
            "cronjob report policy={policy} age=7h last=10m active=report-29999990
             job report-29999990 of=report scheduled=2027-01-15T07:50:00Z"
        )
    };
    check(
        &running("Allow"),
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z
        active ["report-29999990"] last 2027-01-15T07:50:00Z
        look again in 600.1s"#]],
    );
    check(
        &running("Forbid"),
        expect![[r#"
        active ["report-29999990"] last 2027-01-15T07:50:00Z
        tell Normal JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid
        look again in 600.1s"#]],
    );
    check(
        &running("Replace"),
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z instead of report-29999990
        active ["report-29999990"] last 2027-01-15T07:50:00Z
        look again in 600.1s"#]],
    );
}

#[test]
fn a_job_that_was_started_but_not_noted_is_found_again() {
    // Stopped between the two writes, in the same minute or later.
    check(
        "cronjob report age=7h last=10m
         job report-30000000 of=report scheduled=2027-01-15T08:00:00Z",
        expect![[r#"
            active ["report-30000000"] last 2027-01-15T08:00:00Z
            look again in 600.1s"#]],
    );
    check(
        "cronjob report policy=Forbid age=7h last=20m
         job report-29999990 of=report scheduled=2027-01-15T07:50:00Z",
        expect![[r#"
            active ["report-29999990"] last 2027-01-15T07:50:00Z
            tell Normal JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid
            look again in 600.1s"#]],
    );
    check(
        "cronjob report age=7h last=10m
         job report-30000000 of=report scheduled=2027-01-15T08:00:00Z is=Complete completed=0s",
        expect![[r#"
            active [] last 2027-01-15T08:00:00Z successful 2027-01-15T08:00:00Z
            look again in 600.1s"#]],
    );
}

#[test]
fn what_became_of_the_jobs_is_taken_over() {
    check(
        "cronjob report suspend active=a,b,c
         job a of=report is=Complete completed=5m
         job b of=report is=Failed
         job manual of=report is=Complete completed=2m
         job strange of=report
         job foreign of=other",
        expect![[r#"
            active [] last never successful 2027-01-15T07:58:00Z
            tell Normal SawCompletedJob: Saw completed job: a, condition: Complete
            tell Normal SawCompletedJob: Saw completed job: b, condition: Failed
            tell Warning UnexpectedJob: Saw a job that the controller did not create or forgot: strange
            tell Normal MissingJob: Active job went missing: c"#]],
    );
}

#[test]
fn only_so_many_ended_jobs_are_kept() {
    check(
        "cronjob report suspend keep=1 keepfailed=0
         job a of=report is=Complete completed=5m started=3h
         job b of=report is=Complete completed=5m started=2h
         job c of=report is=Complete completed=5m started=1h
         job d of=report is=Failed
         job e of=report",
        expect![[r#"
            forget a
            forget b
            forget d
            active [] last never successful 2027-01-15T07:55:00Z
            tell Warning UnexpectedJob: Saw a job that the controller did not create or forgot: e"#]],
    );
}

#[test]
fn what_cannot_be_scheduled_is_told() {
    check(
        "cronjob report schedule=0_0_31_2_* age=7h",
        expect![[r#"
        active [] last never
        tell Warning InvalidSchedule: invalid schedule: 0 0 31 2 * : time difference between two schedules is less than 1 second"#]],
    );
    check(
        "cronjob report schedule=often age=7h",
        expect![[r#"
        active [] last never
        tell Warning UnparseableSchedule: unparseable schedule: "often" : expected exactly 5 fields, found 1: [often]"#]],
    );
    check(
        "cronjob report zone=Mars/Base age=7h",
        expect![[r#"
        active [] last never
        tell Warning UnknownTimeZone: invalid timeZone: "Mars/Base": unknown time zone Mars/Base"#]],
    );
    check(
        "cronjob report schedule=TZ=Europe/Berlin_0_9_*_*_* age=7h",
        expect![[r#"
        start report-30000000 for 2027-01-15T08:00:00Z
        active [] last never
        tell Warning UnsupportedSchedule: CRON_TZ or TZ used in schedule "TZ=Europe/Berlin 0 9 * * *" is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details
        look again in 86400.1s"#]],
    );
    check("cronjob report age=7h deleting", expect!["active [] last never"]);
}

#[test]
fn a_schedule_is_meant_in_its_zone() {
    check(
        "cronjob report schedule=30_8_*_*_* zone=Europe/Berlin age=7h",
        expect![[r#"
        start report-29999970 for 2027-01-15T08:30:00+01:00
        active [] last never
        look again in 84600.1s"#]],
    );
    check(
        "cronjob report schedule=30_8_*_*_* age=7h",
        expect![[r#"
        active [] last never
        look again in 1800.1s"#]],
    );
    let world = World::parse("cronjob report schedule=30_8_*_*_* age=7h");
    let here = Zone::named("Asia/Kolkata").expect("a zone");
    let observed = Observed { jobs: &[], gone: &HashSet::new(), here, now: world::NOW };
    expect![[r#"
        start report-29999700 for 2027-01-15T03:00:00Z
        active [] last never
        look again in 68400.1s"#]]
    .assert_eq(&describe(&plan(&world.cron_jobs[0], &observed)));
}

/// The names of the Jobs that are started in a span of time, looked at whenever it asks to be.
fn starts(text: &str, from: &str, to: &str) -> Vec<String> {
    let mut world = World::parse(text);
    let mut cron = (*world.cron_jobs[0]).clone();
    let (mut now, end) = (time::parse(from).expect("a time"), time::parse(to).expect("a time"));
    cron.metadata.creation_timestamp = Some(Time(now));
    let mut started = Vec::new();
    while now <= end {
        let plan = look(&world, &cron, now);
        let mut status = plan.status;
        if let Some(start) = plan.start {
            let mut job = *start.job;
            job.metadata.uid = Some(format!("job-{}", job.name_any()));
            started.push(job.annotations().get(SCHEDULED).cloned().unwrap_or_default());
            status = super::started(status, &start.replaces, &job, start.at);
            world.jobs.push(Arc::new(job));
        }
        cron.status = Some(status);
        now += SignedDuration::try_from(plan.recheck.expect("a next time")).expect("short");
    }
    started
}

#[test]
fn a_day_with_a_changed_clock_has_its_jobs() {
    let daily = "cronjob report schedule=30_2_*_*_* zone=Europe/Berlin";
    // The clock skips from 02:00 to 03:00 on the 28th of March 2027 ...
    assert_eq!(
        starts(daily, "2027-03-26T12:00:00Z", "2027-03-29T12:00:00Z"),
        ["2027-03-27T02:30:00+01:00", "2027-03-29T02:30:00+02:00"]
    );
    // ... and shows 02:00 to 03:00 twice on the 31st of October.
    assert_eq!(
        starts(daily, "2027-10-30T12:00:00Z", "2027-11-01T12:00:00Z"),
        ["2027-10-31T02:30:00+02:00", "2027-10-31T02:30:00+01:00", "2027-11-01T02:30:00+01:00"]
    );
    let hourly = "cronjob report schedule=0_*_*_*_* zone=Europe/Berlin";
    assert_eq!(starts(hourly, "2027-03-28T00:00:00Z", "2027-03-28T03:30:00Z").len(), 3);
    assert_eq!(starts(hourly, "2027-10-31T00:00:00Z", "2027-10-31T03:30:00Z").len(), 3);
}

#[test]
fn a_clock_that_is_set_back_starts_nothing_twice_and_one_set_forward_only_the_last() {
    let world = World::parse("cronjob report age=7h last=0s");
    let mut cron = (*world.cron_jobs[0]).clone();
    let back = look(&world, &cron, world::NOW - SignedDuration::from_hours(2));
    assert!(back.start.is_none());
    assert_eq!(back.recheck, Some(Duration::from_millis(7_800_100)), "the time after the last one, by the new clock");
    let forward = look(&world, &cron, world::NOW + SignedDuration::from_hours(50));
    assert_eq!(forward.start.as_ref().map(|start| start.at), Some(world::NOW + SignedDuration::from_hours(50)));
    cron.status = Some(CronJobStatus::default());
    cron.metadata.creation_timestamp = Some(Time(world::NOW + SignedDuration::from_hours(1)));
    assert!(look(&world, &cron, world::NOW).start.is_none(), "not before it was made");
}

fn schedules() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "*_*_*_*_*",
        "*/7_*_*_*_*",
        "0_*/3_*_*_*",
        "30_6-16/4_*_*_1-5",
        "0_0_1_*_*",
        "@hourly",
        "@every_90m",
    ])
}

proptest! {
    /// However often the controller is killed, and wherever between its writes, no time is started twice, and after the
    /// writes there is nothing to do until the next time.
    #[test]
    fn no_time_is_started_twice_and_a_look_after_a_look_finds_nothing(
        schedule in schedules(),
        policy in prop::sample::select(vec!["Allow", "Forbid", "Replace"]),
        steps in prop::collection::vec((0..20_000_i64, 0..4_u8), 1..30),
    ) {
        let mut world = World::parse(&format!("cronjob report schedule={schedule} policy={policy} age=1m"));
        let mut cron = (*world.cron_jobs[0]).clone();
        let (mut now, mut names) = (world::NOW, HashSet::new());
        for (seconds, outcome) in steps {
            now += SignedDuration::from_secs(seconds);
            let plan = look(&world, &cron, now);
            for one in &plan.forget {
                world.jobs.retain(|job| job.metadata.uid != one.metadata.uid);
            }
            let mut status = plan.status;
            if let Some(start) = plan.start {
                let mut job = *start.job;
                prop_assert!(names.insert(job.name_any()), "{} is started twice", job.name_any());
                prop_assert!(start.at <= now);
                world.jobs.retain(|one| !start.replaces.iter().any(|gone| gone.uid == one.metadata.uid));
                job.metadata.uid = Some(format!("job-{}", job.name_any()));
                status = started(status, &start.replaces, &job, start.at);
                world.jobs.push(Arc::new(job));
                let running = world.jobs.iter().filter(|one| job::ended(one).is_none()).count();
                prop_assert!(policy == "Allow" || running == 1, "{running} run although the policy is {policy}");
            }
            if outcome > 0 {
                cron.status = Some(status); // else it is killed before it writes this down
                let again = look(&world, &cron, now);
                prop_assert!(again.start.is_none() && again.forget.is_empty());
                prop_assert_eq!(Some(&again.status), cron.status.as_ref());
                prop_assert!(again.recheck.is_some_and(|wait| wait > Duration::ZERO));
            }
            if outcome > 2 && let Some(job) = world.jobs.last_mut() {
                let end = serde_json::json!({ "conditions": [{ "type": "Complete", "status": "True" }],
                    "startTime": Time(now), "completionTime": Time(now) });
                Arc::make_mut(job).status = Some(serde_json::from_value(end).expect("a status"));
            }
        }
    }
}
