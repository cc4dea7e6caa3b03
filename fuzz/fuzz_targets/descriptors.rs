//! See `sb_fuzz::descriptors`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::descriptors(data));
