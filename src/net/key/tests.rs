// SPDX-License-Identifier: MPL-2.0

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// Anything that takes this long hangs.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Option<Duration> = Some(Duration::from_millis(50));

/// A unique path, removed on drop.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static PLACES: AtomicU32 = AtomicU32::new(0);
        let (process, n) = (std::process::id(), PLACES.fetch_add(1, Ordering::Relaxed));
        Place(std::env::temp_dir().join(format!("qwenasr-key-{process}-{n}")))
    }

    fn fifo() -> Self {
        let place = Self::new();
        let made = Command::new("mkfifo").arg(&place.0).status().unwrap();
        assert!(made.success());
        place
    }

    fn key_file(&self) -> KeyFile {
        KeyFile::new(self.0.to_str().unwrap())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

async fn key(file: &KeyFile, limit: Option<Duration>) -> Result<String, Failure> {
    let read = timeout(LONG, from_file(file, limit, &(Arc::new(|_| {}) as Remarks)))
        .await
        .expect("it hangs");
    read.map(|key| key.reveal().to_owned())
}

fn fault(result: Result<String, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, Kind::Unauthorized);
    failure.to_string()
}

#[tokio::test]
async fn keys_are_found_in_files_as_people_write_them_or_the_error_says_how_to() {
    let long = vec![b'k'; MAX_BYTES + 1];
    for (content, expected) in [
        (&b"sk-1"[..], Ok("sk-1")),
        (b"sk-1\n", Ok("sk-1")),
        (b" \tsk-1 \r\n\r\n", Ok("sk-1")),
        (b"\xef\xbb\xbfsk-1\r\n", Ok("sk-1")),
        (
            &long[..MAX_BYTES],
            Ok(str::from_utf8(&long[..MAX_BYTES]).unwrap()),
        ),
        (b"", Err("is empty")),
        (b" \n", Err("is empty")),
        (b"\xef\xbb\xbf", Err("is empty")),
        (&long, Err("more than 4096 bytes")),
        (b"\"sk-secret\"", Err("quotes out")),
        (b"DASHSCOPE_API_KEY=sk-secret\n", Err("equals sign out")),
        (
            b"# keys\nexport API_KEY=sk-secret\n",
            Err("characters that no key has"),
        ),
        (b"Bearer sk-secret", Err("the word Bearer")),
        (b"sk-secret\nsk-other\n", Err("characters that no key has")),
        (b"sk-\0secret", Err("characters that no key has")),
        (
            "sk-secret\u{200b}".as_bytes(),
            Err("characters that no key has"),
        ),
        (b"\xff\xfes\0k\0-\x001\0", Err("characters that no key has")),
    ] {
        let place = Place::new();
        fs::write(&place.0, content).unwrap();
        let found = key(&place.key_file(), None).await;
        match expected {
            Ok(expected) => assert_eq!(found.unwrap(), expected),
            Err(says) => {
                let text = fault(found);
                assert!(text.contains(says), "{says}: {text}");
                assert!(text.contains(place.0.to_str().unwrap()), "{text}");
                assert!(!text.contains("secret"), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_no_file_costs_neither_time_nor_memory() {
    let directory = std::env::temp_dir();
    let huge = Place::new();
    let file = fs::File::create(&huge.0).unwrap();
    file.set_len(1 << 40).unwrap();
    for (path, says) in [
        ("/dev/zero", "neither a file nor a pipe"),
        ("/dev/null", "neither a file nor a pipe"),
        (directory.to_str().unwrap(), "neither a file nor a pipe"),
        ("/nonexistent/key", "cannot be read: No such file"),
        (huge.0.to_str().unwrap(), "more than 4096 bytes"),
    ] {
        let text = fault(key(&KeyFile::new(path), None).await);
        assert!(text.contains(says) && text.contains(path), "{path}: {text}");
    }
    // An endless one, from a pipe.
    let place = Place::fifo();
    let path = place.0.clone();
    let writer = tokio::task::spawn_blocking(move || {
        let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
        // Ends once the reader is gone.
        while pipe.write_all(&[b'k'; 1000]).is_ok() {}
    });
    let text = fault(key(&place.key_file(), None).await);
    assert!(text.contains("more than 4096 bytes"), "{text}");
    writer.await.unwrap();
}

#[tokio::test]
async fn a_pipe_may_come_late_but_not_too_late() {
    let place = Place::fifo();
    let file = place.key_file();
    let text = fault(key(&file, SHORT).await);
    assert!(
        text.contains("gave no key within 50 ms") && text.contains("connect-timeout"),
        "{text}"
    );

    let (mut reading, path) = (Box::pin(key(&file, None)), place.0.clone());
    let not_yet = timeout(Duration::from_millis(20), &mut reading).await;
    assert!(not_yet.is_err(), "{not_yet:?}");
    let writer = tokio::task::spawn_blocking(move || {
        let mut pipe = OpenOptions::new().write(true).open(path).unwrap();
        pipe.write_all(b"sk-").unwrap();
        pipe.write_all(b"late\n").unwrap();
    });
    assert_eq!(reading.await.unwrap(), "sk-late");
    writer.await.unwrap();
    // It is not read again, even though it has no writer any more.
    assert_eq!(key(&file, None).await.unwrap(), "sk-late");
}

#[tokio::test]
async fn what_a_shell_substitutes_for_a_process_is_read_once_for_all_sessions() {
    // Also when the process is gone long before.
    for is_gone in [false, true] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let file = KeyFile::new(format!("/dev/fd/{}", reader.as_raw_fd()));
        writer.write_all(b"sk-once\n").unwrap();
        let mut writer = Some(writer);
        if is_gone {
            writer = None;
        }
        let (a, b) = (file.clone(), file.clone());
        let (a, b, ()) = tokio::join!(key(&a, None), key(&b, None), async { drop(writer) });
        assert_eq!(
            (a.unwrap().as_str(), b.unwrap().as_str()),
            ("sk-once", "sk-once")
        );
        assert_eq!(key(&file, None).await.unwrap(), "sk-once");
    }
}

#[tokio::test]
async fn a_key_that_was_read_is_used_until_there_is_another_one() {
    let place = Place::new();
    let file = place.key_file();
    fault(key(&file, None).await);
    fs::write(&place.0, "sk-a").unwrap();
    assert_eq!(key(&file, None).await.unwrap(), "sk-a");
    for content in ["", "KEY=sk-b", "two words"] {
        fs::write(&place.0, content).unwrap();
        assert_eq!(key(&file, None).await.unwrap(), "sk-a", "{content:?}");
    }
    fs::remove_file(&place.0).unwrap();
    assert_eq!(key(&file, None).await.unwrap(), "sk-a");
    fs::write(&place.0, "sk-b").unwrap();
    assert_eq!(key(&file, None).await.unwrap(), "sk-b");
    // As if its file system had hung since an earlier attempt.
    let hung = disk::turn(file.path()).await;
    assert_eq!(key(&file, SHORT).await.unwrap(), "sk-b");
    let text = fault(key(&place.key_file(), SHORT).await);
    assert!(text.contains("gave no key within"), "{text}");
    drop(hung);
}
