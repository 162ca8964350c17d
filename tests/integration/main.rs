//! Integration tests: one binary, one module per question.

mod support;

mod layers;
mod shim;
