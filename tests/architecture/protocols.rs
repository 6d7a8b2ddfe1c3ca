//! Rules on what belongs to one protocol: the numbers of close codes stand in one table, and what serves every protocol says
//! no word of one.

use super::{Breach, Source, breaks, files_below, nothing_breaks};

/// The numbers of the table of close codes, as it is written.
fn close_code_numbers() -> Vec<u16> {
    let table = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/codec/close_code.rs");
    let text = std::fs::read_to_string(table).unwrap();
    let rows = text.lines().filter_map(|line| line.trim().split_once(" = ")?.1.split_once(','));
    let numbers: Vec<u16> = rows.filter_map(|(number, _)| number.parse().ok()).collect();
    assert!(numbers.contains(&1001) && numbers.contains(&4020), "the table was not found");
    numbers
}

fn close_codes(source: &Source) -> Vec<Breach> {
    if source.is("codec/close_code.rs") {
        return Vec::new();
    }
    let known = close_code_numbers();
    source.breaches(|code| {
        let mut numbers = numbers_in(code);
        let code = numbers.find(|number| known.contains(number));
        code.map(|code| format!("the close code {code} has a name in codec/close_code.rs"))
    })
}

/// The whole numbers of a line that are values of the program. One behind a word stands in a text of several lines.
fn numbers_in(code: &str) -> impl Iterator<Item = u16> {
    let is_of_word = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(is_of_word).map(|(at, _)| at).filter_map(move |at| {
        let (before, rest) = code.split_at(at);
        if before.ends_with(is_of_word) {
            return None;
        }
        let word = rest.split(|character| !is_of_word(character)).next().unwrap_or_default();
        let word_before = before.trim_end().rsplit(|character| !is_of_word(character)).next().unwrap_or_default();
        let is_value = word_before.is_empty() || ["return", "in", "if", "while", "match"].contains(&word_before);
        word.strip_suffix("u16").unwrap_or(word).parse().ok().filter(|_| is_value)
    })
}

#[test]
fn only_the_table_of_close_codes_has_their_numbers() {
    nothing_breaks(close_codes);
}

#[test]
fn the_rule_of_close_codes_sees_them() {
    assert!(breaks(close_codes, "delivery/end.rs", "            Self::Gone => 4020,"));
    assert!(breaks(close_codes, "listen/pump.rs", "self.close(EndReason::Slow, 4011u16, text);"));
    assert!(breaks(close_codes, "client/subscription.rs", "matches!(self, Self::Closed { code: 4001 | 4013, .. })"));
    assert!(!breaks(close_codes, "delivery/end.rs", "Self::Gone => CloseCode::GONE, // 4020"));
    assert!(!breaks(close_codes, "cli/user/mod.rs", "let help = \"sessions end with 4001\";"));
    assert!(breaks(close_codes, "cli/tail/mod.rs", "        return 4_011.min(1006);"));
    assert!(!breaks(close_codes, "cli/user/mod.rs", "A new password ends the user's sessions (close code 4001).\";"));
    assert!(!breaks(close_codes, "limits.rs", "pub const CAP: u64 = 4_000;\npub const OTHER: u64 = 4096;"));
    assert!(!breaks(close_codes, "codec/close_code.rs", "GONE = 4020, Stop, \"\";"));
}

/// Folders that serve every protocol alike.
const NEUTRAL: &[&str] = &["delivery/", "listen/", "service/", "access/"];
/// What only a protocol's face, or its format in `codec/`, may say: in a name, or in a text that the program uses.
const PROTOCOL_WORDS: &[&str] = &[
    "goldengate",
    "ogg-",
    "services/v2",
    "$schema",
    "kinesis",
    "x-amz",
    "amazonaws",
    "shard",
    "/20180418",
    "opc-",
    "x-here",
    "/mcp",
];
/// Lines of today that say one all the same, by file and word. The list may only shrink.
const PROTOCOL_WORDS_TODAY: &[(&str, &str)] = &[];

impl Source {
    /// Numbered lines of the program itself, with their texts and without their comments.
    fn code_and_texts(&self) -> Vec<(usize, String)> {
        let lines: Vec<&str> = self.text.lines().collect();
        let code = self.code().into_iter().map(|(number, _)| (number, lines[number - 1]));
        code.map(|(number, line)| (number, without_comment(line).to_owned())).collect()
    }
}

/// One line up to its comment.
fn without_comment(line: &str) -> &str {
    let mut in_string = false;
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        match character {
            '"' if before != '\\' && before != '\'' => in_string = !in_string,
            '/' if !in_string && before == '/' => return &line[..at - 1],
            _ => {}
        }
        before = if before == '\\' && character == '\\' { ' ' } else { character };
    }
    line
}

fn protocol_words(source: &Source) -> Vec<Breach> {
    if !source.is_any(NEUTRAL) {
        return Vec::new();
    }
    let mut breaches = Vec::new();
    for (line, code) in source.code_and_texts() {
        let code = code.to_lowercase();
        for word in PROTOCOL_WORDS.iter().filter(|word| code.contains(**word)) {
            if !PROTOCOL_WORDS_TODAY.contains(&(source.path.as_str(), word)) {
                breaches.push(Breach { path: source.path.clone(), line, what: format!("says `{word}`") });
            }
        }
    }
    breaches
}

#[test]
fn what_serves_every_protocol_says_no_word_of_one() {
    nothing_breaks(protocol_words);
}

#[test]
fn a_word_of_a_protocol_that_is_gone_is_off_the_list() {
    let sources = files_below("src");
    for (path, word) in PROTOCOL_WORDS_TODAY {
        let source = sources.iter().find(|source| source.path == *path);
        let says = |(_, code): (usize, String)| code.to_lowercase().contains(word);
        let still = source.is_some_and(|source| source.code_and_texts().into_iter().any(says));
        assert!(still, "src/{path} does not say `{word}` any more: take it off PROTOCOL_WORDS_TODAY");
    }
}

#[test]
fn the_rule_of_protocol_words_sees_them() {
    assert!(breaks(protocol_words, "delivery/end.rs", "    let code = \"OGG-00551\";"));
    assert!(breaks(protocol_words, "listen/server.rs", "    router.route(\"/services/v2/stream\", get(f))"));
    assert!(breaks(protocol_words, "service/puts.rs", "json!({\"$schema\": \"api:standardResponse\"})"));
    assert!(breaks(protocol_words, "access/keys.rs", "fn kinesis_signature() {}"));
    assert!(!breaks(protocol_words, "delivery/rules/names.rs", "//! A backslash means what it means to GoldenGate."));
    assert!(!breaks(protocol_words, "delivery/end.rs", "    send(url, \"a // b\"); // /services/v2 is the face's"));
    assert!(!breaks(protocol_words, "face/goldengate/routes.rs", "    route(\"/services/v2/stream\")"));
}
