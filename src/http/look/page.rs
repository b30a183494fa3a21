//! Pages of a list: newest first, by number.
//!
//! Owns where a page begins and ends, how much is looked at for it, and its links. Must never name
//! a place by a count: rows that come or go between two pages repeat nothing and hide nothing.
//!
//! A link names the number of the last row that was looked at, whether it was shown or not, so a
//! page whose filter has no index may be short, or empty, and have a next one.

use url::form_urlencoded::Serializer;

use crate::dialect::object::{Object, array};
use crate::model::ids::Seq;
use crate::store::ReadError;
use crate::store::query::Order;

/// Rows of a page, unless asked for.
pub(super) const PER_PAGE_DEFAULT: u32 = 100;
/// Most rows of a page.
pub(in super::super) const PER_PAGE_MAX: u32 = 1_000;
/// Rows that are looked at for one page.
pub(super) const ROWS_SCANNED_MAX: usize = 10_000;
/// Bytes of events that are read for one page, about: an event is read whole.
pub(super) const BYTES_READ_MAX: usize = 64 * 1_024 * 1_024;
/// Rows that are read at once where not each of them may be shown.
const CHUNK_ROWS: usize = 500;

/// Which way a page goes from its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// From the newest row.
    Start,
    /// Rows that follow this one in the list: older ones.
    After(Seq),
    /// Rows that precede this one in the list: newer ones.
    Before(Seq),
}

/// What page is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub from: From,
    pub per_page: usize,
    /// The least number.
    pub least: Seq,
    /// The greatest number.
    pub greatest: Seq,
    /// Whether some rows that are read may not be shown.
    pub is_filtered: bool,
}

/// A page.
#[derive(Debug)]
pub(super) struct Page<T> {
    /// Newest first.
    pub rows: Vec<T>,
    pub next: From,
    pub previous: From,
}

/// What is done with a row that was read.
pub(super) enum Kept<T> {
    Shown(T),
    LeftOut,
}

/// Reads a page. `read` gives rows of a range in an order, fewer than asked for only at its end;
/// `keep` says what of a row is shown, and how many bytes have been read so far.
pub(super) fn read<R, T>(
    cut: &Cut,
    mut read: impl FnMut(Seq, Seq, Order, usize) -> Result<Vec<R>, ReadError>,
    seq: impl Fn(&R) -> Seq,
    mut keep: impl FnMut(&R) -> Result<(Kept<T>, usize), ReadError>,
) -> Result<Page<T>, ReadError> {
    let (mut least, mut greatest) = (cut.least, cut.greatest);
    let order = match cut.from {
        From::Before(at) => {
            least = least.max(Seq(at.0.saturating_add(1)));
            Order::OldestFirst
        }
        From::After(at) => {
            // Nothing is older than the first number.
            if at.0 == 0 {
                return Ok(empty(cut));
            }
            greatest = greatest.min(Seq(at.0 - 1));
            Order::NewestFirst
        }
        From::Start => Order::NewestFirst,
    };
    let mut shown: Vec<(Seq, T)> = Vec::new();
    let (mut scanned, mut last, mut more) = (0, None, true);
    'page: while least <= greatest {
        let open = cut.per_page - shown.len() + 1;
        let wanted = if cut.is_filtered { CHUNK_ROWS } else { open.min(CHUNK_ROWS) };
        let rows = read(least, greatest, order, wanted)?;
        let is_end = rows.len() < wanted;
        for row in &rows {
            if shown.len() == cut.per_page || scanned == ROWS_SCANNED_MAX {
                break 'page;
            }
            let at = seq(row);
            let (kept, bytes_read) = keep(row)?;
            scanned += 1;
            last = Some(at);
            if let Kept::Shown(row) = kept {
                shown.push((at, row));
            }
            match order {
                Order::NewestFirst if at.0 == 0 => more = false,
                Order::NewestFirst => greatest = Seq(at.0 - 1),
                Order::OldestFirst => least = Seq(at.0.saturating_add(1)),
            }
            if bytes_read >= BYTES_READ_MAX {
                break 'page;
            }
        }
        if is_end || !more {
            more = false;
            break;
        }
    }
    more &= least <= greatest;
    Ok(linked(cut, shown, last, more))
}

fn empty<T>(cut: &Cut) -> Page<T> {
    linked(cut, Vec::new(), None, false)
}

/// `last` is the row that was looked at last, `more` whether there may be others behind it.
fn linked<T>(cut: &Cut, mut shown: Vec<(Seq, T)>, last: Option<Seq>, more: bool) -> Page<T> {
    let first = shown.first().map(|(seq, _)| *seq);
    let (next, previous) = match cut.from {
        From::Before(at) => {
            // Rows are in the order of reading here: the first is the oldest.
            let oldest = first.unwrap_or(Seq(at.0.saturating_add(1)));
            let previous = last.filter(|_| more).map_or(From::Start, From::Before);
            (From::After(oldest), previous)
        }
        From::After(at) => {
            let newest = first.unwrap_or(Seq(at.0.saturating_sub(1)));
            (last.filter(|_| more).map_or(From::Start, From::After), From::Before(newest))
        }
        From::Start => (last.filter(|_| more).map_or(From::Start, From::After), From::Start),
    };
    if matches!(cut.from, From::Before(_)) {
        shown.reverse();
    }
    Page { rows: shown.into_iter().map(|(_, row)| row).collect(), next, previous }
}

/// A page as it is answered. Links are relative to the list, and keep its filters; `id` writes the
/// number of a row.
pub(super) fn body(
    page: Page<Vec<u8>>,
    per_page: usize,
    filters: &[(String, String)],
    id: impl Fn(Seq) -> String,
) -> Vec<u8> {
    let link = |from: From| {
        let (key, seq) = match from {
            From::Start => return None,
            From::After(seq) => ("after", seq),
            From::Before(seq) => ("before", seq),
        };
        let mut query = Serializer::for_suffix(String::from("?"), 1);
        let kept = filters.iter().filter(|(name, _)| name != "after" && name != "before");
        query.extend_pairs(kept);
        query.append_pair(key, &id(seq));
        Some(query.finish())
    };
    Object::new()
        .text_or_null("next", link(page.next).as_deref())
        .text_or_null("previous", link(page.previous).as_deref())
        .number("per_page", per_page as u64)
        .raw("results", &array(page.rows))
        .end()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn cut(from: From, per_page: usize, is_filtered: bool) -> Cut {
        Cut { from, per_page, least: Seq(0), greatest: Seq(u64::MAX), is_filtered }
    }

    /// What a list reads of its rows.
    #[derive(Default)]
    struct Work {
        calls: usize,
        rows: usize,
        kept: usize,
    }

    /// A page of these rows, of which every `shows`th is shown.
    fn page(rows: &BTreeSet<u64>, cut: &Cut, shows: u64, work: &mut Work) -> Page<u64> {
        let mut kept = 0;
        let found = read(
            cut,
            |least, greatest, order, rows_max| {
                let range = rows.range(least.0..=greatest.0).copied();
                let found: Vec<u64> = match order {
                    Order::OldestFirst => range.take(rows_max).collect(),
                    Order::NewestFirst => range.rev().take(rows_max).collect(),
                };
                work.calls += 1;
                work.rows += found.len();
                Ok(found)
            },
            |row| Seq(*row),
            |row| {
                kept += 1;
                let shown = if row % shows == 0 { Kept::Shown(*row) } else { Kept::LeftOut };
                Ok((shown, 0))
            },
        );
        work.kept += kept;
        found.expect("nothing fails here")
    }

    proptest! {
        /// Both ways, while rows come and go: none twice, none out of order, and none left out that
        /// was there all the time.
        #[test]
        fn rows_that_stay_are_shown_once(
            stay in proptest::collection::btree_set(0..5_000u64, 0..60),
            changes in proptest::collection::vec((0..5_000u64, any::<bool>()), 0..200),
            per_page in 1..9usize,
            shows in 1..3u64,
            is_backwards: bool,
        ) {
            let mut rows = stay.clone();
            let mut changes = changes.into_iter();
            let mut from = if is_backwards { From::Before(Seq(0)) } else { From::Start };
            let mut seen = Vec::new();
            if is_backwards && stay.contains(&0) && 0 % shows == 0 {
                // The place itself is not part of what precedes it.
                seen.push(0);
            }
            loop {
                let page = page(&rows, &cut(from, per_page, shows > 1), shows, &mut Work::default());
                prop_assert!(page.rows.len() <= per_page);
                if is_backwards {
                    seen.extend(page.rows.iter().rev());
                } else {
                    seen.extend(&page.rows);
                }
                for (row, is_there) in changes.by_ref().take(7) {
                    if is_there {
                        rows.insert(row);
                    } else if !stay.contains(&row) {
                        rows.remove(&row);
                    }
                }
                from = if is_backwards { page.previous } else { page.next };
                if from == From::Start {
                    break;
                }
            }
            let in_order = seen.windows(2).all(|pair| (pair[0] < pair[1]) == is_backwards);
            prop_assert!(in_order, "{:?}", seen);
            let seen: BTreeSet<u64> = seen.into_iter().collect();
            let missing: Vec<_> = stay.iter().filter(|row| **row % shows == 0 && !seen.contains(row)).collect();
            prop_assert!(missing.is_empty(), "{:?}", missing);
        }
    }

    #[test]
    fn a_page_costs_what_it_shows_however_many_rows_there_are() {
        let mut costs = Vec::new();
        for count in [1_000, 100_000] {
            let rows: BTreeSet<u64> = (0..count).collect();
            let mut work = Work::default();
            let page = page(&rows, &cut(From::Start, 100, false), 1, &mut work);
            assert_eq!(page.rows.len(), 100);
            assert_eq!(page.next, From::After(Seq(count - 100)));
            costs.push((work.calls, work.rows, work.kept));
        }
        assert_eq!(costs, [(1, 101, 100); 2]);
    }

    #[test]
    fn a_filter_without_an_index_stops_and_says_where() {
        let rows: BTreeSet<u64> = (1..=25_000).collect();
        let (mut from, mut pages) = (From::Start, Vec::new());
        loop {
            let mut work = Work::default();
            let page = page(&rows, &cut(from, 100, true), 1_000_000, &mut work);
            assert_eq!(page.rows, [0; 0]);
            assert!(work.rows <= ROWS_SCANNED_MAX + CHUNK_ROWS, "{}", work.rows);
            pages.push(work.kept);
            from = page.next;
            if from == From::Start {
                break;
            }
        }
        assert_eq!(pages, [ROWS_SCANNED_MAX, ROWS_SCANNED_MAX, 5_000]);
    }

    #[test]
    fn large_events_end_a_page_early() {
        let rows: Vec<u64> = (1..=100).rev().collect();
        let mut bytes_read = 0;
        let page = read(
            &cut(From::Start, 50, false),
            |_, greatest, _, rows_max| {
                let rows = rows.iter().filter(|row| **row <= greatest.0);
                Ok(rows.copied().take(rows_max).collect())
            },
            |row| Seq(*row),
            |row| {
                bytes_read += BYTES_READ_MAX / 10;
                Ok((Kept::Shown(*row), bytes_read))
            },
        );
        let page = page.expect("nothing fails here");
        assert_eq!(page.rows.len(), 11);
        assert_eq!(page.next, From::After(Seq(90)));
    }

    #[test]
    fn links_keep_the_filters_and_name_a_place() {
        let rows: BTreeSet<u64> = (1..=5).collect();
        let page = page(&rows, &cut(From::After(Seq(5)), 2, false), 1, &mut Work::default());
        let page = Page {
            rows: page.rows.iter().map(|row| row.to_string().into_bytes()).collect(),
            next: page.next,
            previous: page.previous,
        };
        let filters = [("target", "http://a.example:8"), ("after", "5")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        let body = body(page, 2, &filters, |seq| format!("n{}", seq.0));
        assert_eq!(
            String::from_utf8(body).expect("JSON"),
            r#"{"next":"?target=http%3A%2F%2Fa.example%3A8&after=n3","previous":"?target=http%3A%2F%2Fa.example%3A8&before=n4","per_page":2,"results":[4,3]}"#
        );
    }
}
