//! Writes the shop's transactions to a trail, so many a second, through the door that puts over HTTP take.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::shop::Shop;
use crate::cli::failure::Failure;
use crate::clock::{Clock as _, SystemClock};
use crate::record::TrailName;
use crate::service::Service;
use crate::service::principal::Principal;

/// Time between two puts at high rates, in milliseconds; below, each transaction is a put of its own.
const TICK_MILLIS: u64 = 20;
/// Transactions of one put at most: what a stall left undone is not made up for at once.
const TRANSACTIONS_PER_PUT_MAX: u64 = 1_000;
/// Empties the tables of an earlier shop, whose rows the new one knows nothing of.
const TABLES: [&str; 5] = ["shop.payments", "shop.order_items", "shop.orders", "shop.products", "shop.customers"];

/// A shop and the trail it writes to.
pub(super) struct Writer {
    service: Arc<Service>,
    trail: TrailName,
    rate: u32,
    seed: u64,
    shop: Shop,
}

impl Writer {
    /// A shop of its own: the time is its seed, so that no transaction id of an earlier one comes again.
    pub(super) fn new(service: Arc<Service>, trail: TrailName, rate: u32) -> Self {
        let seed = SystemClock.now().micros().unsigned_abs();
        Self { service, trail, rate, seed, shop: Shop::new(seed) }
    }

    /// Writes the first transaction; before it, in a trail that has an earlier shop, the one that empties the tables.
    pub(super) async fn open(&mut self, goes_on: bool) -> Result<(), Failure> {
        if goes_on {
            self.put(emptying(self.seed)).await?;
        }
        self.put_next(1).await
    }

    /// Writes for ever; returns when that fails.
    pub(super) async fn write(&mut self) -> Result<(), Failure> {
        let between = Duration::from_secs(1) / self.rate;
        let mut ticks = tokio::time::interval(between.max(Duration::from_millis(TICK_MILLIS)));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let start = Instant::now();
        let mut written = 0;
        loop {
            ticks.tick().await;
            let due = due(start.elapsed(), self.rate).saturating_sub(written);
            // What is beyond the cap is given up, so that the rate does not jump after a stall.
            written += due;
            if due > 0 {
                self.put_next(due.min(TRANSACTIONS_PER_PUT_MAX)).await?;
            }
        }
    }

    async fn put_next(&mut self, count: u64) -> Result<(), Failure> {
        let lines: Vec<String> = (0..count).map(|_| self.shop.next_transaction()).collect();
        self.put(lines.join("\n")).await
    }

    async fn put(&self, lines: String) -> Result<(), Failure> {
        let put = self.service.puts().put(Principal::House, &self.trail, lines.as_bytes()).await;
        put.map(drop)
            .map_err(|error| Failure::failed(format!("the shop cannot write to trail {}: {error}", self.trail)))
    }
}

/// Transactions due after some time.
fn due(elapsed: Duration, rate: u32) -> u64 {
    (elapsed.as_secs_f64() * f64::from(rate)) as u64 + 1
}

/// The transaction that empties the tables.
fn emptying(seed: u64) -> String {
    let truncates = TABLES.map(|table| format!("{{\"op\":\"TRUNCATE\",\"table\":\"{table}\"}}"));
    format!("{{\"xid\":\"shop-{seed:x}-0\",\"operations\":[{}]}}", truncates.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::put;
    use std::collections::HashSet;

    #[test]
    fn as_many_are_due_as_the_rate_says() {
        assert_eq!(due(Duration::ZERO, 20), 1);
        assert_eq!(due(Duration::from_secs(10), 20), 201);
        assert_eq!(due(Duration::from_millis(20), 10_000), 201);
    }

    #[test]
    fn the_emptying_transaction_is_a_put_and_names_every_table_of_the_shop() {
        let text = emptying(7);
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tables = |transaction: &serde_json::Value| -> HashSet<String> {
            let operations = transaction["operations"].as_array().unwrap().iter();
            operations.map(|operation| operation["table"].as_str().unwrap().to_owned()).collect()
        };
        let mut shop = Shop::new(7);
        let mut used = HashSet::new();
        for _ in 0..500 {
            used.extend(tables(&serde_json::from_str(&shop.next_transaction()).unwrap()));
        }
        assert_eq!(tables(&parsed), used);
        assert!(put::parse(text.as_bytes(), crate::record::Timestamp::from_micros(0)).is_ok());
    }
}
