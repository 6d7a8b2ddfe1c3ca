//! LIKE and REGEX, each compiled once by a linear-time engine under a limit of its size, and all of a stream under one of
//! their sum.

use memchr::memmem::Finder;
use regex_automata::meta::{BuildError, Config, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;

use crate::limits;

/// Why a pattern does not compile.
#[derive(Debug)]
pub(super) struct BadPattern(pub(super) String);

/// The memory that the compiled patterns of one stream take, and may take.
#[derive(Debug)]
pub(super) struct Room {
    used: usize,
    most: usize,
    /// What each may remember of the texts that it has seen.
    cache_bytes: usize,
}

impl Room {
    /// Room of `most` bytes for so many patterns.
    pub(super) fn new(most: usize, patterns: usize) -> Self {
        let share = limits::PATTERN_CACHES_BYTES / patterns.max(1);
        let cache_bytes = share.clamp(limits::PATTERN_CACHE_BYTES_MIN, limits::PATTERN_BYTES_MAX);
        Self { used: 0, most, cache_bytes }
    }

    /// Bytes taken.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    fn take(&mut self, bytes: usize) -> Result<(), BadPattern> {
        self.used += bytes;
        if self.used <= self.most {
            return Ok(());
        }
        let most = self.most;
        Err(BadPattern(format!(
            "the compiled patterns of all rules together must take at most {most} bytes; from here on they take more"
        )))
    }
}

/// A pattern for texts, compiled.
#[derive(Debug)]
pub(super) enum TextPattern {
    /// This text.
    Whole(Box<str>),
    /// A text that begins and ends so, and has these in between, one behind the other.
    Pieces { first: Box<str>, between: Vec<Finder<'static>>, last: Box<str> },
    /// What a regular expression finds.
    Regex(Box<Regex>),
}

impl TextPattern {
    pub(super) fn is_match(&self, text: &str) -> bool {
        match self {
            Self::Whole(whole) => *text == **whole,
            Self::Pieces { first, between, last } => {
                let Some(mut rest) = text.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last)) else {
                    return false;
                };
                between.iter().all(|piece| {
                    let at = piece.find(rest.as_bytes());
                    // What begins with a piece begins a character.
                    at.and_then(|at| rest.get(at + piece.needle().len()..)).map(|behind| rest = behind).is_some()
                })
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }

    /// SQL's LIKE: `%` any text, `_` one character, `\` takes the next literally.
    pub(super) fn like(text: &str, room: &mut Room) -> Result<Self, BadPattern> {
        let mut pieces = vec![String::new()];
        let mut pattern = String::from("^");
        let mut any_one = false;
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let literal = match character {
                '%' => {
                    pieces.push(String::new());
                    pattern.push_str(".*");
                    continue;
                }
                '_' => {
                    any_one = true;
                    pattern.push('.');
                    continue;
                }
                '\\' => characters.next().ok_or_else(|| BadPattern("LIKE pattern ends in \\".into()))?,
                other => other,
            };
            if let Some(piece) = pieces.last_mut() {
                piece.push(literal);
            }
            push_escaped(&mut pattern, literal);
        }
        if any_one {
            pattern.push('$');
            return compile(&pattern, syntax::Config::new().dot_matches_new_line(true), room);
        }
        room.take(text.len() + pieces.len() * size_of::<Finder<'static>>())?;
        let first = pieces.remove(0).into();
        let Some(last) = pieces.pop() else { return Ok(Self::Whole(first)) };
        let between = pieces.iter().filter(|piece| !piece.is_empty());
        let between = between.map(|piece| Finder::new(piece).into_owned()).collect();
        Ok(Self::Pieces { first, between, last: last.into() })
    }

    /// A regular expression, found anywhere. The user's own: a dot does not match a line's end unless it says so.
    pub(super) fn regular_expression(text: &str, room: &mut Room) -> Result<Self, BadPattern> {
        compile(text, syntax::Config::new(), room)
    }
}

/// A character as itself.
fn push_escaped(pattern: &mut String, literal: char) {
    let means_something = matches!(
        literal,
        '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' | '#' | '&' | '-' | '~'
    );
    if means_something {
        pattern.push('\\');
    }
    pattern.push(literal);
}

fn compile(pattern: &str, syntax: syntax::Config, room: &mut Room) -> Result<TextPattern, BadPattern> {
    // Nobody asks where it matches. The two larger engines that are left out are faster than the rest, and cost a multiple of
    // the pattern's own memory.
    let config = Config::new()
        .nfa_size_limit(Some(limits::PATTERN_BYTES_MAX))
        .hybrid_cache_capacity(room.cache_bytes)
        .which_captures(WhichCaptures::None)
        .onepass(false)
        .dfa(false);
    let built = Regex::builder().configure(config).syntax(syntax).build(pattern);
    let regex = built.map_err(|error| describe(&error))?;
    room.take(regex.memory_usage() + size_of::<Regex>())?;
    Ok(TextPattern::Regex(Box::new(regex)))
}

fn describe(error: &BuildError) -> BadPattern {
    match (error.size_limit(), error.syntax_error()) {
        (Some(limit), _) => BadPattern(format!("the compiled pattern must take at most {limit} bytes")),
        (None, Some(syntax)) => BadPattern(format!("the pattern does not compile: {}", reason(&syntax.to_string()))),
        (None, None) => BadPattern(format!("the pattern does not compile: {error}")),
    }
}

/// The reason alone, which stands below a drawing of the pattern.
fn reason(text: &str) -> &str {
    text.rsplit("error: ").next().unwrap_or(text).trim_end()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::RegexBuilder;

    use super::*;

    /// LIKE as a regular expression.
    fn reference(like: &str) -> regex::Regex {
        let pattern: String = like
            .chars()
            .map(|one| if one == '%' { ".*".to_owned() } else { regex::escape(&one.to_string()) })
            .collect();
        RegexBuilder::new(&format!("^{pattern}$")).dot_matches_new_line(true).build().unwrap()
    }

    proptest! {
        #[test]
        fn like_without_an_underscore_is_what_its_regular_expression_is(
            like in "[ab%é.\n]{0,8}",
            text in "[abé.\n]{0,10}",
        ) {
            let pattern = TextPattern::like(&like, &mut Room::new(usize::MAX, 1)).unwrap();
            prop_assert!(!matches!(pattern, TextPattern::Regex(_)));
            prop_assert_eq!(pattern.is_match(&text), reference(&like).is_match(&text));
        }
    }

    #[test]
    fn the_sum_of_all_patterns_is_bounded() {
        let mut room = Room::new(200_000, 10);
        let taken = (0..).map(|_| TextPattern::regular_expression(r"\w+", &mut room)).take_while(Result::is_ok).count();
        assert!((1..100).contains(&taken), "{taken}");
        assert!(TextPattern::regular_expression("a", &mut room).unwrap_err().0.contains("at most 200000 bytes"));
    }
}
