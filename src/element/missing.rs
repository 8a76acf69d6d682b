// SPDX-License-Identifier: MPL-2.0
//! The models that the service says it does not have, for as long as the element runs: a session
//! that starts later does not ask for them again. Each element has one [`Missing`], to which the
//! reports of its sessions add.

use std::sync::{Arc, Mutex};

use super::lock;

#[derive(Debug, Clone, Default)]
pub struct Missing(Arc<Mutex<Vec<String>>>);

impl Missing {
    pub fn add(&self, model: String) {
        let mut missing = lock(&self.0);
        if !missing.contains(&model) {
            missing.push(model);
        }
    }

    /// Strikes them off a list, of which the final one stays in any case.
    pub fn strike(&self, mut models: Vec<String>) -> Vec<String> {
        let missing = lock(&self.0);
        let spare = models.pop();
        models.retain(|model| !missing.contains(model));
        models.extend(spare);
        models
    }

    pub fn forget(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_model_of_a_list_is_always_left() {
        let list = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let missing = Missing::default();
        assert_eq!(missing.strike(list()), ["a", "b", "c"]);
        missing.add("a".into());
        assert_eq!(missing.strike(list()), ["b", "c"]);
        missing.add("b".into());
        missing.add("c".into());
        assert_eq!(missing.strike(list()), ["c"]);
        missing.forget();
        assert_eq!(missing.strike(list()), ["a", "b", "c"]);
    }
}
