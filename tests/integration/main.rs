//! Integration tests: one binary, one module per question.

mod support;

mod format_rules;
mod format_spec;
mod fuzzed;
mod layers;
mod shim;
