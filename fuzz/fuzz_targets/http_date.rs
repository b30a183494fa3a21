//! The target that has this file's name, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| postrider_fuzz::run(env!("CARGO_BIN_NAME"), data));
