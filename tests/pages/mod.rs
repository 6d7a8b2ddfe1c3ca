//! Goal: whatever a page tells people to type works as it is written, in the page's order. Method: type it, in a copy of the
//! checkout.
//!
//! Every fenced block of a page is run, or says why not. What is known of a block beside its text stands in the source of
//! the page, in comments of HTML directly before it, where readers of the page do not see it:
//!
//! | comment | meaning |
//! |---|---|
//! | `<!-- not run: REASON -->` | it is not run here, because of that |
//! | `<!-- stays: TEXT -->` | its last command goes on, in a terminal of its own; the next block comes once TEXT was printed |
//! | `<!-- Ctrl-C: WHAT -->` | before it, everything that stays is ended with Ctrl-C |
//! | `<!-- once: SELECT … -->` | it is run once the page's database answers this with a row |
//! | `<!-- again while: TEXT -->` | it is run again as long as it fails and prints TEXT |
//! | `<!-- file: NAME -->` | it is written to the file NAME, which later blocks use |
//!
//! Blocks without a language are typed into a shell; `console` has commands behind `$`; `sql` goes to the page's database,
//! `python` to the interpreter; `toml` is checked by `trailcast config check`; `json` and `yaml` are parsed.

mod block;
mod checkout;
mod inline;
mod setting;
mod terminal;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::clients::project;
use block::Block;
use checkout::Checkout;
use setting::Setting;

macro_rules! pages {
    ($($test:ident: $page:literal;)*) => {
        /// Every page that is run.
        const PAGES: &[&str] = &[$($page),*];

        $(
            #[test]
            fn $test() {
                run($page);
            }
        )*
    };
}

pages! {
    the_readme_works_as_typed: "README.md";
    the_page_of_authentication_works_as_typed: "docs/authentication.md";
    the_page_of_backups_works_as_typed: "docs/backup.md";
    the_page_of_clients_works_as_typed: "docs/clients.md";
    the_page_of_the_configuration_file_works_as_typed: "docs/configuration-file.md";
    the_page_of_a_streams_configuration_works_as_typed: "docs/configuration-stream.md";
    the_page_of_coverage_works_as_typed: "docs/coverage.md";
    the_page_of_extracts_works_as_typed: "docs/extracts.md";
    the_page_of_groups_works_as_typed: "docs/groups.md";
    the_page_of_the_initial_load_works_as_typed: "docs/initial-load.md";
    the_page_of_limits_works_as_typed: "docs/limits.md";
    the_page_of_metrics_works_as_typed: "docs/metrics.md";
    the_page_of_operating_works_as_typed: "docs/operating.md";
    the_page_of_partitions_works_as_typed: "docs/partitions.md";
    the_page_of_performance_works_as_typed: "docs/performance.md";
    the_page_of_postgresql_works_as_typed: "docs/postgresql.md";
    the_page_of_polls_works_as_typed: "docs/pull-reads.md";
    the_page_of_puts_works_as_typed: "docs/puts.md";
    the_page_of_values_works_as_typed: "docs/values.md";
    the_page_of_masking_works_as_typed: "docs/masking.md";
}

fn run(page: &str) {
    let text = std::fs::read_to_string(project().join(page)).unwrap();
    let Some(setting) = Setting::of(page) else { return };
    run_text(page, &text, setting);
}

/// Runs what is there of a page; panics with the place of the first block that does not work.
fn run_text(page: &str, text: &str, setting: Setting) {
    let blocks = block::blocks(page, text);
    let mut checkout = Checkout::new(setting);
    let mut ran = 0;
    for block in &blocks {
        ran += usize::from(checkout.run(block));
    }
    println!("{page}: {ran} blocks run, {} not", blocks.len() - ran);
}

#[test]
fn every_page_is_among_them() {
    let mut pages = vec!["README.md".to_owned()];
    for entry in std::fs::read_dir(project().join("docs")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort();
    let mut known = PAGES.to_vec();
    known.sort_unstable();
    assert_eq!(pages, known);
}

#[test]
fn every_command_in_the_text_of_a_page_has_the_words_and_flags_that_it_is_given() {
    let mut commands = 0;
    for page in PAGES {
        let text = std::fs::read_to_string(project().join(page)).unwrap();
        for command in inline::commands(&text) {
            inline::check(&command).unwrap_or_else(|what| panic!("{page}: `{command}`: {what}"));
            commands += 1;
        }
    }
    assert!(commands > 20, "{commands} commands");
    for wrong in ["trailcast tial s1", "trailcast trail lst", "trailcast trail ls|inf", "trailcast tail --resum FILE"] {
        assert!(inline::check(wrong).is_err(), "{wrong}");
    }
}

/// What the test says of a page with this text.
fn complaint(text: &str, setting: Setting) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| run_text("page.md", text, setting))).expect_err("it passes");
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_command_that_is_wrong_is_seen() {
    let wrong = [
        ("some\n\n```\ntrue\nfalse\ntrue\n```\n", "page.md:3"),
        ("```\ntrue\n```\n\n```\nfalse | true\n```\n", "page.md:5"),
        ("```\ntrailcast put\n```\n", "the following required arguments were not provided"),
        ("```\ncargo run -- demo\n```\n", "this test does not know cargo run -- demo"),
        ("```console\n$ ls nowhere\nnowhere\n```\n", "nowhere"),
        ("```json\n{\"a\": }\n```\n", "page.md:1"),
        ("```toml\nlisen = \"127.0.0.1:1\"\n```\n", "did you mean"),
        ("<!-- stays: ready -->\n```\necho is it\n```\n", "it ends and has not printed `ready`"),
    ];
    for (text, says) in wrong {
        let said = complaint(text, Setting::bare());
        assert!(said.contains(says), "{text}: {said}");
    }
}

#[test]
fn a_request_that_the_server_refuses_is_seen() {
    let refused = "```\ncurl -u admin:choose-one http://127.0.0.1:9002/services/v2/trails\n```\n\n\
                   ```\ncurl -u admin:choose-one http://127.0.0.1:9002/services/v2/trails/nothing\n```\n";
    let Some(setting) = Setting::of("docs/puts.md") else { return };
    let said = complaint(refused, setting);
    assert!(said.contains("page.md:5") && said.contains("trail nothing does not exist"), "{said}");
}

#[test]
fn a_block_is_run_or_says_why_not() {
    for (text, says) in [
        ("```haskell\nmain\n```\n", "page.md:1: a block of haskell is neither run nor marked"),
        ("<!-- not run: no time -->\n\n```haskell\nmain\n```\n", "neither run nor marked"),
        ("<!-- not run -->\n```\ntrue\n```\n", "page.md:2: the mark `not run` gives no reason"),
        ("<!-- norun: because -->\n```\ntrue\n```\n", "page.md:2: `norun` is no mark"),
        ("```\ntrue\n", "page.md:1: the block has no end"),
        ("```sql\nSELECT 1;\n```\n", "page.md:1: the page has no database"),
    ] {
        let said = complaint(text, Setting::bare());
        assert!(said.contains(says), "{text}: {said}");
    }
    run_text("page.md", "<!-- not run: for a reason -->\n```haskell\nmain\n```\n", Setting::bare());
}

#[test]
fn a_block_is_read_with_its_marks_and_without_its_indentation() {
    let text = "1. So:\n\n   <!-- Ctrl-C: all -->\n   <!-- stays: up -->\n   ```\n   a\n     b\n   ```\n";
    let blocks = block::blocks("page.md", text);
    assert_eq!(blocks.len(), 1);
    let Block { line, language, text, .. } = &blocks[0];
    assert_eq!((*line, language.as_str(), text.as_str()), (5, "", "a\n  b\n"));
    assert_eq!(
        (blocks[0].mark("Ctrl-C"), blocks[0].mark("stays"), blocks[0].mark("once")),
        (Some("all"), Some("up"), None)
    );
}
