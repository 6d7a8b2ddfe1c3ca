//! What a run came to: one JSON object, or the same as a table of two columns.

use serde_json::Value;

use crate::cli::failure::Failure;
use crate::cli::output::print;

/// Prints the object, or one line for each of its figures.
pub(super) fn report(figures: &Value, json: bool) -> Result<(), Failure> {
    let text = if json { format!("{figures}\n") } else { table(figures) };
    Ok(print(text.as_bytes())?)
}

fn table(figures: &Value) -> String {
    let mut rows = Vec::new();
    gather(&mut rows, "", figures);
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{name:<width$}  {value}\n")).collect()
}

fn gather(rows: &mut Vec<(String, String)>, name: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                gather(rows, &format!("{name}{}{}", if name.is_empty() { "" } else { " " }, words(member)), value);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push((name.to_owned(), text.clone())),
        Value::Number(number) => rows.push((name.to_owned(), grouped(&number.to_string()))),
        other => rows.push((name.to_owned(), other.to_string())),
    }
}

/// `recordsPerSecond` as `records per second`.
fn words(member: &str) -> String {
    let mut words = String::new();
    for character in member.chars() {
        if character.is_ascii_uppercase() {
            words.push(' ');
        }
        words.push(character.to_ascii_lowercase());
    }
    words
}

/// `1234567.8` as `1,234,567.8`.
fn grouped(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, fraction)| (whole, Some(fraction)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return number.to_owned();
    }
    let mut grouped = sign.to_owned();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

/// A rate, rounded to what can be meant.
pub(super) fn rate(amount: u64, seconds: f64) -> f64 {
    let rate = amount as f64 / seconds.max(1e-9);
    if rate >= 100.0 { rate.round() } else { (rate * 100.0).round() / 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_names_each_figure_in_words() {
        let figures = json!({"recordsPerSecond": 1_234_567, "server": {"cpuSeconds": 1.25, "rssGrownBytes": -4096}, "none": null});
        let expected = "records per second      1,234,567\n\
                        server cpu seconds      1.25\n\
                        server rss grown bytes  -4,096\n";
        assert_eq!(table(&figures), expected);
        assert_eq!((grouped("12"), grouped("123"), grouped("1e300")), ("12".into(), "123".into(), "1e300".into()));
    }

    #[test]
    fn rates_have_no_more_digits_than_they_are_worth() {
        assert_eq!((rate(10, 3.0), rate(100_000, 3.0)), (3.33, 33_333.0));
    }
}
