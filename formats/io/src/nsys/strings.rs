//! The strings of a file, by number.

/// Strings by number, as `StringIds` holds them.
#[derive(Debug, Default)]
pub(crate) struct Strings {
    text: String,
    /// (number, end in `text`), by number.
    ends: Vec<(i64, usize)>,
}

impl Strings {
    /// Adds a string. Numbers may come in any order; of two with one number the first counts.
    pub fn push(&mut self, number: i64, text: &str) {
        self.text.push_str(text);
        self.ends.push((number, self.text.len()));
    }

    /// To be called when all are there.
    pub fn finish(&mut self) {
        if self.ends.is_sorted_by(|a, b| a.0 < b.0) {
            return;
        }
        let mut start = 0;
        let mut pieces: Vec<(i64, usize, usize)> = Vec::with_capacity(self.ends.len());
        for &(number, end) in &self.ends {
            pieces.push((number, start, end));
            start = end;
        }
        pieces.sort_by_key(|piece| piece.0);
        pieces.dedup_by_key(|piece| piece.0);
        let mut sorted = Self::default();
        for (number, start, end) in pieces {
            sorted.push(number, self.text.get(start..end).unwrap_or_default());
        }
        *self = sorted;
    }

    /// The string with this number.
    pub fn get(&self, number: i64) -> Option<&str> {
        let place = self.ends.binary_search_by_key(&number, |entry| entry.0).ok()?;
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |before| before.1);
        self.text.get(start..self.ends.get(place)?.1)
    }

    /// Bytes held.
    pub fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * size_of::<(i64, usize)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_found_in_whatever_order_they_came() {
        let mut strings = Strings::default();
        for (number, text) in [(7, "seven"), (-1, "less"), (3, ""), (7, "again"), (1 << 40, "far")] {
            strings.push(number, text);
        }
        strings.finish();
        let found = [7, -1, 3, 1 << 40, 4].map(|number| strings.get(number));
        assert_eq!(found, [Some("seven"), Some("less"), Some(""), Some("far"), None]);
    }
}
