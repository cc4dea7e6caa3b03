//! See `sb_fuzz::calls`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::calls(data));
