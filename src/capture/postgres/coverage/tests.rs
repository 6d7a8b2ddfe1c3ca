//! Coverage without a server: what PostgreSQL's catalogue would say, changed between two looks as people change it.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Beginning, Found, Known, Loss};
use super::facts::{Naming, PublicationRow, RelationEntryRow, Rows, SchemaEntryRow, Seen, TableRow};
use crate::capture::postgres::lsn::Lsn;
use crate::capture::postgres::row_filters::RowFilters;

const PUBLIC: u32 = 50;
const OTHER: u32 = 51;

/// A catalogue that is changed between looks; the log grows by ten with each.
struct Source {
    rows: Rows,
    patterns: Vec<String>,
    known: Known,
    log: u64,
    /// Row filters that are asked for.
    filters: RowFilters,
}

fn table(oid: u32, name: &str) -> TableRow {
    TableRow {
        oid,
        schema: "public".into(),
        name: name.into(),
        schema_oid: PUBLIC,
        naming: Naming { xmin: oid, owner: 10 },
        partitioned: false,
        ancestors: Vec::new(),
    }
}

fn listed(oid: u32, table: u32) -> RelationEntryRow {
    RelationEntryRow { oid, xmin: oid, publication: 1, table, filter: None, left_out: None }
}

impl Source {
    /// A publication without tables, and an extract of `pattern`, `schema.table` with `*` for all.
    fn new(pattern: &str) -> Self {
        let publication = PublicationRow {
            oid: 1,
            xmin: 1,
            name: "p".into(),
            owner: 10,
            all: false,
            insert: true,
            update: true,
            delete: true,
            truncate: true,
            via_root: true,
            inserts_only: false,
        };
        let rows = Rows { xmin: 100, xmax: 100, publications: vec![publication], ..Rows::default() };
        Self { rows, patterns: vec![pattern.into()], known: Known::default(), log: 0, filters: RowFilters::default() }
    }

    /// The same with tables of `public`, each published by itself and all seen once.
    fn publishing(pattern: &str, tables: &[(u32, &str)]) -> Self {
        let mut source = Self::new(pattern);
        for (oid, name) in tables {
            source.rows.tables.push(table(*oid, name));
            source.rows.relations.push(listed(1000 + oid, *oid));
        }
        source.settle();
        source
    }

    /// The same with the schema `public` published as a whole.
    fn publishing_schema(pattern: &str, tables: &[(u32, &str)]) -> Self {
        let mut source = Self::publishing(pattern, &[]);
        source.rows.tables = tables.iter().map(|(oid, name)| table(*oid, name)).collect();
        source.rows.schemas = vec![SchemaEntryRow { oid: 900, xmin: 900, publication: 1, schema: PUBLIC }];
        source.settle();
        source
    }

    fn publication(&mut self) -> &mut PublicationRow {
        &mut self.rows.publications[0]
    }

    fn table(&mut self, oid: u32) -> &mut TableRow {
        self.rows.tables.iter_mut().find(|table| table.oid == oid).unwrap()
    }

    fn drop_table(&mut self, oid: u32) {
        self.rows.tables.retain(|table| table.oid != oid);
        self.rows.relations.retain(|row| row.table != oid);
    }

    fn seen(&mut self) -> Seen {
        let matches = |part: &str, name: &str| part == "*" || part == name;
        let patterns: Vec<(String, String)> = self
            .patterns
            .iter()
            .map(|pattern| pattern.split_once('.').unwrap())
            .map(|(schema, table)| (schema.to_owned(), table.to_owned()))
            .collect();
        let captures = |schema: &str, table: &str| {
            patterns.iter().any(|pattern| matches(&pattern.0, schema) && matches(&pattern.1, table))
        };
        let mut seen = self.rows.seen(captures, &self.filters);
        (seen.before, seen.after) = (Lsn(self.log), Lsn(self.log + 1));
        self.log += 10;
        seen
    }

    fn look(&mut self) -> Found {
        let seen = self.seen();
        let added = BTreeSet::new();
        let beginning = Beginning { fresh: true, position: Lsn(0), added: &added };
        self.known.compare(&seen, &self.patterns, beginning)
    }

    /// A look that is taken for granted.
    fn settle(&mut self) {
        let seen = self.seen();
        self.known.absorb(&seen, &self.patterns);
    }

    fn lost(&mut self) -> Vec<String> {
        let found = self.look();
        assert_eq!(named(&found.joined), [""; 0], "joined");
        named(&found.lost)
    }

    fn joined(&mut self) -> Vec<String> {
        let found = self.look();
        assert_eq!(named(&found.lost), [""; 0], "lost");
        named(&found.joined)
    }

    fn nothing(&mut self) {
        assert_eq!(self.look(), Found::default());
    }
}

fn named(losses: &[Loss]) -> Vec<String> {
    losses.iter().map(|loss| format!("{} {}", loss.table, if loss.covered { "again" } else { "still" })).collect()
}

#[test]
fn what_stays_published_is_no_loss_whatever_else_happens() {
    let mut source = Source::publishing("public.*", &[(5, "t")]);
    source.nothing();
    source.publication().owner = 11;
    source.publication().xmin = 2;
    source.nothing();
    source.table(5).naming = Naming { xmin: 77, owner: 11 };
    source.nothing();
    source.table(5).name = "renamed_within_the_patterns".into();
    source.table(5).naming.xmin = 78;
    source.nothing();
}

#[test]
fn a_table_that_is_dropped_for_good_or_leaves_the_patterns_is_no_loss() {
    let mut source = Source::publishing("public.t", &[(5, "t")]);
    source.table(5).name = "u".into();
    source.nothing();
    source.table(5).name = "t".into();
    source.table(5).schema = "other".into();
    source.nothing();
    source.drop_table(5);
    source.nothing();
}

#[test]
fn a_table_that_is_dropped_and_made_again_is_lost_until_it_is_published_and_says_so_even_then() {
    for waits in [false, true] {
        let mut source = Source::publishing("public.*", &[(5, "t")]);
        source.drop_table(5);
        if waits {
            source.settle();
        }
        source.rows.tables.push(table(6, "t"));
        assert_eq!(source.lost(), ["public.t still"], "{waits}");
        source.rows.relations.push(listed(1006, 6));
        assert_eq!(source.lost(), ["public.t again"], "{waits}");
    }
}

#[test]
fn a_table_of_a_whole_schema_may_be_made_again_and_new_ones_flow_from_their_first_row() {
    let mut source = Source::publishing_schema("public.*", &[(5, "t")]);
    source.drop_table(5);
    source.rows.tables.push(table(6, "t"));
    source.rows.tables.push(table(7, "new"));
    source.nothing();
}

#[test]
fn a_schema_that_is_made_again_is_not_published_any_more() {
    let mut source = Source::publishing_schema("public.*", &[(5, "t")]);
    source.drop_table(5);
    source.rows.schemas.clear();
    source.rows.tables.push(TableRow { schema_oid: 60, ..table(6, "t") });
    assert_eq!(source.lost(), ["public.t still"]);
    source.rows.schemas.push(SchemaEntryRow { oid: 901, xmin: 901, publication: 1, schema: 60 });
    assert_eq!(source.lost(), ["public.t again"]);
}

#[test]
fn a_table_that_comes_back_under_its_name_may_have_changed_meanwhile() {
    let mut source = Source::publishing("public.t", &[(5, "t")]);
    let left = source.log - 10;
    source.table(5).name = "u".into();
    source.settle();
    source.settle();
    source.table(5).name = "t".into();
    let found = source.look();
    assert_eq!((named(&found.joined), found.joined[0].from), (vec!["public.t again".into()], Lsn(left)));
    assert_eq!(found.joined[0].unless_untouched, BTreeSet::from([5]));
}

#[test]
fn a_table_that_was_renamed_and_is_back_between_two_looks_is_seen() {
    for whole in [false, true] {
        let publishing = if whole { Source::publishing_schema } else { Source::publishing };
        let mut source = publishing("public.*", &[(5, "t")]);
        source.table(5).naming.xmin = 77;
        assert_eq!(source.joined(), ["public.t again"], "{whole}");
    }
}

#[test]
fn two_tables_that_swap_names_are_told_apart_by_their_numbers() {
    // Both are captured: each row is in the trail under the name of its time.
    let mut both = Source::publishing("public.*", &[(5, "t"), (6, "u")]);
    both.table(5).name = "u".into();
    both.table(6).name = "t".into();
    both.nothing();
    // Only one is, and the other is not published.
    let mut one = Source::publishing("public.t", &[(5, "t")]);
    one.rows.tables.push(table(6, "u"));
    one.settle();
    one.table(5).name = "old".into();
    one.table(6).name = "t".into();
    assert_eq!(one.lost(), ["public.t still"]);
    let mut mended = Source::publishing("public.t", &[(5, "t")]);
    mended.rows.tables.push(table(6, "u"));
    mended.settle();
    mended.table(5).name = "old".into();
    mended.table(6).name = "t".into();
    mended.rows.relations.push(listed(1006, 6));
    assert_eq!(mended.lost(), ["public.t again"]);
    // The other is published too, but was not captured.
    one.rows.relations.push(listed(1006, 6));
    one.rows.schemas.push(SchemaEntryRow { oid: 900, xmin: 900, publication: 1, schema: PUBLIC });
    one.table(5).name = "t".into();
    one.table(6).name = "u".into();
    one.settle();
    one.table(5).name = "old".into();
    one.table(6).name = "t".into();
    assert_eq!(one.joined(), ["public.t again"]);
}

#[test]
fn a_publication_or_an_entry_that_is_made_again_between_two_looks_is_seen() {
    let changes: [fn(&mut Source); 4] = [
        |source| source.publication().oid = 2,
        // `publish` was narrowed and put back.
        |source| source.publication().xmin = 2,
        |source| source.rows.relations[0].oid = 1100,
        |source| source.rows.relations[0].xmin = 1100,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut source = Source::publishing("public.*", &[(5, "t")]);
        change(&mut source);
        if at == 0 {
            source.rows.relations[0].publication = 2;
        }
        assert_eq!(source.lost(), ["public.t again"], "{at}");
    }
}

#[test]
fn a_row_filter_that_is_asked_for_is_no_loss_and_another_one_is() {
    let mut source = Source::publishing("public.*", &[(5, "t"), (6, "u")]);
    source.filters = RowFilters::of(5, "(id > 1)");
    let told = |source: &mut Source| source.look().lost.into_iter().map(|loss| loss.why).collect::<Vec<_>>();
    assert_eq!(told(&mut source), ["its row filter is not the one that is asked for"], "none at all");
    source.rows.relations[0].filter = Some("(id > 2)".into());
    assert_eq!(told(&mut source), ["its row filter is not the one that is asked for"]);
    source.rows.relations[0].filter = Some("(id > 1)".into());
    source.nothing();
    // A second publication of the same table lets through what it does not leave out.
    source.rows.relations.push(listed(2000, 5));
    assert_eq!(told(&mut source), ["its row filter is not the one that is asked for"]);
}

#[test]
fn a_filter_that_we_change_ourselves_is_no_break_and_one_that_was_changed_before_is() {
    for (by_hand, expected) in [(false, &[][..]), (true, &["public.t again"])] {
        let mut source = Source::publishing("public.*", &[(5, "t")]);
        source.filters = RowFilters::of(5, "(id > 1)");
        if by_hand {
            source.rows.relations[0] = RelationEntryRow { filter: Some("(id > 9)".into()), ..listed(1700, 5) };
        }
        let before = source.seen();
        source.rows.relations[0] = RelationEntryRow { filter: Some("(id > 1)".into()), ..listed(1800, 5) };
        let mut after = source.seen();
        after.goes_on_from(&before);
        let added = BTreeSet::new();
        let beginning = Beginning { fresh: false, position: Lsn(0), added: &added };
        let found = source.known.compare(&after, &source.patterns, beginning);
        assert_eq!(named(&found.lost), expected);
    }
}

#[test]
fn what_a_publication_leaves_out_is_named() {
    type Change = fn(&mut Source);
    let changes: [(Change, &str); 5] = [
        (|source| source.publication().update = false, "operations update"),
        (|source| source.publication().truncate = false, "operations truncate"),
        (|source| source.rows.relations[0].filter = Some("(id > 1)".into()), "row filter"),
        (|source| source.rows.relations[0].left_out = Some(vec!["secret".into()]), "secret"),
        (|source| source.rows.relations.clear(), "not published"),
    ];
    for (change, named_as) in changes {
        let mut source = Source::publishing("public.*", &[(5, "t")]);
        change(&mut source);
        let found = source.look();
        assert!(!found.lost[0].covered && found.lost[0].why.contains(named_as), "{found:?}");
        // The same at creation, where there is nothing to compare with.
        source.known = Known::default();
        let found = source.look();
        assert!(found.lost[0].why.contains(named_as), "{found:?}");
    }
    let mut whole = Source::publishing("public.*", &[(5, "t")]);
    whole.rows.relations[0].left_out = Some(Vec::new());
    whole.nothing();
}

fn partitioned(pattern: &str) -> Source {
    let mut source = Source::publishing(pattern, &[(5, "t")]);
    source.table(5).partitioned = true;
    source.rows.tables.push(TableRow { ancestors: vec![5], ..table(6, "t1") });
    source.settle();
    source
}

#[test]
fn without_the_root_flag_rows_come_under_names_that_the_patterns_may_not_take_in() {
    let mut root = partitioned("public.t");
    root.nothing();
    root.publication().via_root = false;
    assert_eq!(root.lost(), ["public.t still"]);
    let mut all = partitioned("public.*");
    all.publication().via_root = false;
    // Each partition's rows are in the trail, under the partition's name.
    all.nothing();
    let mut leaf = Source::publishing("public.t1", &[]);
    leaf.rows.tables =
        vec![TableRow { partitioned: true, ..table(5, "t") }, TableRow { ancestors: vec![5], ..table(6, "t1") }];
    leaf.rows.relations = vec![listed(1006, 6)];
    leaf.settle();
    leaf.rows.relations.push(listed(1005, 5));
    assert_eq!(leaf.lost(), ["public.t1 still"]);
}

#[test]
fn a_partition_that_is_detached_is_a_later_table_and_one_that_comes_back_may_have_changed() {
    let mut source = partitioned("public.*");
    source.table(6).ancestors.clear();
    assert_eq!(source.joined(), ["public.t1 still"]);
    let mut root = partitioned("public.t");
    root.table(6).ancestors.clear();
    root.nothing();
    root.settle();
    root.table(6).ancestors.push(5);
    let found = root.look();
    assert_eq!(named(&found.joined), ["public.t again"]);
    assert_eq!(found.joined[0].unless_untouched, BTreeSet::from([6]));
}

#[test]
fn a_later_table_that_nobody_published_joins() {
    let mut source = Source::publishing("public.*", &[(5, "t")]);
    source.rows.tables.push(table(6, "u"));
    assert_eq!(source.joined(), ["public.u still"]);
    source.rows.relations.push(listed(1006, 6));
    assert_eq!(source.joined(), ["public.u again"]);
}

#[test]
fn what_new_patterns_take_in_need_not_have_flowed_before() {
    let mut source = Source::publishing("public.t", &[(5, "t")]);
    source.rows.tables.push(table(6, "u"));
    source.rows.relations.push(listed(1006, 6));
    source.settle();
    source.patterns = vec!["public.*".into()];
    source.nothing();
    source.rows.relations.pop();
    assert_eq!(source.lost(), ["public.u still"]);
}

#[test]
fn a_table_that_moves_to_another_captured_schema_is_followed() {
    let mut source = Source::publishing("*.t", &[(5, "t")]);
    (source.table(5).schema, source.table(5).schema_oid) = ("other".into(), OTHER);
    source.nothing();
    let mut whole = Source::publishing_schema("*.t", &[(5, "t")]);
    (whole.table(5).schema, whole.table(5).schema_oid) = ("other".into(), OTHER);
    assert_eq!(whole.lost(), ["other.t still"]);
}

#[test]
fn a_gap_begins_where_every_transaction_that_might_have_changed_the_publication_had_not_begun() {
    let mut source = Source::publishing("public.*", &[(5, "t")]);
    // Somebody has been at work since before the second look.
    let safe = source.log - 10;
    (source.rows.xmin, source.rows.xmax) = (100, 101);
    source.settle();
    source.rows.xmax = 150;
    source.settle();
    source.rows.relations.clear();
    assert_eq!(source.look().lost[0].from, Lsn(safe));
    // That one has ended: the next look is one to go by.
    source.rows.relations.push(listed(1005, 5));
    (source.rows.xmin, source.rows.xmax) = (150, 150);
    source.settle();
    source.rows.relations.clear();
    assert_eq!(source.look().lost[0].from, Lsn(source.log - 20));
}

#[test]
fn a_gap_ends_when_whoever_wrote_before_the_table_was_covered_again_has_ended() {
    let mut source = Source::publishing("public.*", &[(5, "t")]);
    source.rows.relations.clear();
    let found = source.look();
    source.known.open(&found.lost[0]);
    source.settle();
    let writers = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let seen = source.seen();
    assert_eq!(source.known.covered_again(&seen), []);
    assert_eq!(source.known.degraded(), BTreeMap::from([("public.t".into(), "it is not published".into())]));
    source.nothing();
    source.rows.relations.push(listed(1100, 5));
    let seen = source.seen();
    assert_eq!(named(&source.known.covered_again(&seen)), ["public.t again"]);
    assert!(source.known.still_waits("public.t", &writers(&["1/1", "2/2"])));
    assert!(source.known.still_waits("public.t", &writers(&["2/2", "3/3"])));
    assert!(!source.known.still_waits("public.t", &writers(&["3/3"])));
    source.known.close("public.t");
    source.settle();
    source.nothing();
    // A table that is dropped has no more rows to lose.
    source.rows.relations.clear();
    let found = source.look();
    source.known.open(&found.lost[0]);
    source.drop_table(5);
    let seen = source.seen();
    assert_eq!(named(&source.known.covered_again(&seen)), ["public.t again"]);
}

#[test]
fn what_is_known_reads_back_as_it_was_kept() {
    let mut source = partitioned("public.*");
    source.rows.relations[0].left_out = Some(vec!["a".into()]);
    let found = source.look();
    source.known.open(&found.lost[0]);
    source.settle();
    let kept = serde_json::to_value(&source.known).unwrap();
    assert_eq!(serde_json::from_value::<Known>(kept).unwrap(), source.known);
}

#[test]
fn a_look_that_an_earlier_build_did_not_take_finds_only_what_is_not_given_now_and_what_was_just_published() {
    let mut source = Source::publishing("public.*", &[(5, "t"), (6, "u")]);
    source.known = Known::default();
    let seen = source.seen();
    let added = BTreeSet::from(["public.u".to_owned()]);
    let beginning = Beginning { fresh: false, position: Lsn(7), added: &added };
    let found = source.known.compare(&seen, &source.patterns, beginning);
    assert_eq!((named(&found.lost), named(&found.joined)), (vec![], vec!["public.u again".to_owned()]));
    assert_eq!(found.joined[0].from, Lsn(7));
}
