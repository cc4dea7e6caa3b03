//! See `sb_fuzz::http_wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sb_fuzz::http_wire(data));
