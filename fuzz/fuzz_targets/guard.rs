//! See `sb_fuzz::guard`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::guard(data));
