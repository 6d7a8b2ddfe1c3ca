//! The row part of a record whose columns all have a value: constant bytes with gaps for the cells.
//!
//! Nearly every row is of that kind. What is left out, not sent or too long is `dml`'s, which writes any row.

use crate::codec::image::{Cell, Image, MalformedImage};
use crate::codec::json::cell::Sent;

/// Bytes that are copied at once, however few of them are wanted.
const WINDOW_BYTES: usize = 32;

/// Everything of a row but its cells, from behind the metadata to the record's end.
#[derive(Debug)]
pub(super) struct RowTemplate {
    /// Followed by a window of no meaning, so that there is always one to copy.
    bytes: Vec<u8>,
    /// Where the gaps for the cells of the before image are, in order of the columns; empty when it is not sent.
    before: Vec<usize>,
    /// The same of the after image; all of them lie behind.
    after: Vec<usize>,
}

/// What a row's cells are written by.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellForm<'a> {
    /// How each column's cells are sent.
    pub(super) sent: &'a [Sent],
    /// The longest text of a cell that may be sent as it is, in bytes.
    pub(super) lob_bytes_max: Option<usize>,
    /// Whether a column that is null is left out.
    pub(super) omit_null: bool,
}

/// Puts a template together, in the order in which its parts stand in the record.
#[derive(Debug, Default)]
pub(super) struct RowTemplateMaker {
    bytes: Vec<u8>,
    before: Vec<usize>,
    after: Vec<usize>,
}

impl RowTemplateMaker {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn push_cell(&mut self, of_after: bool) {
        let gaps = if of_after { &mut self.after } else { &mut self.before };
        gaps.push(self.bytes.len());
    }

    pub(super) fn finish(mut self) -> RowTemplate {
        self.bytes.extend_from_slice(&[0; WINDOW_BYTES]);
        RowTemplate { bytes: self.bytes, before: self.before, after: self.after }
    }
}

impl RowTemplate {
    /// Appends the row; says whether it could. If not, `out` has part of it.
    #[inline]
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        before: Option<Image<'_>>,
        after: Option<Image<'_>>,
        form: CellForm<'_>,
    ) -> Result<bool, MalformedImage> {
        let mut start = 0;
        for (image, gaps) in [(before, &self.before), (after, &self.after)] {
            let Some(image) = image.filter(|_| !gaps.is_empty()) else { continue };
            if !self.push_image(out, &mut start, (image, gaps), form)? {
                return Ok(false);
            }
        }
        self.push_between(out, start, self.bytes.len() - WINDOW_BYTES);
        Ok(true)
    }

    #[inline]
    fn push_image(
        &self,
        out: &mut Vec<u8>,
        start: &mut usize,
        (image, gaps): (Image<'_>, &[usize]),
        form: CellForm<'_>,
    ) -> Result<bool, MalformedImage> {
        let mut cells = image.cells();
        if cells.len() != gaps.len() {
            return Ok(false);
        }
        for (end, sent) in gaps.iter().zip(form.sent) {
            self.push_between(out, *start, *end);
            *start = *end;
            // Copied as bytes; only who must understand a text looks whether it is one.
            if *sent == Sent::AsIs
                && let Some(json) = cells.next_json()?
            {
                if form.lob_bytes_max.is_some_and(|limit| json.len() > limit) {
                    return Ok(false);
                }
                out.extend_from_slice(json);
                continue;
            }
            match cells.next().ok_or(MalformedImage)?? {
                Cell::Json(json) if form.lob_bytes_max.is_none_or(|limit| json.len() <= limit) => {
                    sent.push(out, json);
                }
                Cell::Null if !form.omit_null => out.extend_from_slice(b"null"),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    #[inline]
    fn push_between(&self, out: &mut Vec<u8>, start: usize, end: usize) {
        let length = end - start;
        // A copy of fixed length is a few instructions; one of any length is a call.
        match self.bytes[start..].first_chunk::<WINDOW_BYTES>() {
            Some(window) if length <= WINDOW_BYTES => {
                out.extend_from_slice(window);
                out.truncate(out.len() - WINDOW_BYTES + length);
            }
            _ => out.extend_from_slice(&self.bytes[start..end]),
        }
    }
}
