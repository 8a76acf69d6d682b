// SPDX-License-Identifier: MPL-2.0
//! The addresses of a session, in order of preference, with a memory of those that failed. Owned by
//! the driver, which asks for one at each attempt to connect, and says for which of the session's
//! models.

use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::{Endpoint, Secret};

/// An address that failed is tried again before the ones after it once this has passed.
const FORGET_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Addresses(Vec<Address>);

#[derive(Debug)]
struct Address {
    /// One for each of the models.
    endpoints: Vec<Endpoint>,
    failed: Option<Instant>,
}

impl Addresses {
    /// For each address, the endpoints of all models.
    pub fn new(addresses: Vec<Vec<Endpoint>>) -> Self {
        let addresses = addresses.into_iter().map(|endpoints| Address {
            endpoints,
            failed: None,
        });
        Self(addresses.collect())
    }

    /// Takes new settings for the same addresses.
    pub fn update(&mut self, addresses: Vec<Vec<Endpoint>>) {
        let known = std::mem::take(&mut self.0);
        *self = Self::new(addresses);
        for (address, known) in self.0.iter_mut().zip(known) {
            address.failed = known.failed;
        }
    }

    /// The address to try: the first that did not fail lately, or else the one that failed longest
    /// ago. Returns its number, too, and the endpoint for the model of that number; `None` only if
    /// there are no such addresses or models at all.
    pub fn next(&self, model: usize, now: Instant) -> Option<(usize, &Endpoint)> {
        let failed = |address: &Address| {
            address
                .failed
                .filter(|failed| now.saturating_duration_since(*failed) < FORGET_AFTER)
        };
        let addresses = self.0.iter().enumerate();
        let (number, address) = addresses.min_by_key(|(_, address)| failed(address))?;
        Some((number, address.endpoints.get(model)?))
    }

    /// Whether a key is sent to the address of this number.
    pub fn has_key(&self, number: usize) -> bool {
        let endpoint = self.0.get(number).and_then(|of| of.endpoints.first());
        endpoint.is_some_and(|endpoint| endpoint.key().is_some())
    }

    /// The attempt to connect failed, or the connection broke.
    pub fn failed(&mut self, number: usize, now: Instant) {
        if let Some(address) = self.0.get_mut(number) {
            address.failed = Some(now);
        }
    }

    /// All secrets that may be in use, see [`Endpoint::secrets`]. Those of an address are the same
    /// for all models.
    pub fn secrets(&self) -> Vec<Secret> {
        let endpoints = self.0.iter().flat_map(|address| address.endpoints.first());
        endpoints.flat_map(Endpoint::secrets).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{EndpointSettings, Protocol};

    fn addresses(ports: &[u16]) -> Addresses {
        let endpoint = |port: &u16, model: &str| {
            let settings = EndpointSettings {
                url: Some(format!("ws://127.0.0.1:{port}")),
                model: model.into(),
                ..EndpointSettings::default()
            };
            Endpoint::new(settings, Protocol::Realtime).unwrap()
        };
        let of_models = |port| vec![endpoint(port, "m"), endpoint(port, "n")];
        Addresses::new(ports.iter().map(of_models).collect())
    }

    #[test]
    fn those_that_failed_come_last_and_are_forgiven() {
        let mut addresses = addresses(&[1, 2, 3]);
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let next = |addresses: &Addresses, now| addresses.next(0, now).unwrap().0;
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
        of.update(same.into_iter().map(|address| address.endpoints).collect());
        for (model, query) in ["model=m", "model=n"].into_iter().enumerate() {
            let (number, endpoint) = of.next(model, now).unwrap();
            assert_eq!((number, endpoint.url().port()), (1, Some(2)));
            assert_eq!(endpoint.url().query(), Some(query));
        }
        assert!(of.next(2, now).is_none());
    }
}
