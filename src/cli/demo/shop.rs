//! The shop of the demo: customers order, pay, are sent their goods and change their minds; now and then a column
//! comes or goes.
//!
//! Owns what happens in the shop, as transactions in the format of a put. Knows no time, no trail and no network: the
//! same seed gives the same shop.

mod random;
mod table;
mod words;

use random::Random;
use table::{Cell, Changes, Key, Row, Table};

/// Orders that are kept; beyond it those longest delivered are archived, that is deleted.
const ORDERS_KEPT: usize = 200;
/// Customers of the shop; beyond it nobody new signs up.
const CUSTOMERS_MAX: usize = 500;
/// Transactions between two changes of a table's shape.
const SHAPE_EVERY: u64 = 60;
/// Different `note_…` columns: what a trail has once seen of a table stays in its shape, so they come back.
const NOTE_COLUMNS: u64 = 3;
/// Pieces of a product after a delivery from its maker.
const STOCK_FULL: u64 = 200;

/// A little shop that never closes.
#[derive(Debug)]
pub struct Shop {
    seed: u64,
    random: Random,
    transactions: u64,
    customers: Table,
    products: Table,
    orders: Table,
    order_items: Table,
    payments: Table,
    next_customer: u64,
    next_order: u64,
    next_payment: u64,
    /// Number of the newest `note_…` column, and whether `shop.orders` has it now.
    note: (u64, bool),
    /// Operations of the transaction that is being made, each as JSON.
    operations: Vec<String>,
}

impl Shop {
    /// A shop with shelves still empty. The seed decides everything that will happen in it.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            random: Random::new(seed),
            transactions: 0,
            customers: Table::new("shop.customers", &["id"]),
            products: Table::new("shop.products", &["id"]),
            orders: Table::new("shop.orders", &["id"]),
            order_items: Table::new("shop.order_items", &["order_id", "line"]),
            payments: Table::new("shop.payments", &["id"]),
            next_customer: 1,
            next_order: 1,
            next_payment: 1,
            note: (0, false),
            operations: Vec::new(),
        }
    }

    /// What happens next: one transaction, as one line of JSON for a put. Its `xid` is new within a seed.
    pub fn next_transaction(&mut self) -> String {
        self.operations.clear();
        match self.transactions {
            0 => self.fill_the_shelves(),
            1..=5 => self.sign_up(),
            count if count % SHAPE_EVERY == 0 => self.change_a_shape(),
            _ => self.do_business(),
        }
        self.transactions += 1;
        format!(
            "{{\"xid\":\"shop-{:x}-{}\",\"operations\":[{}]}}",
            self.seed,
            self.transactions,
            self.operations.join(",")
        )
    }

    fn do_business(&mut self) {
        if self.orders.len() > ORDERS_KEPT {
            return self.archive();
        }
        match self.random.below(100) {
            0..8 => self.sign_up(),
            8..16 => self.move_house(),
            16..24 => self.change_a_price(),
            24..46 => self.pay(),
            46..60 => self.advance("paid", "shipped"),
            60..72 => self.advance("shipped", "delivered"),
            72..80 => self.cancel(),
            _ => self.place_an_order(),
        }
        // Nobody pays while nothing is ordered: then somebody orders.
        if self.operations.is_empty() {
            self.place_an_order();
        }
    }

    /// What is sold stood there before the first customer came: like rows that an initial load reads.
    fn fill_the_shelves(&mut self) {
        for (number, (name, cents)) in words::PRODUCTS.iter().enumerate() {
            let id = number as u64 + 1;
            let row = Row::from([
                ("id".into(), Cell::Number(id)),
                ("name".into(), Cell::Text((*name).into())),
                ("price".into(), Cell::Money(*cents)),
                ("stock".into(), Cell::Number(STOCK_FULL)),
            ]);
            let inserted = self.products.insert(vec![id], row);
            self.operations.push(Table::loaded(&inserted, number + 1 == words::PRODUCTS.len()));
        }
    }

    fn sign_up(&mut self) {
        if self.customers.len() >= CUSTOMERS_MAX {
            return self.move_house();
        }
        let id = self.next_customer;
        self.next_customer += 1;
        let first = *self.random.pick(words::FIRST_NAMES);
        let last = *self.random.pick(words::LAST_NAMES);
        let row = Row::from([
            ("id".into(), Cell::Number(id)),
            ("name".into(), Cell::Text(format!("{first} {last}"))),
            ("email".into(), Cell::Text(format!("customer{id}@example.com"))),
            ("city".into(), Cell::Text((*self.random.pick(words::CITIES)).into())),
        ]);
        self.operations.push(self.customers.insert(vec![id], row));
    }

    fn move_house(&mut self) {
        let Some(customer) = self.customers.any_key(&mut self.random) else { return };
        let city = Cell::Text((*self.random.pick(words::CITIES)).into());
        self.operations.extend(self.customers.update(&customer, &[("city", city)]));
    }

    fn change_a_price(&mut self) {
        let Some(product) = self.products.any_key(&mut self.random) else { return };
        let Some(cents) = self.products.money(&product, "price") else { return };
        // Five percent up or down, never to nothing.
        let changed = if self.random.below(2) == 0 { cents + cents / 20 } else { cents - cents / 20 };
        self.operations.extend(self.products.update(&product, &[("price", Cell::Money(changed.max(50)))]));
    }

    fn place_an_order(&mut self) {
        let Some(customer) = self.customers.any_key(&mut self.random) else { return };
        let order = self.next_order;
        self.next_order += 1;
        let mut total = 0;
        let mut details = Vec::new();
        for line in 1..=1 + self.random.below(4) {
            let Some(product) = self.products.any_key(&mut self.random) else { break };
            let price = self.products.money(&product, "price").unwrap_or_default();
            let quantity = 1 + self.random.below(3);
            total += price * quantity;
            let row = Row::from([
                ("order_id".into(), Cell::Number(order)),
                ("line".into(), Cell::Number(line)),
                ("product_id".into(), Cell::Number(product[0])),
                ("quantity".into(), Cell::Number(quantity)),
                ("price".into(), Cell::Money(price)),
            ]);
            details.push(self.order_items.insert(vec![order, line], row));
            details.extend(self.take_from_stock(&product, quantity));
        }
        let mut row = Row::from([
            ("id".into(), Cell::Number(order)),
            ("customer_id".into(), Cell::Number(customer[0])),
            ("status".into(), Cell::Text("new".into())),
            ("total".into(), Cell::Money(total)),
        ]);
        if let (number, true) = self.note {
            let note = self.random.pick(words::NOTES).map_or(Cell::Null, |note| Cell::Text(note.into()));
            row.push((note_column(number), note));
        }
        self.operations.push(self.orders.insert(vec![order], row));
        self.operations.append(&mut details);
    }

    /// Takes pieces off the shelf, which is filled again in time.
    fn take_from_stock(&mut self, product: &Key, quantity: u64) -> Option<String> {
        let stock = self.products.number(product, "stock")?;
        let left = stock.checked_sub(quantity).unwrap_or(STOCK_FULL);
        self.products.update(product, &[("stock", Cell::Number(left))])
    }

    fn pay(&mut self) {
        let Some(order) = self.order_in("new") else { return };
        let amount = self.orders.money(&order, "total").unwrap_or_default();
        let id = self.next_payment;
        self.next_payment += 1;
        let row = Row::from([
            ("id".into(), Cell::Number(id)),
            ("order_id".into(), Cell::Number(order[0])),
            ("amount".into(), Cell::Money(amount)),
            ("method".into(), Cell::Text((*self.random.pick(words::METHODS)).into())),
        ]);
        self.operations.push(self.payments.insert(vec![id], row));
        self.set_status(&order, "paid");
    }

    fn advance(&mut self, from: &str, to: &str) {
        if let Some(order) = self.order_in(from) {
            self.set_status(&order, to);
        }
    }

    fn set_status(&mut self, order: &Key, status: &str) {
        let changes: Changes<'_> = &[("status", Cell::Text(status.into()))];
        self.operations.extend(self.orders.update(order, changes));
    }

    fn cancel(&mut self) {
        if let Some(order) = self.order_in("new") {
            self.remove(&order);
        }
    }

    /// Deletes what was delivered longest ago, several orders in one transaction.
    fn archive(&mut self) {
        let delivered = self.orders.keys_where("status", &Cell::Text("delivered".into()));
        for order in delivered.iter().take(10) {
            self.remove(order);
        }
        // Nothing delivered yet: then the oldest orders have waited long enough.
        if delivered.is_empty() {
            for order in self.orders.first_keys(10) {
                self.remove(&order);
            }
        }
    }

    fn remove(&mut self, order: &Key) {
        for payment in self.payments.keys_where("order_id", &Cell::Number(order[0])) {
            self.operations.extend(self.payments.delete(&payment));
        }
        for item in self.order_items.keys_where("order_id", &Cell::Number(order[0])) {
            self.operations.extend(self.order_items.delete(&item));
        }
        self.operations.extend(self.orders.delete(order));
    }

    fn order_in(&mut self, status: &str) -> Option<Key> {
        let orders = self.orders.keys_where("status", &Cell::Text(status.into()));
        (!orders.is_empty()).then(|| self.random.pick(&orders).clone())
    }

    /// Adds a column to `shop.orders`, or drops the one that was added, so that the table never grows wider than that.
    fn change_a_shape(&mut self) {
        let (number, present) = self.note;
        self.note = if present { (number, false) } else { (number % NOTE_COLUMNS + 1, true) };
        let column = note_column(self.note.0);
        let statement = if present {
            self.orders.drop_column(&column);
            format!("ALTER TABLE shop.orders DROP COLUMN {column}")
        } else {
            self.orders.add_column(&column);
            format!("ALTER TABLE shop.orders ADD COLUMN {column} text")
        };
        self.operations.push(format!("{{\"op\":\"DDL\",\"table\":\"shop.orders\",\"ddl\":\"{statement}\"}}"));
    }
}

fn note_column(number: u64) -> String {
    format!("note_{number}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, HashMap, HashSet};

    use serde_json::Value;
    use serde_json::value::RawValue;

    fn transactions(seed: u64, count: usize) -> Vec<Value> {
        let mut shop = Shop::new(seed);
        (0..count).map(|_| serde_json::from_str(&shop.next_transaction()).unwrap()).collect()
    }

    fn operations(transactions: &[Value]) -> impl Iterator<Item = &Value> {
        transactions.iter().flat_map(|transaction| transaction["operations"].as_array().unwrap())
    }

    fn row_id(operation: &Value, image: &Value) -> String {
        let key = operation["key"].as_array().unwrap().iter().map(|column| image[column.as_str().unwrap()].to_string());
        format!("{} {}", operation["table"], key.collect::<Vec<_>>().join(","))
    }

    #[test]
    fn what_is_sold_comes_first_as_rows_that_were_there_already() {
        let transactions = transactions(7, 200);
        let snapshot = |operation: &Value| operation["tokens"]["snapshot"].as_str().map(str::to_owned);
        let loaded: Vec<_> = operations(&transactions[..1]).map(|operation| snapshot(operation).unwrap()).collect();
        assert_eq!(loaded.iter().filter(|snapshot| *snapshot == "last").count(), 1);
        assert_eq!(loaded.last().unwrap(), "last");
        assert_eq!(loaded.len(), words::PRODUCTS.len());
        assert!(operations(&transactions[1..]).all(|operation| snapshot(operation).is_none()));
    }

    #[test]
    fn every_operation_fits_what_the_tables_hold_then() {
        let transactions = transactions(7, 3_000);
        let mut live: HashMap<String, Value> = HashMap::new();
        for operation in operations(&transactions) {
            let (before, after) = (&operation["before"], &operation["after"]);
            match operation["op"].as_str().unwrap() {
                "INSERT" => {
                    assert!(before.is_null());
                    assert!(live.insert(row_id(operation, after), after.clone()).is_none(), "{operation}");
                }
                "UPDATE" => {
                    assert_ne!(before, after);
                    assert_eq!(row_id(operation, before), row_id(operation, after));
                    let was = live.insert(row_id(operation, after), after.clone());
                    let was = was.unwrap_or_else(|| panic!("no such row: {operation}"));
                    assert!(same_values(&was, before), "{was} is not the before image of {operation}");
                }
                "DELETE" => {
                    assert!(after.is_null());
                    assert!(live.remove(&row_id(operation, before)).is_some(), "no such row: {operation}");
                }
                other => assert_eq!(other, "DDL"),
            }
        }
        assert!(live.len() < 4_000, "the shop grows without end: {}", live.len());
    }

    /// A column that was added since is null, one that was dropped is gone.
    fn same_values(old: &Value, new: &Value) -> bool {
        let fixed = |row: &Value| -> BTreeMap<String, Value> {
            let cells =
                row.as_object().unwrap().iter().filter(|(name, value)| !name.starts_with("note_") || !value.is_null());
            cells.map(|(name, value)| (name.clone(), value.clone())).collect()
        };
        let (old, new) = (fixed(old), fixed(new));
        new.iter().all(|(name, value)| old.get(name) == Some(value))
            && old.keys().all(|name| new.contains_key(name) || name.starts_with("note_"))
    }

    #[test]
    fn everything_happens_that_a_tail_should_show() {
        let transactions = transactions(1, 600);
        let seen: HashSet<(String, String)> = operations(&transactions)
            .map(|operation| (operation["op"].as_str().unwrap().into(), operation["table"].as_str().unwrap().into()))
            .collect();
        for (operation, table) in [
            ("INSERT", "shop.customers"),
            ("INSERT", "shop.products"),
            ("INSERT", "shop.payments"),
            ("UPDATE", "shop.orders"),
            ("UPDATE", "shop.products"),
            ("UPDATE", "shop.customers"),
            ("DELETE", "shop.orders"),
            ("DELETE", "shop.order_items"),
            ("DDL", "shop.orders"),
        ] {
            assert!(seen.contains(&(operation.into(), table.into())), "no {operation} of {table}");
        }
        assert!(transactions.iter().any(|transaction| transaction["operations"].as_array().unwrap().len() > 3));
        assert!(transactions.iter().all(|transaction| !transaction["operations"].as_array().unwrap().is_empty()));
    }

    #[test]
    fn rows_after_an_added_column_have_it_and_after_its_drop_have_not() {
        let transactions = transactions(3, 1_000);
        let mut column: Option<String> = None;
        let mut seen = 0;
        for operation in operations(&transactions).filter(|operation| operation["table"] == "shop.orders") {
            if let Some(ddl) = operation["ddl"].as_str() {
                let name = ddl.split(" COLUMN ").nth(1).unwrap().trim_end_matches(" text").to_owned();
                column = ddl.contains(" ADD ").then_some(name);
                continue;
            }
            for image in ["before", "after"].iter().filter_map(|image| operation[*image].as_object()) {
                let notes: Vec<&String> = image.keys().filter(|name| name.starts_with("note_")).collect();
                assert_eq!(notes, column.iter().collect::<Vec<_>>(), "{operation}");
                seen += notes.len();
            }
        }
        assert!(seen > 10);
    }

    #[test]
    fn amounts_are_numbers_with_two_decimals() {
        let mut shop = Shop::new(11);
        let mut amounts = 0;
        for _ in 0..300 {
            let text = shop.next_transaction();
            let transaction: HashMap<String, &RawValue> = serde_json::from_str(&text).unwrap();
            let operations: Vec<HashMap<String, &RawValue>> =
                serde_json::from_str(transaction["operations"].get()).unwrap();
            for after in operations.iter().filter_map(|operation| operation.get("after")) {
                let row: HashMap<String, &RawValue> = serde_json::from_str(after.get()).unwrap();
                for amount in ["price", "total", "amount"].iter().filter_map(|name| row.get(*name)) {
                    let (whole, decimals) = amount.get().split_once('.').unwrap();
                    assert!(whole.bytes().all(|byte| byte.is_ascii_digit()) && decimals.len() == 2, "{amount}");
                    amounts += 1;
                }
            }
        }
        assert!(amounts > 100);
    }

    #[test]
    fn the_seed_decides_and_transaction_ids_never_repeat() {
        assert_eq!(transactions(5, 200), transactions(5, 200));
        assert_ne!(transactions(5, 200), transactions(6, 200));
        let xids: HashSet<String> = transactions(5, 2_000).iter().map(|it| it["xid"].to_string()).collect();
        assert_eq!(xids.len(), 2_000);
    }

    #[test]
    fn names_are_from_more_than_one_alphabet() {
        let text: String = transactions(2, 400).iter().map(Value::to_string).collect();
        assert!(text.chars().any(|char| ('\u{400}'..'\u{500}').contains(&char)), "no Cyrillic");
        assert!(text.chars().any(|char| "ßéøñçáö".contains(char)), "no accents");
    }
}
