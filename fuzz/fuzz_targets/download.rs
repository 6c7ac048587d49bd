#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chancery_fuzz::within_bounds(data, chancery_fuzz::bodies::download));
