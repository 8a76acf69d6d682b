// SPDX-License-Identifier: MPL-2.0

//! PocketSphinx with recordings. Needs Debian's packages libpocketsphinx3 or libpocketsphinx5,
//! pocketsphinx-en-us and pocketsphinx-testdata.

use offline_service::{Server, sphinx};

use crate::speech::{self, recognise, recordings, transcripts};

fn start() -> Server {
    speech::start(sphinx::factory(1).unwrap(), |_| ())
}

#[tokio::test]
async fn recordings_are_understood() {
    let server = start();
    let mut heard = String::new();
    for recording in recordings() {
        let events = recognise(&server, &recording.pcm).await;
        speech::check_growth(&events);
        for transcript in transcripts(&events) {
            assert!(transcript.ends_with('.'), "{transcript:?}");
            heard = heard + transcript + " ";
        }
    }
    let (errors, words) = speech::errors(&recordings(), &heard);
    assert!(errors * 10 < words * 4, "{errors} errors in {words} words");
}

#[tokio::test]
async fn words_have_their_times() {
    speech::check_word_times(&start()).await;
}
