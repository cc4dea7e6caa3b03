//! See `sb_fuzz::thrift_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::thrift_header(data));
