//! The plan against a simulated node: actions are begun as the worker begins them, and the world
//! answers in any order the property chooses.

use proptest::prelude::*;

use super::super::observed::{Exit, Kill, Retry, Run};
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn unit(name: &str, role: Role, restart: Restart) -> Unit {
    Unit { name: name.into(), role, restart, amounts: Amounts::default() }
}

fn desired(units: Vec<Unit>) -> Desired {
    Desired { units, grace: Duration::from_secs(30), deadline: None, ending: None, room: Room::Enough }
}

fn ready() -> Observed {
    Observed { sandbox: Stage::Ready, volumes: Stage::Ready, ..Observed::default() }
}

fn exit(code: i32, attempt: u32, finished: Timestamp) -> Exit {
    let run = Run { id: format!("id{attempt}"), attempt, ..Run::default() };
    Exit { code, signal: None, reason: String::new(), message: String::new(), started: None, finished, run }
}

/// Begins the actions as the worker does.
fn begin(observed: &mut Observed, actions: &[Action], now: Timestamp) {
    for action in actions {
        match action {
            Action::MakeSandbox => observed.sandbox = Stage::Busy,
            Action::MountVolumes => observed.volumes = Stage::Busy,
            Action::Initialized => observed.initialized = true,
            Action::Start(name) => observed.starting(name, now),
            Action::Stop { name, by, .. } => observed.stopping(name, *by),
            Action::Cancel(name) => observed.cancelled(name),
            Action::Resize => observed.resizing = Resizing::Busy,
            Action::BackOff(name) => observed.backing_off(name),
            Action::Conclude(verdict) => observed.verdict = Some(verdict.clone()),
            Action::TearDown => observed.tearing_down = true,
            Action::Delete => observed.deleting = true,
            Action::Finish => {}
        }
    }
}

fn run(observed: &mut Observed, name: &str, now: Timestamp) {
    let attempt = observed.container(name).next_attempt();
    observed.running(name, Run { id: format!("id{attempt}"), attempt, ..Run::default() }, now, true);
    observed.given(name, Amounts::default());
}

#[test]
fn init_containers_run_one_after_the_other_before_the_main_ones() {
    let desired = desired(vec![
        unit("a", Role::Init, Restart::OnFailure),
        unit("proxy", Role::Sidecar, Restart::Always),
        unit("b", Role::Init, Restart::OnFailure),
        unit("web", Role::Main, Restart::Always),
    ]);
    let mut observed = ready();
    let mut order = Vec::new();
    for _ in 0..8 {
        let actions = plan(&desired, &observed, at(0)).actions;
        begin(&mut observed, &actions, at(0));
        for action in actions {
            if let Action::Start(name) = action {
                run(&mut observed, &name, at(0));
                if name.len() == 1 {
                    observed.exited(&name, exit(0, 0, at(0)));
                }
                order.push(name);
            }
        }
    }
    assert_eq!(order, ["a", "proxy", "b", "web"]);
}

#[test]
fn a_crash_restarts_at_once_the_first_time_and_then_waits() {
    let desired = desired(vec![unit("web", Role::Main, Restart::Always)]);
    let mut observed = Observed { initialized: true, ..ready() };
    let start = vec![Action::Start("web".into())];
    assert_eq!(plan(&desired, &observed, at(0)).actions, start);
    observed.starting("web", at(0));
    run(&mut observed, "web", at(0));
    observed.exited("web", exit(1, 0, at(1)));
    assert_eq!(plan(&desired, &observed, at(1)).actions, start);
    observed.starting("web", at(1));
    run(&mut observed, "web", at(1));
    observed.exited("web", exit(1, 1, at(2)));
    let waiting = plan(&desired, &observed, at(2));
    assert_eq!(waiting, Plan { actions: vec![Action::BackOff("web".into())], wake: Some(at(12)) });
    observed.backing_off("web");
    assert_eq!(plan(&desired, &observed, at(11)), Plan { actions: vec![], wake: Some(at(12)) });
    assert_eq!(plan(&desired, &observed, at(12)).actions, start);
}

#[test]
fn a_failed_pull_is_announced_as_back_off_and_tried_again() {
    let desired = desired(vec![unit("web", Role::Main, Restart::Always)]);
    let mut observed = Observed { initialized: true, ..ready() };
    observed.not_started(
        "web",
        "ErrImagePull",
        "no such image".into(),
        Some(Retry { at: at(10), announce: Some(at(2)) }),
    );
    assert_eq!(plan(&desired, &observed, at(0)), Plan { actions: vec![], wake: Some(at(2)) });
    assert_eq!(plan(&desired, &observed, at(2)).actions, [Action::BackOff("web".into())]);
    assert_eq!(plan(&desired, &observed, at(10)).actions, [Action::Start("web".into())]);
}

#[test]
fn an_unhealthy_container_is_stopped_with_its_own_grace() {
    let desired = desired(vec![unit("web", Role::Main, Restart::Always)]);
    let mut observed = Observed { initialized: true, ..ready() };
    observed.starting("web", at(0));
    run(&mut observed, "web", at(0));
    observed.container("web").kill = Some(Kill { message: "unwell".into(), grace: Some(Duration::from_secs(3)) });
    assert_eq!(
        plan(&desired, &observed, at(5)).actions,
        [Action::Stop { name: "web".into(), by: at(8), message: "unwell".into() }]
    );
}

#[test]
fn a_shorter_grace_period_hurries_a_stop_that_is_on() {
    let mut desired = desired(vec![unit("web", Role::Main, Restart::Always)]);
    desired.ending = Some(Ending::Deleted { by: at(30) });
    let mut observed = Observed { initialized: true, ..ready() };
    run(&mut observed, "web", at(0));
    let first = plan(&desired, &observed, at(0)).actions;
    begin(&mut observed, &first, at(0));
    assert_eq!(plan(&desired, &observed, at(1)).actions, []);
    desired.ending = Some(Ending::Gone { by: at(2) });
    assert!(matches!(&plan(&desired, &observed, at(1)).actions[..], [Action::Stop { by, .. }] if *by == at(2)));
}

#[test]
fn the_deadline_fails_the_pod() {
    let mut desired = desired(vec![unit("web", Role::Main, Restart::Always)]);
    desired.deadline = Some(at(60));
    assert_eq!(plan(&desired, &ready(), at(0)).wake, Some(at(60)));
    let actions = plan(&desired, &ready(), at(60)).actions;
    assert!(matches!(&actions[..], [Action::Conclude(Verdict::Failed { reason, .. })] if reason == "DeadlineExceeded"));
}

fn units() -> impl Strategy<Value = Vec<Unit>> {
    let restart = prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)];
    (restart, proptest::collection::vec(any::<bool>(), 0..4), 1_usize..4).prop_map(|(restart, early, mains)| {
        let init = if restart == Restart::Never { Restart::Never } else { Restart::OnFailure };
        let mut units: Vec<Unit> = early
            .into_iter()
            .enumerate()
            .map(|(index, sidecar)| match sidecar {
                true => unit(&format!("side{index}"), Role::Sidecar, Restart::Always),
                false => unit(&format!("init{index}"), Role::Init, init),
            })
            .collect();
        units.extend((0..mains).map(|index| unit(&format!("main{index}"), Role::Main, restart)));
        units
    })
}

/// One answer of the world to something begun earlier.
fn step(observed: &mut Observed, choice: u8, code: i32, now: Timestamp) {
    match choice % 4 {
        0 if observed.sandbox == Stage::Busy => observed.sandbox = Stage::Ready,
        0 if observed.volumes == Stage::Busy => observed.volumes = Stage::Ready,
        0 if observed.tearing_down => observed.torn_down = true,
        _ => {
            let alive: Vec<String> =
                observed.containers.iter().filter(|(_, c)| c.is_alive()).map(|(name, _)| name.clone()).collect();
            let Some(name) = alive.get(usize::from(choice / 4) % alive.len().max(1)) else { return };
            let container = observed.container(name).clone();
            match container.state {
                State::Starting { .. } => run(observed, name, now),
                _ => {
                    let attempt = container.run.map_or(0, |run| run.attempt);
                    observed.exited(name, exit(code, attempt, now));
                }
            }
        }
    }
    observed.reported = true;
}

proptest! {
    #[test]
    fn begun_plans_are_stable_and_the_order_of_starting_holds(
        units in units(),
        world in proptest::collection::vec((any::<u8>(), 0..2_i32), 0..80),
    ) {
        let desired = desired(units);
        let mut observed = Observed::default();
        let mut runs = std::collections::BTreeMap::<String, u32>::new();
        for (tick, (choice, code)) in world.into_iter().enumerate() {
            let now = at(i64::try_from(tick).unwrap() * 7);
            loop {
                let decided = plan(&desired, &observed, now);
                if decided.actions.is_empty() {
                    break;
                }
                for action in &decided.actions {
                    let Action::Start(name) = action else { continue };
                    prop_assert!(observed.verdict.is_none());
                    prop_assert!(!observed.containers.get(name).is_some_and(Container::is_alive));
                    let started = desired.units.iter().find(|unit| unit.name == *name).unwrap();
                    if started.role == Role::Main {
                        prop_assert!(observed.initialized);
                        if started.restart == Restart::Never {
                            prop_assert!(!runs.contains_key(name));
                        }
                    }
                    *runs.entry(name.clone()).or_default() += 1;
                }
                begin(&mut observed, &decided.actions, now);
            }
            prop_assert_eq!(plan(&desired, &observed, now).actions, vec![]);
            step(&mut observed, choice, code, now);
        }
    }

    #[test]
    fn a_deleted_pod_always_ends_with_its_object_removed_and_nothing_alive(
        units in units(),
        before in proptest::collection::vec((any::<u8>(), 0..2_i32), 0..40),
    ) {
        let mut desired = desired(units);
        let mut observed = Observed::default();
        let drive = |desired: &Desired, observed: &mut Observed, now| {
            let mut all = Vec::new();
            loop {
                let actions = plan(desired, observed, now).actions;
                if actions.is_empty() {
                    return all;
                }
                begin(observed, &actions, now);
                all.extend(actions);
            }
        };
        for (choice, code) in before {
            drive(&desired, &mut observed, at(0));
            step(&mut observed, choice, code, at(0));
        }
        desired.ending = Some(Ending::Deleted { by: at(30) });
        let mut deleted = false;
        for round in 0..200_u8 {
            let actions = drive(&desired, &mut observed, at(1));
            prop_assert!(!actions.iter().any(|action| matches!(action, Action::Start(_))));
            if actions.contains(&Action::Delete) {
                deleted = true;
                break;
            }
            step(&mut observed, if round % 2 == 0 { 0 } else { 1 }, 0, at(1));
        }
        prop_assert!(deleted && !observed.any_alive());
    }
}
