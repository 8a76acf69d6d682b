// SPDX-License-Identifier: MPL-2.0
//! The pipelines of docs/recipes.md, as they are there, with other sources and sinks.

mod burn_in;
mod closed_captions;
mod files;
mod long_speech;
mod peers;
mod sentences;
mod sources;
mod tracks;
mod transcriberbin;

use super::common::*;
use gst::prelude::*;
use offline_service::ScriptItem;

/// A pipeline of docs/recipes.md.
pub struct Recipe(String);

impl Recipe {
    /// The one below this heading.
    pub fn new(heading: &str) -> Self {
        Self::nth(heading, 0)
    }

    /// The second one below this heading, which shows what the first one made.
    pub fn second(heading: &str) -> Self {
        Self::nth(heading, 1)
    }

    fn nth(heading: &str, index: usize) -> Self {
        let recipes = include_str!("../../../docs/recipes.md");
        let (_, section) = recipes
            .split_once(&format!("\n## {heading}\n"))
            .unwrap_or_else(|| panic!("no recipe '{heading}'"));
        let (section, _) = section.split_once("\n## ").unwrap_or((section, ""));
        let block = section.split("```sh\n").nth(index + 1).unwrap();
        let (block, _) = block.split_once("```").unwrap();
        // As the shell hands it over.
        let pipeline = block.trim().replace("\\\n", " ").replace('\'', "");
        let pipeline = pipeline.strip_prefix("gst-launch-1.0 -e ").unwrap();
        Recipe(pipeline.to_owned())
    }

    /// With something else in one place.
    pub fn with(self, there: &str, instead: &str) -> Self {
        assert_eq!(self.0.matches(there).count(), 1, "{there} in {}", self.0);
        Recipe(self.0.replace(there, instead))
    }

    /// With speech that is pushed into it instead of a microphone, as it passes by.
    pub fn with_speech(self) -> Self {
        self.with(
            "autoaudiosrc",
            "appsrc name=src is-live=true format=time \
             caps=audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved ! clocksync",
        )
    }

    /// With this many black frames instead of a camera, at 30 a second.
    pub fn with_frames(self, count: u32) -> Self {
        self.with_camera(count, "I420")
    }

    /// The same, in the format that webcams have.
    pub fn with_webcam(self, count: u32) -> Self {
        self.with_camera(count, "YUY2")
    }

    fn with_camera(self, count: u32, format: &str) -> Self {
        self.with(
            "v4l2src",
            &format!(
                "videotestsrc is-live=true pattern=black num-buffers={count} \
                 ! video/x-raw,format={format},framerate=30/1,width=480,height=270"
            ),
        )
    }

    /// With this service.
    pub fn with_service(self, url: &str) -> Self {
        self.with("qwenasr ", &format!("qwenasr name=asr url={url} "))
    }

    pub fn rig(self) -> Rig {
        Rig::launch(&self.0)
    }
}

/// Two and a half seconds of Chinese.
pub fn chinese() -> ScriptItem {
    ScriptItem::new("今天天气真不错，阳光明媚。")
        .partial(500, "", "今天")
        .partial(900, "", "今天天气真")
        .partial(1300, "今天", "天气真不错")
        .partial(1700, "今天天气真不错，", "")
        .partial(2100, "今天天气真不错，", "阳光")
}

/// A text that is spoken evenly in this many milliseconds, as the service hears it.
pub fn spoken(text: &str, ms: u64) -> ScriptItem {
    let words: Vec<&str> = text.split(' ').collect();
    let count = words.len() as u64;
    (1..=count).fold(ScriptItem::new(text), |item, n| {
        let said = &words[..n as usize];
        let (certain, rest) = said.split_at(said.len().saturating_sub(2));
        let certain: String = certain.iter().map(|word| format!("{word} ")).collect();
        item.partial(n * ms / count, certain, rest.join(" "))
    })
}
