// SPDX-License-Identifier: MPL-2.0
//! File I/O for tasks, on threads that may block, and one operation per file at a time.
//!
//! When a file system hangs, as NFS can, so does the thread that reads from it, and nothing can
//! stop that thread; only the task waiting for it can be dropped. To keep repeated attempts from
//! leaving one hung thread each, the thread holds the file's [`Turn`] until it is done, and later
//! attempts wait for that turn as tasks. Used by `key` and `tls`.

use std::io;
use std::sync::{Arc, PoisonError, Weak};

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::spawn_blocking;

/// Exclusive use of a file within this process.
#[derive(Debug)]
pub(super) struct Turn {
    _held: OwnedMutexGuard<()>,
}

/// Waits until nothing else in this process uses the file. `file` is only compared, never opened.
pub(super) async fn turn(file: &str) -> Turn {
    type Turns = Vec<(String, Weak<Mutex<()>>)>;
    static TURNS: std::sync::Mutex<Turns> = std::sync::Mutex::new(Vec::new());
    let turns = {
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|(_, turns)| turns.strong_count() > 0);
        let mut files = turns.iter().filter(|(other, _)| other == file);
        files
            .find_map(|(_, turns)| turns.upgrade())
            .unwrap_or_else(|| {
                let new = Arc::default();
                turns.push((file.to_owned(), Arc::downgrade(&new)));
                new
            })
    };
    Turn {
        _held: turns.lock_owned().await,
    }
}

impl Turn {
    /// Runs an operation that may block. If the future is dropped, the operation continues and
    /// keeps the turn.
    pub async fn run<T, F>(self, operation: F) -> io::Result<(Self, T)>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let done = spawn_blocking(move || {
            let result = operation();
            (self, result)
        });
        done.await.map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_file_that_hangs_takes_one_thread_and_holds_up_no_other_file() {
        let (answer, hangs) = mpsc::channel::<()>();
        let hung = turn("hung").await.run(move || hangs.recv());
        let short = Duration::from_millis(20);
        assert!(timeout(short, hung).await.is_err(), "given up");
        assert!(
            timeout(short, turn("hung")).await.is_err(),
            "its turn is taken"
        );
        turn("other").await.run(|| ()).await.unwrap();
        answer.send(()).unwrap();
        turn("hung").await.run(|| ()).await.unwrap();
    }
}
