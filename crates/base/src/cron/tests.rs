use proptest::prelude::*;

use super::*;

fn at(text: &str) -> Timestamp {
    crate::time::parse(text).expect("a time")
}

/// The times that follow `start`, in UTC.
fn following(plan: &str, zone: &str, start: &str, count: usize) -> Vec<String> {
    let (schedule, zone) = (Schedule::parse(plan).expect("a schedule"), Zone::named(zone).expect("a zone"));
    let mut now = at(start);
    let mut times = Vec::new();
    while times.len() < count {
        let Some(next) = schedule.next(now, zone) else {
            times.push("never".to_owned());
            break;
        };
        times.push(crate::time::rfc3339(next));
        now = next;
    }
    times
}

fn check(plan: &str, zone: &str, start: &str, wanted: &[&str]) {
    assert_eq!(following(plan, zone, start, wanted.len()), wanted, "{plan} in {zone} after {start}");
}

#[test]
fn fields_words_and_steps_are_due_when_they_say() {
    check("*/15 9-10 * * *", "UTC", "2026-03-01T09:20:00Z", &["2026-03-01T09:30:00Z", "2026-03-01T09:45:00Z"]);
    check("5/20 * * * *", "UTC", "2026-03-01T09:59:59Z", &["2026-03-01T10:05:00Z", "2026-03-01T10:25:00Z"]);
    check("0 0 1 JAN,jul *", "UTC", "2026-03-01T00:00:00Z", &["2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"]);
    check("0 12 * * Mon-Tue", "UTC", "2026-03-01T12:00:00Z", &["2026-03-02T12:00:00Z", "2026-03-03T12:00:00Z"]);
    check("@hourly", "UTC", "2026-03-01T09:00:00Z", &["2026-03-01T10:00:00Z"]);
    check("@midnight", "UTC", "2026-03-01T09:00:00Z", &["2026-03-02T00:00:00Z"]);
    check("@weekly", "UTC", "2026-03-02T09:00:00Z", &["2026-03-08T00:00:00Z"]);
    check("@monthly", "UTC", "2026-12-02T09:00:00Z", &["2027-01-01T00:00:00Z"]);
    check("@annually", "UTC", "2026-03-02T09:00:00Z", &["2027-01-01T00:00:00Z"]);
    check("@every 90s", "UTC", "2026-03-02T09:00:00.5Z", &["2026-03-02T09:01:30Z", "2026-03-02T09:03:00Z"]);
    check("@every 1ms", "UTC", "2026-03-02T09:00:00Z", &["2026-03-02T09:00:01Z"]);
}

#[test]
fn a_day_of_the_month_and_a_weekday_are_either_or_unless_one_is_a_star() {
    check("0 0 13 * 5", "UTC", "2026-03-01T00:00:00Z", &["2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"]);
    check("0 0 */2 * 5", "UTC", "2026-03-01T00:00:00Z", &["2026-03-03T00:00:00Z", "2026-03-05T00:00:00Z"]);
    check("0 0 */1 * 5", "UTC", "2026-03-01T00:00:00Z", &["2026-03-06T00:00:00Z", "2026-03-13T00:00:00Z"]);
}

#[test]
fn leap_days_come_and_days_that_never_come_are_told() {
    check("0 0 29 2 *", "UTC", "2026-03-01T00:00:00Z", &["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
    check("0 0 31 2 *", "UTC", "2026-03-01T00:00:00Z", &["never"]);
    check("0 0 * * *", "UTC", "9999-12-30T22:00:00Z", &["never"]);
}

#[test]
fn a_skipped_hour_moves_on_and_a_repeated_hour_comes_twice_only_for_steps() {
    // Berlin, 2026-03-29: the clock goes from 02:00 to 03:00.
    check("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", &["2026-03-30T00:30:00Z", "2026-03-31T00:30:00Z"]);
    check("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"]);
    // Berlin, 2026-10-25: from 03:00 back to 02:00. Fields are matched by what the clock shows, so it is due twice.
    check("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]);
    check("0 3 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &["2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"]);
    // A constant delay knows no clock.
    check("@every 1h", "Europe/Berlin", "2026-10-25T00:00:00Z", &["2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"]);
}

#[test]
fn a_midnight_that_does_not_exist_is_the_hour_after_it() {
    // Sao Paulo, 2018-11-04: the clock goes from 00:00 to 01:00.
    check("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", &["2018-11-05T02:00:00Z"]);
    check("0 1 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", &["2018-11-04T03:00:00Z"]);
    check("0 9 4 11 *", "America/Sao_Paulo", "2018-01-01T00:00:00Z", &["2018-11-04T11:00:00Z"]);
}

#[test]
fn a_zone_in_the_text_counts_before_the_zone_of_the_asker() {
    check("TZ=Asia/Kolkata 0 9 * * *", "Europe/Berlin", "2026-03-01T00:00:00Z", &["2026-03-01T03:30:00Z"]);
    check("CRON_TZ=Asia/Kolkata  0 9 * * *", "UTC", "2026-03-01T00:00:00Z", &["2026-03-01T03:30:00Z"]);
    check("TZ= 0 9 * * *", "Europe/Berlin", "2026-03-01T00:00:00Z", &["2026-03-01T09:00:00Z"]);
    check("TZ=Local 0 9 * * *", "Europe/Berlin", "2026-03-01T00:00:00Z", &["2026-03-01T08:00:00Z"]);
    check("TZ=Asia/Kolkata @daily", "UTC", "2026-03-01T00:00:00Z", &["2026-03-01T18:30:00Z"]);
}

#[test]
fn what_is_no_schedule_is_refused_in_upstreams_words() {
    for (text, fault) in [
        ("", "empty spec string"),
        ("TZ=0", "invalid schedule format: TZ=0"),
        ("TZ=Mars/Base * * * * *", "provided bad location Mars/Base: unknown time zone Mars/Base"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("a * * * *", r#"failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax"#),
        ("-1 * * * *", r#"failed to parse int from : strconv.Atoi: parsing "": invalid syntax"#),
        ("*/-1 * * * *", "negative number (-1) not allowed: -1"),
        ("@often", "unrecognized descriptor: @often"),
        ("@every x", r#"failed to parse duration @every x: time: invalid duration "x""#),
    ] {
        assert_eq!(Schedule::parse(text).map_err(|fault| fault.to_string()), Err(fault.to_owned()), "{text}");
    }
}

#[test]
fn it_answers_as_the_library_that_upstream_uses() {
    for line in include_str!("robfig.txt").lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('\t').collect();
        let [zone, plan, start, wanted] = parts.as_slice() else { panic!("four parts: {line}") };
        assert_eq!(following(plan, zone, start, 4).join(" "), *wanted, "{plan} in {zone} after {start}");
    }
}

fn field(low: u8, high: u8) -> impl Strategy<Value = String> {
    prop_oneof![
        Just("*".to_owned()),
        (low..=high).prop_map(|value| value.to_string()),
        (low..=high, low..=high).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        (1..=high).prop_map(|step| format!("*/{step}")),
    ]
}

proptest! {
    #[test]
    fn reading_never_panics(text in "\\PC{0,40}") {
        let _read = Schedule::parse(&text);
    }

    /// Held against a search of every minute: nothing due is left out and nothing else is due, where no clock changes.
    #[test]
    fn no_minute_is_missed(
        fields in (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
        start in 1_700_000_000_i64..1_800_000_000,
    ) {
        let plan = format!("{} {} {} {} {}", fields.0, fields.1, fields.2, fields.3, fields.4);
        let schedule = Schedule::parse(&plan).expect("a schedule");
        let Times::Fields(read) = &schedule.times else { panic!("fields") };
        let start = Timestamp::from_second(start).expect("in range");
        let found = schedule.next(start, Zone::UTC).map(Timestamp::as_second);
        let due = |unix: &i64| {
            let clock = Clock::at(*unix, Zone::UTC).expect("in range");
            read.is_day(&clock) && has(read.months, clock.shown.month()) && has(read.hours, clock.shown.hour())
                && has(read.minutes, clock.shown.minute())
        };
        let first = (start.as_second() / 60 + 1) * 60;
        let searched = (0..60 * 24 * 40).map(|minute| first + minute * 60).find(due);
        match searched {
            Some(wanted) => prop_assert_eq!(found, Some(wanted)),
            None => prop_assert!(found.is_none_or(|found| found > first + 60 * 24 * 40 * 60 - 60)),
        }
    }
}
