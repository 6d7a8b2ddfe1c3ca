//! Counts what each key holds at once, and refuses beyond a cap: connections of an address, sessions of a user.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places that each key may take. A key without any place is not remembered.
#[derive(Debug)]
pub struct Places<K: Eq + Hash> {
    most: usize,
    taken: Mutex<HashMap<K, usize>>,
}

/// One place; free again when it is dropped.
#[derive(Debug)]
pub struct Place<K: Eq + Hash> {
    of: Arc<Places<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Places<K> {
    /// `most` places for each key.
    pub fn new(most: usize) -> Self {
        Self { most, taken: Mutex::default() }
    }

    /// The places of one key.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Takes a place, or none when the key has all of its own already.
    pub fn take(self: &Arc<Self>, key: K) -> Option<Place<K>> {
        let mut taken = self.lock();
        let count = taken.entry(key.clone()).or_insert(0);
        if *count >= self.most {
            if *count == 0 {
                taken.remove(&key);
            }
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { of: self.clone(), key })
    }
}

impl<K: Eq + Hash> Places<K> {
    /// How many places a key has taken.
    pub fn taken(&self, key: &K) -> usize {
        self.lock().get(key).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Place<K> {
    /// How many places its key has taken, this one included.
    pub fn of_its_key(&self) -> usize {
        self.of.taken(&self.key)
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_own_places_and_gets_them_back() {
        let places = Arc::new(Places::new(2));
        let held: Vec<_> = (0..2).map(|_| places.take("a").unwrap()).collect();
        assert!(places.take("a").is_none());
        let other = places.take("b").unwrap();
        drop(held);
        assert!(places.take("a").is_some());
        drop(other);
        assert!(places.lock().is_empty(), "a key without places is forgotten");
        assert!(Arc::new(Places::new(0)).take("a").is_none());
    }
}
