//! Refusals, counted by address and minute: the first leaves a line of its own, the others one line together.
//!
//! Whoever may change nothing can still ask a thousand times a second; so much must not fill a disk, nor push out what
//! others have done. Owns the counts; what the lines say besides, and where they go, is the audit's.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::events::Actor;
use crate::access::throttle::network;
use crate::limits;
use crate::record::Timestamp;

/// Who is refused: an address (one /64 network of IPv6), and the user if it is known for sure. Neither for all those that
/// find no place of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Refused {
    pub(super) address: Option<IpAddr>,
    pub(super) user: Option<String>,
}

/// The refusals of one of them since the one that has a line of its own.
#[derive(Debug)]
pub(super) struct Minute {
    pub(super) began: Instant,
    pub(super) since: Timestamp,
    pub(super) count: u64,
    /// By the status of the answer.
    pub(super) statuses: BTreeMap<u16, u64>,
    /// Users of this server whom the credentials named.
    pub(super) claimed: BTreeSet<String>,
}

/// The counts of this minute.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<Refused, Minute>>);

impl Refusals {
    /// Notes a refusal; whether it is the first of its minute, which has a line of its own.
    pub(super) fn note(&self, actor: &Actor, status: u16, now: Timestamp) -> bool {
        let mut refused = Refused { address: actor.peer.map(|peer| network(peer.ip)), user: actor.user.clone() };
        let mut minutes = self.lock();
        if !minutes.contains_key(&refused) && minutes.len() >= limits::AUDIT_REFUSED_MAX {
            refused = Refused::default();
        }
        if let Some(minute) = minutes.get_mut(&refused) {
            minute.count += 1;
            *minute.statuses.entry(status).or_default() += 1;
            if minute.claimed.len() < limits::AUDIT_CLAIMED_MAX {
                minute.claimed.extend(actor.claimed.clone());
            }
            return false;
        }
        let (statuses, claimed) = Default::default();
        minutes.insert(refused, Minute { began: Instant::now(), since: now, count: 0, statuses, claimed });
        true
    }

    /// Takes those whose minute is over, or all; those of which nothing was left to count are forgotten.
    pub(super) fn take(&self, all: bool) -> Vec<(Refused, Minute)> {
        let minute = Duration::from_secs(limits::AUDIT_REFUSALS_SECONDS);
        let now = Instant::now();
        let is_over = |minute_of: &Minute| all || now.saturating_duration_since(minute_of.began) >= minute;
        let mut minutes = self.lock();
        let over: Vec<_> = minutes.extract_if(|_, minute| is_over(minute)).collect();
        if minutes.is_empty() {
            minutes.shrink_to_fit();
        }
        over.into_iter().filter(|(_, minute)| minute.count > 0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Refused, Minute>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    fn from(address: &str) -> Actor {
        let peer = std::net::SocketAddr::new(address.parse().unwrap(), 4711);
        Actor { peer: Some(peer.into()), ..Actor::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_an_address_and_minute_stands_alone_and_the_others_are_counted() {
        let refusals = Refusals::default();
        assert!(refusals.note(&from("10.0.0.1"), 401, NOW));
        assert!(refusals.note(&from("2001:db8::1"), 401, NOW));
        assert!(!refusals.note(&from("2001:db8::ffff"), 401, NOW), "one household");
        let ann = Actor { user: Some("ann".into()), ..from("10.0.0.1") };
        assert!(refusals.note(&ann, 403, NOW), "who is known counts alone");
        for number in 0..1_499 {
            let claimed = Some(format!("user{number}"));
            let status = if number % 3 == 0 { 429 } else { 401 };
            assert!(!refusals.note(&Actor { claimed, ..from("10.0.0.1") }, status, NOW));
        }
        assert!(refusals.take(false).is_empty(), "the minute is not over");
        tokio::time::advance(Duration::from_secs(limits::AUDIT_REFUSALS_SECONDS)).await;
        let mut taken = refusals.take(false);
        taken.sort_by_key(|(_, minute)| minute.count);
        assert_eq!(taken.len(), 2, "of ann nothing is left to tell");
        let (refused, minute) = &taken[1];
        assert_eq!((refused.address, minute.count), (Some("10.0.0.1".parse().unwrap()), 1_499));
        assert_eq!(minute.statuses, BTreeMap::from([(401, 999), (429, 500)]));
        assert_eq!(minute.claimed.len(), limits::AUDIT_CLAIMED_MAX);
        assert!(refusals.note(&from("10.0.0.1"), 401, NOW), "a new minute begins");
    }

    #[tokio::test]
    async fn beyond_so_many_addresses_all_others_are_counted_as_one() {
        let refusals = Refusals::default();
        let addresses = limits::AUDIT_REFUSED_MAX as u32 + 100;
        let alone = (0..addresses).filter(|number| {
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(*number));
            refusals.note(&from(&address.to_string()), 401, NOW)
        });
        assert_eq!(alone.count(), limits::AUDIT_REFUSED_MAX + 1);
        let taken = refusals.take(true);
        assert_eq!((taken.len(), taken[0].1.count), (1, 99));
        assert_eq!(taken[0].0, Refused::default());
    }
}
