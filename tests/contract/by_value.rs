//! JSON compared by value: members in any order, numbers by what they are worth, however many digits they have.

use serde_json::Value;

/// JSON whose numbers are all written alike: as text in the one form that each value has.
pub fn with_decimals(text: &str) -> Value {
    fn normal(value: Value) -> Value {
        match value {
            Value::Number(number) => Value::String(format!("number {}", decimal(number.as_str()))),
            Value::String(text) => Value::String(text),
            Value::Array(values) => values.into_iter().map(normal).collect(),
            Value::Object(members) => members.into_iter().map(|(name, value)| (name, normal(value))).collect(),
            other => other,
        }
    }
    normal(serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

/// Where two values differ first, and how.
pub fn difference(left: &Value, right: &Value) -> Option<String> {
    if left == right { None } else { Some(format!("{left}\n{right}")) }
}

/// A number's sign, its digits without zeros around them, and the power of ten that they are multiplied with.
fn decimal(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return "0".into();
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let exponent: i64 = exponent.parse().unwrap();
    format!("{sign}{significant}e{}", exponent - fraction.len() as i64 + zeros as i64)
}

#[test]
fn numbers_are_equal_when_they_are_worth_the_same() {
    for (one, other) in
        [("1", "1.00"), ("100", "1e2"), ("1e400", "1E+400"), ("0.10", "1e-1"), ("-0", "0"), ("-12.50", "-125e-1")]
    {
        assert_eq!(with_decimals(one), with_decimals(other), "{one} {other}");
    }
    for (one, other) in [
        ("1", "-1"),
        ("1", "10"),
        ("0.1", "0.01"),
        ("12345678901234567890.1", "12345678901234567890.2"),
        ("1", "\"1\""),
    ] {
        assert_ne!(with_decimals(one), with_decimals(other), "{one} {other}");
    }
    assert_eq!(difference(&with_decimals(r#"{"a":1,"b":[2.0]}"#), &with_decimals(r#"{"b":[2],"a":1.0}"#)), None);
}
