// SPDX-License-Identifier: MPL-2.0

//! What the recogniser says of its properties, in the words of a program: its options.

/// What a remedy names where the language-code is that of a translation, not of the speech.
const PAD: &str = "translate_src";

/// A text of the recogniser, an error or a warning, and the options that its remedy is about.
///
/// `details` are those of the message; `options` are pairs of a property and the option that sets
/// it. Only the remedy is searched: the rest of the text may quote the service.
pub fn explained(
    text: &str,
    details: Option<&gst::StructureRef>,
    options: &[(&str, &str)],
) -> String {
    let remedy = details.and_then(|details| details.get::<String>("remedy").ok());
    let remedy = remedy.unwrap_or_default();
    let words: Vec<&str> = remedy
        .split(|c: char| !(c.is_alphanumeric() || "-_".contains(c)))
        .collect();
    let is_of_pad = words.contains(&PAD);
    let named = options
        .iter()
        .filter(|(property, _)| words.contains(property) && (*property == PAD) == is_of_pad);
    let named: Vec<&str> = named.map(|(_, option)| *option).collect();
    match named.as_slice() {
        [] => text.to_owned(),
        [option] => format!("{text}\nThe option for that is {option}."),
        [options @ .., option] => {
            let options = options.join(", ");
            format!("{text}\nThe options for that are {options} and {option}.")
        }
    }
}
