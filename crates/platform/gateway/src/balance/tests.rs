//! The rules of choosing, as tables and properties.

use super::*;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use crate::clock::Time;

const START: Time = Time(1_000_000_000);

fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, (number >> 8) as u8, number as u8], 80))
}

fn members(count: usize) -> Vec<Member> {
    (0..count).map(|number| Member::new(address(number))).collect()
}

fn name() -> Name {
    Name { service: base::Key::new("shop", "web"), port: "http".to_owned() }
}

fn pool_of(policy: Policy, members: &[Member]) -> Arc<Pool> {
    Arc::new(Pool::new(name(), policy, members, START))
}

fn at(now: Time) -> Ask<'static> {
    Ask { now, ..Ask::default() }
}

fn seconds(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

/// How often each of the first endpoints is chosen in `times` picks that end at once.
fn shares(pool: &Arc<Pool>, now: Time, times: u64) -> Vec<usize> {
    let mut counts = vec![0; pool.endpoints().len()];
    for round in 0..times {
        let ask = Ask { now, dice: super::mix(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 7), ..Ask::default() };
        let picked = pool.pick(&ask).unwrap().address();
        counts[pool.endpoints().iter().position(|one| one.address == picked).unwrap()] += 1;
    }
    counts
}

fn outlier() -> Outlier {
    Outlier {
        server_errors: 3,
        base: Duration::from_secs(10),
        longest: Duration::from_secs(60),
        most_percent: 50,
        ..Outlier::default()
    }
}

/// Reports `times` outcomes of the endpoint at `address`.
fn report(pool: &Arc<Pool>, number: usize, outcome: Outcome, times: usize, now: Time) {
    let lease = pool.pick(&Ask { now, stay: Some(address(number)), ..Ask::default() }).unwrap();
    assert_eq!(lease.address(), address(number), "it may be chosen");
    (0..times).for_each(|_| lease.report(outcome, now));
}

#[test]
fn endpoints_take_turns_by_weight() {
    let mut members = members(3);
    members[1].weight = 2;
    members[2].weight = 0;
    assert_eq!(shares(&pool_of(Policy::default(), &members), START, 300), [100, 200, 0]);
}

#[test]
fn least_requests_go_to_whoever_has_less_to_do_and_by_weight_when_nobody_has() {
    let policy = Policy { algorithm: Algorithm::LeastRequests, ..Policy::default() };
    let mut members = members(2);
    let pool = pool_of(policy.clone(), &members);
    let busy: Vec<Lease> =
        (0..10).map(|_| pool.pick(&Ask { now: START, stay: Some(address(0)), ..Ask::default() }).unwrap()).collect();
    assert_eq!(shares(&pool, START, 100), [0, 100]);
    drop(busy);
    members[1].weight = 3;
    let counts = shares(&pool_of(policy, &members), START, 10_000);
    assert!((2300..2700).contains(&counts[0]), "{counts:?}");
}

#[test]
fn nobody_to_choose_is_told() {
    assert_eq!(pool_of(Policy::default(), &[]).pick(&at(START)).unwrap_err(), Refusal::Empty);
}

#[test]
fn a_retry_goes_elsewhere_when_there_is_an_elsewhere() {
    for algorithm in
        [Algorithm::RoundRobin, Algorithm::Random, Algorithm::LeastRequests, Algorithm::RingHash(Source::Uri)]
    {
        let pool = pool_of(Policy { algorithm, ..Policy::default() }, &members(2));
        for dice in 0..20 {
            let tried = [address(0)];
            let ask = Ask {
                now: START,
                dice: super::mix(dice),
                key: Some(super::mix(dice)),
                tried: &tried,
                ..Ask::default()
            };
            assert_eq!(pool.pick(&ask).unwrap().address(), address(1));
            let both = [address(0), address(1)];
            pool.pick(&Ask { tried: &both, ..ask }).expect("with nowhere else, one of them again");
        }
    }
}

#[test]
fn who_fails_is_left_alone_longer_each_time_and_comes_back() {
    let pool = pool_of(Policy { outlier: outlier(), ..Policy::default() }, &members(4));
    report(&pool, 0, Outcome::Answered(500), 2, START);
    report(&pool, 0, Outcome::Answered(404), 1, START); // an answer is an answer
    report(&pool, 0, Outcome::Answered(500), 2, START);
    assert_eq!(pool.counts().available, 4, "three in a row are needed");
    report(&pool, 0, Outcome::Answered(500), 1, START);
    assert_eq!(shares(&pool, START, 30)[0], 0);
    assert_eq!(shares(&pool, seconds(9), 30)[0], 0);
    assert!(shares(&pool, seconds(10), 30)[0] > 0, "ten seconds are over");
    report(&pool, 0, Outcome::Failed, 3, seconds(10));
    assert_eq!(shares(&pool, seconds(29), 30)[0], 0, "twenty this time");
    assert!(shares(&pool, seconds(30), 30)[0] > 0);
    report(&pool, 0, Outcome::ConnectFailed, 1, seconds(1000));
    assert!(shares(&pool, seconds(1010), 30)[0] > 0, "a good while makes the next one short again");
    assert_eq!(pool.counts().ejections, 3);
}

#[test]
fn when_the_last_would_go_all_come_back() {
    let pool = pool_of(Policy::default(), &members(2));
    report(&pool, 0, Outcome::ConnectFailed, 1, START);
    assert_eq!(pool.counts().available, 1);
    report(&pool, 1, Outcome::ConnectFailed, 1, START);
    assert_eq!(pool.counts().available, 2);
}

#[test]
fn bounds_refuse_at_once_and_places_come_back() {
    let circuit = Circuit { requests: 3, pending: 2, retries: 1, connections: 1, ..Circuit::default() };
    let pool = pool_of(Policy { circuit, ..Policy::default() }, &members(2));
    let pick = |kind| pool.pick(&Ask { now: START, kind, ..Ask::default() });
    let mut first = pick(Kind::Request).unwrap();
    let mut second = pick(Kind::Retry).unwrap();
    assert_eq!(pick(Kind::Request).unwrap_err(), Refusal::Pending);
    first.connected();
    second.connected();
    second.connected(); // once is enough
    assert_eq!(pick(Kind::Retry).unwrap_err(), Refusal::Retries);
    let third = pick(Kind::Request).unwrap();
    assert_eq!(pick(Kind::Request).unwrap_err(), Refusal::Requests);
    let stream = pick(Kind::Connection).unwrap();
    assert_eq!(pick(Kind::Connection).unwrap_err(), Refusal::Connections);
    assert_eq!((pool.counts().requests, pool.counts().connections, pool.counts().refusals), (3, 1, 4));
    drop((first, second, third, stream));
    assert_eq!((pool.counts().requests, pool.counts().connections), (0, 0));
    drop(pick(Kind::Retry).unwrap());
}

#[test]
fn an_endpoint_takes_no_more_than_it_may_and_the_others_take_the_rest() {
    let circuit = Circuit { per_endpoint: 1, ..Circuit::default() };
    let pool = pool_of(Policy { circuit, ..Policy::default() }, &members(2));
    let stay = Ask { now: START, stay: Some(address(0)), ..Ask::default() };
    let (one, other) = (pool.pick(&stay).unwrap(), pool.pick(&stay).unwrap());
    assert_eq!((one.address(), other.address()), (address(0), address(1)));
    assert_eq!(pool.pick(&stay).unwrap_err(), Refusal::Endpoints);
    drop((one, other));
    assert_eq!(pool.counts().requests, 0);
}

#[test]
fn a_new_endpoint_grows_into_its_share() {
    let slow_start = Some(SlowStart { window: Duration::from_secs(100), least_percent: 10 });
    let pool = pool_of(Policy { slow_start, ..Policy::default() }, &members(1));
    pool.update(&members(2), seconds(1000));
    let share = |after: u64| shares(&pool, seconds(1000 + after), 1000)[1];
    assert!((80..=100).contains(&share(0)), "{}", share(0));
    assert!((320..=345).contains(&share(50)), "a third of the whole is half of a share: {}", share(50));
    assert_eq!(share(100), 500);
}

#[test]
fn the_own_zone_is_preferred_while_enough_of_it_is_well() {
    let mut members = members(4);
    members[0].local = true;
    members[1].local = true;
    let pool =
        pool_of(Policy { prefer_zone: true, panic_percent: 60, outlier: outlier(), ..Policy::default() }, &members);
    assert_eq!(shares(&pool, START, 100), [50, 50, 0, 0]);
    report(&pool, 0, Outcome::Answered(500), 3, START);
    assert_eq!(shares(&pool, START, 99), [0, 33, 33, 33], "half of the zone is not enough");
    let off = pool_of(Policy::default(), &members);
    assert_eq!(shares(&off, START, 100), [25, 25, 25, 25]);
}

#[test]
fn what_is_known_of_an_endpoint_survives_a_change_of_the_others() {
    let pool = pool_of(Policy::default(), &members(3));
    report(&pool, 0, Outcome::ConnectFailed, 1, START);
    pool.update(&members(5), START);
    assert_eq!((pool.counts().endpoints, pool.counts().available), (5, 4));
}

fn ring(count: usize) -> Arc<Pool> {
    pool_of(Policy { algorithm: Algorithm::RingHash(Source::Uri), ..Policy::default() }, &members(count))
}

fn owners(pool: &Arc<Pool>, keys: u64) -> HashMap<u64, SocketAddr> {
    let ask = |key| Ask { now: START, key: Some(super::mix(key + 1)), ..Ask::default() };
    (0..keys).map(|key| (key, pool.pick(&ask(key)).unwrap().address())).collect()
}

#[test]
fn keys_stay_with_their_endpoint_while_it_is_ejected_for_others() {
    let pool = ring(10);
    let before = owners(&pool, 2000);
    report(&pool, 3, Outcome::ConnectFailed, 1, START);
    for (key, owner) in owners(&pool, 2000) {
        assert!(before[&key] == owner || before[&key] == address(3), "only the keys of the ejected one move");
        assert_ne!(owner, address(3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_endpoint_that_comes_or_goes_moves_about_its_own_share_of_the_keys(count in 2..60_usize) {
        let (before, after) = (owners(&ring(count), 2000), owners(&ring(count + 1), 2000));
        let moved = before.iter().filter(|(key, owner)| after[key] != **owner).count();
        let elsewhere = before.iter().filter(|(key, owner)| after[key] != **owner && after[key] != address(count)).count();
        prop_assert_eq!(elsewhere, 0, "keys move to the new one only");
        prop_assert!(moved as f64 <= 2000.0 / (count + 1) as f64 * 1.6 + 20.0, "{} moved of 2000 with {} endpoints", moved, count);
    }

    #[test]
    fn ejection_never_leaves_fewer_than_the_panic_threshold(
        count in 1..12_usize, panic in 0..=100_u8, most in 0..=100_u8,
        reports in proptest::collection::vec((0..12_usize, any::<bool>(), 0..8_u64), 1..200),
    ) {
        let outlier = Outlier { server_errors: 1, most_percent: most, ..outlier() };
        let pool = pool_of(Policy { outlier, panic_percent: panic, ..Policy::default() }, &members(count));
        let mut now = START;
        for (number, fails, after) in reports {
            now = now + Duration::from_secs(after);
            let Ok(lease) = pool.pick(&Ask { now, stay: Some(address(number % count)), ..Ask::default() }) else { panic!("somebody is there") };
            lease.report(if fails { Outcome::Failed } else { Outcome::Answered(200) }, now);
            let ejected = pool.endpoints().iter().filter(|one| one.ejected_until() > now).count();
            prop_assert!(ejected < count);
            prop_assert!((count - ejected) * 100 >= count * usize::from(panic));
            prop_assert!(ejected * 100 <= count * usize::from(most));
            let counts = pool.counts();
            prop_assert!(counts.available as usize == count - ejected && !counts.panic);
        }
    }

    #[test]
    fn what_is_under_way_is_never_more_than_the_bounds_and_never_lost(
        bounds in (0..5_u32, 0..5_u32, 0..5_u32, 0..5_u32, 1..4_u32),
        steps in proptest::collection::vec((0..4_u8, 0..8_usize), 1..100),
    ) {
        let (connections, pending, requests, retries, per_endpoint) = bounds;
        let circuit = Circuit { connections, pending, requests, retries, per_endpoint };
        let pool = pool_of(Policy { circuit, ..Policy::default() }, &members(3));
        let mut held: BTreeMap<usize, Lease> = BTreeMap::new();
        for (what, slot) in steps {
            match what {
                3 => if let Some(lease) = held.get_mut(&slot) { lease.connected() },
                _ if held.remove(&slot).is_some() => {}
                _ => {
                    let kind = [Kind::Request, Kind::Retry, Kind::Connection][usize::from(what)];
                    if let Ok(lease) = pool.pick(&Ask { now: START, kind, ..Ask::default() }) { held.insert(slot, lease); }
                }
            }
            let counts = pool.counts();
            prop_assert!(counts.requests <= u64::from(requests) && counts.connections <= u64::from(connections));
            prop_assert_eq!(counts.requests + counts.connections, held.len() as u64);
            prop_assert!(pool.endpoints().iter().all(|one| one.active() <= per_endpoint));
        }
        drop(held);
        let counts = pool.counts();
        prop_assert_eq!((counts.requests, counts.connections), (0, 0));
    }
}

/// Not a bench: that a pick costs the same for ten endpoints and for a thousand.
#[test]
fn a_pick_does_not_depend_on_the_number_of_endpoints() {
    let cost = |count: usize, algorithm: &Algorithm| {
        let pool = pool_of(Policy { algorithm: algorithm.clone(), ..Policy::default() }, &members(count));
        let stretch = |from: u64| {
            let begun = std::time::Instant::now();
            for dice in from..from + 10_000 {
                let dice = super::mix(dice);
                drop(pool.pick(&Ask { now: START, dice, key: Some(dice), ..Ask::default() }).unwrap());
            }
            begun.elapsed().as_nanos() / 10_000
        };
        (0..20).map(|round| stretch(round * 10_000)).min().unwrap()
    };
    for algorithm in [Algorithm::RoundRobin, Algorithm::LeastRequests, Algorithm::RingHash(Source::Uri)] {
        let (ten, thousand) = (cost(10, &algorithm), cost(1000, &algorithm));
        println!("{algorithm:?}: {ten} ns for 10, {thousand} ns for 1,000");
        assert!(thousand <= ten * 6 + 200, "{algorithm:?}: {ten} ns for 10 endpoints, {thousand} ns for 1,000");
    }
}
