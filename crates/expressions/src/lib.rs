//! CEL as Kubernetes speaks it: the library, the type checker, the cost of an expression, and its evaluation.
//!
//! Knows expressions and JSON values; does not know kinds, requests or who asks.
//!
//! An expression is compiled against an [`Env`], which says what its variables are; the [`Program`] is evaluated with
//! values for them, any number of times, by anybody. Data is described by a [`Shape`], which the caller makes of its
//! schema. Why not a general CEL interpreter: data stays the JSON it is, costs are counted as upstream counts them, and
//! no input can exhaust stack, memory or time.

pub mod admission;
mod check;
mod clock;
mod cost;
pub mod device;
mod eval;
mod fault;
mod functions;
mod lex;
mod library;
mod macros;
mod parse;
mod program;
mod shape;
mod tree;
mod types;
mod value;

pub use cost::Cost;
pub use eval::Vars;
pub use eval::meter::{Budget, PER_CALL, PER_OBJECT};
pub use fault::{Fault, listing};
pub use functions::access::{Authorizer, Decision, Question};
pub use program::{Program, compile};
pub use shape::{Format, LARGEST_REQUEST, Meaning, Property, Shape, escape, is_reserved};
pub use types::{Declaration, Env, Opaque, Type};
pub use value::{Failure, Value};
