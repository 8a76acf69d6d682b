// SPDX-License-Identifier: MPL-2.0
//! The addresses of a session, in order of preference, with a memory of those that failed. Owned by
//! the driver, which asks for one at each attempt to connect.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::{Endpoint, Secret};

/// An address that failed is tried again before the ones after it once this has passed.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Addresses(Vec<Address>);

#[derive(Debug)]
struct Address {
    endpoint: Endpoint,
    failed: Option<Instant>,
}

impl Addresses {
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        let addresses = endpoints.into_iter().map(|endpoint| Address {
            endpoint,
            failed: None,
        });
        Self(addresses.collect())
    }

    /// Takes new settings for the same addresses.
    pub fn update(&mut self, endpoints: Vec<Endpoint>) {
        let known = std::mem::take(&mut self.0);
        *self = Self::new(endpoints);
        for (address, known) in self.0.iter_mut().zip(known) {
            address.failed = known.failed;
        }
    }

    /// The address to try: the first that did not fail lately, or else the one that failed longest
    /// ago. Returns its number, too; `None` only if there are no addresses at all.
    pub fn next(&self, now: Instant) -> Option<(usize, &Endpoint)> {
        let failed = |address: &Address| {
            address
                .failed
                .filter(|failed| now.saturating_duration_since(*failed) < FORGET_AFTER)
        };
        let addresses = self.0.iter().enumerate();
        let (number, address) = addresses.min_by_key(|(_, address)| failed(address))?;
        Some((number, &address.endpoint))
    }

    pub fn get(&self, number: usize) -> Option<&Endpoint> {
        self.0.get(number).map(|address| &address.endpoint)
    }

    /// The attempt to connect failed, or the connection broke.
    pub fn failed(&mut self, number: usize, now: Instant) {
        if let Some(address) = self.0.get_mut(number) {
            address.failed = Some(now);
        }
    }

    /// All secrets that may be in use, see [`Endpoint::secrets`].
    pub fn secrets(&self) -> Vec<Secret> {
        let addresses = self.0.iter();
        addresses
            .flat_map(|address| address.endpoint.secrets())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{EndpointSettings, Protocol};

    fn addresses(ports: &[u16]) -> Addresses {
        let endpoint = |port: &u16| {
            let settings = EndpointSettings {
                url: Some(format!("ws://127.0.0.1:{port}")),
                model: "m".into(),
                ..EndpointSettings::default()
            };
            Endpoint::new(settings, Protocol::Realtime).unwrap()
        };
        Addresses::new(ports.iter().map(endpoint).collect())
    }

    #[test]
    fn those_that_failed_come_last_and_are_forgiven() {
        let mut addresses = addresses(&[1, 2, 3]);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let next = |addresses: &Addresses, now| addresses.next(now).unwrap().0;
        assert_eq!(next(&addresses, start), 0);
        for failed in 0..3 {
            addresses.failed(failed, start + second * failed as u32);
            let now = start + second * (failed as u32 + 1);
            assert_eq!(next(&addresses, now), (failed + 1) % 3);
        }
        addresses.failed(0, start + 3 * second);
        assert_eq!(next(&addresses, start + 4 * second), 1, "in turn");
        assert_eq!(next(&addresses, start + FORGET_AFTER + 3 * second), 0);
    }

    #[test]
    fn new_settings_change_nothing_about_who_failed() {
        let mut of = addresses(&[1, 2]);
        let now = Instant::now();
        of.failed(0, now);
        let Addresses(same) = addresses(&[1, 2]);
        of.update(same.into_iter().map(|address| address.endpoint).collect());
        let (number, endpoint) = of.next(now).unwrap();
        assert_eq!((number, endpoint.url().port()), (1, Some(2)));
    }
}
