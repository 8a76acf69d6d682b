// SPDX-License-Identifier: MPL-2.0
//! Whatever the protocol, the same comes out: the scenarios that several of them share.

/// Makes a test of each scenario for each of these protocols.
macro_rules! scenarios {
    ($($name:ident: $protocol:ident),+ => $scenarios:tt) => {
        $(scenarios!(@with $name $protocol $scenarios);)+
    };
    (@with $name:ident $protocol:ident {$($module:ident::$scenario:ident),+ $(,)?}) => {
        mod $name {
            $(
                #[test]
                fn $scenario() {
                    crate::$module::$scenario(crate::common::Protocol::$protocol);
                }
            )+
        }
    };
}

mod everywhere {
    scenarios! {
        realtime: Realtime, livetranslate: LiveTranslate, inference: Inference, vllm: Vllm, openai: OpenAi, sglang_omni: SglangOmni => {
            endings::eos_before_any_audio_makes_no_connection,
            endings::eos_in_mid_word_brings_the_word,
            endings::the_same_element_can_play_again,
            fleet::a_router_without_room_is_asked_again,
            fleet::a_server_that_is_drained_does_not_discredit_its_address,
            fleet::a_server_that_is_drained_is_no_outage,
            fleet::addresses_are_tried_in_turn,
            fleet::connections_are_replaced_at_the_age_that_is_set,
            frames::additional_parts,
            frames::garbage_unknown_and_enormous_frames,
            matrix::every_fault_at_every_moment,
            models::the_next_one_is_used_and_no_word_is_lost,
            models::with_none_left_it_is_an_error,
            outages::a_live_pipeline_catches_up,
            outages::an_operator_is_told_what_goes_on,
            outages::no_word_is_lost_or_doubled,
            sources::a_segment_that_is_done_is_over,
            sources::a_source_that_stalls_in_mid_utterance_gets_its_text,
            sources::arrival_timestamps_cut_nothing,
            sources::one_wild_timestamp_moves_nothing,
            sources::timestamps_that_go_back_begin_anew,
            stable::files_and_outages_keep_the_words,
            streams::a_switched_input_goes_on_in_one_session,
            streams::another_stream_with_the_same_segment_is_another_session,
            streams::short_takes_wait_for_a_service_that_is_away,
            timing::a_discont_flag_costs_nothing,
            timing::a_flushing_seek_starts_afresh,
            timing::a_large_hole_ends_the_utterance_and_time_goes_on,
            timing::a_small_hole_does_not_shift_what_follows,
            timing::audio_without_timestamps_is_counted,
            timing::lateness_moves_the_text_but_not_its_timestamps,
            timing::words_have_their_times_for_any_buffers,
        }
    }
}

/// The protocols that detect speech, and have an end and identifiers.
mod of_the_service {
    scenarios! {
        realtime: Realtime, livetranslate: LiveTranslate, inference: Inference, sglang_omni: SglangOmni => {
            endings::a_finish_that_takes_its_time_is_waited_for,
            endings::eos_arrives_when_the_service_closes_instead_of_finishing,
            endings::eos_arrives_when_the_service_does_not_finish,
            frames::missing_doubled_and_foreign_parts,
            stable::chinese_comes_in_clauses,
            stable::live_words_come_once_and_in_time,
            stable::what_was_shown_is_not_taken_back,
            timing::gap_events_are_silence,
            timing::interim_results_come_before_the_final_and_never_go_back,
            timing::jitter_is_no_hole,
            timing::samples_cut_in_two_are_put_together,
        }
    }
}

/// The protocols that take 8000 Hz besides.
mod at_the_lower_rate {
    scenarios! {
        realtime: Realtime, inference: Inference => {
            timing::segments_and_rates_follow_each_other_in_order,
            timing::words_have_their_times_at_the_lower_rate,
        }
    }
}

/// The protocol that takes 24000 Hz besides.
mod at_the_higher_rate {
    scenarios! {
        openai: OpenAi => {
            timing::words_have_their_times_at_the_higher_rate,
        }
    }
}

/// The protocols that can be told where utterances end.
mod with_commits {
    scenarios! {
        realtime: Realtime, vllm: Vllm, openai: OpenAi, sglang_omni: SglangOmni => {
            manual::long_speech_is_committed_before_the_protocols_limit,
            manual::the_signal_and_the_event_end_utterances,
            manual::without_commits_the_end_of_the_stream_is_one,
            outages::commits_survive_an_outage,
        }
    }
}
