//! What people read: lines on standard output and standard error.
//!
//! Owns printing. Must never panic when nobody reads: a closed pipe is ignored, as `println!`
//! would not.

use std::io::{IsTerminal, Write};

/// Prints a line.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody reads any more: that is their affair.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Prints an error.
pub(crate) fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    // As above.
    let _ = writeln!(out, "postrider: {text}");
}

/// Whether standard output is a terminal.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// How far something has come, on standard error if that is a terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    is_shown: bool,
}

/// Cells of a progress bar.
const BAR_CELLS: usize = 24;

impl Progress {
    pub(crate) fn new() -> Progress {
        Progress { is_shown: std::io::stderr().is_terminal() }
    }

    /// Replaces what was shown.
    pub(crate) fn show(&self, done: usize, of: usize, label: &str) {
        if self.is_shown {
            let mut out = std::io::stderr().lock();
            // As for every line.
            let _ = write!(out, "\r\x1b[K{} {label}", bar(done, of)).and_then(|()| out.flush());
        }
    }

    /// Takes it away, before something else is printed.
    pub(crate) fn clear(&self) {
        if self.is_shown {
            let mut out = std::io::stderr().lock();
            // As for every line.
            let _ = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn bar(done: usize, of: usize) -> String {
    let full = (BAR_CELLS * done.min(of)).checked_div(of).unwrap_or(0);
    format!("[{}{}]", "#".repeat(full), ".".repeat(BAR_CELLS - full))
}

/// Rows in columns, the head first; the last column is not padded.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let lines: Vec<String> = std::iter::once(&head)
        .chain(rows)
        .map(|row| {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            cells.join("  ").trim_end().to_owned()
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill() {
        assert_eq!(bar(0, 0), bar(0, 5));
        assert_eq!(bar(5, 10), "[############............]");
        assert_eq!(bar(11, 10), format!("[{}]", "#".repeat(BAR_CELLS)));
    }

    #[test]
    fn columns_line_up() {
        let rows = [vec!["1".to_owned(), "a long one".to_owned()], vec!["22".into(), "b".into()]];
        assert_eq!(table(&["ID", "NAME"], &rows), "ID  NAME\n1   a long one\n22  b");
    }
}
