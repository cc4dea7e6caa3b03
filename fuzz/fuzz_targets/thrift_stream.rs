//! See `sb_fuzz::thrift_stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::thrift_stream(data));
