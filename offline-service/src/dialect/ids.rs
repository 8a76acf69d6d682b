// SPDX-License-Identifier: MPL-2.0

//! Identifiers of sessions, items and events.

/// Makes identifiers that look like the service's: a prefix and 21 letters or digits. They
/// are different in each session, and the same in each run.
#[derive(Debug)]
pub struct Ids(u64);

impl Ids {
    /// The identifiers of the session `number`.
    pub fn new(number: u64) -> Self {
        Self(number << 32)
    }

    /// The next identifier.
    pub fn next(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        self.0 += 1;
        let mut id = format!("{prefix}_");
        for part in 0..3 {
            let mut digits = mix(self.0.wrapping_mul(3).wrapping_add(part));
            for _ in 0..7 {
                id.push(char::from(
                    ALPHABET[(digits % ALPHABET.len() as u64) as usize],
                ));
                digits /= ALPHABET.len() as u64;
            }
        }
        id
    }
}

/// The finalizer of SplitMix64, a bijection that scatters neighbouring numbers.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_differ() {
        let mut seen = std::collections::HashSet::new();
        for session in 0..50 {
            let mut ids = Ids::new(session);
            for _ in 0..200 {
                let id = ids.next("item");
                assert_eq!(id.len(), "item_".len() + 21);
                assert!(seen.insert(id));
            }
        }
    }
}
