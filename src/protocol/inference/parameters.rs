// SPDX-License-Identifier: MPL-2.0
//! The further parameters of `run-task` that a user may set, for `set_up`. The service ignores what
//! it does not know and accepts any value (both observed), so a typo would go unnoticed: names and
//! values are checked here, against the lists that it documents for each model.

use serde_json::Value;

use crate::protocol::{Failure, Kind, Statement};

/// What a parameter may be.
enum Form {
    Bool,
    Text,
    OneOf(&'static [&'static str]),
}

const FORMS: &[(&str, Form)] = &[
    ("disfluency_removal_enabled", Form::Bool),
    ("inverse_text_normalization_enabled", Form::Bool),
    ("keep_dialect", Form::Bool),
    ("punctuation_prediction_enabled", Form::Bool),
    ("semantic_punctuation_enabled", Form::Bool),
    ("special_word_filter", Form::Text),
    (
        "vad_model",
        Form::OneOf(&["far_field_meeting_16k", "near_meeting_16k"]),
    ),
];

impl Form {
    fn takes(&self, value: &Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Text => value.is_string(),
            Self::OneOf(choice) => value.as_str().is_some_and(|value| choice.contains(&value)),
        }
    }

    fn description(&self) -> String {
        match self {
            Self::Bool => "true or false".to_owned(),
            Self::Text => "a string".to_owned(),
            Self::OneOf(choice) => choice.join(" or "),
        }
    }
}

/// Checks the parameters against those that the model `name` takes.
pub(super) fn check(
    parameters: &[(String, Value)],
    name: &str,
    takes: &[&str],
) -> Result<(), Failure> {
    for (parameter, value) in parameters {
        let form = FORMS.iter().find(|(known, _)| known == parameter);
        let Some((_, form)) = form.filter(|_| takes.contains(&parameter.as_str())) else {
            let what = Statement::from(format!("The model '{name}' has no parameter '"));
            return Err(Failure::new(
                Kind::Settings,
                what.quoting(parameter.as_str()).then("'."),
                match takes {
                    [] => "Leave the parameters property unset.".to_owned(),
                    takes => format!(
                        "It has these, to be set with the parameters property: {}.",
                        takes.join(", ")
                    ),
                },
            ));
        };
        if !form.takes(value) {
            return Err(Failure::new(
                Kind::Settings,
                format!("The parameter '{parameter}' has a value that it cannot have."),
                format!(
                    "Set it to {} in the parameters property.",
                    form.description()
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_and_values_are_those_of_the_documentation() {
        let takes = ["keep_dialect", "vad_model", "special_word_filter"];
        let check = |name: &str, value| check(&[(name.to_owned(), value)], "m", &takes);
        for (name, value) in [
            ("keep_dialect", json!(true)),
            ("vad_model", json!("near_meeting_16k")),
            ("special_word_filter", json!("{}")),
        ] {
            assert_eq!(check(name, value), Ok(()), "{name}");
        }
        for (name, value, says) in [
            (
                "keep_dialekt",
                json!(true),
                "no parameter 'keep_dialekt'. It has these, to be set with the parameters property: \
                 keep_dialect, vad_model, special_word_filter.",
            ),
            (
                "disfluency_removal_enabled",
                json!(true),
                "no parameter 'disfluency_removal_enabled'",
            ),
            ("keep_dialect", json!("yes"), "Set it to true or false"),
            (
                "vad_model",
                json!("near"),
                "Set it to far_field_meeting_16k or near_meeting_16k",
            ),
            ("special_word_filter", Value::Null, "Set it to a string"),
        ] {
            let failure = check(name, value).unwrap_err();
            assert_eq!(failure.kind, Kind::Settings);
            assert!(failure.to_string().contains(says), "{failure}");
        }
    }
}
