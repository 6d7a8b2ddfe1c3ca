//! How a record that is too long is made to fit: with ever shorter values.

/// Values shorter than this are not cut to make a record fit, in bytes: keys and codes stay whole.
const VALUE_BYTES_MIN: usize = 64;

/// Longest value to try, one after the other: half the record first, then half of that.
pub(super) fn steps(record_bytes_max: usize, lob_bytes_max: Option<usize>) -> impl Iterator<Item = usize> {
    let first = (record_bytes_max / 2).min(lob_bytes_max.unwrap_or(usize::MAX));
    std::iter::successors(Some(first), |bytes| Some(bytes / 2)).take_while(|bytes| *bytes >= VALUE_BYTES_MIN)
}
