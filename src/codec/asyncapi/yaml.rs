//! A JSON document as YAML text: every number with the digits that it has, and every text one for old readers too.
//!
//! The YAML library knows numbers of 64 bits and floats only, and writes for readers of YAML 1.2, while many, PyYAML among
//! them, read YAML 1.1: there `no` is a truth value, `1:30` is 90 and `2020-01-01` a date. What the library would write
//! otherwise than both read it is written as a mark, for which the right text is put in afterwards.

use std::borrow::Cow;
use std::cell::RefCell;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Stands for a text of our own; made longer for a document that has this text.
const MARK: &str = "exactText";

/// Words that stand for something in YAML 1.1 or 1.2, in some spelling: truth values, null, a merge, a default.
const WORDS: [&str; 13] = ["", "~", "null", "true", "false", "yes", "no", "y", "n", "on", "off", "<<", "="];

pub(super) fn text(document: &Value) -> Result<String, serde_yaml::Error> {
    let plain = document.to_string();
    let mut mark = MARK.to_owned();
    while plain.contains(&mark) {
        mark.push('_');
    }
    let own = RefCell::default();
    let marked = serde_yaml::to_string(&Node { value: document, mark: &mark, own: &own })?;
    let mut pieces = marked.split(&mark);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for (own, piece) in own.into_inner().into_iter().zip(pieces) {
        text.push_str(&own);
        text.push_str(piece);
    }
    Ok(text)
}

/// A value, and what was marked so far.
#[derive(Clone, Copy)]
struct Node<'v, 'n> {
    value: &'v Value,
    mark: &'n str,
    own: &'n RefCell<Vec<Cow<'v, str>>>,
}

/// A text in it.
struct Text<'v, 'n>(Node<'v, 'n>, &'v str);

impl<'v> Node<'v, '_> {
    fn with(self, value: &'v Value) -> Self {
        Self { value, ..self }
    }

    fn push<S: Serializer>(self, own: Cow<'v, str>, serializer: S) -> Result<S::Ok, S::Error> {
        self.own.borrow_mut().push(own);
        serializer.serialize_str(self.mark)
    }
}

impl Serialize for Node<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(whole), _) => serializer.serialize_u64(whole),
                // What is whole and negative; of zero the sign would be lost.
                (None, Some(whole)) if whole < 0 => serializer.serialize_i64(whole),
                _ => self.push(number_text(number.as_str()), serializer),
            },
            Value::String(text) => Text(*self, text).serialize(serializer),
            Value::Array(values) => serializer.collect_seq(values.iter().map(|value| self.with(value))),
            Value::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (Text(*self, name), self.with(value))))
            }
        }
    }
}

impl Serialize for Text<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(node, text) = self;
        if reads_otherwise(text) {
            return node.push(quoted(text).into(), serializer);
        }
        serializer.serialize_str(text)
    }
}

/// Whether a text as the library writes it may be another one to some reader. Numbers of all bases, times and dates are of
/// these characters and begin with a digit, a sign or a point; some more texts are, and are quoted for nothing.
fn reads_otherwise(text: &str) -> bool {
    if text.contains(LINE_ENDS) {
        return true;
    }
    let is_word = || WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    let begins_so = text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.'));
    begins_so && text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t')) || is_word()
}

/// Characters at which a line ends in YAML 1.1 and does not in 1.2: the library breaks a text there and indents the rest,
/// which a reader of 1.2 takes for spaces of the text.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

/// In double quotes, with escapes that are the same in JSON and in YAML.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for character in Value::from(text).to_string().chars() {
        if character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}')
        {
            quoted.push_str(&format!("\\u{:04x}", u32::from(character)));
        } else {
            quoted.push(character);
        }
    }
    quoted
}

/// A number with an exponent is one for a reader of YAML 1.1 only with a point and the exponent's sign.
fn number_text(digits: &str) -> Cow<'_, str> {
    let Some((mantissa, exponent)) = digits.split_once(['e', 'E']) else { return digits.into() };
    let point = if mantissa.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['+', '-']) { "" } else { "+" };
    format!("{mantissa}{point}e{sign}{exponent}").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use regex::RegexSet;

    #[test]
    fn numbers_keep_their_digits() {
        let json =
            r#"{"a":[12.50,123456789012345678901234567890,-0,1e+400,7,-7],"b":{"exactText":"exactText_"},"c":0.1}"#;
        let yaml = text(&serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!(
            yaml,
            "a:\n- 12.50\n- 123456789012345678901234567890\n- -0\n- 1.0e+400\n- 7\n- -7\nb:\n  exactText: exactText_\nc: 0.1\n"
        );
    }

    /// What a plain scalar may be to a reader of YAML 1.1 beside a text: <https://yaml.org/type/>.
    fn other_types() -> RegexSet {
        RegexSet::new([
            r"^(y|Y|yes|Yes|YES|n|N|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$",
            r"^(~|null|Null|NULL|)$",
            r"^(<<|=)$",
            r"^[-+]?(0b[0-1_]+|0[0-7_]+|0o[0-7]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)$",
            r"^[-+]?[1-9][0-9_]*(:[0-5]?[0-9])+$",
            r"^[-+]?([0-9][0-9_]*)?\.[0-9._]*([eE][-+]?[0-9]+)?$",
            r"^[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+$",
            r"^[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*$",
            r"^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$",
            r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt \t].*)?$",
        ])
        .unwrap()
    }

    /// The names of a flat document as they stand in its text.
    fn written_names(names: &[String]) -> Vec<String> {
        let members = names.iter().map(|name| (name.clone(), Value::from(name.as_str()))).collect();
        let document = Value::Object(members);
        let yaml = text(&document).unwrap();
        assert_eq!(serde_yaml::from_str::<Value>(&yaml).unwrap(), document, "{yaml}");
        let scalars = yaml.lines().flat_map(|line| line.split_once(": ").map(|(name, value)| [name, value]));
        scalars.flatten().map(str::to_owned).collect()
    }

    #[test]
    fn names_that_an_old_reader_takes_for_something_else_are_quoted() {
        let names = [
            "no",
            "NO",
            "On",
            "off",
            "y",
            "N",
            "yes",
            "true",
            "null",
            "~",
            "<<",
            "=",
            "1:30",
            "190:20:30.15",
            "2020-01-01",
            "2001-12-14 21:59:43.10 -5",
            "0777",
            "0o17",
            "0b1",
            "0x1F",
            "1_000",
            "+1",
            "-1",
            "1e3",
            ".5",
            "1.",
            ".inf",
            "-.INF",
            ".NaN",
            "12e03",
            "-",
            "3.0.0",
        ];
        let names = names.map(str::to_owned);
        let written = written_names(&names);
        assert_eq!(written.len(), 2 * names.len());
        for scalar in written {
            assert!(scalar.starts_with(['"', '\'']), "{scalar} stands without quotes");
        }
    }

    #[test]
    fn control_names_that_are_texts_to_everybody_stay_as_they_are() {
        for name in ["note", "nothing", "yesterday", "public.orders", "änderung", "$ref", "on_off"] {
            assert_eq!(written_names(&[name.to_owned()]), [name, name]);
        }
    }

    #[test]
    fn a_character_that_ends_lines_in_one_version_only_is_written_as_an_escape() {
        for (name, written) in [
            ("a\u{2028}b", r#""a\u2028b""#),
            ("\u{2029}", r#""\u2029""#),
            ("a\u{85}\u{7f}\u{feff}\"", r#""a\u0085\u007f\ufeff\"""#),
        ] {
            assert_eq!(written_names(&[name.to_owned()]), [written, written]);
        }
        let several_lines = Value::from("one\ntwo\u{2028}three");
        assert_eq!(text(&several_lines).unwrap(), "\"one\\ntwo\\u2028three\"\n");
    }

    proptest! {
        #[test]
        fn nothing_without_quotes_is_another_type_to_an_old_reader(
            name in "[-+0-9a-fxoyYnNtTfFsSeE_.:~<=]{1,8}|[0-9]{4}-[01]?[0-9]-[0-3]?[0-9][Tt ]?[0-9:]{0,8}",
        ) {
            for scalar in written_names(&[name]) {
                prop_assert!(!other_types().is_match(&scalar), "{}", scalar);
            }
        }
    }
}
