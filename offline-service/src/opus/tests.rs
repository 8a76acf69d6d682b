// SPDX-License-Identifier: MPL-2.0

use std::ops::Range;

use super::*;
use crate::blocks::{self, words};
use crate::recogniser::Recogniser;
use crate::tones::{ToneRecogniser, tone};

const SERIAL: u32 = 7;
const FIRST: u8 = 2;
const END: u8 = 4;
const CONTINUED: u8 = 1;

/// A page that can be spoilt before it is written.
#[derive(Clone, Debug)]
struct Draft {
    version: u8,
    flags: u8,
    granule: u64,
    serial: u32,
    sequence: u32,
    lengths: Vec<u8>,
    body: Vec<u8>,
}

impl Draft {
    /// A page with whole packets.
    fn new<P: AsRef<[u8]>>(flags: u8, granule: u64, sequence: u32, packets: &[P]) -> Self {
        let mut draft = Self {
            version: 0,
            flags,
            granule,
            serial: SERIAL,
            sequence,
            lengths: Vec::new(),
            body: Vec::new(),
        };
        for packet in packets.iter().map(P::as_ref) {
            draft.lengths.extend(vec![255; packet.len() / 255]);
            draft.lengths.push((packet.len() % 255) as u8);
            draft.body.extend(packet);
        }
        draft
    }

    /// Replaces its packets by this one.
    fn hold(&mut self, packet: &[u8]) {
        let other = Self::new(0, 0, 0, &[packet]);
        (self.lengths, self.body) = (other.lengths, other.body);
    }

    fn bytes(&self) -> Vec<u8> {
        let mut page = [b"OggS", &[self.version, self.flags][..]].concat();
        page.extend(self.granule.to_le_bytes());
        page.extend(self.serial.to_le_bytes());
        page.extend(self.sequence.to_le_bytes());
        page.extend([0; 4]);
        page.push(self.lengths.len() as u8);
        page.extend(&self.lengths);
        page.extend(&self.body);
        let sum = page.iter().fold(0u32, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte) << 24, |sum, _| {
                (sum << 1) ^ if sum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
            })
        });
        page[22..26].copy_from_slice(&sum.to_le_bytes());
        page
    }
}

/// Numbered tones, encoded.
fn coded(numbers: Range<u32>, coding: &Coding) -> Encoded {
    let pcm: Vec<i16> = numbers.flat_map(|n| tone(n, 16_000)).collect();
    encode(&pcm, 16_000, coding).unwrap()
}

/// Their pages: two headers, and audio from position 0 in packets of 20 ms.
fn drafts(encoded: &Encoded) -> Vec<Draft> {
    let mut drafts = vec![
        Draft::new(FIRST, 0, 0, &[encoded.head()]),
        Draft::new(0, 0, 1, &[tags(0)]),
    ];
    for packet in &encoded.packets {
        let sequence = drafts.len() as u32;
        let granule = u64::from(sequence - 1) * encoded.packet;
        drafts.push(Draft::new(0, granule, sequence, &[packet]));
    }
    drafts
}

/// A comment header with a comment of this length.
fn tags(length: u32) -> Vec<u8> {
    let mut tags = b"OpusTags\x03\0\0\0me!\x01\0\0\0".to_vec();
    tags.extend(length.to_le_bytes());
    tags.resize(tags.len() + length as usize, b'x');
    tags
}

/// What becomes of bytes that are pushed in pieces of this length.
fn decode_in(piece: usize, bytes: &[u8], rate: u32) -> (Decoded, Result<(), Mistake>) {
    let mut stream = Stream::new(rate).unwrap();
    let mut decoded = Decoded::default();
    for bytes in bytes.chunks(piece) {
        if let Err(mistake) = stream.push(bytes, &mut decoded) {
            return (decoded, Err(mistake));
        }
    }
    (decoded, stream.finish())
}

fn decode(drafts: &[Draft]) -> (Decoded, Result<(), Mistake>) {
    let bytes: Vec<u8> = drafts.iter().flat_map(Draft::bytes).collect();
    decode_in(bytes.len().max(1), &bytes, 16_000)
}

/// What is decoded of pages without a mistake.
fn decoded(drafts: &[Draft]) -> Decoded {
    let (decoded, result) = decode(drafts);
    assert_eq!(result, Ok(()));
    decoded
}

fn recognised(pcm: &[i16], rate: u32) -> String {
    let mut recogniser = ToneRecogniser::default();
    recogniser.start(rate);
    recogniser.feed(pcm);
    recogniser.finish()
}

#[test]
fn numbered_tones_arrive_however_they_are_cut_and_coded() {
    for (packet_ms, dtx, rate, piece) in [
        (20, false, 16_000, usize::MAX),
        (60, true, 16_000, 1),
        (40, false, 8000, 1000),
        (10, true, 8000, 26),
    ] {
        let coding = Coding {
            packet_ms,
            dtx,
            ..Coding::default()
        };
        let encoded = coded(0..20, &coding);
        let (decoded, result) = decode_in(piece, &encoded.pages(SERIAL).concat(), rate);
        assert_eq!(result, Ok(()));
        assert_eq!(recognised(&decoded.pcm, rate), words(0..20));
        assert_eq!(decoded.contents.header_pages, 2);
        let duration = Duration::from_millis(packet_ms.into());
        assert_eq!(
            decoded.contents.packets,
            vec![duration; encoded.packets.len()]
        );
        // 6.5 ms are what the encoder is late.
        let pre_skip = u32::from(encoded.pre_skip);
        assert_eq!(pre_skip, 312);
        let whole = encoded.packets.len() as u32 * packet_ms * (rate / 1000);
        assert_eq!(decoded.pcm.len() as u32, whole - pre_skip / (48_000 / rate));
    }
}

#[test]
fn silence_without_transmission_is_still_as_long() {
    let coding = Coding {
        dtx: true,
        ..Coding::default()
    };
    let encoded = encode(&blocks::silence(3000, 16_000), 16_000, &coding).unwrap();
    let empty = encoded.packets.iter().filter(|packet| packet.len() <= 2);
    assert!(empty.count() > 50);
    let decoded = decoded(&drafts(&encoded));
    assert!((48_000..49_000).contains(&decoded.pcm.len()));
    assert!(decoded.pcm.iter().all(|sample| sample.abs() < 100));
}

#[test]
fn what_the_format_allows() {
    let encoded = coded(0..3, &Coding::default());
    let plain = drafts(&encoded);
    let expected = decoded(&plain);
    assert_eq!(expected.contents.begin, Some(0));
    let mut whole = expected.clone();
    whole.contents.has_end = true;
    let [packets, end] = [encoded.packets.len(), plain.len() - 1];
    let granule = packets as u64 * encoded.packet;

    // One that is joined late.
    let mut late = plain.clone();
    late[2..].iter_mut().for_each(|page| page.granule += 48_000);
    let mut joined = expected.clone();
    joined.contents.begin = Some(48_000);
    assert_eq!(decoded(&late), joined);
    // Numbers that do not start with 0, and start again with it.
    let mut numbered = plain.clone();
    for page in &mut numbered {
        page.sequence = page.sequence.wrapping_sub(3);
    }
    assert_eq!(decoded(&numbered), expected);
    // Several packets on a page.
    let mut together = plain[..2].to_vec();
    together.push(Draft::new(END, granule, 2, &encoded.packets));
    assert_eq!(decoded(&together), whole);
    // A packet on two pages, and one page with nothing of it in between.
    let mut apart = plain[..2].to_vec();
    let long = [&[3, 0x41, 255, 255, 2], &[0; 520][..]].concat();
    apart.push(Draft::new(0, u64::MAX, 2, &[&long[..510]]));
    apart[2].lengths.pop();
    apart.push(Draft::new(CONTINUED, u64::MAX, 3, &[[0; 0]; 0]));
    apart.push(Draft::new(CONTINUED, 480, 4, &[&long[510..]]));
    assert_eq!(
        decoded(&apart).contents.packets,
        [Duration::from_millis(10)]
    );
    // Comments on two pages.
    let mut comments = plain.clone();
    let tags = tags(600);
    comments[1].hold(&tags[510..]);
    comments[1].flags = CONTINUED;
    comments.insert(1, Draft::new(0, u64::MAX, 1, &[&tags[..510]]));
    comments[1].lengths.pop();
    comments[2..].iter_mut().for_each(|page| page.sequence += 1);
    let mut three = expected.clone();
    three.contents.header_pages = 3;
    assert_eq!(decoded(&comments), three);
    // An end within the last packet.
    let mut trimmed = plain.clone();
    trimmed[end].flags = END;
    trimmed[end].granule -= 480;
    let length = expected.pcm.len() - 160;
    assert_eq!(decoded(&trimmed).pcm, expected.pcm[..length]);
    // An end on a page of its own.
    for granule in [granule, u64::MAX] {
        let mut ended = plain.clone();
        ended.push(Draft::new(END, granule, end as u32 + 1, &[[0; 0]; 0]));
        assert_eq!(decoded(&ended), whole);
    }
    // A stream that ends with the header, or before its pre-skip does.
    assert!(decoded(&plain[..2]).pcm.is_empty());
    let mut skipped = plain.clone();
    skipped[0].body[10..12].copy_from_slice(&60_000u16.to_le_bytes());
    assert!(decoded(&skipped).pcm.is_empty());
    // Packets of other lengths from one moment to the next.
    let other = Coding {
        packet_ms: 60,
        ..Coding::default()
    };
    let other = &coded(3..4, &other).packets[0];
    let mut changing = plain.clone();
    changing.push(Draft::new(0, granule + 2880, end as u32 + 1, &[other]));
    let packets = decoded(&changing).contents.packets;
    assert_eq!(packets.last(), Some(&Duration::from_millis(60)));
}

#[test]
fn the_header_says_how_loud_it_is() {
    let mut quiet = drafts(&coded(0..1, &Coding::default()));
    let loud = decoded(&quiet);
    quiet[0].body[16..18].copy_from_slice(&(-20i16 * 256).to_le_bytes());
    let peak = |decoded: &Decoded| decoded.pcm.iter().copied().map(i16::abs).max().unwrap();
    let ratio = f64::from(peak(&loud)) / f64::from(peak(&decoded(&quiet)));
    assert!((9.5..10.5).contains(&ratio), "{ratio}");
}

type Spoil = fn(&mut Vec<Draft>);

#[rustfmt::skip]
const SPOILT: [(Spoil, &str); 36] = [
    // Pages
    (|pages| pages[4].version = 1, "a page has version 1 instead of 0"),
    (|pages| { pages.drain(..2); }, "the stream does not begin with its first page"),
    (|pages| pages.swap(0, 1), "the stream does not begin with its first page"),
    (|pages| pages.swap(4, 5), "the page 5 follows the page 3"),
    (|pages| { pages.remove(4); }, "the page 5 follows the page 3"),
    (|pages| pages.insert(4, pages[4].clone()), "the page 4 follows the page 4"),
    (|pages| pages[4].serial = 9, "a page belongs to the stream 0x00000009 instead of 0x00000007"),
    (|pages| pages[4].flags = FIRST, "a second stream begins"),
    (|pages| pages.insert(4, pages[0].clone()), "a second stream begins"),
    (|pages| pages[4].flags = END, "there is data after the end of the stream"),
    (|pages| pages[4].flags = CONTINUED, "a page goes on with a packet that the one before has not begun, or does not go on with one that it has"),
    (|pages| { pages[4].hold(&[0; 255]); pages[4].lengths.pop(); pages[4].granule = u64::MAX }, "a page goes on with a packet that the one before has not begun, or does not go on with one that it has"),
    (|pages| { pages.truncate(5); pages[4].lengths = vec![255]; pages[4].body = vec![0; 255]; pages[4].granule = u64::MAX; pages[4].flags = END }, "the stream ends within a packet"),
    (|pages| { pages.truncate(5); pages[4].lengths = vec![255]; pages[4].body = vec![0; 255]; pages[4].granule = u64::MAX }, "the stream ends within a packet"),
    (|pages| endless(pages, 4), "a packet is too long"),
    (|pages| endless(pages, 1), "a packet is too long"),
    // Headers
    (|pages| { pages.remove(0); pages[0].flags = FIRST }, "the identification header does not begin with 'OpusHead'"),
    (|pages| { pages.remove(1); renumber(pages) }, "the page with the comment header has a granule position other than 0"),
    (|pages| { pages.remove(1); renumber(pages); pages[1].granule = 0 }, "the comment header does not begin with 'OpusTags'"),
    (|pages| pages[0].granule = 960, "the page with the identification header has a granule position other than 0"),
    (|pages| pages[1].granule = 960, "the page with the comment header has a granule position other than 0"),
    (|pages| { let head = pages[0].body.clone(); pages[0] = Draft::new(FIRST, 0, 0, &[head, tags(0)]) }, "the identification header has to be alone on its page"),
    (|pages| { let packet = pages[2].body.clone(); pages[1] = Draft::new(0, 0, 1, &[tags(0), packet]) }, "the comment header has to be alone on its page"),
    (|pages| pages[0].hold(b"OpusHead\x01\x01"), "the identification header is too short"),
    (|pages| { let head = [&pages[0].body[..], &[0]].concat(); pages[0].hold(&head) }, "the identification header is too long"),
    (|pages| pages[0].body[8] = 16, "the identification header has version 16"),
    (|pages| pages[0].body[9] = 2, "the identification header has 2 channels instead of 1"),
    (|pages| pages[0].body[18] = 1, "the identification header has mapping family 1 instead of 0"),
    (|pages| pages[1].hold(b"OpusTags\xff\0\0\0"), "the comment header is too short for what it holds"),
    // Audio
    (|pages| pages[4].hold(&[]), "a packet is not valid Opus"),
    (|pages| pages[4].hold(&[3, 0]), "a packet is not valid Opus"),
    (|pages| pages[4].hold(&[1, 5]), "a packet is not valid Opus"),
    (|pages| pages[4].granule -= 1, "the granule position is 2879, but there is audio from 1920 to 2880"),
    (|pages| pages[4].granule += 960, "the granule position is 3840, but there is audio from 1920 to 2880"),
    (|pages| { pages[4].granule = 1919; pages[4].flags = END }, "the granule position is 1919, but there is audio from 1920 to 2880"),
    (|pages| pages[4].granule = u64::MAX, "a page on which a packet ends has no granule position"),
];

/// Makes a packet that goes on and on of the page at this index and those behind it.
fn endless(pages: &mut Vec<Draft>, index: usize) {
    pages.truncate(index);
    for sequence in 0..20 {
        let flags = if sequence == 0 { 0 } else { CONTINUED };
        let mut page = Draft::new(flags, u64::MAX, index as u32 + sequence, &[[0; 255]]);
        page.lengths.pop();
        pages.push(page);
    }
}

fn renumber(pages: &mut [Draft]) {
    for (page, sequence) in pages.iter_mut().zip(0..) {
        page.sequence = sequence;
    }
}

#[test]
fn what_the_format_does_not_allow() {
    let plain = drafts(&coded(0..1, &Coding::default()));
    for (spoil, mistake) in SPOILT {
        let mut pages = plain.clone();
        spoil(&mut pages);
        assert_eq!(decode(&pages).1, Err(mistake.to_owned()));
    }
    // The first page may begin anywhere, but not before the beginning.
    let mut pages = plain[..3].to_vec();
    pages[2].granule = 959;
    let mistake = "the granule position is 959, but there is audio from 0 to 960";
    assert_eq!(decode(&pages).1, Err(mistake.to_owned()));
    let mut pages = plain.clone();
    pages.insert(4, Draft::new(0, 1920, 4, &[[0; 0]; 0]));
    let mistake = "a page on which no packet ends has a granule position";
    assert_eq!(decode(&pages).1, Err(mistake.to_owned()));
}

#[test]
fn what_is_no_page() {
    let pages = coded(0..1, &Coding::default()).pages(SERIAL);
    let no_page = Err("there is no Ogg page where one should begin".to_owned());
    // Said at once, not when there could be a page.
    for bytes in [&[0][..], b"Oggs", &blocks::bytes(&tone(1, 16_000))] {
        assert_eq!(decode_in(1, bytes, 16_000).1, no_page);
    }
    let with_rubbish = [&pages[..3].concat()[..], b"x", &pages[3]].concat();
    let (decoded, result) = decode_in(usize::MAX, &with_rubbish, 16_000);
    assert_eq!(result, no_page);
    // What came before counts.
    assert_eq!(
        (
            decoded.contents.header_pages,
            decoded.contents.packets.len()
        ),
        (2, 1)
    );
    let mut flipped = pages[..3].concat();
    *flipped.last_mut().unwrap() ^= 1;
    let mistake = "the checksum of a page is wrong";
    assert_eq!(decode_in(50, &flipped, 16_000).1, Err(mistake.to_owned()));
    let cut = &pages.concat()[..200];
    let mistake = "the stream ends within a page";
    assert_eq!(decode_in(50, cut, 16_000).1, Err(mistake.to_owned()));
    let behind = [&pages.concat()[..], b"O"].concat();
    let mistake = "there is data after the end of the stream";
    assert_eq!(decode_in(50, &behind, 16_000).1, Err(mistake.to_owned()));
}
