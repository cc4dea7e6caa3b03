//! See `sb_fuzz::json_to_proto_target`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::json_to_proto_target(data));
