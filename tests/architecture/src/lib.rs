//! The rules of ARCHITECTURE.md that a machine can check: layers, and what must not be used where.
//! See `tests/rules.rs`.
