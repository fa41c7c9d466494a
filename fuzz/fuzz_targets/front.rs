//! The gateway's reader of requests with any bytes.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| chitin_fuzz_gateway::front(data));
