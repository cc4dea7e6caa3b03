//! See `sb_fuzz::proto_to_json_target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::proto_to_json_target(data));
