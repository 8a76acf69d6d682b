// SPDX-License-Identifier: MPL-2.0

//! A mutex with two priorities.
//!
//! The sessions share one model. A final result has to wait for it; an interim one need not come
//! at all, because the next one covers the same audio. So interim results use what time the final
//! ones leave, and become rare under load.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Guards a value. Invariant: while nobody holds it, and somebody waits for it, it is handed to
/// one of those with the higher priority, if there are any.
pub(super) struct PriorityMutex<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// Absent while it is locked.
    value: Option<T>,
    /// Threads in [`PriorityMutex::lock`], and in [`PriorityMutex::lock_within`].
    urgent: usize,
    patient: usize,
}

impl<T> State<T> {
    fn is_taken(&mut self) -> bool {
        self.value.is_none() || self.urgent > 0
    }
}

impl<T> PriorityMutex<T> {
    pub fn new(value: T) -> Self {
        Self {
            state: Mutex::new(State {
                value: Some(value),
                urgent: 0,
                patient: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Locks with the higher priority, however long that takes.
    pub fn lock(&self) -> Guard<'_, T> {
        let mut state = self.state();
        state.urgent += 1;
        loop {
            if let Some(value) = state.value.take() {
                state.urgent -= 1;
                return self.guard(value);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Locks with the lower priority if that is possible within `patience`. Without patience, it
    /// fails also when others wait: a caller that asks often must not starve the others.
    pub fn lock_within(&self, patience: Duration) -> Option<Guard<'_, T>> {
        let mut state = self.state();
        if patience.is_zero() && state.patient > 0 {
            return None;
        }
        state.patient += 1;
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, patience, State::is_taken)
            .unwrap_or_else(PoisonError::into_inner);
        state.patient -= 1;
        if state.is_taken() {
            return None;
        }
        let value = state.value.take()?;
        Some(self.guard(value))
    }

    fn guard(&self, value: T) -> Guard<'_, T> {
        Guard {
            mutex: self,
            value: Some(value),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // The state is consistent between any two statements that change it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value, which is unlocked when this is dropped.
pub(super) struct Guard<'a, T> {
    mutex: &'a PriorityMutex<T>,
    /// Absent only within `drop`.
    value: Option<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect("present until it is dropped")
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("present until it is dropped")
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        self.mutex.state().value = self.value.take();
        self.mutex.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn one_at_a_time() {
        let mutex = PriorityMutex::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        *mutex.lock() += 1;
                    }
                });
            }
        });
        assert_eq!(*mutex.lock(), 400);
    }

    #[test]
    fn the_lower_priority_gives_up() {
        let mutex = PriorityMutex::new(());
        let guard = mutex.lock();
        assert!(mutex.lock_within(Duration::ZERO).is_none());
        assert!(mutex.lock_within(Duration::from_millis(1)).is_none());
        drop(guard);
        assert!(mutex.lock_within(Duration::ZERO).is_some());
    }

    #[test]
    fn who_waits_goes_before_who_does_not() {
        let mutex = PriorityMutex::new(());
        // As if a waiting thread had not woken up yet.
        mutex.state().patient = 1;
        assert!(mutex.lock_within(Duration::ZERO).is_none());
        assert!(mutex.lock_within(Duration::from_secs(60)).is_some());
        mutex.state().patient = 0;
        assert!(mutex.lock_within(Duration::ZERO).is_some());
    }

    #[test]
    fn the_higher_priority_goes_first() {
        let (urgent, order) = mpsc::channel();
        let patient = urgent.clone();
        let mutex = &PriorityMutex::new(());
        let guard = mutex.lock();
        thread::scope(|scope| {
            scope.spawn(move || {
                let _guard = mutex.lock_within(Duration::from_secs(60));
                patient.send("patient").unwrap();
            });
            scope.spawn(move || {
                let _guard = mutex.lock();
                urgent.send("urgent").unwrap();
            });
            while mutex.state().urgent == 0 {
                thread::yield_now();
            }
            drop(guard);
        });
        assert_eq!(order.iter().collect::<Vec<_>>(), ["urgent", "patient"]);
    }
}
