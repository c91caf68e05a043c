//! `list(A).indexOf`'s signature, `list(A).(A) -> int`, read.
//!
//! Invariant: signatures are constants of this crate; one that cannot be read is a bug that the first test finds.

use std::sync::Arc;

use super::Overload;
use crate::types::{Opaque, Type};

/// `(int, int) -> int` or, of a member, `string.(int) -> string`. A capital letter is a type parameter.
pub(super) fn parse(text: &str) -> Overload {
    let mut reader = Reader { rest: text, letters: Vec::new() };
    let target = (!reader.takes("(")).then(|| {
        let target = reader.ty();
        reader.expects(".(");
        target
    });
    let member = target.is_some();
    let mut args: Vec<Type> = target.into_iter().collect();
    while !reader.takes(")") {
        args.push(reader.ty());
        reader.takes(", ");
    }
    reader.expects(" -> ");
    let result = reader.ty();
    assert!(reader.rest.is_empty(), "signature {text}");
    Overload { member, args, result, params: reader.letters.len() as u32 }
}

struct Reader<'s> {
    rest: &'s str,
    letters: Vec<u8>,
}

impl Reader<'_> {
    fn takes(&mut self, expected: &str) -> bool {
        let rest = self.rest.strip_prefix(expected);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expects(&mut self, expected: &str) {
        assert!(self.takes(expected), "signature: {expected:?} expected before {:?}", self.rest);
    }

    fn ty(&mut self) -> Type {
        let end = self.rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if let [letter @ b'A'..=b'Z'] = name.as_bytes() {
            let known = self.letters.iter().position(|known| known == letter);
            let number = known.unwrap_or_else(|| {
                self.letters.push(*letter);
                self.letters.len() - 1
            });
            return Type::Param(number as u32);
        }
        match name {
            "dyn" => Type::Dyn,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "timestamp" => Type::Timestamp,
            "duration" => Type::Duration,
            "list" => Type::list(self.inner()),
            "optional" => Type::optional(self.inner()),
            "type" => Type::Type(Arc::new(self.inner())),
            "map" => {
                self.expects("(");
                let key = self.ty();
                self.expects(", ");
                let value = self.ty();
                self.expects(")");
                Type::map(key, value)
            }
            _ => Type::Opaque(Self::opaque(name)),
        }
    }

    fn inner(&mut self) -> Type {
        self.expects("(");
        let inner = self.ty();
        self.expects(")");
        inner
    }

    fn opaque(name: &str) -> Opaque {
        match name {
            "quantity" => Opaque::Quantity,
            "url" => Opaque::Url,
            "ip" => Opaque::Ip,
            "cidr" => Opaque::Cidr,
            "format" => Opaque::Format,
            "semver" => Opaque::Semver,
            "authorizer" => Opaque::Authorizer,
            "path" => Opaque::PathCheck,
            "group" => Opaque::GroupCheck,
            "resource" => Opaque::ResourceCheck,
            "decision" => Opaque::Decision,
            _ => unreachable!("invariant: signatures name known types, not {name:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_read() {
        let overload = parse("list(A).(A, map(string, B)) -> optional(B)");
        assert!(overload.member);
        assert_eq!(overload.params, 2);
        let args: Vec<_> = overload.args.iter().map(ToString::to_string).collect();
        assert_eq!(args, ["list(_var0)", "_var0", "map(string, _var1)"]);
        assert_eq!(overload.result.to_string(), "optional_type(_var1)");
    }
}
