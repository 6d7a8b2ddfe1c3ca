use super::*;
use crate::codec::image::{Image, ImageWriter};
use crate::record::{Column, JsonKind, SchemaId, SourceIdentity, SourceParts, TableSchema};
use crate::trail::PartitionMap;
use serde_json::{Value, json};

fn rules(rules: Value) -> Rules {
    let config = json!({"source": {"trail": "a1"}, "rules": rules});
    Rules::compile(&StreamConfig::from_value(config).unwrap()).unwrap()
}

fn include(filter: Value) -> Rules {
    rules(json!([{"action": "include", "filter": filter}]))
}

fn exclude(filter: Value) -> Rules {
    rules(json!([{"action": "exclude", "filter": filter}]))
}

fn header(table: &str, operation: Operation) -> (TableName, Operation) {
    (TableName::parse(table).unwrap(), operation)
}

fn by_header(rules: &mut Rules, table: &str, operation: Operation) -> HeaderVerdict {
    let (table, operation) = header(table, operation);
    rules.decide_header(&RecordHeader { table: Some(&table), operation, partition: None })
}

/// Decides a record of `public.orders(id, total, note)`; a missing image is None, a cell `"-"` is absent.
fn by_body(rules: &mut Rules, operation: Operation, before: Option<[&str; 3]>, after: Option<[&str; 3]>) -> bool {
    let column =
        |name: &str, kind| Column { name: name.into(), kind, sql_type: String::new(), nullable: true, key: false };
    let schema = TableSchema {
        id: SchemaId(1),
        table: TableName::parse("public.orders").unwrap(),
        columns: vec![
            column("id", JsonKind::Number),
            column("Total", JsonKind::Number),
            column("note", JsonKind::String),
        ],
    };
    let image = |cells: Option<[&str; 3]>| {
        let mut bytes = Vec::new();
        let mut writer = ImageWriter::new(&mut bytes);
        for cell in cells.unwrap_or_default() {
            match cell {
                "-" => writer.absent(),
                "=" => writer.unchanged(),
                "null" => writer.null(),
                json => writer.json(json.as_bytes()),
            }
        }
        bytes
    };
    let (before_bytes, after_bytes) = (image(before), image(after));
    let body = RecordBody {
        schema: Some(&schema),
        before: before.map(|_| Image::split(&before_bytes).unwrap().0),
        after: after.map(|_| Image::split(&after_bytes).unwrap().0),
        tokens: Some(r#"{"user":"ada","level":10}"#),
    };
    rules.decide(&RecordHeader { table: Some(&schema.table), operation, partition: None }, &body)
}

#[test]
fn without_rules_everything_passes() {
    let config = StreamConfig::from_value(json!({"source": {"trail": "a1"}})).unwrap();
    let mut rules = Rules::compile(&config).unwrap();
    assert_eq!(by_header(&mut rules, "a.b", Operation::Insert), HeaderVerdict::Pass);
}

#[test]
fn the_first_rule_that_matches_decides_and_an_include_shuts_out_the_rest() {
    let mut rules = rules(json!([
        {"action": "exclude", "filter": {"objectNames": ["public.secret*"]}},
        {"action": "include", "filter": {"objectNames": ["public.*"]}},
    ]));
    assert_eq!(by_header(&mut rules, "public.secret_keys", Operation::Insert), HeaderVerdict::Drop);
    assert_eq!(by_header(&mut rules, "public.orders", Operation::Insert), HeaderVerdict::Pass);
    assert_eq!(by_header(&mut rules, "other.orders", Operation::Insert), HeaderVerdict::Drop);
    let mut only_exclude = exclude(json!({"objectNames": ["public.secret"]}));
    assert_eq!(by_header(&mut only_exclude, "other.orders", Operation::Insert), HeaderVerdict::Pass);
}

#[test]
fn names_match_their_last_parts_without_regard_to_case_unless_quoted() {
    for (pattern, table, matches) in [
        ("orders", "public.orders", true),
        ("PUBLIC.ORD?RS", "public.orders", true),
        ("public.ord*", "db.public.orders", true),
        ("PDB2.AR.*", "pdb2.ar.CUSTOMER", true),
        ("*.*.*", "public.orders", false),
        ("public.orders", "orders", false),
        ("\"Orders\"", "public.orders", false),
        ("\"Orders\"", "public.Orders", true),
        ("public.\"Or\"\"d.x\"", "public.\"Or\"\"d.x\"", true),
        ("a.b", "axb", false),
        ("ord", "orders", false),
        ("(x|orders)", "orders", false),
    ] {
        let mut rules = include(json!({"objectNames": [pattern]}));
        let expected = if matches { HeaderVerdict::Pass } else { HeaderVerdict::Drop };
        for again in 0..2 {
            assert_eq!(by_header(&mut rules, table, Operation::Insert), expected, "{pattern} {table} {again}");
        }
    }
}

#[test]
fn a_backslash_in_quotes_takes_a_wildcard_literally_and_nowhere_else() {
    for (pattern, table, matches) in [
        (r#"app."TOTAL\*""#, "app.TOTAL*", true),
        (r#"app."TOTAL\*""#, "app.TOTALS", false),
        (r#"app."TOTAL\*""#, r"app.TOTAL\*", false),
        (r#"app."TOTAL\*""#, "app.total*", false),
        (r#"HT."\?ABC""#, "HT.?ABC", true),
        (r#"HT."\?ABC""#, "HT.XABC", false),
        (r#""\**""#, "app.*orders", true),
        (r#""\**""#, "app.orders", false),
        (r#""A*""#, "app.ABC", true),
        (r#""A*""#, "app.abc", false),
        (r#"app."a\\*""#, r"app.a\b", true),
        (r#"app."a\\*""#, "app.a*", false),
        (r#"app."a\b""#, r"app.a\b", true),
        (r"app.a\*", r"app.a\bc", true),
        (r"app.a\*", "app.a*", false),
        (r#""a\*".*"#, "a*.orders", true),
        (r#""a\*".*"#, "ab.orders", false),
    ] {
        let mut rules = include(json!({"objectNames": [pattern]}));
        let expected = if matches { HeaderVerdict::Pass } else { HeaderVerdict::Drop };
        assert_eq!(by_header(&mut rules, table, Operation::Insert), expected, "{pattern} {table}");
    }
}

#[test]
fn three_part_names_begin_with_the_database_of_the_source() {
    let source = SourceIdentity::default();
    let mut early = include(json!({"objectNames": ["postgres.public.emp"]})).of_source(&source);
    let (system, history) = ("7", "1");
    source.set(&SourceParts { product: "toy", system, history, database: "postgres", reader: "slot" }.text());
    assert_eq!(
        by_header(&mut early, "public.emp", Operation::Insert),
        HeaderVerdict::Pass,
        "rules of before the first connection"
    );
    for (pattern, table, matches) in [
        ("postgres.public.emp", "public.emp", true),
        ("POSTGRES.PUBLIC.*", "public.emp", true),
        ("\"Postgres\".public.emp", "public.emp", false),
        ("\"postgres\".\"public\".\"emp\"", "public.emp", true),
        ("*.*.*", "public.emp", true),
        ("other.public.emp", "public.emp", false),
        ("postgres.public.emp", "other.emp", false),
        // A table's own three parts need no database before them, and a name without schema has none around it.
        ("postgres.public.emp", "emp", false),
        ("postgres.a.emp", "b.a.emp", false),
        // The schema of that name is meant.
        ("postgres.*", "public.emp", false),
        ("postgres.*", "postgres.emp", true),
    ] {
        let expected = if matches { HeaderVerdict::Pass } else { HeaderVerdict::Drop };
        let mut named = include(json!({"objectNames": [pattern]})).of_source(&source);
        assert_eq!(by_header(&mut named, table, Operation::Insert), expected, "{pattern} {table}");
        let condition = json!([{"table": pattern, "column": "id", "operator": "EQ", "value": 1}]);
        let mut column = include(json!({"columnValues": condition})).of_source(&source);
        let asks = by_header(&mut column, table, Operation::Insert) == HeaderVerdict::NeedsBody;
        assert_eq!(asks, matches, "{pattern} {table} as a condition's table");
        let mut of_puts = include(json!({"objectNames": [pattern]}));
        let is_schema = (pattern, table) == ("postgres.*", "postgres.emp");
        let passes = by_header(&mut of_puts, table, Operation::Insert) == HeaderVerdict::Pass;
        assert_eq!(passes, is_schema, "{pattern} {table} in a trail of puts");
    }
    let condition = json!([{"table": "postgres.public.orders", "column": "id", "operator": "EQ", "value": 1}]);
    let mut column = include(json!({"columnValues": condition})).of_source(&source);
    assert!(by_body(&mut column, Operation::Insert, None, Some(["1", "2", "\"x\""])));
    assert!(!by_body(&mut column, Operation::Insert, None, Some(["2", "2", "\"x\""])));
}

#[test]
fn a_name_with_everything_behind_it_is_a_schema_or_a_container() {
    for (pattern, table, matches) in [
        ("PDB1.*", "pdb1.hr.EMP", true),
        ("\"PDB1\".*", "PDB1.HR.EMP", true),
        ("\"PDB1\".*", "pdb1.hr.EMP", false),
        ("PDB1.*", "PDB1.EMP", true),
        ("PDB1.*", "PDB2.PDB1.EMP", true),
        ("PDB1.*", "PDB2.HR.EMP", false),
        ("PDB1.E*", "PDB1.HR.EMP", false),
        ("PDB?.*", "PDB1.HR.EMP", false),
        ("PDB?.*.*", "PDB1.HR.EMP", true),
    ] {
        let mut rules = include(json!({"objectNames": [pattern]}));
        let expected = if matches { HeaderVerdict::Pass } else { HeaderVerdict::Drop };
        assert_eq!(by_header(&mut rules, table, Operation::Insert), expected, "{pattern} {table}");
    }
}

#[test]
fn rules_that_match_no_table_are_found_and_those_that_name_none_are_not_among_them() {
    let rules = rules(json!([
        {"action": "exclude", "filter": {"objectNames": ["hr.pay", "nobody.*"]}},
        {"action": "exclude", "filter": {"objectNames": ["hr.payy"]}},
        {"action": "include", "filter": {"operationTypes": ["DELETE"]}},
        {"action": "include", "filter": {"columnValues": [{"table": "gone", "column": "a", "operator": "ISNULL"}]}},
        {"action": "include", "filter": {"objectNames": ["hr.*"], "columnValues": [
            {"table": "app.orders", "column": "a", "operator": "ISNULL"}]}},
        {"action": "include", "filter": {"objectNames": ["*.orders"]}},
    ]));
    let tables: Vec<_> = ["app.orders", "hr.pay"].map(|table| TableName::parse(table).unwrap()).into();
    assert_eq!(rules.without_table(tables.iter()), [1, 3, 4]);
    let many = vec![tables[0].clone(); limits::RULE_COMPARISONS_MAX / 4];
    assert!(rules.without_table(many.iter()).is_empty(), "it would take too long");
}

#[test]
fn operations_and_object_types_narrow_together() {
    let mut rules = include(json!({"objectTypes": ["DML"], "operationTypes": ["DELETE", "DDL"]}));
    for (operation, expected) in [
        (Operation::Delete, HeaderVerdict::Pass),
        (Operation::Insert, HeaderVerdict::Drop),
        (Operation::Ddl, HeaderVerdict::Drop),
    ] {
        assert_eq!(by_header(&mut rules, "a.b", operation), expected, "{operation:?}");
    }
}

#[test]
fn a_condition_on_values_asks_for_the_body() {
    let mut rules =
        include(json!({"objectNames": ["orders"], "columnValues": [{"column": "id", "operator": "EQ", "value": 1}]}));
    assert_eq!(by_header(&mut rules, "public.orders", Operation::Insert), HeaderVerdict::NeedsBody);
    assert_eq!(by_header(&mut rules, "public.other", Operation::Insert), HeaderVerdict::Drop);
}

#[test]
fn values_compare_as_exact_decimals_or_as_text() {
    for (condition, total, note, matches) in [
        (json!({"column": "total", "operator": "EQ", "value": 1.5}), "1.50", "null", true),
        (json!({"column": "total", "operator": "GT", "value": "9007199254740992"}), "9007199254740993", "null", true),
        (json!({"column": "total", "operator": "LT", "value": 9}), "10", "null", false),
        (json!({"column": "total", "operator": "EQ", "value": "x"}), "10", "null", false),
        (json!({"column": "total", "operator": "NE", "value": "x"}), "10", "null", true),
        (json!({"column": "\"total\"", "operator": "LT", "value": 0}), "10", "null", true),
        (json!({"column": "note", "operator": "EQ", "value": "a\"b"}), "1", "\"a\\\"b\"", true),
        (json!({"column": "note", "operator": "LT", "value": "9"}), "1", "\"10\"", true),
        (json!({"column": "note", "operator": "LIKE", "value": "a_c%"}), "1", "\"abcd\\ne\"", true),
        (json!({"column": "note", "operator": "LIKE", "value": "a\\_c"}), "1", "\"abc\"", false),
        (json!({"column": "note", "operator": "REGEX", "value": "b.d$"}), "1", "\"abcd\"", true),
        (json!({"column": "note", "operator": "ISNULL"}), "1", "null", true),
        (json!({"column": "note", "operator": "NOTNULL"}), "1", "null", false),
        (json!({"column": "note", "operator": "NE", "value": "x"}), "1", "null", false),
        (json!({"table": "other", "column": "id", "operator": "EQ", "value": 1}), "1", "null", false),
    ] {
        let mut rules = include(json!({"columnValues": [condition.clone()]}));
        let passed = by_body(&mut rules, Operation::Insert, None, Some(["1", total, note]));
        assert_eq!(passed, matches, "{condition} {total} {note}");
    }
}

#[test]
fn numbers_of_a_rule_compare_to_the_last_digit_and_in_any_size() {
    let (one, two) = ("123456789012345678901", "123456789012345678902");
    for (operator, value, total, matches) in [
        ("EQ", one, one, true),
        ("EQ", one, two, false),
        ("LE", one, two, false),
        ("GT", one, two, true),
        ("GT", "0", "1e9999999999", true),
        ("LT", "0", "-1e9999999999", true),
        ("GT", "0", "1e-9999999999", true),
        ("LT", "1e9999999999", "1e9999999998", true),
    ] {
        let condition = format!(r#"{{"column":"total","operator":"{operator}","value":{value}}}"#);
        let mut rules = include(json!({"columnValues": [serde_json::from_str::<Value>(&condition).unwrap()]}));
        let passed = by_body(&mut rules, Operation::Insert, None, Some(["1", total, "null"]));
        assert_eq!(passed, matches, "{operator} {value} {total}");
    }
}

#[test]
fn infinities_and_nan_of_a_column_of_numbers_compare_as_numbers() {
    let holds = |kind, json: &str, operator: &str, value: &Value| {
        let column = Column { name: "v".into(), kind, sql_type: String::new(), nullable: true, key: false };
        let table = TableName::parse("public.measures").unwrap();
        let schema = TableSchema { id: SchemaId(1), table, columns: vec![column] };
        let mut image = Vec::new();
        ImageWriter::new(&mut image).json(json.as_bytes());
        let after = Some(Image::whole(&image));
        let body = RecordBody { schema: Some(&schema), before: None, after, tokens: None };
        let header = RecordHeader { table: Some(&schema.table), operation: Operation::Insert, partition: None };
        include(json!({"columnValues": [{"column": "v", "operator": operator, "value": value}]})).decide(&header, &body)
    };
    let ordered = [r#""-Infinity""#, "-1e400", "-5", "0", "7.5", "1e400", r#""Infinity""#, r#""NaN""#];
    for (at, json) in ordered.iter().enumerate() {
        for (other, text) in ordered.iter().enumerate() {
            let value = Value::from(text.trim_matches('"'));
            let expected = [("LT", at < other), ("EQ", at == other), ("NE", at != other), ("GE", at >= other)];
            for (operator, expected) in expected {
                assert_eq!(holds(JsonKind::Float, json, operator, &value), expected, "{json} {operator} {text}");
            }
        }
    }
    assert!(holds(JsonKind::Float, r#""-Infinity""#, "LT", &json!(-1)), "a number of a rule too");
    // In a column of texts they are texts: "I" comes after "9".
    assert!(holds(JsonKind::String, r#""Infinity""#, "GT", &json!("9")));
    assert!(!holds(JsonKind::String, r#""Infinity""#, "EQ", &json!("inf")));
}

#[test]
fn a_column_of_the_exact_name_is_meant_before_one_in_other_case() {
    let column = |name: &str| Column {
        name: name.into(),
        kind: JsonKind::Number,
        sql_type: String::new(),
        nullable: true,
        key: false,
    };
    let schema = TableSchema {
        id: SchemaId(1),
        table: TableName::parse("public.cs").unwrap(),
        columns: vec![column("ID"), column("id"), column("Id")],
    };
    let mut bytes = Vec::new();
    let mut writer = ImageWriter::new(&mut bytes);
    ["1", "2", "3"].iter().for_each(|json| writer.json(json.as_bytes()));
    let after = Some(Image::split(&bytes).unwrap().0);
    let body = RecordBody { schema: Some(&schema), before: None, after, tokens: None };
    for (name, value) in [("ID", 1), ("id", 2), ("Id", 3), ("iD", 1), ("\"id\"", 2)] {
        let mut rules = include(json!({"columnValues": [{"column": name, "operator": "EQ", "value": value}]}));
        let header = RecordHeader { table: Some(&schema.table), operation: Operation::Insert, partition: None };
        assert!(rules.decide(&header, &body), "{name}");
    }
}

#[test]
fn an_unknown_column_matches_in_an_include_rule_and_not_in_an_exclude_rule() {
    let filter = json!({"columnValues": [{"column": "total", "operator": "GT", "value": 100}]});
    let only_key = Some(["1", "-", "-"]);
    assert!(by_body(&mut include(filter.clone()), Operation::Delete, only_key, None));
    assert!(by_body(&mut exclude(filter.clone()), Operation::Delete, only_key, None));
    assert!(by_body(&mut include(filter.clone()), Operation::Truncate, None, None));
    assert!(by_body(&mut exclude(filter.clone()), Operation::Truncate, None, None));
    assert!(!by_body(&mut include(filter.clone()), Operation::Delete, Some(["1", "7", "null"]), None));
    assert!(!by_body(&mut exclude(filter), Operation::Delete, Some(["1", "700", "null"]), None));
}

#[test]
fn a_condition_on_a_column_of_one_table_matches_nothing_of_another() {
    let filter = json!({"columnValues": [{"table": "HR.T", "column": "id", "operator": "EQ", "value": 1}]});
    let all = || Operation::ALL.into_iter();
    let (mut included, mut excluded) = (include(filter.clone()), exclude(filter.clone()));
    for operation in all() {
        assert_eq!(by_header(&mut included, "PAY.SALARIES", operation), HeaderVerdict::Drop, "{operation:?}");
        assert_eq!(by_header(&mut excluded, "PAY.SALARIES", operation), HeaderVerdict::Pass, "{operation:?}");
        assert_eq!(by_header(&mut included, "hr.t", operation), HeaderVerdict::NeedsBody, "{operation:?}");
    }
    let statement = RecordHeader { table: None, operation: Operation::Ddl, partition: None };
    assert_eq!(included.decide_header(&statement), HeaderVerdict::Drop, "a statement about no table");
    // Its own statements and TRUNCATE have no columns to ask, and pass.
    let table = TableName::parse("HR.T").unwrap();
    for operation in [Operation::Ddl, Operation::Truncate] {
        let header = RecordHeader { table: Some(&table), operation, partition: None };
        assert!(included.decide(&header, &RecordBody::default()), "{operation:?}");
        assert!(excluded.decide(&header, &RecordBody::default()), "{operation:?}");
    }
    assert!(!included.may_concern(&TableName::parse("PAY.SALARIES").unwrap()));
    // One condition of the list that names no table is about every table.
    let other = json!({"column": "total", "operator": "GT", "value": 9});
    let either = json!({"columnValues": [filter["columnValues"][0], other]});
    for operation in all() {
        assert_eq!(by_header(&mut include(either.clone()), "PAY.SALARIES", operation), HeaderVerdict::NeedsBody);
    }
}

#[test]
fn an_unchanged_value_is_the_one_before() {
    let filter = json!({"columnValues": [{"column": "note", "operator": "EQ", "value": "x"}]});
    let (before, after) = (Some(["1", "1", "\"y\""]), Some(["1", "2", "="]));
    assert!(!by_body(&mut include(filter.clone()), Operation::Update, before, after));
    assert!(by_body(&mut include(filter), Operation::Update, None, after), "unknown without a before image");
}

#[test]
fn either_image_is_enough() {
    let mut rules =
        include(json!({"columnValues": [{"column": "total", "operator": "EQ", "value": 5, "image": "either"}]}));
    assert!(by_body(&mut rules, Operation::Update, Some(["1", "5", "null"]), Some(["1", "6", "null"])));
    assert!(by_body(&mut rules, Operation::Update, Some(["1", "6", "null"]), Some(["1", "5.0", "null"])));
    assert!(!by_body(&mut rules, Operation::Insert, None, Some(["1", "6", "null"])));
}

#[test]
fn lists_or_and_members_and() {
    let filter = json!({
        "columnValues": [{"column": "id", "operator": "EQ", "value": 1}, {"column": "id", "operator": "EQ", "value": 2}],
        "userTokens": [{"name": "user", "operator": "EQ", "value": "ada"}],
    });
    let mut rules = include(filter.clone());
    assert!(by_body(&mut rules, Operation::Insert, None, Some(["2", "1", "null"])));
    assert!(!by_body(&mut rules, Operation::Insert, None, Some(["3", "1", "null"])));
    let mut other_user = filter;
    other_user["userTokens"][0]["value"] = "bob".into();
    assert!(!by_body(&mut include(other_user), Operation::Insert, None, Some(["2", "1", "null"])));
}

#[test]
fn a_token_that_is_not_there_is_null_and_numbers_in_tokens_compare_as_numbers() {
    for (condition, matches) in [
        (json!({"name": "level", "operator": "GT", "value": 9}), true),
        (json!({"name": "none", "operator": "ISNULL"}), true),
        (json!({"name": "none", "operator": "EQ", "value": ""}), false),
    ] {
        let mut rules = include(json!({"tags": [condition]}));
        assert_eq!(by_body(&mut rules, Operation::Insert, None, Some(["1", "1", "null"])), matches);
    }
}

#[test]
fn object_types_take_the_names_of_operations_too() {
    let mut rules = include(json!({"objectTypes": ["INSERT", "TRUNCATE"]}));
    for operation in Operation::ALL {
        let passes = matches!(operation, Operation::Insert | Operation::Truncate);
        let verdict = by_header(&mut rules, "a.b", operation);
        assert_eq!(verdict == HeaderVerdict::Pass, passes, "{operation:?}");
    }
}

#[test]
fn a_tag_that_is_only_named_must_be_there() {
    for (tags, matches) in [
        (json!(["user"]), true),
        (json!(["none"]), false),
        (json!(["none", "level"]), true),
        (json!(["none", {"name": "user", "operator": "EQ", "value": "ada"}]), true),
    ] {
        let mut rules = include(json!({ "tags": tags }));
        assert_eq!(by_body(&mut rules, Operation::Insert, None, Some(["1", "1", "null"])), matches, "{tags}");
    }
}

fn partitions(count: u16) -> CurrentPartitions {
    CurrentPartitions::new(Arc::new(PartitionMap::new(count)))
}

fn verdict_in(rules: &mut Rules, partition: u16, operation: Operation) -> HeaderVerdict {
    let table = TableName::parse("a.b").unwrap();
    let partition = rules.partition_of(partition, operation);
    rules.decide_header(&RecordHeader { table: Some(&table), operation, partition })
}

#[test]
fn partitions_match_by_number() {
    let mut rules = include(json!({"partitionNames": ["1*", "7"]})).of_partitions(&partitions(72));
    for (partition, passes) in [(1, true), (17, true), (7, true), (71, false), (0, false)] {
        let expected = if passes { HeaderVerdict::Pass } else { HeaderVerdict::Drop };
        assert_eq!(verdict_in(&mut rules, partition, Operation::Insert), expected, "{partition}");
    }
    for operation in [Operation::Ddl, Operation::Truncate] {
        let verdict = verdict_in(&mut rules, 0, operation);
        assert_eq!(verdict, HeaderVerdict::Pass, "it is about a table, with rows in any partition");
    }
    assert!(rules.may_pass(&TableName::parse("a.b").unwrap()));
}

#[test]
fn a_rule_means_what_was_split_off_its_partitions_since_it_was_asked_first() {
    let current = partitions(2);
    let names = json!({"partitionNames": ["0"]});
    let mut included = include(names.clone()).of_partitions(&current);
    let mut excluded = rules(json!([{"action": "exclude", "filter": names}])).of_partitions(&current);
    let mut check = |of_it: &[u16], of_others: &[u16]| {
        for partition in of_it.iter().chain(of_others) {
            let is_of_it = of_it.contains(partition);
            for (rules, passes) in [(&mut included, is_of_it), (&mut excluded, !is_of_it)] {
                let verdict = verdict_in(rules, *partition, Operation::Insert);
                assert_eq!(verdict == HeaderVerdict::Pass, passes, "{partition}");
            }
        }
    };
    check(&[0], &[1]);
    let split = current.get().split(0, None, 1).unwrap().split(1, None, 2).unwrap();
    current.set(Arc::new(split));
    check(&[0, 2, 3], &[1, 4, 5]);
}

#[test]
fn a_rule_that_excludes_partitions_excludes_no_statement() {
    let excluded = rules(json!([{"action": "exclude", "filter": {"partitionNames": ["*"]}}]));
    let mut rules = excluded.of_partitions(&partitions(2));
    assert_eq!(verdict_in(&mut rules, 0, Operation::Insert), HeaderVerdict::Drop);
    assert_eq!(verdict_in(&mut rules, 0, Operation::Ddl), HeaderVerdict::Pass);
}

#[test]
fn the_only_partition_of_a_trail_has_no_name() {
    let mut rules = include(json!({"partitionNames": ["*"]})).of_partitions(&partitions(1));
    assert_eq!(verdict_in(&mut rules, 0, Operation::Insert), HeaderVerdict::Drop);
}

#[test]
fn only_rules_that_may_take_long_to_ask_are_costly() {
    let condition = json!({"column": "id", "operator": "EQ", "value": 1});
    let conditions = |count: usize| include(json!({"columnValues": vec![condition.clone(); count]}));
    let names = |pattern: &str, rules_of: usize| {
        let rule = json!({"action": "include", "filter": {"objectNames": vec![pattern; 1_000]}});
        rules(json!(vec![rule; rules_of]))
    };
    assert!(!conditions(limits::INLINE_CONDITIONS_MAX).are_costly());
    assert!(conditions(limits::INLINE_CONDITIONS_MAX + 1).are_costly());
    assert!(!names("app.orders", 10).are_costly() && !names("app.*", 1).are_costly());
    assert!(names("app.*", 2).are_costly());
}

#[test]
fn a_pattern_that_does_not_compile_names_its_place() {
    let refused = |filter: Value| {
        let config = json!({"source": {"trail": "a1"}, "rules": [{"action": "include", "filter": filter}]});
        Rules::compile(&StreamConfig::from_value(config).unwrap()).unwrap_err().member
    };
    let regex = |value: &str| json!({"columnValues": [{"column": "a", "operator": "REGEX", "value": value}]});
    assert_eq!(refused(regex("(")), "rules[0].filter.columnValues[0]");
    assert_eq!(refused(regex("(a{1000}){1000}")), "rules[0].filter.columnValues[0]");
    assert_eq!(refused(json!({"objectNames": ["a", "a.b.c.d"]})), "rules[0].filter.objectNames[1]");
}
