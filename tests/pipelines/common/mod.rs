// SPDX-License-Identifier: MPL-2.0
//! Numbered audio in, words and their times out.

mod checks;
mod rig;
mod service;
mod speech;

use std::sync::Once;
use std::time::Duration;

use gst::prelude::*;
pub use offline_service::Protocol;

pub use checks::*;
pub use rig::*;
pub use service::*;
pub use speech::*;

/// Nothing here takes long; what takes this long hangs.
pub const LONG: Duration = Duration::from_secs(30);

/// What `set_state(NULL)` may take here, whatever the network does: less than any timeout of the
/// network, and more than a busy machine adds. The 200 ms that are promised are measured by
/// `cargo bench -- floods`.
pub const QUICK: Duration = Duration::from_secs(2);

/// The exit code of a test program of which one test hangs.
pub const HUNG: i32 = 124;

pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstqwenasr::plugin_register_static().unwrap();
    });
}

pub fn ms(time: gst::ClockTime) -> u64 {
    time.mseconds()
}
