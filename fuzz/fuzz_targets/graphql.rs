//! See `sb_fuzz::graphql`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::graphql(data));
