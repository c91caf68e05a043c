//! CEL as Kubernetes speaks it: the library, the type checker, the cost of an expression, and its evaluation.
//!
//! Knows expressions and JSON values; does not know kinds, requests or who asks.
