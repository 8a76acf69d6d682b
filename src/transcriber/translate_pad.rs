// SPDX-License-Identifier: MPL-2.0
//! The request pads `translate_src_%u`: src pads whose text is a translation, with properties of
//! their own. What they push comes from a [`SrcPad`](super::src_pad::SrcPad), as on the src pad.
//!
//! Locks: that of the language is held for moments only.

use gst::glib;

glib::wrapper! {
    /// A src pad with a translation.
    pub struct TranslatePad(ObjectSubclass<imp::TranslatePad>)
        @extends gst::Pad, gst::Object;
}

impl TranslatePad {
    /// The language to translate into, if it was set.
    pub(super) fn language(&self) -> Option<String> {
        use gst::subclass::prelude::*;
        self.imp().language()
    }
}

pub(super) mod imp {
    use std::sync::{LazyLock, Mutex, OnceLock};
    use std::time::Duration;

    use gst::glib;
    use gst::prelude::*;
    use gst::subclass::prelude::*;

    use crate::element::{ConnectionState, Key, Stats, lock};
    use crate::transcriber::QwenAsr;

    #[derive(Default)]
    pub struct TranslatePad {
        language: Mutex<Option<String>>,
        /// Set when the pad is made.
        pub identity: OnceLock<(Key, Stats)>,
    }

    impl TranslatePad {
        pub fn language(&self) -> Option<String> {
            let language = lock(&self.language).clone();
            language.filter(|language| !language.trim().is_empty())
        }

        fn element(&self) -> Option<QwenAsr> {
            self.obj().parent_element()?.downcast().ok()
        }
    }

    #[glib::object_subclass]
    impl ObjectSubclass for TranslatePad {
        const NAME: &'static str = "GstQwenAsrTranslatePad";
        type Type = super::TranslatePad;
        type ParentType = gst::Pad;
    }

    impl ObjectImpl for TranslatePad {
        fn properties() -> &'static [glib::ParamSpec] {
            static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
                vec![
                    glib::ParamSpecString::builder("language-code")
                        .nick("Language code")
                        .blurb(
                            "Language to translate into, as a BCP 47 tag such as fr. While it \
                             runs, a change counts from the next connection, which is made soon",
                        )
                        .mutable_playing()
                        .build(),
                    glib::ParamSpecEnum::builder_with_default(
                        "connection-state",
                        ConnectionState::default(),
                    )
                    .nick("Connection state")
                    .blurb("As the element's, for this translation; changes are notified")
                    .read_only()
                    .build(),
                    glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                        .nick("Statistics")
                        .blurb("As the element's, for this translation alone")
                        .read_only()
                        .build(),
                ]
            });
            &PROPERTIES
        }

        fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
            if pspec.name() != "language-code" {
                return;
            }
            // GObject has checked the type.
            let language = value.get().unwrap_or_default();
            let before = std::mem::replace(&mut *lock(&self.language), language);
            if before != *lock(&self.language)
                && let (Some(element), Some((key, _))) = (self.element(), self.identity.get())
            {
                element.imp().language_changed(*key);
            }
        }

        fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
            let identity = self.identity.get();
            match pspec.name() {
                "language-code" => lock(&self.language).to_value(),
                "connection-state" => {
                    let state = identity.map(|(_, stats)| stats.connection_state());
                    state.unwrap_or_default().to_value()
                }
                _ => {
                    let (Some(element), Some((key, stats))) = (self.element(), identity) else {
                        return Stats::default().to_structure(Duration::ZERO).to_value();
                    };
                    let level = element.imp().queue_level(*key);
                    stats.to_structure(level).to_value()
                }
            }
        }
    }

    impl GstObjectImpl for TranslatePad {}
    impl PadImpl for TranslatePad {}
}
