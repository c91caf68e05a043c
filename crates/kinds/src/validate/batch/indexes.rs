//! Sets of indexes of a job as text: `1,3-5,7`.

use crate::error::quote;

/// How many indexes a text names, all below `completions` and in order.
pub(super) fn count(text: &str, completions: i64) -> Result<i64, String> {
    let (mut total, mut last) = (0, None);
    if text.is_empty() {
        return Ok(0);
    }
    for part in text.split(',') {
        let (start, end) = interval(part, completions)?;
        if let Some(last) = last.filter(|last| *last >= start) {
            return Err(format!("non-increasing order, previous: {last}, current: {start}"));
        }
        total += end - start + 1;
        last = Some(end);
    }
    Ok(total)
}

fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let limits: Vec<&str> = part.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(part)
        ));
    }
    let number = |text: &str| -> Result<i64, String> {
        let number: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if number >= completions { Err(format!("too large index: {}", quote(text))) } else { Ok(number) }
    };
    let start = number(limits.first().copied().unwrap_or(""))?;
    let Some(end) = limits.get(1) else { return Ok((start, start)) };
    let end = number(end)?;
    if start >= end {
        Err(format!("non-increasing order, previous: {start}, current: {end}"))
    } else {
        Ok((start, end))
    }
}

/// The first index that both texts name; parts that cannot be read are passed over.
pub(super) fn overlap(completed: &str, failed: &str, completions: i64) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        if text.is_empty() {
            return Vec::new();
        }
        text.split(',').filter_map(|part| interval(part, completions).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut a, mut b) = (completed.iter(), failed.iter());
    let (mut left, mut right) = (a.next(), b.next());
    while let (Some((ax, ay)), Some((bx, by))) = (left, right) {
        if ax <= by && bx <= ay {
            return Some(*ax.max(bx));
        }
        if ax <= bx { left = a.next() } else { right = b.next() }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_read_in_order() {
        assert_eq!(count("0,2-4", 5), Ok(4));
        assert_eq!(count("", 5), Ok(0));
        for (text, fault) in [
            ("5", "too large index: \"5\""),
            ("a", "cannot convert string to integer for index: \"a\""),
            ("3,1", "non-increasing order, previous: 3, current: 1"),
            ("3-1", "non-increasing order, previous: 3, current: 1"),
        ] {
            assert_eq!(count(text, 5), Err(fault.to_owned()));
        }
        assert_eq!(overlap("0-3,x", "2", 9), Some(2));
        assert_eq!(overlap("0-3", "5", 9), None);
    }
}
