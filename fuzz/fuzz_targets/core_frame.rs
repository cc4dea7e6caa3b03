//! See `sb_fuzz::core_frame`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::core_frame(data));
