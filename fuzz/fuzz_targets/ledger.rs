//! Fuzzes commands to a ledger.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bursar_fuzz::ledger::run(data);
});
