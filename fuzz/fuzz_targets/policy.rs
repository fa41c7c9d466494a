//! The gateway's policy with any body.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| chitin_fuzz_gateway::policy(data));
