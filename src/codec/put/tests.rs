//! Goal: a body is taken or refused the same however it is read.

use super::*;

fn refused(body: &str) -> (usize, String) {
    let bad = parse(body.as_bytes(), Timestamp::parse("2026-07-13T04:00:00Z").unwrap()).unwrap_err();
    let BodyPlace::Line(line) = bad.place else { panic!("{bad}") };
    (line, bad.member)
}

#[test]
fn one_object_or_many_lines_with_every_digit() {
    let body = "{\"xid\":\"a\",\"commitTs\":\"2026-07-13T04:00:00Z\",\n \"operations\":[{\"op\":\"INSERT\",\"table\":\"s.t\",\"key\":[\"id\"],\"after\":{\"id\":1.10,\"x\":1e400}}]}\n\n{\"operations\":[{\"op\":\"DDL\",\"table\":\"s.t\",\"ddl\":\"alter\"}]}";
    let transactions = parse(body.as_bytes(), Timestamp::parse("2026-07-13T04:00:00Z").unwrap()).unwrap();
    assert_eq!(transactions.len(), 2);
    let texts: Vec<_> = transactions[0].cells.iter().map(|cell| cell.json).collect();
    assert_eq!(texts, ["1.10", "1e400"]);
}

#[test]
fn every_fault_names_its_line_and_member() {
    let insert = |rest: &str| format!("{{\"operations\":[{{\"op\":\"INSERT\",\"table\":\"t\"{rest}}}]}}");
    let good = insert(",\"after\":{\"id\":1}");
    let cases: Vec<(String, usize, &str)> = vec![
        (String::new(), 1, "body"),
        ("[]".into(), 1, "transaction"),
        (format!("{good}\n{{\"operations\":"), 2, "body"),
        (format!("{good}\n\n{{\"xid\":\"\",\"operations\":[]}}"), 3, "xid"),
        ("{\"operations\":[]}".into(), 1, "operations"),
        ("{\"operation\":[]}".into(), 1, "operation"),
        ("{\"commitTs\":\"2026-07-13T04:05:01Z\",\"operations\":[]}".into(), 1, "commitTs"),
        ("{\"commitTs\":\"soon\",\"operations\":[]}".into(), 1, "commitTs"),
        (insert(""), 1, "operations[0].after"),
        (insert(",\"after\":{\"a\":{\"b\":\"\\ud800\"}}"), 1, "operations[0].after.a"),
        (insert(",\"after\":{}"), 1, "operations[0].after"),
        (insert(",\"after\":{\"a\":1,\"a\":2}"), 1, "operations[0].after"),
        (insert(",\"after\":{\"a\":1},\"before\":{\"a\":1}"), 1, "operations[0].before"),
        (insert(",\"after\":{\"a\":1},\"key\":[\"b\"]"), 1, "operations[0].key"),
        (insert(",\"after\":{\"a\":1},\"tokens\":{\"x\":1}"), 1, "operations[0].tokens.x"),
        (insert(",\"after\":{\"a\":1},\"more\":1"), 1, "operations[0].more"),
        (
            "{\"operations\":[{\"op\":\"DDL\",\"table\":\"t\",\"ddl\":\"x\",\"tokens\":{}}]}".into(),
            1,
            "operations[0].tokens",
        ),
        (insert(",\"after\":{\"a\":1},\"key\":[\"a\",\"a\"]"), 1, "operations[0].key"),
        ("{\"operations\":[{\"op\":\"MERGE\",\"table\":\"t\"}]}".into(), 1, "operations[0].op"),
        (
            "{\"operations\":[{\"op\":\"DELETE\",\"table\":\"a.b.c.d\",\"before\":{\"a\":1}}]}".into(),
            1,
            "operations[0].table",
        ),
    ];
    for (body, line, member) in cases {
        assert_eq!(refused(&body), (line, member.to_owned()), "{body}");
    }
}

/// Why a body with one operation is refused, without the line.
fn reason(op: &str) -> String {
    let body = format!("{{\"operations\":[{op}]}}");
    let bad = parse(body.as_bytes(), Timestamp::parse("2026-07-13T04:00:00Z").unwrap()).unwrap_err();
    format!("{}: {}", bad.member, bad.what)
}

#[test]
fn half_of_a_surrogate_pair_is_called_so_wherever_it_stands() {
    let half = "\"\\ud800\"";
    let row = |table: &str, rest: &str| format!("{{\"op\":\"INSERT\",\"table\":{table},\"after\":{{\"a\":1}}{rest}}}");
    let what = "holds half of a surrogate pair, which is no character";
    let cases = [
        (row("\"t\"", &format!(",\"tokens\":{{\"b\":{half}}}")), format!("operations[0].tokens.b: {what}")),
        (
            row("\"t\"", &format!(",\"tokens\":{{{half}:\"b\"}}")),
            format!("operations[0].tokens: the member {half} {what}"),
        ),
        (row(half, ""), format!("operations[0].table: {what}")),
        (row("\"t\"", &format!(",\"key\":[{half}]")), format!("operations[0].key: {what}")),
        (format!("{{\"op\":\"DDL\",\"table\":\"t\",\"ddl\":{half}}}"), format!("operations[0].ddl: {what}")),
        (
            format!("{{\"op\":\"INSERT\",\"table\":\"t\",\"after\":{{{half}:1}}}}"),
            format!("operations[0].after: the member {half} {what}"),
        ),
    ];
    for (op, expected) in cases {
        assert_eq!(reason(&op), expected, "{op}");
    }
    let xid = format!("{{\"xid\":{half},\"operations\":[{}]}}", row("\"t\"", ""));
    let bad = parse(xid.as_bytes(), Timestamp::from_micros(0)).unwrap_err();
    assert_eq!((bad.member.as_str(), bad.what.as_str()), ("xid", what));
}

#[test]
fn a_value_may_be_nested_as_deep_as_readers_follow_and_no_number_in_it_is_too_large() {
    let nested = |depth: usize, inner: &str| "[".repeat(depth) + inner + &"]".repeat(depth);
    let objects = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
    let row = |value: &str| format!("{{\"op\":\"INSERT\",\"table\":\"t\",\"after\":{{\"doc\":{value}}}}}");
    let max = limits::NESTING_MAX;
    for value in [
        nested(max, "\"\\u00e9\""),
        objects(max),
        "{\"x\":1e400,\"y\":\"caf\\u00e9\",\"z\":-9e99999999999999999999}".to_owned(),
    ] {
        let body = format!("{{\"operations\":[{}]}}", row(&value));
        let transactions = parse(body.as_bytes(), Timestamp::from_micros(0)).unwrap();
        assert_eq!(transactions[0].cells[0].json, value);
        assert!(single_pass::read(body.as_bytes(), Timestamp::from_micros(0)).is_some(), "{value}");
    }
    for value in [nested(max + 1, ""), nested(max + 1, "\"\\u00e9\""), objects(100_000), nested(100_000, "")] {
        assert_eq!(reason(&row(&value)), format!("operations[0].after.doc: is nested deeper than {max} levels"));
    }
}

#[test]
fn of_a_long_name_an_answer_shows_the_beginning() {
    let long = "é".repeat(1 << 20);
    for rest in [
        format!("\"after\":{{\"{long}\":1,\"{long}\":1}}"),
        format!("\"after\":{{\"{long}\":\"\\ud800\"}}"),
        format!("\"after\":{{\"a\":1}},\"key\":[\"{long}\"]"),
        format!("\"after\":{{\"a\":1}},\"tokens\":{{\"{long}\":1}}"),
        format!("\"{long}\":1"),
        format!("\"after\":{{\"{long}\\ud800\":1}}"),
    ] {
        let reason = reason(&format!("{{\"op\":\"INSERT\",\"table\":\"t\",{rest}}}"));
        assert!(reason.contains("ééé…") && reason.len() < 400, "{}", reason.len());
    }
}

#[test]
fn a_member_that_stands_twice_is_named() {
    let twice = "{\"op\":\"INSERT\",\"table\":\"t\",\"after\":{\"id\":1,\"id\":2}}";
    assert_eq!(reason(twice), "operations[0].after: member \"id\" stands twice");
    let key = "{\"op\":\"INSERT\",\"table\":\"t\",\"key\":[\"id\",\"id\"],\"after\":{\"id\":1}}";
    assert_eq!(reason(key), "operations[0].key: column \"id\" stands twice");
}

mod agreement {
    use proptest::prelude::*;

    use super::*;

    /// An operation with all that its form says, and its values.
    type Whole<'t> = (&'t PutForm<'t>, &'t [PutCell<'t>], &'t [PutCell<'t>], &'t PutOperation);

    fn now() -> Timestamp {
        Timestamp::parse("2026-07-13T04:00:00Z").unwrap()
    }

    fn whole<'t>(transaction: &'t PutTransaction<'t>) -> Vec<Whole<'t>> {
        let operations = transaction.operations.iter();
        let whole = |operation| {
            let (before, after) = transaction.images(operation);
            (&transaction.forms[operation.form], before, after, operation)
        };
        operations.map(whole).collect()
    }

    /// Both readings take the body and make the same of it, or both refuse it.
    fn agree(body: &[u8]) -> bool {
        let (passed, read) = (single_pass::read(body, now()), level_by_level::parse(body, now()));
        let (Some(passed), Ok(read)) = (&passed, &read) else {
            assert_eq!(passed.is_some(), read.is_ok(), "{}\n{read:?}", String::from_utf8_lossy(body));
            return false;
        };
        assert_eq!(passed.len(), read.len());
        for (passed, read) in passed.iter().zip(read) {
            assert_eq!((&passed.xid, passed.commit_ts), (&read.xid, read.commit_ts));
            let (passed, read) = (whole(passed), whole(read));
            assert_eq!(passed.len(), read.len());
            for (passed, read) in passed.into_iter().zip(read) {
                assert_eq!((passed.0, passed.1, passed.2), (read.0, read.1, read.2));
                assert_eq!((&passed.3.tokens, &passed.3.ddl), (&read.3.tokens, &read.3.ddl));
            }
        }
        true
    }

    fn space() -> impl Strategy<Value = &'static str> {
        prop_oneof![8 => Just(""), 1 => Just(" "), 1 => Just("\n\t"), 1 => Just(" \r\n ")]
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            4 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
            4 => "[ -!#-\\[\\]-~]{0,40}".prop_map(|text| format!("\"{text}\"")),
            2 => "\\PC{0,20}".prop_map(|text| serde_json::to_string(&text).unwrap()),
            1 => "(\\\\[\"\\\\/bfnrt]|\\\\u(00e4|2028|d83d\\\\ude00|d800|DE00)|[ -!]|\u{2028}|é){0,9}"
                .prop_map(|text| format!("\"{text}\"")),
            2 => prop_oneof![Just("null"), Just("true"), Just("false")].prop_map(str::to_owned),
            1 => Just("{ \"a\" : [1 , {\"b\":\"\\ud83d\\ude00\"}, []] }".to_owned()),
            1 => (1..200_usize).prop_map(|depth| "[".repeat(depth) + &"]".repeat(depth)),
            1 => (95..106_usize, "(\"\\\\u00e9\"|1e400|\\{\\}|)").prop_map(|(depth, inner)| {
                "[".repeat(depth) + &inner + &"]".repeat(depth)
            }),
            1 => (95..106_usize).prop_map(|depth| "{\"a\":".repeat(depth) + "[]" + &"}".repeat(depth)),
            2 => nested(),
            1 => Just("[\"\\udc00\"]".to_owned()),
        ]
    }

    /// Arrays and objects of anything.
    fn nested() -> impl Strategy<Value = String> {
        let leaf =
            "(-?[1-9]{1,4}e-?[1-9]{1,3}|true|\\[ \\]|\\{\\}|\"(\\\\u(00e9|d83d|de00|D83D\\\\uDE00)|\\\\n|a){0,3}\")";
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|values| format!("[{}]", values.join(" ,"))),
                proptest::collection::vec(("(a|b|\\\\u00e9|\\\\udc00)?", inner), 0..3).prop_map(|members| {
                    let members = members.iter().map(|(name, value)| format!("\"{name}\": {value}"));
                    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
                }),
            ]
        })
    }

    fn column() -> impl Strategy<Value = String> {
        prop_oneof![
            6 => prop_oneof![Just("\"id\""), Just("\"amount\""), Just("\"note\""), Just("\"i\"")].prop_map(str::to_owned),
            1 => Just("\"\\u0069d\"".to_owned()),
            1 => "[a-zé\"\\\\\u{0}]{0,4}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        ]
    }

    fn image() -> impl Strategy<Value = String> {
        let usual = prop_oneof![
            Just(vec!["\"id\"".to_owned(), "\"note\"".to_owned()]),
            Just(vec!["\"id\"".to_owned()]),
            Just(vec!["\"id\"".to_owned(), "\"amount\"".to_owned(), "\"note\"".to_owned()]),
        ];
        let columns = prop_oneof![8 => usual, 3 => proptest::collection::vec(column(), 0..5)];
        let full =
            (columns, proptest::collection::vec((value(), space(), space()), 5)).prop_map(|(columns, values)| {
                let members = columns
                    .iter()
                    .zip(values)
                    .map(|(name, (value, one, two))| format!("{one}{name}:{two}{value}{one}"));
                format!("{{{}}}", members.collect::<Vec<_>>().join(","))
            });
        prop_oneof![12 => full, 1 => Just("null".to_owned()), 1 => Just("1".to_owned())]
    }

    fn operation() -> impl Strategy<Value = String> {
        let op = prop_oneof![
            6 => Just("\"INSERT\""), 3 => Just("\"UPDATE\""), 2 => Just("\"DELETE\""), 1 => Just("\"UPSERT\""),
            1 => Just("\"TRUNCATE\""), 1 => Just("\"DDL\""), 1 => Just("\"\\u0049NSERT\""), 1 => Just("7"),
        ];
        let table =
            prop_oneof![8 => Just("\"s.t\""), 2 => Just("\"u\""), 1 => Just("\"\\u0074\""), 1 => Just("\"a.b.c.d\"")];
        let key = prop_oneof![6 => Just("[\"id\"]"), 1 => Just("[ ]"), 1 => Just("[\"id\" ,\"note\"]"), 1 => Just("[\"id\",\"id\"]"), 1 => Just("null"), 1 => Just("{}")];
        let tokens = prop_oneof![4 => Just("{\"T\": \"x\"}"), 1 => Just("{\"T\":1}"), 1 => Just("null"), 1 => Just("{}"), 1 => Just("{\"T\":\"\\ud800\"}"), 1 => Just("{\"\\udc00\":\"x\"}")];
        let ddl = prop_oneof![4 => Just("\"alter\\n\""), 1 => Just("\"\""), 1 => Just("1")];
        let given = (proptest::bool::weighted(0.7), proptest::bool::weighted(0.15), proptest::bool::weighted(0.1));
        (op, table, key, image(), image(), tokens, ddl, given, (0..40_usize, 0..40_usize, space())).prop_map(
            |(op, table, key, before, after, tokens, ddl, (keyed, with_tokens, with_ddl), (swap, with, space))| {
                let kind = op.trim_matches('"');
                let mut members = vec![format!("\"op\":{op}"), format!("\"table\":{space}{table}")];
                let mut member = |given: bool, text: String| {
                    if given {
                        members.push(text)
                    }
                };
                member(keyed && !matches!(kind, "TRUNCATE" | "DDL"), format!("\"key\":{key}"));
                member(matches!(kind, "UPDATE" | "DELETE" | "UPSERT"), format!("\"before\"{space}:{before}"));
                member(!matches!(kind, "DELETE" | "TRUNCATE" | "DDL"), format!("\"after\":{after}"));
                member(with_tokens, format!("\"tokens\":{tokens}"));
                member(with_ddl || kind == "DDL", format!("\"ddl\":{ddl}"));
                // Mostly the usual order.
                if let (Some(one), true) = (swap.checked_sub(30), with > 20) {
                    let count = members.len();
                    members.swap(one % count, with % count);
                }
                format!("{{{}{space}}}", members.join(","))
            },
        )
    }

    fn body() -> impl Strategy<Value = String> {
        let xid = prop_oneof![6 => Just(""), 2 => Just("\"xid\":\"a\","), 1 => Just("\"xid\":\"\","), 1 => Just("\"xid\":1,")];
        let time = prop_oneof![
            6 => Just(""), 2 => Just("\"commitTs\":\"2026-07-13T04:00:00Z\","), 1 => Just("\"commitTs\":\"2027-07-13T04:00:00Z\","),
        ];
        let operations = prop_oneof![
            // Alike, as they mostly are; and not.
            (operation(), 1..4_usize).prop_map(|(one, times)| vec![one; times]),
            proptest::collection::vec(operation(), 0..5),
        ];
        let transaction = (xid, time, operations, space()).prop_map(|(xid, time, operations, space)| {
            format!("{{{xid}{time}\"operations\":[{space}{}]}}", operations.join(","))
        });
        (proptest::collection::vec(transaction, 0..3), space())
            .prop_map(|(transactions, space)| transactions.join(space))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn both_readings_make_the_same_of_a_body(body in body()) {
            agree(body.as_bytes());
        }

        #[test]
        fn both_readings_agree_on_a_spoilt_body(body in body(), spoils in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>(), 0..14_usize), 1..3)) {
            let mut body = body.into_bytes();
            for (at, how, byte, token) in spoils {
                let at = at.index(body.len() + 1);
                let token = b"{}[]:,\"\\0-. \ne"[token];
                match how {
                    0 => body.insert(at, token),
                    1 => drop(body.splice(at..(at + 1).min(body.len()), [byte])),
                    2 => drop(body.drain(at..(at + 1 + usize::from(byte % 4)).min(body.len()))),
                    _ => body.truncate(at),
                }
            }
            agree(&body);
        }
    }

    #[test]
    fn what_is_usual_is_read_in_one_pass() {
        let operation = |id: usize| {
            format!(
                "{{\"op\":\"INSERT\",\"table\":\"s.t\",\"key\":[\"id\"],\"after\":{{\"id\":{id},\"t\":\"a\\u00e4\\n\",\"o\":{{\"x\": 1}}}}}}"
            )
        };
        let update =
            "{\"before\":{\"id\":1},\"after\":{\"id\":2},\"key\":[\"id\"],\"table\":\"s.t\",\"op\":\"UPDATE\"}";
        let swapped = "{\"op\":\"UPDATE\",\"table\":\"s.t\",\"after\":{\"id\":2},\"before\":{\"id\":1,\"x\":3}}";
        let body = format!(
            "{{\"operations\":[{},{update},{},{swapped},{update},{swapped}]}}\n{{\"operations\":[{}]}}",
            operation(1),
            operation(2),
            operation(3)
        );
        assert!(agree(body.as_bytes()));
        let passed = single_pass::read(body.as_bytes(), now()).unwrap();
        assert_eq!((passed[0].forms.len(), passed[0].operations.len()), (3, 6));
        let (before, after) = passed[0].images(&passed[0].operations[5]);
        assert_eq!((before[0].json, before[1].json, after[0].json), ("1", "3", "2"));
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_by_both() {
        for members in [
            "\"op\":\"DELETE\",\"table\":\"t\",\"before\":null,\"before\":{\"a\":1}",
            "\"op\":\"DELETE\",\"table\":\"t\",\"before\":{\"a\":1},\"before\":{\"a\":1}",
            "\"op\":\"DELETE\",\"op\":\"DELETE\",\"table\":\"t\",\"before\":{\"a\":1}",
            "\"op\":\"DELETE\",\"table\":\"t\",\"before\":{\"a\":1,\"\\u0061\":1}",
            "\"op\":\"DELETE\",\"table\":\"t\",\"key\":[],\"key\":[],\"before\":{\"a\":1}",
        ] {
            let good = "{\"op\":\"DELETE\",\"table\":\"t\",\"before\":{\"a\":1}}";
            assert!(!agree(format!("{{\"operations\":[{good},{{{members}}}]}}").as_bytes()), "{members}");
            assert!(!agree(format!("{{\"operations\":[{{{members}}}]}}").as_bytes()), "{members}");
        }
        assert!(!agree(b"{\"xid\":\"a\",\"xid\":\"a\",\"operations\":[{\"op\":\"TRUNCATE\",\"table\":\"t\"}]}"));
    }

    #[test]
    fn a_statement_is_asked_for_each_time() {
        let ddl = "{\"op\":\"DDL\",\"table\":\"t\",\"ddl\":\"alter\"}";
        assert!(agree(format!("{{\"operations\":[{ddl},{ddl}]}}").as_bytes()));
        assert!(!agree(format!("{{\"operations\":[{ddl},{{\"op\":\"DDL\",\"table\":\"t\"}}]}}").as_bytes()));
    }

    #[test]
    fn an_operation_that_says_nothing_is_refused_behind_a_statement_too() {
        let ddl = "{\"op\":\"DDL\",\"table\":\"t\",\"ddl\":\"alter\"}";
        for nothing in ["{\"after\":null}", "{\"before\":null}", "{\"tokens\":{\"a\":\"b\"}}", "{}"] {
            assert!(!agree(format!("{{\"operations\":[{ddl},{nothing}]}}").as_bytes()), "{nothing}");
        }
    }
}
