// SPDX-License-Identifier: MPL-2.0
//! The models that may do a session's work, in order of preference. Made by the element, owned by
//! the [`Session`](super::Session), which takes the next one when the service says that it does not
//! have the present one. It never goes back: a model that is gone is not asked for again.

use std::fmt;

use crate::protocol::{Codec, CodecFactory};

/// A model that may do the work.
pub struct Model {
    pub name: String,
    pub codecs: CodecFactory,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Model").field(&self.name).finish()
    }
}

/// At least one model, all of one protocol.
#[derive(Debug)]
pub struct Models {
    present: Model,
    /// The number of the present one, from 0.
    number: usize,
    left: std::vec::IntoIter<Model>,
}

impl From<Model> for Models {
    fn from(model: Model) -> Self {
        Self::new(model, Vec::new())
    }
}

impl Models {
    pub fn new(first: Model, others: Vec<Model>) -> Self {
        Self {
            present: first,
            number: 0,
            left: others.into_iter(),
        }
    }

    /// The number of the present one among all, from 0.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// A codec for another connection.
    pub(super) fn codec(&self) -> Box<dyn Codec> {
        (self.present.codecs)()
    }

    /// Whether there is one that was not asked for yet.
    pub(super) fn has_next(&self) -> bool {
        self.left.len() > 0
    }

    /// Takes the next one, if there is one. Returns the names of the one that is gone, and of the
    /// next.
    pub(super) fn take_next(&mut self) -> Option<(String, String)> {
        let next = self.left.next()?;
        let name = next.name.clone();
        self.number += 1;
        let gone = std::mem::replace(&mut self.present, next);
        Some((gone.name, name))
    }

    /// Replaces the codecs by others for the same models.
    pub(super) fn update(&mut self, mut same: Self) {
        for _ in 0..self.number {
            same.take_next();
        }
        *self = same;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(names: &[&str]) -> Models {
        let mut models = names.iter().map(|name| Model {
            name: (*name).to_owned(),
            codecs: Box::new(|| unreachable!("no connection is made")),
        });
        Models::new(models.next().unwrap(), models.collect())
    }

    #[test]
    fn each_is_taken_once_and_new_settings_change_nothing_about_that() {
        let mut of = models(&["a", "b", "c"]);
        let names = |gone: &str, next: &str| Some((gone.to_owned(), next.to_owned()));
        assert_eq!(of.take_next(), names("a", "b"));
        of.update(models(&["a", "b", "c"]));
        assert_eq!((of.number(), of.present.name.as_str()), (1, "b"));
        assert!(of.has_next());
        assert_eq!(of.take_next(), names("b", "c"));
        assert_eq!((of.has_next(), of.take_next()), (false, None));
        assert_eq!((of.number(), of.present.name.as_str()), (2, "c"));
    }
}
