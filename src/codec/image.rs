//! A row image: the cells of one row in the order of its table's columns, each as ready-made JSON text.
//!
//! Layout: `u16` number of cells (little-endian), then a cell each: one tag byte, and for a value its length as a
//! LEB128 number of at most five bytes and the JSON text. "Unchanged" and "absent" are tags of their own, so no value
//! of a column can ever be taken for them.

/// What an image says of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// The source sent nothing for it (a delete with only its key, say). Not the same as null.
    Absent,
    /// SQL NULL.
    Null,
    /// The source did not send it because it did not change (PostgreSQL: unchanged TOAST).
    Unchanged,
    /// Its value: compact JSON with U+2028 and U+2029 escaped.
    Json(&'a str),
}

const ABSENT: u8 = 0;
const NULL: u8 = 1;
const UNCHANGED: u8 = 2;
const JSON: u8 = 3;

/// Writes one image into a buffer that its owner uses again.
#[derive(Debug)]
pub struct ImageWriter<'b> {
    out: &'b mut Vec<u8>,
    count_at: usize,
    count: u16,
    scratch: Vec<u8>,
}

impl<'b> ImageWriter<'b> {
    /// Starts an image at the end of `out`.
    pub fn new(out: &'b mut Vec<u8>) -> Self {
        let count_at = out.len();
        out.extend_from_slice(&[0, 0]);
        Self { out, count_at, count: 0, scratch: Vec::new() }
    }

    /// Bytes of the image so far.
    pub fn bytes(&self) -> usize {
        self.out.len() - self.count_at
    }

    /// The next column is absent.
    pub fn absent(&mut self) {
        self.tag(ABSENT);
    }

    /// The next column is NULL.
    pub fn null(&mut self) {
        self.tag(NULL);
    }

    /// The next column did not change and was not sent.
    pub fn unchanged(&mut self) {
        self.tag(UNCHANGED);
    }

    /// The next column's value is this JSON text: valid, compact, U+2028 and U+2029 escaped.
    pub fn json(&mut self, text: &[u8]) {
        self.tag(JSON);
        push_length(self.out, text.len());
        self.out.extend_from_slice(text);
    }

    /// The next column's value, written by `write` to the buffer it is given.
    pub fn json_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        write(&mut scratch);
        self.json(&scratch);
        self.scratch = scratch;
    }

    /// A cell as read from another image.
    pub fn cell(&mut self, cell: Cell<'_>) {
        match cell {
            Cell::Absent => self.absent(),
            Cell::Null => self.null(),
            Cell::Unchanged => self.unchanged(),
            Cell::Json(text) => self.json(text.as_bytes()),
        }
    }

    fn tag(&mut self, tag: u8) {
        self.out.push(tag);
        self.count += 1;
        self.out[self.count_at..self.count_at + 2].copy_from_slice(&self.count.to_le_bytes());
    }
}

fn push_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 0x80 {
        out.push((length & 0x7F) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

/// The bytes are no row image. Only damage that slipped past a checksum, or a fault of ours, makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed row image")]
pub struct MalformedImage;

/// A row image in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Image<'a> {
    bytes: &'a [u8],
}

impl<'a> Image<'a> {
    /// The image at the start of `bytes`, and what follows it.
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), MalformedImage> {
        let mut cells = Self { bytes }.cells();
        if bytes.len() < 2 {
            return Err(MalformedImage);
        }
        while cells.left > 0 {
            // The text is looked at when the cell is read; here only its end matters.
            cells.left -= 1;
            cells.read_raw()?;
        }
        let end = bytes.len() - cells.rest.len();
        Ok((Self { bytes: &bytes[..end] }, &bytes[end..]))
    }

    /// The image that is all of `bytes`. Whether they are one shows when its cells are read.
    #[inline]
    pub fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Its bytes.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its cells, in the order of the table's columns.
    #[inline]
    pub fn cells(&self) -> Cells<'a> {
        match self.bytes {
            [low, high, rest @ ..] => Cells { left: u16::from_le_bytes([*low, *high]), rest },
            _ => Cells { left: 0, rest: &[] },
        }
    }
}

/// Iterates over the cells of an image.
#[derive(Debug, Clone)]
pub struct Cells<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Cells<'a> {
    fn read(&mut self) -> Result<Cell<'a>, MalformedImage> {
        let (tag, text) = self.read_raw()?;
        Ok(match tag {
            ABSENT => Cell::Absent,
            NULL => Cell::Null,
            UNCHANGED => Cell::Unchanged,
            _ => Cell::Json(std::str::from_utf8(text).map_err(|_| MalformedImage)?),
        })
    }

    /// Cells that are left.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        usize::from(self.left)
    }

    /// The next cell's text if it has a value, as bytes that nobody has looked at since they were written; otherwise
    /// nothing is taken.
    #[inline]
    pub fn next_json(&mut self) -> Result<Option<&'a [u8]>, MalformedImage> {
        if self.left == 0 || self.rest.first() != Some(&JSON) {
            return Ok(None);
        }
        self.left -= 1;
        self.read_raw().map(|(_, text)| Some(text))
    }

    /// The next cell's tag and, for a value, its text.
    #[inline]
    fn read_raw(&mut self) -> Result<(u8, &'a [u8]), MalformedImage> {
        let (&tag, rest) = self.rest.split_first().ok_or(MalformedImage)?;
        self.rest = rest;
        match tag {
            ABSENT | NULL | UNCHANGED => Ok((tag, &[])),
            JSON => {
                let length = self.read_length()?;
                let (text, rest) = self.rest.split_at_checked(length).ok_or(MalformedImage)?;
                self.rest = rest;
                Ok((tag, text))
            }
            _ => Err(MalformedImage),
        }
    }

    #[inline]
    fn read_length(&mut self) -> Result<usize, MalformedImage> {
        let mut length = 0_usize;
        for shift in (0..35).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or(MalformedImage)?;
            self.rest = rest;
            length |= usize::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(length);
            }
        }
        Err(MalformedImage)
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Result<Cell<'a>, MalformedImage>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let cell = self.read();
        if cell.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(cell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_cell() -> impl Strategy<Value = Option<Option<Option<String>>>> {
        proptest::option::of(proptest::option::of(proptest::option::of("\\PC{0,300}")))
    }

    fn as_cell(cell: &Option<Option<Option<String>>>) -> Cell<'_> {
        match cell {
            None => Cell::Absent,
            Some(None) => Cell::Null,
            Some(Some(None)) => Cell::Unchanged,
            Some(Some(Some(text))) => Cell::Json(text),
        }
    }

    proptest! {
        #[test]
        fn an_image_reads_back_as_written(cells in proptest::collection::vec(any_cell(), 0..20), after in proptest::collection::vec(any::<u8>(), 0..9)) {
            let mut bytes = Vec::new();
            let mut writer = ImageWriter::new(&mut bytes);
            for cell in &cells {
                writer.cell(as_cell(cell));
            }
            bytes.extend_from_slice(&after);
            let (image, rest) = Image::split(&bytes).unwrap();
            prop_assert_eq!(rest, &after[..]);
            let read: Vec<_> = image.cells().map(Result::unwrap).collect();
            prop_assert_eq!(read, cells.iter().map(as_cell).collect::<Vec<_>>());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((image, _)) = Image::split(&bytes) {
                let text = |cell: Result<Cell<'_>, MalformedImage>| cell.map_or(0, |cell| usize::from(cell != Cell::Null));
                prop_assert!(image.cells().map(text).sum::<usize>() <= bytes.len());
            }
        }
    }
}
