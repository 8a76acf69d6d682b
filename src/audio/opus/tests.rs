// SPDX-License-Identifier: MPL-2.0
use proptest::prelude::*;

use super::super::Coding;
use super::*;

/// A packet of this length in milliseconds, and of this size: wideband SILK, with speech in it.
pub fn packet(ms: u64, size: usize) -> Vec<u8> {
    let config = match ms {
        10 => 8,
        20 => 9,
        40 => 10,
        _ => 11,
    };
    let mut packet = vec![0xff; size];
    packet[0] = config << 3;
    packet
}

pub fn with_samples(packet: &[u8]) -> Vec<u8> {
    framed(packet, Samples(0)).unwrap()
}

#[test]
fn packets_last_as_long_as_they_say() {
    for (packet, samples) in [
        (&[0x08, 1, 2][..], Some(960)),
        (&[0x58, 1, 2], Some(2880)),
        (&[0x78, 1, 2], Some(960)),
        (&[0xe0, 1, 2], Some(120)),
        (&[0xf8, 0xff, 0xfe], Some(960)),
        // Two frames, of the same size and not.
        (&[0xf9, 1, 2], Some(1920)),
        (&[0xf9, 1, 2, 3], None),
        (&[0xfa, 1, 2, 3], Some(1920)),
        (&[0xfa, 3, 2, 3], None),
        (&[0xfa, 252], None),
        // Any number of frames: of the same size, of others, padded.
        (&[0xfb, 3, 1, 2, 3], Some(2880)),
        (&[0xfb, 3, 1, 2, 3, 4], None),
        (&[0xfb, 0x83, 1, 2, 1, 2, 3], Some(2880)),
        (&[0xfb, 0x83, 1, 9, 1, 2, 3], None),
        (&[0xfb, 0x42, 2, 1, 2, 0, 0], Some(1920)),
        (&[0xfb, 0x42, 9, 1, 2, 0, 0], None),
        (&[0xfb, 0, 1], None),
        (&[0xfb], None),
        // 120 ms and more.
        (&[0xfb, 6, 1, 2, 3, 4, 5, 6], Some(5760)),
        (&[0xfb, 7, 1, 2, 3, 4, 5, 6, 7], None),
        (&[], None),
    ] {
        assert_eq!(length(packet), samples.map(Samples), "{packet:02x?}");
    }
    assert_eq!(length(&[0xf8; 1276]), Some(Samples(960)));
    assert_eq!(length(&[0xf8; 1277]), None, "too long a frame");
}

#[test]
fn what_an_encoder_left_out_is_silence() {
    for (dtx, samples) in [(&[0x48][..], 960), (&[0x58, 0], 2880), (&[0xe0], 120)] {
        let audio = framed(dtx, Samples(0)).unwrap();
        assert_eq!(Coding::Opus.samples(&audio), Samples(samples));
        assert!(packets(&audio).all(|p| p.data.ends_with(&[0xff, 0xfe])));
        assert!(!Coding::Opus.is_loud(&audio));
    }
    assert_eq!(framed(&[0xfb], Samples(0)), None);
}

#[test]
fn silence_has_any_length_in_steps() {
    for (asked, got) in [(0, 0), (119, 0), (121, 120), (48_000, 48_000), (5159, 5040)] {
        let audio = silence(Samples(asked));
        assert_eq!(Coding::Opus.samples(&audio), Samples(got));
        assert!(packets(&audio).all(|packet| length(packet.data) == Some(packet.samples)));
    }
}

#[test]
fn a_lookahead_is_not_part_of_the_stream() {
    let audio = framed(&packet(20, 40), Samples(312)).unwrap();
    assert_eq!(Coding::Opus.samples(&audio), Samples(648));
    assert_eq!(Coding::Opus.net_bytes(&audio), 40);
}

#[test]
fn loud_is_what_the_encoder_took_for_speech() {
    for (packet, loud) in [
        // SILK of 20 and of 60 ms, and with CELT: the flags of each frame.
        (&[0x48, 0x80, 1][..], true),
        (&[0x48, 0x7f, 1], false),
        (&[0x58, 0x20, 1], true),
        (&[0x58, 0x1f, 1], false),
        (&[0x78, 0x80, 1], true),
        // CELT does not say.
        (&[0xf8, 0xfe, 1], true),
        (&[0xf8, 0xff, 0xfe], false),
        (&[0xf8, 0xff, 0xff, 1], false),
        // The first of several frames.
        (&[0x4b, 2, 0x80, 0], true),
        (&[0x4a, 1, 0x80, 0], true),
    ] {
        let audio = framed(packet, Samples(0)).unwrap();
        assert_eq!(Coding::Opus.is_loud(&audio), loud, "{packet:02x?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics(packet in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = packets(&packet).count();
        if let Some(audio) = framed(&packet, Samples(77)) {
            let whole = length(&packet).unwrap();
            prop_assert!((1..=MAX_SAMPLES).contains(&whole.0));
            let samples = Coding::Opus.samples(&audio);
            prop_assert!(samples == whole || samples + Samples(77) >= whole);
            Coding::Opus.is_loud(&audio);
        }
    }
}
