//! Lists of names as findings have them: as many as fit a line, and how many more there are.

use crate::limits;

/// The first of `names` that a text may name.
pub(super) fn first<T>(names: &[T]) -> &[T] {
    &names[..names.len().min(limits::EXTRACT_NAMED_TABLES_MAX)]
}

/// The names with commas between, and how many more there are.
pub(super) fn listed(names: &[String]) -> String {
    let shown = first(names).join(", ");
    match names.len().saturating_sub(limits::EXTRACT_NAMED_TABLES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `1 table`, `7 tables`.
pub(super) fn counted(count: usize, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}

/// Bytes in the largest unit that leaves a number before the point.
pub(super) fn bytes(count: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} bytes") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_as_many_names_as_fit_a_line() {
        let names: Vec<String> = (0..limits::EXTRACT_NAMED_TABLES_MAX + 3).map(|n| format!("t{n}")).collect();
        assert!(listed(&names).ends_with("t49 and 3 more"), "{}", listed(&names));
        assert_eq!(listed(&names[..2]), "t0, t1");
        assert_eq!((counted(1, "table"), counted(2, "table")), ("1 table".into(), "2 tables".into()));
        assert_eq!(
            (bytes(1_023), bytes(1_536), bytes(3 << 30)),
            ("1023 bytes".into(), "1.5 KiB".into(), "3.0 GiB".into())
        );
    }
}
