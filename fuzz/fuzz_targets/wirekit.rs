//! See `sb_fuzz::wirekit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::wirekit(data));
