//! Which known name an unknown one was meant to be; owns nothing but that guess.

/// The known name with the fewest changed, added or dropped letters, if those are few enough for a slip.
pub fn nearest<'k>(unknown: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known.iter().map(|name| (distance(&unknown.to_lowercase(), &name.to_lowercase()), *name));
    let (distance, name) = distances.min()?;
    (distance <= 1 + name.chars().count() / 3).then_some(name)
}

/// Levenshtein's distance, in characters. The unknown name is cut: it may be anything.
fn distance(unknown: &str, known: &str) -> usize {
    let known: Vec<char> = known.chars().collect();
    let mut row: Vec<usize> = (0..=known.len()).collect();
    for (at, character) in unknown.chars().take(256).enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, other) in known.iter().enumerate() {
            let changed = diagonal + usize::from(character != *other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[known.len()]
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
    fn the_distance_counts_letters() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
