//! Signal names, as images and `lifecycle.stopSignal` write them.

/// The number of `SIGTERM`, `TERM`, `15` or `SIGRTMIN+3`.
pub(crate) fn number(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let upper = name.to_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = short.strip_prefix("RTMIN") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (34 + offset <= 64).then_some(34 + offset);
    }
    if let Some(offset) = short.strip_prefix("RTMAX") {
        let offset: i32 = if offset.is_empty() { 0 } else { offset.strip_prefix('-')?.parse().ok()? };
        return (64 - offset >= 34).then_some(64 - offset);
    }
    NAMES.iter().find(|(known, _)| *known == short).map(|(_, number)| *number)
}

const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn names_are_read_in_every_usual_form() {
        let forms = ["SIGTERM", "term", "15", "SIGRTMIN+3", "SIGRTMAX-1"].map(number);
        assert_eq!(forms, [Some(15), Some(15), Some(15), Some(37), Some(63)]);
        assert_eq!(["SIGNOPE", "0", "99", ""].map(number), [None; 4]);
    }
}
