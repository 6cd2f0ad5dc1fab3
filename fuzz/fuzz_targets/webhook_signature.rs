//! Fuzzes signatures of webhooks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bursar_fuzz::webhook_signature::run(data);
});
