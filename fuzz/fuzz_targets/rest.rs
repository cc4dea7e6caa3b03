//! See `sb_fuzz::rest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::rest(data));
