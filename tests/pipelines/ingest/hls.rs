// SPDX-License-Identifier: MPL-2.0
//! Captions for a programme in segments, from a web server.

use super::*;

/// A folder with the segments and the playlist of a talk, removed with the value.
struct Programme(PathBuf);

impl Programme {
    fn new(talk: &Talk) -> Self {
        let folder = TempFile::new("hls").0.clone();
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.display();
        let pipeline = parse(&format!(
            "appsrc name=audio format=time \
               caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved \
               ! voaacenc ! aacparse ! queue ! hls.audio \
             appsrc name=video format=time \
               caps=video/x-raw,format=I420,width={WIDTH},height={HEIGHT},framerate=10/1 \
               ! openh264enc complexity=low gop-size=10 ! h264parse ! queue ! hls.video \
             hlssink2 name=hls target-duration=2 max-files=0 playlist-length=0 \
               location={path}/%05d.ts playlist-location={path}/programme.m3u8"
        ));
        push(&pipeline, "audio", talk.speech.buffers(&[1024], 0));
        push(&pipeline, "video", frames(talk));
        pipeline.set_state(gst::State::Playing).unwrap();
        let end = pipeline.bus().unwrap().timed_pop_filtered(
            gst::ClockTime::from_nseconds(LONG.as_nanos() as u64),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        );
        assert_eq!(end.unwrap().type_(), gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
        Self(folder)
    }

    /// Serves it, and gives its address.
    fn serve(&self) -> (Program, String) {
        let mut program = Command::new("/usr/bin/python3")
            .args([
                "-u",
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                "0",
                "--directory",
            ])
            .arg(&self.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("/usr/bin/python3 runs");
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        // "Serving HTTP on 127.0.0.1 port 8000 (http://127.0.0.1:8000/) ..."
        let (_, address) = line.split_once('(').expect("an address");
        let (address, _) = address.split_once(')').unwrap();
        (Program(program), format!("{address}programme.m3u8"))
    }
}

impl Drop for Programme {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn hls_with_a_picture() {
    let service = tone_server();
    let talk = Talk::new(16_000);
    let programme = Programme::new(&talk);
    let (_server, url) = programme.serve();
    let mut recipe = recipe("uridecodebin");
    for (from, to) in [
        ("https://server/programme.m3u8", url),
        (
            "qwenasr ",
            format!("qwenasr name=asr url={} ", service.url()),
        ),
        (
            "autovideosink",
            "video/x-raw,format=I420 ! fakesink name=video sync=false".to_owned(),
        ),
    ] {
        recipe = swap(&recipe, from, &to);
    }
    let mut rig = Rig::launch(&recipe);
    let seen = watch(&rig.pipeline);
    rig.play();
    rig.wait_for_eos();
    let words: Vec<_> = talk.truth.iter().map(|(words, ..)| words.clone()).collect();
    assert_eq!(rig.finals(), words);
    // From the first words on, as the line stays through the pauses.
    let seen = seen.lock().unwrap();
    let first = seen.iter().position(|(_, text)| *text);
    let first = first.expect("captions in the picture");
    assert!((8..=20).contains(&first), "{seen:?}");
    assert!(seen[first..].iter().all(|(_, text)| *text), "{seen:?}");
}
