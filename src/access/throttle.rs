//! Counts failed log-ins, by address and user and by address alone, and says when to answer 429.
//!
//! Owns the counts and who is at home where: a user who logged in from an address lately is not held there by what others
//! get wrong. Whose address it is (behind a proxy the client's) is for whoever asks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::{Duration, Instant};

use crate::limits;

/// Too many failed log-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many failed log-ins; try again in {retry_after_seconds} seconds")]
pub struct Throttled {
    /// When the window ends, in seconds from now, at least 1.
    pub retry_after_seconds: u64,
}

/// Who failed: one user from one address, or one address with any user.
type Suspect = (IpAddr, Option<String>);

/// The counts of failed log-ins.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: HashMap<Suspect, Failures>,
    /// Until when a user counts as at home at an address.
    homes: HashMap<(IpAddr, String), Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    until: Instant,
}

impl Throttle {
    /// Whether this address may try this user now.
    pub fn check(&self, address: IpAddr, user: &str) -> Result<(), Throttled> {
        self.lock().check(network(address), user)
    }

    /// Counts a failed log-in.
    pub fn failed(&self, address: IpAddr, user: &str) {
        self.lock().failed(network(address), user);
    }

    /// Takes back the user's failures from this address: whoever knows the password only mistyped it.
    pub fn succeeded(&self, address: IpAddr, user: &str) {
        self.lock().succeeded(network(address), user);
    }

    /// Checks and counts at once a log-in whose outcome is known at no cost, so that of many at once no more pass than
    /// one after the other would.
    pub fn judge(&self, address: IpAddr, user: &str, fits: bool) -> Result<(), Throttled> {
        let address = network(address);
        let mut state = self.lock();
        state.check(address, user)?;
        if fits {
            state.succeeded(address, user);
        } else {
            state.failed(address, user);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self, address: IpAddr, user: &str) -> Result<(), Throttled> {
        let now = Instant::now();
        let at_home = self.homes.get(&(address, user.to_owned())).is_some_and(|until| *until > now);
        let limits = [
            (Some(user.to_owned()), limits::FAILED_LOGINS_MAX),
            // Behind one address there may be many; those who belong there are not locked out by a stranger's guesses.
            (None, if at_home { u32::MAX } else { limits::FAILED_LOGINS_PER_ADDRESS_MAX }),
        ];
        for (user, most) in limits {
            if let Some(found) = self.failures.get(&(address, user))
                && found.until > now
                && found.count >= most
            {
                let wait = found.until - now;
                return Err(Throttled { retry_after_seconds: wait.as_secs().max(1) });
            }
        }
        Ok(())
    }

    fn failed(&mut self, address: IpAddr, user: &str) {
        count(&mut self.failures, (address, Some(user.to_owned())));
        count(&mut self.failures, (address, None));
    }

    fn succeeded(&mut self, address: IpAddr, user: &str) {
        let home = (address, user.to_owned());
        self.failures.remove(&(address, Some(home.1.clone())));
        let now = Instant::now();
        if !self.homes.contains_key(&home) && self.homes.len() >= limits::THROTTLE_ENTRIES_MAX {
            self.homes.retain(|_, until| *until > now);
            if self.homes.len() >= limits::THROTTLE_ENTRIES_MAX {
                let oldest = self.homes.iter().min_by_key(|(_, until)| **until).map(|(home, _)| home.clone());
                oldest.map(|home| self.homes.remove(&home));
            }
        }
        self.homes.insert(home, now + Duration::from_secs(limits::RECENTLY_RIGHT_SECONDS));
    }
}

fn count(failures: &mut HashMap<Suspect, Failures>, suspect: Suspect) {
    let now = Instant::now();
    if !failures.contains_key(&suspect) && failures.len() >= limits::THROTTLE_ENTRIES_MAX {
        make_room(failures, now);
    }
    let until = now + Duration::from_secs(limits::THROTTLE_SECONDS);
    let entry = failures.entry(suspect).or_insert(Failures { count: 0, until });
    if entry.until <= now {
        *entry = Failures { count: 0, until };
    }
    entry.count = entry.count.saturating_add(1);
}

/// Drops what has run out, or else the least of the rest: who fails often stays counted.
fn make_room(failures: &mut HashMap<Suspect, Failures>, now: Instant) {
    failures.retain(|_, entry| entry.until > now);
    if failures.len() >= limits::THROTTLE_ENTRIES_MAX {
        let least =
            failures.iter().min_by_key(|(_, entry)| (entry.count, entry.until)).map(|(suspect, _)| suspect.clone());
        least.map(|suspect| failures.remove(&suspect));
    }
}

/// What counts as one client. One household counts as one: an IPv6 address by its first 64 bits, an IPv4 address in IPv6 clothes as itself.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_eleventh_try_within_a_minute_waits_for_the_window_to_end() {
        let throttle = Throttle::default();
        for _ in 0..limits::FAILED_LOGINS_MAX {
            assert_eq!(throttle.check(ip("10.0.0.1"), "ann"), Ok(()));
            throttle.failed(ip("10.0.0.1"), "ann");
        }
        assert!(throttle.check(ip("10.0.0.1"), "ann").is_err());
        assert!(throttle.check(ip("::ffff:10.0.0.1"), "ann").is_err());
        assert_eq!(throttle.check(ip("10.0.0.2"), "ann"), Ok(()));
        assert_eq!(throttle.check(ip("10.0.0.1"), "bob"), Ok(()));
        tokio::time::advance(Duration::from_secs(limits::THROTTLE_SECONDS)).await;
        assert_eq!(throttle.check(ip("10.0.0.1"), "ann"), Ok(()));
        throttle.failed(ip("10.0.0.1"), "ann");
        assert_eq!(throttle.check(ip("10.0.0.1"), "ann"), Ok(()));
    }

    #[tokio::test]
    async fn a_success_takes_the_users_failures_back() {
        let throttle = Throttle::default();
        for _ in 0..limits::FAILED_LOGINS_MAX {
            throttle.failed(ip("10.0.0.1"), "ann");
        }
        throttle.succeeded(ip("10.0.0.1"), "ann");
        assert_eq!(throttle.check(ip("10.0.0.1"), "ann"), Ok(()));
    }

    #[tokio::test]
    async fn guessing_many_names_from_one_address_is_throttled_too() {
        let throttle = Throttle::default();
        for number in 0..limits::FAILED_LOGINS_PER_ADDRESS_MAX {
            throttle.failed(ip("2001:db8::1"), &number.to_string());
        }
        assert!(throttle.check(ip("2001:db8::ffff"), "new").is_err());
        assert_eq!(throttle.check(ip("2001:db8:0:1::1"), "new"), Ok(()));
    }

    #[tokio::test]
    async fn a_flood_of_names_does_not_grow_it_nor_free_the_guesser() {
        let throttle = Throttle::default();
        for _ in 0..limits::FAILED_LOGINS_MAX {
            throttle.failed(ip("10.9.9.9"), "ann");
        }
        for number in 0..limits::THROTTLE_ENTRIES_MAX as u32 / 2 + 50 {
            throttle.failed(IpAddr::V4(std::net::Ipv4Addr::from_bits(number)), "x");
        }
        assert!(throttle.lock().failures.len() <= limits::THROTTLE_ENTRIES_MAX);
        assert!(throttle.check(ip("10.9.9.9"), "ann").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_at_home_at_an_address_is_not_locked_out_by_others_there() {
        let throttle = Throttle::default();
        throttle.succeeded(ip("10.0.0.1"), "ann");
        for number in 0..limits::FAILED_LOGINS_PER_ADDRESS_MAX {
            throttle.failed(ip("10.0.0.1"), &number.to_string());
        }
        assert!(throttle.check(ip("10.0.0.1"), "bob").is_err());
        assert_eq!(throttle.check(ip("10.0.0.1"), "ann"), Ok(()));
        // Guesses at her own password are held as ever.
        for _ in 0..limits::FAILED_LOGINS_MAX {
            throttle.failed(ip("10.0.0.1"), "ann");
        }
        assert!(throttle.check(ip("10.0.0.1"), "ann").is_err());
        tokio::time::advance(Duration::from_secs(limits::RECENTLY_RIGHT_SECONDS)).await;
        for number in 0..limits::FAILED_LOGINS_PER_ADDRESS_MAX {
            throttle.failed(ip("10.0.0.1"), &number.to_string());
        }
        assert!(throttle.check(ip("10.0.0.1"), "ann").is_err(), "she has not been there for a while");
    }

    #[tokio::test]
    async fn of_many_outcomes_at_once_no_more_count_than_are_allowed() {
        let throttle = Throttle::default();
        let judged = (0..100).map(|_| throttle.judge(ip("10.0.0.1"), "ann", false));
        assert_eq!(judged.filter(Result::is_ok).count(), limits::FAILED_LOGINS_MAX as usize);
        assert!(throttle.judge(ip("10.0.0.1"), "ann", true).is_err(), "a right one comes too late");
    }

    #[tokio::test]
    async fn a_flood_of_users_who_are_at_home_does_not_grow_it() {
        let throttle = Throttle::default();
        for number in 0..limits::THROTTLE_ENTRIES_MAX + 10 {
            throttle.succeeded(ip("10.0.0.1"), &number.to_string());
        }
        assert!(throttle.lock().homes.len() <= limits::THROTTLE_ENTRIES_MAX);
    }
}
