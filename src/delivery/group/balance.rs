//! How partitions are shared out: evenly, and with as few changes as that takes.

use std::collections::BTreeMap;

/// What is to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes<M> {
    /// Partitions without an owner, and who gets each.
    pub(super) given: Vec<(u16, M)>,
    /// Partitions whose owners are to give them back, for others that have too few.
    pub(super) wanted: Vec<u16>,
}

/// What is to change so that each of `members` has as many of `partitions` as any other, or one more. `owned` says who has
/// which now; what it says of other members or partitions does not count. `was_wanted`: a partition that is wanted back already
/// goes before one that is not.
pub(super) fn balance<M: Copy + Ord>(
    partitions: &[u16],
    members: &[M],
    owned: &BTreeMap<u16, M>,
    was_wanted: impl Fn(u16) -> bool,
) -> Changes<M> {
    let mut changes = Changes { given: Vec::new(), wanted: Vec::new() };
    if members.is_empty() {
        return changes;
    }
    let mut shares: BTreeMap<M, Vec<u16>> = members.iter().map(|member| (*member, Vec::new())).collect();
    let mut free = Vec::new();
    for partition in partitions {
        match owned.get(partition).and_then(|owner| shares.get_mut(owner)) {
            Some(share) => share.push(*partition),
            None => free.push(*partition),
        }
    }
    let (each, more) = (partitions.len() / members.len(), partitions.len() % members.len());
    // Whoever has most keeps one more than the others; of those who have the same, who came first.
    let mut order: Vec<M> = members.to_vec();
    order.sort_by_key(|member| (std::cmp::Reverse(shares.get(member).map_or(0, Vec::len)), *member));
    let mut free = free.into_iter();
    for (at, member) in order.iter().enumerate() {
        let quota = each + usize::from(at < more);
        let Some(share) = shares.get_mut(member) else { continue };
        if share.len() > quota {
            share.sort_by_key(|partition| (was_wanted(*partition), *partition));
            changes.wanted.extend(share.split_off(quota));
        } else {
            let missing = quota - share.len();
            changes.given.extend(free.by_ref().take(missing).map(|partition| (partition, *member)));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(partitions: u16, members: &[u8], owned: &[(u16, u8)]) -> (Vec<(u16, u8)>, Vec<u16>) {
        let partitions: Vec<u16> = (0..partitions).collect();
        let changes = balance(&partitions, members, &owned.iter().copied().collect(), |_| false);
        (changes.given, changes.wanted)
    }

    #[test]
    fn shares_differ_by_one_at_most_and_nobody_gives_more_than_that_takes() {
        assert_eq!(of(4, &[], &[]), (vec![], vec![]));
        assert_eq!(of(1, &[1, 2, 3], &[]), (vec![(0, 1)], vec![]));
        assert_eq!(of(4, &[1, 2], &[]), (vec![(0, 1), (1, 1), (2, 2), (3, 2)], vec![]));
        assert_eq!(of(4, &[1, 2], &[(0, 1), (1, 1), (2, 1), (3, 1)]), (vec![], vec![2, 3]));
        assert_eq!(of(4, &[1, 2], &[(0, 1), (1, 1), (2, 9), (3, 9)]), (vec![(2, 2), (3, 2)], vec![]));
        assert_eq!(of(5, &[1, 2], &[(0, 2), (1, 2), (2, 2)]), (vec![(3, 1), (4, 1)], vec![]), "who has most keeps it");
    }
}
