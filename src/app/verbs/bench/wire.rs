//! What the processes of `bench` tell each other: lines of `key=number`, and latencies.
//!
//! Owns that form and how percentiles are picked. Must never round: what is shown is `report`'s.

use std::collections::BTreeMap;
use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// Longest line that is read, in bytes.
const LINE_BYTES_MAX: u64 = 4_096;

/// Numbers by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers(BTreeMap<String, u64>);

/// A line of numbers.
pub(super) fn line(numbers: &[(&str, u64)]) -> String {
    let words: Vec<String> = numbers.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.join(" ")
}

impl Numbers {
    /// Reads a line; what is no number is left out.
    pub(super) fn parse(line: &str) -> Numbers {
        let pairs = line.split_whitespace().filter_map(|word| word.split_once('='));
        let numbers = pairs.filter_map(|(key, value)| Some((key.to_owned(), value.parse().ok()?)));
        Numbers(numbers.collect())
    }

    /// A number.
    pub(super) fn get(&self, key: &str) -> io::Result<u64> {
        let missing = || io::Error::new(io::ErrorKind::InvalidData, format!("no {key}"));
        self.0.get(key).copied().ok_or_else(missing)
    }
}

/// The next line; empty at the end.
pub(super) async fn next_line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    from.take(LINE_BYTES_MAX).read_line(&mut line).await?;
    Ok(line)
}

/// Times in microseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Vec<u32>);

impl Latencies {
    pub(super) fn push(&mut self, us: u64) {
        self.0.push(u32::try_from(us).unwrap_or(u32::MAX));
    }

    pub(super) fn add(&mut self, other: &Latencies) {
        self.0.extend_from_slice(&other.0);
    }

    /// The 50th and the 99th percentile.
    pub(super) fn percentiles(mut self) -> (u64, u64) {
        self.0.sort_unstable();
        let at = |percent: usize| {
            let last = self.0.len().saturating_sub(1);
            self.0.get((self.0.len() * percent / 100).min(last)).copied().unwrap_or(0)
        };
        (at(50).into(), at(99).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_back() {
        let numbers = Numbers::parse(&line(&[("a", 1), ("b", u64::MAX)]));
        assert_eq!(numbers.get("b").expect("is there"), u64::MAX);
        assert!(numbers.get("c").expect_err("is not").to_string().contains('c'));
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let mut latencies = Latencies::default();
        for us in (0..100).rev() {
            latencies.push(us);
        }
        assert_eq!(latencies.percentiles(), (50, 99));
        assert_eq!(Latencies::default().percentiles(), (0, 0));
    }
}
