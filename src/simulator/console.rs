//! The serial console of a VM: a text that grows at its end and forgets its beginning.

use std::sync::{Arc, Mutex, PoisonError};

/// The most that a console keeps, in bytes.
pub(super) const MOST_BYTES: usize = 64 * 1024;

/// A handle on the console of one VM; clones write to the same one.
#[derive(Clone, Debug, Default)]
pub struct Console(Arc<Mutex<String>>);

impl Console {
    /// Appends a text and a line break. What no longer fits is dropped from the beginning, whole lines at a time.
    pub fn write_line(&self, line: &str) {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let line = newest_part(line, MOST_BYTES - 1);
        text.push_str(line);
        text.push('\n');
        if text.len() > MOST_BYTES {
            let kept = newest_part(&text, MOST_BYTES);
            let from_line_start = kept.split_once('\n').map_or(kept, |(_, rest)| rest);
            *text = if from_line_start.is_empty() {
                kept.to_owned()
            } else {
                from_line_start.to_owned()
            };
        }
    }

    /// The last `lines` lines; 0 is all of them.
    #[must_use]
    pub fn tail(&self, lines: usize) -> String {
        let text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total = text.lines().count();
        if lines == 0 || lines >= total {
            return text.clone();
        }
        text.split_inclusive('\n').skip(total - lines).collect()
    }
}

/// The end of `text`, at most `most` bytes, cut between characters.
fn newest_part(text: &str, most: usize) -> &str {
    let mut from = text.len().saturating_sub(most);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_and_zero_is_all() {
        let console = Console::default();
        for line in ["one", "two", "three"] {
            console.write_line(line);
        }
        assert_eq!(console.tail(2), "two\nthree\n");
        assert_eq!(console.tail(0), "one\ntwo\nthree\n");
        assert_eq!(console.tail(9), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_full_console_forgets_its_oldest_lines_and_keeps_whole_ones() {
        let console = Console::default();
        for n in 0..20_000 {
            console.write_line(&format!("line {n} ü"));
        }
        let text = console.tail(0);
        assert!(
            text.len() <= MOST_BYTES && text.len() > MOST_BYTES - 100,
            "{}",
            text.len()
        );
        assert!(text.starts_with("line "), "{:?}", text.get(..20));
        assert!(text.ends_with("line 19999 ü\n"));
    }

    #[test]
    fn one_endless_line_does_not_grow_the_console() {
        let console = Console::default();
        console.write_line(&"ü".repeat(MOST_BYTES));
        console.write_line(&"x".repeat(3 * MOST_BYTES));
        assert!(console.tail(0).len() <= MOST_BYTES);
        assert!(console.tail(0).ends_with("xx\n"));
    }
}
