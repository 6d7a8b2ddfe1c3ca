//! `partitionNames` of a rule: which partitions of a trail they mean.
//!
//! A rule is written over the partitions that there are, and goes on to mean the same keys when these are split: what came of a
//! partition that it names is meant too. What two were merged into is meant where both are. Numbers that a split gives out later are
//! nobody's choice: wildcards are about the partitions that the trail was made with, and a number that no partition has yet is
//! refused.

use crate::catalog::table_pattern::{Glyph, wild_match};
use crate::codec::member::ConfigError;
use crate::trail::PartitionMap;

/// The partitions that a rule names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionNames(Vec<Name>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Name {
    Number(u16),
    Wild(Vec<Glyph>),
    /// Rules of earlier versions may hold any text; partitions are called by their numbers alone.
    Nothing,
}

impl Name {
    fn of(text: &str) -> Self {
        let is_wild = |character| matches!(character, '*' | '?');
        if !text.chars().all(|character| character.is_ascii_digit() || is_wild(character)) {
            return Self::Nothing;
        }
        if text.chars().any(is_wild) {
            return Self::Wild(text.chars().map(Glyph::from).collect());
        }
        let number = text.parse::<u16>().ok().filter(|number| number.to_string() == text);
        number.map_or(Self::Nothing, Self::Number)
    }

    /// The partitions that it names, of a map; `made_with_trail` as below.
    fn named(&self, map: &PartitionMap, made_with_trail: &[(u16, String)]) -> Vec<u16> {
        match self {
            Self::Number(number) => map.get(*number).map(|partition| partition.number).into_iter().collect(),
            Self::Wild(glyphs) => {
                let matches = |text: &str| wild_match(glyphs.iter().copied(), text.chars());
                made_with_trail.iter().filter(|(_, text)| matches(text)).map(|(number, _)| *number).collect()
            }
            Self::Nothing => Vec::new(),
        }
    }
}

/// The partitions that the trail was made with, as numbers and as texts.
fn made_with_trail(map: &PartitionMap) -> Vec<(u16, String)> {
    let first = map.all().iter().filter(|partition| partition.parents.is_empty());
    first.map(|partition| (partition.number, partition.number.to_string())).collect()
}

impl PartitionNames {
    /// Those of a rule as they were given.
    pub fn new(given: &[String]) -> Self {
        Self(given.iter().map(|name| Name::of(name)).collect())
    }

    /// Whether it names none, and so means all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it means the partition of each number of this map.
    pub fn meant(&self, map: &PartitionMap) -> Vec<bool> {
        let mut meant = vec![false; map.all().len()];
        let made_with_trail = made_with_trail(map);
        for number in self.0.iter().flat_map(|name| name.named(map, &made_with_trail)) {
            meant[usize::from(number)] = true;
        }
        for (at, partition) in map.all().iter().enumerate() {
            let is_meant = |parent: &u16| meant.get(usize::from(*parent)).copied().unwrap_or(false);
            let came_of_such = !partition.parents.is_empty() && partition.parents.iter().all(is_meant);
            meant[at] |= came_of_such;
        }
        meant
    }
}

/// Refuses names that no partition of this map has, so that their rule would match nothing.
pub(super) fn check(path: &str, given: &[String], map: &PartitionMap) -> Result<(), ConfigError> {
    let (last, made_with_trail) = (map.all().len() - 1, made_with_trail(map));
    for (at, text) in given.iter().enumerate() {
        let name = Name::of(text);
        if !name.named(map, &made_with_trail).is_empty() {
            continue;
        }
        let why = match name {
            Name::Number(_) => {
                format!("names a partition that the trail does not have; its partitions are 0 to {last}")
            }
            Name::Wild(_) => {
                "matches none of the partitions that the trail was made with, and wildcards are about these and what \
                              came of them"
                    .to_owned()
            }
            Name::Nothing => format!(
                "must be the number of a partition, 0 to {last}, or digits with the wildcards * and ?; partitions have no other names"
            ),
        };
        return Err(ConfigError::new(format!("{path}[{at}]"), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str]) -> PartitionNames {
        PartitionNames::new(&given.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    fn meant(given: &[&str], map: &PartitionMap) -> Vec<usize> {
        let meant = names(given).meant(map);
        (0..meant.len()).filter(|number| meant[*number]).collect()
    }

    #[test]
    fn a_name_means_what_came_of_its_partition_too() {
        // 0 becomes 4 and 5, and 5 becomes 6 and 7; 1 and 2 become 8.
        let map = PartitionMap::new(4).split(0, None, 1).unwrap().split(5, None, 2).unwrap().merge(1, 2, 3).unwrap();
        assert_eq!(meant(&["0"], &map), [0, 4, 5, 6, 7]);
        assert_eq!(meant(&["5"], &map), [5, 6, 7]);
        assert_eq!(meant(&["1"], &map), [1], "what is of 2 as well is not");
        assert_eq!(meant(&["1", "2"], &map), [1, 2, 8]);
        assert_eq!(meant(&["8"], &map), [8]);
        assert_eq!(meant(&["*"], &map), (0..9).collect::<Vec<_>>());
        assert_eq!(meant(&["P0", "00", "", "70000"], &map), Vec::<usize>::new());
    }

    #[test]
    fn a_wildcard_never_takes_in_a_number_that_a_split_gives_out() {
        let mut map = PartitionMap::new(9);
        for (commit, number) in [0, 2, 3].into_iter().enumerate() {
            map = map.split(number, None, commit as u64).unwrap();
        }
        // 10 came of 0, and 11 and 12 of 2.
        assert_eq!(meant(&["1*"], &map), [1]);
        assert_eq!(meant(&["??"], &map), Vec::<usize>::new());
        assert_eq!(meant(&["1?", "2"], &map), [2, 11, 12]);
    }

    #[test]
    fn what_no_partition_is_called_is_refused_with_what_they_are_called() {
        let map = PartitionMap::new(4);
        let refused = |name: &str| check("f", &["0".to_owned(), name.to_owned()], &map).unwrap_err().to_string();
        assert!(
            refused("4").contains("f[1]: names a partition that the trail does not have; its partitions are 0 to 3")
        );
        assert!(refused("4?").contains("f[1]: matches none of the partitions that the trail was made with"));
        for name in ["P1", "p*", "01", "1.0", "-1", "65536"] {
            assert!(
                refused(name).contains("f[1]: must be the number of a partition, 0 to 3, or digits with"),
                "{name}"
            );
        }
        let split = map.split(0, None, 1).unwrap();
        check("f", &["4".to_owned(), "*".to_owned(), "?".to_owned()], &split).unwrap();
    }
}
