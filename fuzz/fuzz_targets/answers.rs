// SPDX-License-Identifier: MPL-2.0
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| gstqwenasr::fuzzing::answers(input));
