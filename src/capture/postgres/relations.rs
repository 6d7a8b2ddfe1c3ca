//! Tables as the stream has described them, by the server's number.
//!
//! What is described in a whole transaction holds for everything behind it. What is described in a block holds for that
//! transaction alone, until it is committed: then for everything, unless something newer holds already. When a
//! subtransaction is rolled back the server describes anew what it needs; what that subtransaction had described is forgotten.
//!
//! Owns which description holds where; leaves making and using them to `transactions`.

use std::collections::HashMap;

use super::relation::Relation;

/// A description that is not of the trail's latest schemas: its schema is asked for again before it is used.
pub(super) const OUTDATED: u64 = u64::MAX;

/// A table.
#[derive(Debug)]
pub(super) struct Described {
    /// None for a table that is not captured.
    pub(super) relation: Option<Relation>,
    /// Up to which of the intake's rounds its schema is known to be in force.
    pub(super) round: u64,
    /// The (sub)transaction that it came in, of a block.
    by: u32,
    /// Counted over all of the stream.
    number: u64,
}

/// A transaction that comes in blocks.
#[derive(Debug, Default)]
struct InBlocks {
    xid: u32,
    described: HashMap<u32, Described>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Relations {
    settled: HashMap<u32, Described>,
    open: HashMap<u32, InBlocks>,
    /// The one of which a block comes.
    block: Option<InBlocks>,
    descriptions: u64,
}

impl Relations {
    /// Those that hold for what comes now.
    fn in_force(&self) -> &HashMap<u32, Described> {
        self.block.as_ref().map_or(&self.settled, |block| &block.described)
    }

    /// The table of that number, if it was described for what comes now.
    pub(super) fn get(&self, id: u32) -> Option<&Described> {
        self.in_force().get(&id)
    }

    /// The same, to change it.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Described> {
        self.block.as_mut().map_or(&mut self.settled, |block| &mut block.described).get_mut(&id)
    }

    /// Whether a table of that number was described outside of blocks.
    pub(super) fn knows(&self, id: u32) -> bool {
        self.settled.contains_key(&id)
    }

    /// The table of that number looks like that from here on, says the (sub)transaction `by`.
    pub(super) fn put(&mut self, id: u32, relation: Option<Relation>, round: u64, by: u32) {
        self.descriptions += 1;
        let described = Described { relation, round, by, number: self.descriptions };
        self.block.as_mut().map_or(&mut self.settled, |block| &mut block.described).insert(id, described);
    }

    /// A block of that transaction comes.
    pub(super) fn begin_block(&mut self, xid: u32) {
        self.block = Some(self.open.remove(&xid).unwrap_or_else(|| InBlocks { xid, ..InBlocks::default() }));
    }

    /// That was the block.
    pub(super) fn end_block(&mut self) {
        if let Some(block) = self.block.take() {
            self.open.insert(block.xid, block);
        }
    }

    /// A transaction that came in blocks is rolled back, or a subtransaction of it.
    pub(super) fn abort(&mut self, xid: u32, subxid: u32) {
        if xid == subxid {
            self.open.remove(&xid);
        } else if let Some(of) = self.open.get_mut(&xid) {
            of.described.retain(|_, described| described.by != subxid);
        }
    }

    /// A transaction that came in blocks is committed: what it described holds for everything from here on. Says which tables
    /// that are, whether each is captured, and whether it is another than before.
    pub(super) fn commit(&mut self, xid: u32) -> Vec<Settled> {
        let mut newer = Vec::new();
        for (id, mut described) in self.open.remove(&xid).unwrap_or_default().described {
            let before = self.settled.get(&id);
            if before.is_some_and(|before| before.number > described.number) {
                continue;
            }
            let table = described.relation.as_ref().map(|relation| relation.schema.table.to_string());
            let has_changed = before.is_some_and(|before| !looks_alike(before, &described));
            newer.push(Settled { id, table, has_changed });
            described.round = OUTDATED;
            self.settled.insert(id, described);
        }
        newer
    }
}

/// A table that was described in blocks, now that this holds for everything.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) id: u32,
    /// Its name; none if it is not captured.
    pub(super) table: Option<String>,
    /// It was described before, in another way.
    pub(super) has_changed: bool,
}

fn looks_alike(one: &Described, other: &Described) -> bool {
    match (&one.relation, &other.relation) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            let names = |relation: &Relation| -> Vec<_> {
                relation.schema.columns.iter().map(|column| (column.name.clone(), column.sql_type.clone())).collect()
            };
            one.schema.table == other.schema.table && names(one) == names(other)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(relations: &Relations, id: u32) -> Option<u64> {
        relations.get(id).map(|described| described.round)
    }

    #[test]
    fn what_a_block_describes_holds_for_its_transaction_until_that_is_committed() {
        let mut relations = Relations::default();
        relations.put(1, None, 10, 0);
        relations.begin_block(7);
        assert_eq!(described(&relations, 1), None, "the server describes everything anew in a block");
        relations.put(1, None, 11, 7);
        relations.put(2, None, 12, 7);
        relations.end_block();
        assert_eq!((described(&relations, 1), described(&relations, 2)), (Some(10), None));
        relations.begin_block(8);
        assert_eq!(described(&relations, 2), None);
        relations.end_block();
        relations.begin_block(7);
        assert_eq!(described(&relations, 2), Some(12));
        relations.end_block();
        let mut settled: Vec<u32> = relations.commit(7).into_iter().map(|settled| settled.id).collect();
        settled.sort_unstable();
        assert_eq!(settled, [1, 2]);
        assert_eq!((described(&relations, 1), described(&relations, 2)), (Some(OUTDATED), Some(OUTDATED)));
    }

    #[test]
    fn what_was_described_since_is_not_replaced_by_what_a_commit_brings() {
        let mut relations = Relations::default();
        relations.begin_block(7);
        relations.put(1, None, 1, 7);
        relations.end_block();
        relations.put(1, None, 2, 0);
        assert_eq!(relations.commit(7), []);
        assert_eq!(described(&relations, 1), Some(2));
    }

    #[test]
    fn what_is_rolled_back_has_described_nothing() {
        let mut relations = Relations::default();
        relations.begin_block(7);
        relations.put(1, None, 1, 7);
        relations.put(2, None, 1, 8);
        relations.end_block();
        relations.abort(7, 8);
        relations.begin_block(7);
        assert_eq!((described(&relations, 1), described(&relations, 2)), (Some(1), None));
        relations.end_block();
        relations.abort(7, 7);
        assert_eq!((relations.commit(7), described(&relations, 1)), (Vec::new(), None));
    }
}
