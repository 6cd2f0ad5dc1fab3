//! Fuzzes what requests say.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bursar_fuzz::request::run(data);
});
