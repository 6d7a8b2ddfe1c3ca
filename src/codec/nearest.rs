//! Which known name an unknown one was meant to be; owns nothing but that guess.

/// Characters of an unknown name that are looked at: it may be anything.
const LOOKED_AT: usize = 256;
/// Letters that may be added to a parameter's name in front or behind (`begin_at`, and `amp;begin` of a page that writes
/// `&amp;` for `&`).
const ADDED_LETTERS_MAX: usize = 3;
/// Letters from which on a parameter's name may have two slips.
const LONG_NAME: usize = 9;

/// The known name with the fewest changed, added, dropped or swapped letters, if those are few enough for a slip.
pub fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|name| (distance(&unknown.to_lowercase(), &name.to_lowercase()), *name));
    let (distance, name) = distances.min()?;
    (distance <= 1 + name.chars().count() / 3).then_some(name)
}

/// The known name that an unknown one is a slip of; none where it may well be another name.
///
/// For what is accepted where no slip is seen, as an unknown parameter of a query is: stricter than [`nearest`], which looks
/// at names that are refused anyway. Case and what is neither letter nor digit do not count.
pub fn slip<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    let given = letters(unknown);
    known.iter().copied().find(|name| {
        let name = letters(name);
        let added = given.len().saturating_sub(name.len());
        let extended = added <= ADDED_LETTERS_MAX && (given.starts_with(&name) || given.ends_with(&name));
        extended || distance(&given, &name) <= if name.len() < LONG_NAME { 1 } else { 2 }
    })
}

fn letters(name: &str) -> String {
    name.chars().take(LOOKED_AT).filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The distance of Damerau and Levenshtein, in which two neighbours that were swapped count once, in characters.
fn distance(unknown: &str, known: &str) -> usize {
    let known: Vec<char> = known.chars().collect();
    let unknown: Vec<char> = unknown.chars().take(LOOKED_AT).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=known.len()).collect();
    for (at, character) in unknown.iter().enumerate() {
        let mut row = vec![at + 1];
        for (column, other) in known.iter().enumerate() {
            let changed = last[column] + usize::from(character != other);
            let mut least = changed.min(last[column + 1] + 1).min(row[column] + 1);
            if at > 0 && column > 0 && *character == known[column - 1] && unknown[at - 1] == *other {
                least = least.min(before[column - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[known.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_named_for_a_slip_only() {
        let known = ["listen", "dataDir", "allowedOrigins", "log", "logFormat"];
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("data_dir", &known), Some("dataDir"));
        assert_eq!(nearest("allowOrigins", &known), Some("allowedOrigins"));
        assert_eq!(nearest("logformat", &known), Some("logFormat"));
        assert_eq!(nearest("somethingElse", &known), None);
    }

    #[test]
    fn a_slip_of_a_parameter_is_told_from_another_parameter() {
        let known = ["begin", "access_token"];
        for slip_of_begin in
            ["begni", "bgein", "begn", "beginn", "Begin", "BEGIN", "begin[]", "amp;begin", "begin_at", " begin"]
        {
            assert_eq!(slip(slip_of_begin, &known), Some("begin"), "{slip_of_begin}");
        }
        for slip_of_token in
            ["accessToken", "access-token", "acces_token", "acess_tokn", "access_token;", "accesstoken"]
        {
            assert_eq!(slip(slip_of_token, &known), Some("access_token"), "{slip_of_token}");
        }
        for other in
            ["", "region", "login", "bin", "end", "v", "token", "access", "x-beginning-of-it", &"begin".repeat(99)]
        {
            assert_eq!(slip(other, &known), None, "{other}");
        }
    }

    #[test]
    fn the_distance_counts_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("begni", "begin"), 1);
        assert_eq!(distance("ab", "ba"), 1);
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_it_panic(name in ".{0,40}") {
            slip(&name, &["begin"]);
            nearest(&name, &["begin", ""]);
        }
    }
}
