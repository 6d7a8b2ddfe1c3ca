//! What was used last, up to a cap: the longest unused goes first.
//!
//! Owns the order and the cap; what is kept, and what it costs, is its user's.

use std::collections::{BTreeMap, HashMap};

/// Values by number, each with its cost; together they cost no more than the cap, unless there is only one.
#[derive(Debug)]
pub(super) struct Lru<T> {
    kept: HashMap<u64, Kept<T>>,
    /// Numbers by the moment of their last use.
    by_use: BTreeMap<u64, u64>,
    uses: u64,
    cost: usize,
    cost_max: usize,
}

#[derive(Debug)]
struct Kept<T> {
    value: T,
    cost: usize,
    used: u64,
}

impl<T: Clone> Lru<T> {
    /// An empty one.
    pub(super) fn new(cost_max: usize) -> Self {
        Self { kept: HashMap::new(), by_use: BTreeMap::new(), uses: 0, cost: 0, cost_max }
    }

    /// The value of that number, which counts as a use.
    pub(super) fn get(&mut self, number: u64) -> Option<T> {
        let kept = self.kept.get_mut(&number)?;
        self.by_use.remove(&kept.used);
        self.uses += 1;
        kept.used = self.uses;
        self.by_use.insert(self.uses, number);
        Some(kept.value.clone())
    }

    /// Keeps a value. Returns what has to go for it, so that the caller drops it without a lock.
    pub(super) fn put(&mut self, number: u64, value: T, cost: usize) -> Vec<T> {
        let mut gone: Vec<T> = self.remove(number).into_iter().collect();
        self.uses += 1;
        self.by_use.insert(self.uses, number);
        self.kept.insert(number, Kept { value, cost, used: self.uses });
        self.cost += cost;
        while self.cost > self.cost_max && self.kept.len() > 1 {
            let Some(oldest) = self.by_use.first_key_value().map(|(_, number)| *number) else { break };
            gone.extend(self.remove(oldest));
        }
        gone
    }

    /// Keeps the value of that number no more.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let kept = self.kept.remove(&number)?;
        self.by_use.remove(&kept.used);
        self.cost -= kept.cost;
        Some(kept.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_when_the_cap_is_passed() {
        let mut lately = Lru::new(10);
        assert_eq!(lately.put(1, 'a', 4), Vec::<char>::new());
        assert_eq!(lately.put(2, 'b', 4), Vec::<char>::new());
        assert_eq!(lately.get(1), Some('a'));
        assert_eq!(lately.put(3, 'c', 4), ['b']);
        assert_eq!(lately.put(3, 'd', 2), ['c']);
        assert_eq!((lately.get(1), lately.get(2), lately.get(3)), (Some('a'), None, Some('d')));
        assert_eq!(lately.remove(1), Some('a'));
        assert_eq!(lately.put(4, 'e', 100), ['d'], "one value stays, whatever it costs");
        assert_eq!(lately.get(4), Some('e'));
        assert_eq!((lately.kept.len(), lately.by_use.len(), lately.cost), (1, 1, 100));
    }
}
