//! A body read in one pass: every byte is looked at once, and what an operation has in common with an earlier one is not
//! read again.
//!
//! Gives `None` for whatever is out of the ordinary, most of which is wrong; who asked then reads the body level by level.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use super::form::check_columns;
use super::message::{self, Given, PutMessage};
use super::raw_object::Names;
use super::scan::Scan;
use super::{At, PutCell, PutForm, PutOperation, PutTransaction, commit_ts, text, tokens, xid};
use crate::limits;
use crate::record::{Operation, TableName, Timestamp};

/// Earlier forms that an operation's is looked for among.
const FORMS_LOOKED_AT: usize = 8;

/// The transactions of a body.
pub(super) fn read(body: &[u8], now: Timestamp) -> Option<Vec<PutTransaction<'_>>> {
    let mut scan = Scan::new(std::str::from_utf8(body).ok()?);
    let mut transactions = Vec::new();
    while !scan.is_at_end() {
        transactions.push(transaction(&mut scan, now)?);
    }
    (!transactions.is_empty()).then_some(transactions)
}

fn transaction<'a>(scan: &mut Scan<'a>, now: Timestamp) -> Option<PutTransaction<'a>> {
    scan.peek();
    let mut transaction = PutTransaction { at: At::Byte(scan.mark()), ..PutTransaction::default() };
    scan.byte(b'{')?;
    loop {
        let name = scan.string()?.json;
        scan.byte(b':')?;
        match name {
            "\"xid\"" if transaction.xid.is_none() => transaction.xid = Some(xid(scan.string()?.json).ok()?),
            "\"commitTs\"" if transaction.commit_ts.is_none() => {
                transaction.commit_ts = Some(commit_ts(scan.string()?.json, now).ok()?);
            }
            "\"operations\"" if transaction.operations.is_empty() => operations(scan, &mut transaction)?,
            _ => return None,
        }
        if !scan.more(b'}')? {
            break;
        }
    }
    (!transaction.operations.is_empty()).then_some(transaction)
}

fn operations<'a>(scan: &mut Scan<'a>, transaction: &mut PutTransaction<'a>) -> Option<()> {
    let mut pass = Pass { transaction, known: Vec::new(), last: 0 };
    scan.byte(b'[')?;
    loop {
        pass.operation(scan)?;
        if pass.transaction.operations.len() > limits::PUT_OPERATIONS_MAX {
            return None;
        }
        if !scan.more(b']')? {
            return Some(());
        }
    }
}

struct Pass<'a, 't> {
    transaction: &'t mut PutTransaction<'a>,
    /// What the transaction's forms were read from, in their order.
    known: Vec<Known<'a>>,
    /// The form of the operation before.
    last: usize,
}

/// The texts that a form was read from.
#[derive(Debug, Default, PartialEq)]
struct Texts<'a> {
    op: &'a str,
    table: &'a str,
    key: &'a str,
    /// The columns' names, quotes included.
    before: Option<Rc<[&'a str]>>,
    after: Option<Rc<[&'a str]>>,
}

/// What a form was read from; all empty if the form is not used again.
#[derive(Debug, Default)]
struct Known<'a> {
    texts: Texts<'a>,
    beginning: Beginning<'a>,
}

/// An operation's text up to its first image.
#[derive(Debug, Clone, Copy, Default)]
struct Beginning<'a> {
    text: &'a str,
    /// The key, if it stands there.
    key: &'a str,
    /// The image's name.
    image: &'a str,
}

/// An operation while it is read; what has not come is empty.
#[derive(Debug, Default)]
struct Reading<'a> {
    texts: Texts<'a>,
    beginning: Beginning<'a>,
    tokens: &'a str,
    ddl: &'a str,
    /// Images that came, nulls too.
    images: u8,
}

impl<'a> Reading<'a> {
    /// It comes to that image.
    fn note_beginning(&mut self, text: &'a str, image: &'a str) {
        let usual = self.images == 0 && self.tokens.is_empty() && self.ddl.is_empty();
        if usual && !self.texts.op.is_empty() && !self.texts.table.is_empty() {
            self.beginning = Beginning { text, key: self.texts.key, image };
        }
    }
}

const BEFORE: u8 = 1;
const AFTER: u8 = 2;

impl<'a> Pass<'a, '_> {
    fn operation(&mut self, scan: &mut Scan<'a>) -> Option<()> {
        let cells_at = self.transaction.cells.len();
        let mut reading = Reading::default();
        scan.peek();
        let start = scan.mark();
        let mut name = self.usual_beginning(scan, &mut reading);
        if name.is_empty() {
            scan.byte(b'{')?;
            name = member(scan)?;
        }
        loop {
            match name {
                "\"op\"" if reading.texts.op.is_empty() => {
                    reading.texts.op = scan.string()?.json;
                    if reading.texts.op == message::NAME {
                        return self.message(scan, &reading);
                    }
                }
                "\"table\"" if reading.texts.table.is_empty() => reading.texts.table = scan.string()?.json,
                "\"key\"" if reading.texts.key.is_empty() => reading.texts.key = scan.nested()?,
                "\"before\"" | "\"after\"" => {
                    reading.note_beginning(scan.since(start)?, name);
                    self.image(scan, &mut reading, name, cells_at)?;
                }
                "\"tokens\"" if reading.tokens.is_empty() => reading.tokens = scan.nested()?,
                "\"ddl\"" if reading.ddl.is_empty() => reading.ddl = scan.string()?.json,
                _ => return None,
            }
            if !scan.more(b'}')? {
                break;
            }
            name = member(scan)?;
        }
        let tokens = if reading.tokens.is_empty() { None } else { Some(tokens(reading.tokens).ok()?) };
        let ddl = if reading.ddl.is_empty() { None } else { Some(text(reading.ddl, "ddl").ok()?.into_owned()) };
        self.last = self.form(reading, tokens.as_deref(), ddl.as_deref())?;
        self.transaction.operations.push(PutOperation { form: self.last, message: None, cells_at, tokens, ddl });
        Some(())
    }

    /// Reads the rest of a message, of which its operation came first.
    fn message(&mut self, scan: &mut Scan<'a>, before: &Reading<'a>) -> Option<()> {
        let Reading { texts, tokens, ddl, images, .. } = before;
        if *images != 0 || [texts.table, texts.key, *tokens, *ddl].iter().any(|came| !came.is_empty()) {
            return None;
        }
        let mut given = Given::default();
        while scan.more(b'}')? {
            let name = member(scan)?;
            let json = scan.value()?.json;
            if !given.take(name.trim_matches('"'), json) {
                return None;
            }
        }
        self.transaction.push_message(PutMessage::read(&given).ok()?);
        Some(())
    }

    /// Takes what the operation before began with, up to its first image; gives that image's name, or nothing.
    fn usual_beginning(&self, scan: &mut Scan<'a>, reading: &mut Reading<'a>) -> &'a str {
        let Some(known) = self.known.get(self.last).filter(|known| scan.same(known.beginning.text)) else { return "" };
        let Texts { op, table, .. } = known.texts;
        reading.texts = Texts { op, table, key: known.beginning.key, before: None, after: None };
        known.beginning.image
    }

    fn image(&mut self, scan: &mut Scan<'a>, reading: &mut Reading<'a>, name: &str, cells_at: usize) -> Option<()> {
        let image = if name == "\"before\"" { BEFORE } else { AFTER };
        if reading.images & image != 0 {
            return None;
        }
        reading.images |= image;
        if scan.same("null") {
            return Some(());
        }
        let of = |texts: &'_ Texts<'a>| if image == BEFORE { texts.before.clone() } else { texts.after.clone() };
        let alike = self.latest(|texts| {
            texts.op == reading.texts.op && texts.table == reading.texts.table && texts.key == reading.texts.key
        });
        let expected = alike.and_then(|form| of(&self.known[form].texts));
        let cells = &mut self.transaction.cells;
        let start = cells.len();
        let columns = match read_cells(scan, expected.as_deref().unwrap_or_default(), cells)? {
            Some(columns) => Some(columns.into()),
            None => expected,
        };
        if image == BEFORE {
            // Its values come first, wherever it stands.
            cells[cells_at..].rotate_left(start - cells_at);
            reading.texts.before = columns;
        } else {
            reading.texts.after = columns;
        }
        Some(())
    }

    /// The form last used, or else the latest, whose texts are as wanted.
    fn latest(&self, wanted: impl Fn(&Texts<'a>) -> bool) -> Option<usize> {
        if self.known.get(self.last).is_some_and(|known| wanted(&known.texts)) {
            return Some(self.last);
        }
        let first = self.known.len().saturating_sub(FORMS_LOOKED_AT);
        self.known[first..].iter().rposition(|known| wanted(&known.texts)).map(|form| first + form)
    }

    /// The form that an operation has, a new one if need be.
    fn form(&mut self, reading: Reading<'a>, tokens: Option<&str>, ddl: Option<&str>) -> Option<usize> {
        let Reading { texts, beginning, .. } = reading;
        // Without an operation there is nothing to be like; it would match what is not used again.
        if ddl.is_none()
            && !texts.op.is_empty()
            && let Some(form) = self.latest(|known| *known == texts)
        {
            return Some(form);
        }
        let form = PutForm {
            operation: Operation::parse(&text(texts.op, "op").ok()?)?,
            table: TableName::parse(&text(texts.table, "table").ok()?).ok()?,
            key: if texts.key.is_empty() { Arc::default() } else { serde_json::from_str(texts.key).ok()? },
            before: columns(texts.before.as_deref())?,
            after: columns(texts.after.as_deref())?,
        };
        form.check(tokens, ddl).ok()?;
        // What was checked with a statement may not do without.
        let known = if ddl.is_some() { Known::default() } else { Known { texts, beginning } };
        self.known.push(known);
        self.transaction.forms.push(form);
        Some(self.transaction.forms.len() - 1)
    }
}

/// A member's name, quotes included, and the colon behind it.
fn member<'a>(scan: &mut Scan<'a>) -> Option<&'a str> {
    let name = scan.string()?.json;
    scan.byte(b':')?;
    Some(name)
}

/// Reads an image's values, and its columns' names if they are not those `expected`.
fn read_cells<'a>(
    scan: &mut Scan<'a>,
    expected: &[&'a str],
    cells: &mut Vec<PutCell<'a>>,
) -> Option<Option<Vec<&'a str>>> {
    let mut count = 0;
    let mut own: Option<Vec<&'a str>> = None;
    scan.byte(b'{')?;
    loop {
        let as_expected = own.is_none() && expected.get(count).is_some_and(|name| scan.same(name));
        if !as_expected {
            own.get_or_insert_with(|| expected[..count].to_vec()).push(scan.string()?.json);
        }
        count += 1;
        scan.byte(b':')?;
        cells.push(scan.value()?);
        if !scan.more(b'}')? {
            break;
        }
    }
    if own.is_none() && count < expected.len() {
        own = Some(expected[..count].to_vec());
    }
    Some(own)
}

/// The names of columns in these texts, checked.
fn columns<'a>(texts: Option<&[&'a str]>) -> Option<Option<Vec<Cow<'a, str>>>> {
    let Some(texts) = texts else { return Some(None) };
    let mut names = Names::default();
    let mut columns = Vec::with_capacity(texts.len());
    for json in texts {
        let name = text(json, "column").ok()?;
        if !names.is_new(&name, columns.iter()) {
            return None;
        }
        columns.push(name);
    }
    check_columns(columns.iter(), "image").ok()?;
    Some(Some(columns))
}
