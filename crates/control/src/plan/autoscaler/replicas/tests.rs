use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::world::NOW;

/// A pod in one line: `NAME used=MILLI request=MILLI age=SECONDS ready=SECONDS unready=SECONDS pending failed deleting`.
/// It runs for an hour, ready for fifty minutes, with a request of one core, unless it says otherwise; without `used` it has
/// no figure. The figures are of the last minute.
fn parse(text: &str) -> (Vec<Arc<Pod>>, Samples) {
    let (mut pods, mut samples) = (Vec::new(), Samples::new());
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, words) = line.split_once(' ').unwrap_or((line, ""));
        let word = |key: &str| {
            words.split(' ').find_map(|word| word.strip_prefix(key)).map(|rest| rest.trim_start_matches('='))
        };
        let number = |key: &str, otherwise: i64| word(key).map_or(otherwise, |text| text.parse().expect("a number"));
        let ago = |seconds: i64| base::time::rfc3339(NOW - SignedDuration::from_secs(seconds));
        let ready = if word("unready").is_some() { "False" } else { "True" };
        let since = ago(if ready == "True" { number("ready", 3000) } else { number("unready", 3000) });
        let phase = match (word("pending"), word("failed")) {
            (Some(_), _) => "Pending",
            (_, Some(_)) => "Failed",
            _ => "Running",
        };
        let mut pod = json!({
            "metadata": { "name": name },
            "spec": { "containers": [
                { "name": "main", "resources": { "requests": { "cpu": format!("{}m", number("request", 1000)) } } },
            ] },
            "status": { "phase": phase, "startTime": ago(number("age", 3600)),
                "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": since }] },
        });
        if word("deleting").is_some() {
            pod["metadata"]["deletionTimestamp"] = json!(ago(1));
        }
        pods.push(Arc::new(serde_json::from_value(pod).expect("a pod")));
        if word("used").is_some() {
            let sample = Sample { at: NOW, window: SignedDuration::from_secs(60), value: number("used", 0) };
            samples.insert(name.to_owned(), sample);
        }
    }
    (pods, samples)
}

const TENTH: Tolerance = Tolerance { down: 0.1, up: 0.1 };

fn context(current: i32, pods: &[Arc<Pod>]) -> Context<'_> {
    Context { current, pods, tolerance: TENTH, now: NOW }
}

/// What a target of `percent` of the CPU request makes of `current` replicas.
fn check(current: i32, percent: i32, text: &str, expected: &str) {
    let (pods, samples) = parse(text);
    let told = match by_utilization(context(current, &pods), &samples, percent, "cpu", None) {
        Ok(answer) => format!("{} at {}%", answer.replicas, answer.utilization.unwrap_or(-1)),
        Err(why) => why,
    };
    assert_eq!(told, expected, "{text}");
}

#[test]
fn the_number_follows_the_ratio_rounded_up() {
    check(2, 50, "a used=900\nb used=900", "4 at 90%");
    check(3, 50, "a used=100\nb used=200\nc used=300", "2 at 20%");
    check(2, 80, "a used=10 request=1000\nb used=10 request=100", "1 at 1%");
}

#[test]
fn within_the_tolerance_nothing_changes() {
    check(2, 50, "a used=540\nb used=550", "2 at 54%");
    check(2, 50, "a used=560\nb used=560", "3 at 56%");
    check(2, 50, "a used=450\nb used=450", "2 at 45%");
    check(10, 50, "a used=440\nb used=440", "2 at 44%");
}

#[test]
fn a_pod_without_a_figure_counts_as_idle_on_the_way_up_and_as_busy_on_the_way_down() {
    check(3, 50, "a used=1000\nb used=1000\nc", "4 at 100%");
    check(3, 50, "a used=100\nb used=100\nc", "3 at 10%");
    check(3, 100, "a used=100\nb used=100\nc", "2 at 10%");
    check(2, 50, "a used=600\nb", "2 at 60%");
}

#[test]
fn pods_that_start_do_not_make_more_of_them_necessary_twice() {
    check(3, 50, "a used=1000\nb used=1000\nc pending", "4 at 100%");
    check(4, 50, "a used=1000\nb used=1000\nc pending\nd pending", "4 at 100%");
    check(3, 50, "a used=100\nb used=100\nc pending", "1 at 10%");
}

#[test]
fn the_cpu_of_a_start_does_not_count() {
    let rest = "a used=400\nb used=400";
    check(3, 50, &format!("{rest}\nc used=5000 age=60 unready=50"), "2 at 40%");
    check(3, 50, &format!("{rest}\nc used=5000 age=100 ready=30"), "2 at 40%");
    check(3, 50, &format!("{rest}\nc used=500 age=100 ready=70"), "3 at 43%");
    // once it was ready for long, being unready is an effect of the load
    check(3, 50, &format!("{rest}\nc used=2200 age=3600 unready=100"), "6 at 100%");
    // unless it never was
    check(3, 50, &format!("{rest}\nc used=5000 age=3600 unready=3590"), "2 at 40%");
}

#[test]
fn pods_that_are_leaving_or_have_failed_do_not_count() {
    check(2, 50, "a used=900\nb used=10 deleting\nc used=10 failed", "2 at 90%");
    check(1, 50, "a used=900 deleting", "did not receive metrics for targeted pods (pods might be unready)");
    check(1, 50, "", "no pods returned by selector while calculating replica count");
}

#[test]
fn a_share_needs_something_it_is_a_share_of() {
    let pod = json!({ "metadata": { "name": "a" }, "spec": { "containers": [{ "name": "c" }, { "name": "d" }] },
        "status": { "phase": "Running" } });
    let pods = vec![Arc::new(serde_json::from_value::<Pod>(pod).unwrap())];
    let samples = Samples::from([("a".to_owned(), Sample { at: NOW, window: SignedDuration::ZERO, value: 1 })]);
    let ask = |container| by_utilization(context(1, &pods), &samples, 50, "memory", container);
    assert_eq!(ask(None).unwrap_err(), "missing request for memory in container c of Pod a");
    assert_eq!(ask(Some("d")).unwrap_err(), "missing request for memory in container d of Pod a");
    assert_eq!(ask(Some("x")).unwrap_err(), "container x not found in Pod a");
}

#[test]
fn what_a_pod_requests_as_a_whole_counts_before_its_containers() {
    let pod = json!({ "metadata": { "name": "a" },
        "spec": { "resources": { "requests": { "cpu": "2" } }, "containers": [
            { "name": "c", "resources": { "requests": { "cpu": "500m", "memory": "1Mi" } } }],
            "initContainers": [{ "name": "s", "restartPolicy": "Always", "resources": { "requests": { "cpu": "1" } } }] } });
    let mut pod: Pod = serde_json::from_value(pod).unwrap();
    assert_eq!(of_pod(&pod, "cpu", None), Ok(2000));
    assert_eq!(of_pod(&pod, "cpu", Some("c")), Ok(500));
    pod.spec.as_mut().unwrap().resources = None;
    assert_eq!(of_pod(&pod, "cpu", None), Ok(1500), "sidecars run as long as the rest");
}

#[test]
fn an_average_is_taken_over_all_pods() {
    let (pods, samples) = parse("a used=3000\nb used=1000");
    let answer = by_average(context(2, &pods), &samples, 1000, "").unwrap();
    assert_eq!((answer.replicas, answer.average, answer.utilization), (4, 2000, None));
    let (pods, samples) = parse("a used=300\nb");
    assert_eq!(by_average(context(2, &pods), &samples, 1000, "").unwrap().replicas, 2, "the other is taken to be busy");
}

#[test]
fn a_value_is_shared_by_those_that_are_ready_and_a_share_by_all() {
    let (pods, _) = parse("a ready=100\nb unready=100\nc ready=100");
    assert_eq!(by_value(context(3, &pods), 2000, 1000), Ok(4));
    assert_eq!(by_value(context(3, &pods), 1050, 1000), Ok(3));
    assert_eq!(by_value(context(0, &[]), 2500, 1000), Ok(3));
    let none = "unable to calculate ready pods: no pods returned by selector while calculating replica count";
    assert_eq!(by_value(context(3, &[]), 5000, 1000), Err(none.into()));
    assert_eq!(by_share(TENTH, 4, 10_000, 1000), (10, 2500));
    assert_eq!(by_share(TENTH, 4, 4_200, 1000), (4, 1050));
    assert_eq!(by_share(TENTH, 0, 4_200, 1000).0, 5);
}

#[derive(Debug, Clone)]
struct Known {
    used: i64,
    missing: bool,
}

fn fleet() -> impl Strategy<Value = Vec<Known>> {
    let one = (0_i64..3000, prop::bool::weighted(0.3)).prop_map(|(used, missing)| Known { used, missing });
    prop::collection::vec(one, 1..12)
}

fn answer(fleet: &[Known], unknown: impl Fn(&Known) -> Option<i64>, percent: i32) -> Option<i32> {
    let lines: Vec<String> = fleet
        .iter()
        .enumerate()
        .map(|(index, pod)| match if pod.missing { unknown(pod) } else { Some(pod.used) } {
            Some(used) => format!("p{index} used={used}"),
            None => format!("p{index}"),
        })
        .collect();
    let (pods, samples) = parse(&lines.join("\n"));
    let current = i32::try_from(fleet.len()).unwrap();
    by_utilization(context(current, &pods), &samples, percent, "cpu", None).ok().map(|answer| answer.replicas)
}

proptest! {
    #[test]
    fn what_is_missing_never_makes_a_change_that_knowing_the_worst_would_not(fleet in fleet(), percent in 10_i32..150) {
        let current = i32::try_from(fleet.len()).unwrap();
        let Some(guessed) = answer(&fleet, |_| None, percent) else { return Ok(()) };
        if guessed < current {
            let busiest = i64::from(percent.max(100)) * 10;
            prop_assert!(guessed >= answer(&fleet, |_| Some(busiest), percent).unwrap());
        }
        if guessed > current {
            prop_assert!(guessed <= answer(&fleet, |_| Some(0), percent).unwrap());
        }
    }

    #[test]
    fn more_use_never_asks_for_less(fleet in fleet(), percent in 10_i32..150, more in 0_i64..2000) {
        let all = |extra: i64| {
            let fleet: Vec<Known> = fleet.iter().map(|pod| Known { used: pod.used + extra, missing: false }).collect();
            answer(&fleet, |_| None, percent).unwrap()
        };
        prop_assert!(all(more) >= all(0));
    }
}
