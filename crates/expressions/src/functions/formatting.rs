//! `'...'.format([...])`: clauses as in C.
//!
//! Invariant: a constant format is judged with the types of its arguments by the rules it is evaluated with, from the
//! same table of clauses.

use crate::eval::Meter;
use crate::functions::convert;
use crate::types::Type;
use crate::value::{Failure, Value};

/// What is wrong with a format, and with which argument.
pub(crate) struct Wrong {
    pub(crate) argument: Option<usize>,
    pub(crate) message: String,
}

impl Wrong {
    fn new(message: impl Into<String>) -> Self {
        Self { argument: None, message: message.into() }
    }
}

enum Piece<'f> {
    Text(&'f str),
    Clause(Clause),
}

#[derive(Clone, Copy)]
enum Clause {
    String,
    Decimal,
    Fixed(usize),
    Scientific,
    Binary,
    Hex { upper: bool },
    Octal,
}

/// Without a precision.
const DIGITS: usize = 6;

impl Clause {
    fn accepts(self, ty: &Type) -> bool {
        match self {
            Self::String => {
                !matches!(ty, Type::Any | Type::Optional(_) | Type::Object(_) | Type::Made(_) | Type::Opaque(_))
            }
            Self::Decimal | Self::Octal => matches!(ty, Type::Int | Type::Uint | Type::Dyn),
            Self::Fixed(_) | Self::Scientific => matches!(ty, Type::Double | Type::String | Type::Dyn),
            Self::Binary => matches!(ty, Type::Int | Type::Uint | Type::Bool | Type::Dyn),
            Self::Hex { .. } => {
                matches!(ty, Type::Int | Type::Uint | Type::String | Type::Bytes | Type::Dyn)
            }
        }
    }

    fn refusal(self, given: &str) -> String {
        let rule = match self {
            Self::String => {
                "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, \
                 durations, and timestamps"
            }
            Self::Decimal => "decimal clause can only be used on integers",
            Self::Fixed(_) => "fixed-point clause can only be used on doubles",
            Self::Scientific => "scientific clause can only be used on doubles",
            Self::Binary => "only integers and bools can be formatted as binary",
            Self::Hex { .. } => "only integers, byte buffers, and strings can be formatted as hex",
            Self::Octal => "octal clause can only be used on integers",
        };
        format!("error during formatting: {rule}, was given {given}")
    }
}

/// Parts a format; stops at the first mistake, or when the arguments run out.
fn pieces(format: &str, arguments: usize) -> Result<Vec<Piece<'_>>, Wrong> {
    let mut found = Vec::new();
    let mut clauses = 0;
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        found.push(Piece::Text(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            found.push(Piece::Text("%"));
            rest = after;
            continue;
        }
        if clauses >= arguments {
            return Err(Wrong::new(format!("index {clauses} out of range")));
        }
        if rest.is_empty() {
            return Err(Wrong::new("unexpected end of string"));
        }
        let (clause, after) =
            clause(rest).map_err(|message| Wrong::new(format!("could not parse formatting clause: {message}")))?;
        found.push(Piece::Clause(clause));
        clauses += 1;
        rest = after;
    }
    found.push(Piece::Text(rest));
    Ok(found)
}

fn clause(text: &str) -> Result<(Clause, &str), String> {
    let (precision, rest) = match text.strip_prefix('.') {
        None => (None, text),
        Some(after) => {
            let end = after.find(|c: char| !c.is_ascii_digit());
            let end = end.ok_or("error while parsing precision: could not find end of precision specifier")?;
            let digits = &after[..end];
            let number = digits.parse::<u32>().map_err(|_| {
                let reason = if digits.is_empty() { "invalid syntax" } else { "value out of range" };
                let what = format!("strconv.Atoi: parsing {digits:?}: {reason}");
                format!("error while parsing precision: error while converting precision to integer: {what}")
            })?;
            (Some(number as usize), &after[end..])
        }
    };
    let mut chars = rest.chars();
    let clause = match chars.next() {
        Some('s') => Clause::String,
        Some('d') => Clause::Decimal,
        Some('f') => Clause::Fixed(precision.unwrap_or(DIGITS)),
        Some('e') => Clause::Scientific,
        Some('b') => Clause::Binary,
        Some(c @ ('x' | 'X')) => Clause::Hex { upper: c == 'X' },
        Some('o') => Clause::Octal,
        other => return Err(format!("unrecognized formatting clause \"{}\"", other.unwrap_or(' '))),
    };
    Ok((clause, chars.as_str()))
}

/// Judges a constant format with the types of its arguments.
pub(crate) fn check(format: &str, types: &[Type]) -> Result<(), Wrong> {
    let pieces = pieces(format, types.len())?;
    let mut used = 0;
    for piece in pieces {
        let Piece::Clause(clause) = piece else { continue };
        let ty = &types[used];
        if !clause.accepts(ty) {
            return Err(Wrong { argument: Some(used), message: clause.refusal(&ty.name()) });
        }
        used += 1;
    }
    if types.len() > used {
        let count = types.len();
        return Err(Wrong::new(format!("too many arguments supplied to string.format (expected {used}, got {count})")));
    }
    Ok(())
}

/// The text a format makes of values.
pub(super) fn format(meter: &Meter<'_>, format: &str, values: &[Value<'_>]) -> Result<String, Failure> {
    let pieces = pieces(format, values.len()).map_err(|wrong| Failure::new(wrong.message))?;
    let mut out = String::new();
    let mut values = values.iter();
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Clause(clause) => {
                let value = values.next().ok_or_else(Failure::no_overload)?;
                if let Clause::Fixed(digits) = clause {
                    meter.allows(digits as u64)?;
                }
                out.push_str(&rendered(clause, value)?);
            }
        }
        meter.allows(out.len() as u64)?;
    }
    Ok(out)
}

fn rendered(clause: Clause, value: &Value<'_>) -> Result<String, Failure> {
    let refused = || Failure::new(clause.refusal(&value.type_of().name()));
    Ok(match (clause, value) {
        (Clause::String, _) => shown(value, false).ok_or_else(refused)?,
        (Clause::Decimal, Value::Int(_) | Value::Uint(_)) => value.to_string(),
        (Clause::Fixed(digits), _) => {
            let number = double(value).ok_or_else(refused)?;
            if number.is_finite() { grouped(&format!("{number:.digits$}")) } else { special(number) }
        }
        (Clause::Scientific, _) => {
            let number = double(value).ok_or_else(refused)?;
            if number.is_finite() { scientific(number) } else { special(number) }
        }
        (Clause::Binary, Value::Int(value)) => signed(*value, |value| format!("{value:b}")),
        (Clause::Binary, Value::Uint(value)) => format!("{value:b}"),
        (Clause::Binary, Value::Bool(value)) => u8::from(*value).to_string(),
        (Clause::Octal, Value::Int(value)) => signed(*value, |value| format!("{value:o}")),
        (Clause::Octal, Value::Uint(value)) => format!("{value:o}"),
        (Clause::Hex { upper }, _) => {
            let text = match value {
                Value::Int(value) => signed(*value, |value| format!("{value:x}")),
                Value::Uint(value) => format!("{value:x}"),
                Value::Bytes(bytes) => hex(bytes),
                other => hex(other.as_str().ok_or_else(refused)?.as_bytes()),
            };
            if upper { text.to_uppercase() } else { text }
        }
        _ => return Err(refused()),
    })
}

fn double(value: &Value<'_>) -> Option<f64> {
    match (value, value.as_str()) {
        (Value::Double(value), _) => Some(*value),
        (_, Some("NaN")) => Some(f64::NAN),
        (_, Some("Infinity")) => Some(f64::INFINITY),
        (_, Some("-Infinity")) => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn special(value: f64) -> String {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "\u{221e}"
    } else {
        "-\u{221e}"
    }
    .to_owned()
}

/// Thousands set apart by commas, as the American locale has it.
fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let mut out = sign.to_owned();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// `1.500000×10` to a raised exponent, as the American locale has it; a precision has no effect.
fn scientific(number: f64) -> String {
    let text = format!("{number:.DIGITS$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let raised = |c: char| match c {
        '-' => '\u{207b}',
        '1' => '\u{b9}',
        '2' => '\u{b2}',
        '3' => '\u{b3}',
        _ => char::from_u32(0x2070 + c.to_digit(10).unwrap_or(0)).unwrap_or(c),
    };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(("", exponent), |rest| ("-", rest));
    let exponent: String = format!("{sign}{exponent:0>2}").chars().map(raised).collect();
    format!("{mantissa}\u{d7}10{exponent}")
}

fn signed(value: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if value < 0 { "-" } else { "" };
    format!("{sign}{}", digits(value.unsigned_abs()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value as text; inside of lists and maps as an expression would write it.
fn shown(value: &Value<'_>, inside: bool) -> Option<String> {
    if let Some(list) = value.as_list() {
        let parts = list.values().map(|item| shown(&item.ok()?, true)).collect::<Option<Vec<_>>>()?;
        return Some(format!("[{}]", parts.join(", ")));
    }
    if let Some(map) = value.as_map() {
        let entry = |(key, value): (Value<'_>, _)| {
            let value: Result<Value<'_>, Failure> = value;
            Some(format!("{}:{}", shown(&key, true)?, shown(&value.ok()?, true)?))
        };
        let mut parts = map.entries().into_iter().map(entry).collect::<Option<Vec<_>>>()?;
        parts.sort();
        return Some(format!("{{{}}}", parts.join(", ")));
    }
    let plain = match value {
        Value::Null => "null".to_owned(),
        other => convert::text_of(other).ok()?.as_str()?.to_owned(),
    };
    Some(match value {
        _ if !inside => plain,
        Value::Str(_) | Value::Text(_) => format!("{plain:?}"),
        Value::Bytes(_) => format!("b{plain:?}"),
        Value::Timestamp(_) => format!("timestamp({plain:?})"),
        Value::Duration(_) => format!("duration({plain:?})"),
        Value::Double(number) if number.is_finite() => format!("{number:.6}"),
        Value::Double(_) => format!("{plain:?}"),
        _ => plain,
    })
}
