//! Write and sync failures.
