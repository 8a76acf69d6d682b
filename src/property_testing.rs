// SPDX-License-Identifier: MPL-2.0
//! Tests of what holds for any input, with inputs that are the same in each run.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

/// Runs a test that panics where the property does not hold, and shows the simplest input for
/// which it does.
pub fn check<S: Strategy>(cases: u32, input: S, test: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&input, |value| {
        test(value);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("{why}, with {input:#?}"),
        Err(error) => panic!("{error}"),
    }
}
