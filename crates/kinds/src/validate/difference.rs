//! What changed between two objects, as lines, for the reader of a refused update.
//!
//! Upstream prints the same under the names of its Go fields; these are the names of the API.

use std::fmt::Write as _;

use serde_json::Value;

/// Beyond this many lines only the lines that differ in place are looked for.
const LIMIT: usize = 2000;
const CONTEXT: usize = 3;

/// A unified difference of the two values, written as indented JSON.
pub(crate) fn of(old: &Value, new: &Value) -> String {
    let write = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    let (old, new) = (write(old), write(new));
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let steps = steps(&a, &b);
    let mut text = String::from("--- \n+++ \n");
    for hunk in hunks(&steps) {
        print(&steps[hunk.0..hunk.1], &mut text);
    }
    text
}

/// A line of one text or of both, with its places before it in both texts.
struct Step<'t> {
    mark: char,
    line: &'t str,
    at: (usize, usize),
}

/// The lines of both texts in the order of a longest common subsequence.
fn steps<'t>(a: &[&'t str], b: &[&'t str]) -> Vec<Step<'t>> {
    let head = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let rest = a.len().min(b.len()) - head;
    let tail = a.iter().rev().zip(b.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
    let (middle_a, middle_b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);
    let mut steps: Vec<Step<'t>> = (0..head).map(|n| Step { mark: ' ', line: a[n], at: (n, n) }).collect();
    let (mut x, mut y) = (0, 0);
    let table = if middle_a.len() > LIMIT || middle_b.len() > LIMIT { Vec::new() } else { lengths(middle_a, middle_b) };
    while x < middle_a.len() || y < middle_b.len() {
        let at = (head + x, head + y);
        let length = |x: usize, y: usize| table.get(x * (middle_b.len() + 1) + y).copied().unwrap_or(0);
        if x < middle_a.len() && y < middle_b.len() && middle_a[x] == middle_b[y] {
            steps.push(Step { mark: ' ', line: middle_a[x], at });
            x += 1;
            y += 1;
        } else if x < middle_a.len() && (y == middle_b.len() || length(x + 1, y) >= length(x, y + 1)) {
            steps.push(Step { mark: '-', line: middle_a[x], at });
            x += 1;
        } else {
            steps.push(Step { mark: '+', line: middle_b[y], at });
            y += 1;
        }
    }
    let places = (a.len() - tail..a.len()).zip(b.len() - tail..b.len());
    steps.extend(places.map(|(x, y)| Step { mark: ' ', line: a[x], at: (x, y) }));
    steps
}

/// How many lines the rests of both texts have in common, for every pair of places.
fn lengths(a: &[&str], b: &[&str]) -> Vec<u32> {
    let width = b.len() + 1;
    let mut table = vec![0; (a.len() + 1) * width];
    for x in (0..a.len()).rev() {
        for y in (0..b.len()).rev() {
            table[x * width + y] = if a[x] == b[y] {
                table[(x + 1) * width + y + 1] + 1
            } else {
                table[(x + 1) * width + y].max(table[x * width + y + 1])
            };
        }
    }
    table
}

/// The stretches around changes.
fn hunks(steps: &[Step<'_>]) -> Vec<(usize, usize)> {
    let mut hunks: Vec<(usize, usize)> = Vec::new();
    for (place, _) in steps.iter().enumerate().filter(|(_, step)| step.mark != ' ') {
        let (start, end) = (place.saturating_sub(CONTEXT), (place + CONTEXT + 1).min(steps.len()));
        match hunks.last_mut() {
            Some(last) if start <= last.1 => last.1 = end,
            _ => hunks.push((start, end)),
        }
    }
    hunks
}

fn print(steps: &[Step<'_>], text: &mut String) {
    let Some(first) = steps.first() else { return };
    let count = |mark: char| steps.iter().filter(|step| step.mark == ' ' || step.mark == mark).count();
    let range = |start: usize, length: usize| {
        if length == 1 { format!("{}", start + 1) } else { format!("{},{length}", start + 1) }
    };
    let (old, new) = (range(first.at.0, count('-')), range(first.at.1, count('+')));
    let ok = writeln!(text, "@@ -{old} +{new} @@");
    debug_assert!(ok.is_ok(), "a String takes everything");
    for step in steps {
        text.push(step.mark);
        text.push_str(step.line);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_shown_with_what_stands_around_it() {
        let old = json!({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6});
        let mut new = old.clone();
        new["e"] = json!(7);
        new["g"] = json!(8);
        let expected = "--- \n+++ \n@@ -3,6 +3,7 @@\n   \"b\": 2,\n   \"c\": 3,\n   \"d\": 4,\n-  \"e\": 5,\n-  \"f\": 6\n\
                        +  \"e\": 7,\n+  \"f\": 6,\n+  \"g\": 8\n }\n";
        assert_eq!(of(&old, &new), expected);
    }

    #[test]
    fn equal_objects_have_no_difference() {
        assert_eq!(of(&json!([1, 2]), &json!([1, 2])), "--- \n+++ \n");
    }
}
