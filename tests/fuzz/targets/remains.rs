#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ork_tests::fuzz::run("remains", data));
