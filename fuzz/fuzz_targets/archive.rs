//! See `tests/integration/fuzzed.rs`, which replays the corpus of this target with the same function.
#![no_main]

#[path = "../../tests/integration/fuzzed.rs"]
mod fuzzed;

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzzed::archive(data));
