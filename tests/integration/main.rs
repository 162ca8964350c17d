//! Integration tests: one binary, one module per question.

mod support;

mod shim;
