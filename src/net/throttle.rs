// SPDX-License-Identifier: MPL-2.0
//! Spaces out the upgrades of all sessions of one account, for instance after a network outage, as
//! the service limits their rate: one start per interval, first come, first served.
//!
//! Servers of one's own have no accounts. There, only the attempts that follow on a failure are
//! spaced out, by address and before anything is sent: the sessions of a server that broke must not
//! come to the others all at once. Called by `connect`.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::protocol::{Endpoint, Secret};

/// The least time between two attempts that follow on failures, at the same address of servers of
/// one's own: 18 a second, as with the service.
const RETRY_INTERVAL: Duration = Duration::from_millis(55);

/// More accounts than a process is likely to have. Keys that change would else add up.
const MAX_ACCOUNTS: usize = 64;

/// By host, and for the service by model and key as well, of which only a hash is kept.
type Throttles = HashMap<u64, Arc<Throttle>>;

static THROTTLES: LazyLock<(RandomState, Mutex<Throttles>)> = LazyLock::new(Default::default);

/// The turns of an attempt to connect.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    /// It waits for its turn, as seen by the driver.
    waiting: Arc<AtomicBool>,
    /// It follows on a failure.
    is_retry: bool,
}

impl Queue {
    pub fn new(is_retry: bool) -> Self {
        Self {
            is_retry,
            ..Self::default()
        }
    }

    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn set_waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    /// Waits until a server of one's own may be called again. Does nothing for the service.
    pub async fn wait_to_call(&self, endpoint: &Endpoint) {
        if self.is_retry && endpoint.start_interval().is_none() {
            self.wait(&address(endpoint), RETRY_INTERVAL).await;
        }
    }

    /// Waits until the service takes another connection of this account. Does nothing for servers
    /// of one's own, which say themselves when they have no room.
    pub async fn wait_to_start(&self, endpoint: &Endpoint, key: Option<&Secret>) {
        if let Some(interval) = endpoint.start_interval() {
            self.wait(&account(endpoint, key), interval).await;
        }
    }

    async fn wait(&self, throttle: &Throttle, interval: Duration) {
        self.set_waiting(true);
        throttle.wait(interval).await;
        self.set_waiting(false);
    }
}

fn address(endpoint: &Endpoint) -> Arc<Throttle> {
    throttle(&endpoint.authority())
}

fn account(endpoint: &Endpoint, key: Option<&Secret>) -> Arc<Throttle> {
    let key = key.map(Secret::reveal);
    throttle(&(endpoint.authority(), endpoint.model(), key))
}

fn throttle(limited: &impl Hash) -> Arc<Throttle> {
    let (state, throttles) = &*THROTTLES;
    let account = state.hash_one(limited);
    // Every change is complete before anything that could panic.
    let mut throttles = throttles.lock().unwrap_or_else(PoisonError::into_inner);
    if throttles.len() >= MAX_ACCOUNTS {
        throttles.retain(|_, throttle| Arc::strong_count(throttle) > 1);
    }
    throttles.entry(account).or_default().clone()
}

/// Lets one caller pass in each interval.
#[derive(Debug, Default)]
struct Throttle {
    /// When the previous caller passed.
    passed: tokio::sync::Mutex<Option<Instant>>,
}

impl Throttle {
    /// Waits for the caller's turn. A caller that is dropped while it waits costs the others
    /// nothing.
    async fn wait(&self, interval: Duration) {
        // The lock is the queue, and a fair one: the caller at its head holds it while it waits.
        let mut passed = self.passed.lock().await;
        if let Some(passed) = *passed {
            sleep_until(passed + interval).await;
        }
        *passed = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{EndpointSettings, KeySource, Protocol};

    #[test]
    fn callers_are_spaced_out_and_those_that_gave_up_take_no_turn() {
        const INTERVAL: Duration = Duration::from_millis(20);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let throttle = Throttle::default();
            let start = Instant::now();
            let turn = async || {
                throttle.wait(INTERVAL).await;
                start.elapsed()
            };
            let given_up = async {
                tokio::select! {
                    biased;
                    () = throttle.wait(INTERVAL) => unreachable!("the first has it"),
                    () = std::future::ready(()) => {}
                }
            };
            let (first, (), second, third) = tokio::join!(turn(), given_up, turn(), turn());
            assert!(second >= first + INTERVAL && third >= second + INTERVAL);
        });
    }

    #[test]
    fn those_who_share_a_limit_share_a_queue() {
        let of = |model: &str, key: &str| {
            let key = Secret::new(key);
            let settings = EndpointSettings {
                model: model.to_owned(),
                key: key.clone().map(KeySource::Given),
                ..EndpointSettings::default()
            };
            let endpoint = Endpoint::new(settings, Protocol::Realtime).unwrap();
            account(&endpoint, key.as_ref())
        };
        let one = of("qwen3-asr-flash-realtime", "sk-account-one");
        let same = of("qwen3-asr-flash-realtime", "sk-account-one");
        let other_model = of("qwen3-asr-flash-realtime-2026-02-10", "sk-account-one");
        let other_account = of("qwen3-asr-flash-realtime", "sk-account-two");
        assert!(Arc::ptr_eq(&one, &same));
        assert!(!Arc::ptr_eq(&one, &other_model) && !Arc::ptr_eq(&one, &other_account));
    }

    #[tokio::test]
    async fn only_failures_wait_for_servers_of_ones_own() {
        let settings = EndpointSettings {
            url: Some("ws://127.0.0.1:9".to_owned()),
            model: "m".to_owned(),
            ..EndpointSettings::default()
        };
        let endpoint = Endpoint::new(settings, Protocol::Realtime).unwrap();
        let start = Instant::now();
        let call = async |is_retry| {
            let queue = Queue::new(is_retry);
            queue.wait_to_call(&endpoint).await;
            queue.wait_to_start(&endpoint, None).await;
            start.elapsed()
        };
        for _ in 0..100 {
            call(false).await;
        }
        let (first, second) = (call(true).await, call(true).await);
        assert!(second >= first + RETRY_INTERVAL);
    }
}
