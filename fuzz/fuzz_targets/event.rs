//! Fuzzes events.

#![no_main]

use bursar_fuzz::mutate;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bursar_fuzz::event::run(data);
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::in_place(data, size, max_size, seed, mutate::json)
        .unwrap_or_else(|| libfuzzer_sys::fuzzer_mutate(data, size, max_size))
});
