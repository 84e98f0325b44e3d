//! Files that are looked at again and again: what is new in them counts once it was the same in two looks in a row. A file
//! that is being written is not to be taken for the whole of it, nor a certificate without its key.

/// What was told of the files last, and what is found in them since.
#[derive(Debug)]
pub(crate) struct Looks<T> {
    told: T,
    /// In the last look, if that is not what was told.
    seen: Option<T>,
}

impl<T: PartialEq> Looks<T> {
    /// `told` is known already.
    pub(crate) fn new(told: T) -> Self {
        Self { told, seen: None }
    }

    /// What was told last.
    pub(crate) fn told(&self) -> &T {
        &self.told
    }

    /// Whether what was found is to be told now, which counts as telling it: it is not what was told last, and is the
    /// same as in the look before.
    pub(crate) fn is_news(&mut self, found: T) -> bool {
        let seen = self.seen.take();
        if found == self.told {
            return false;
        }
        if seen.as_ref() == Some(&found) {
            self.told = found;
            return true;
        }
        self.seen = Some(found);
        false
    }

    /// It is told without further looks: somebody asked for it.
    pub(crate) fn tell(&mut self, found: T) {
        (self.told, self.seen) = (found, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mark for each look: whether what it found was news.
    fn marks(looks: &mut Looks<&'static str>, found: &[&'static str]) -> String {
        let mark = |found: &&'static str| if looks.is_news(found) { '!' } else { '.' };
        found.iter().map(mark).collect()
    }

    #[test]
    fn what_is_new_is_told_once_and_only_after_it_was_the_same_in_two_looks_in_a_row() {
        for (found, told) in [
            (&["old", "old", "old"][..], "..."),
            (&["new", "new", "new", "new"], ".!.."),
            (&["new", "other", "new", "other", "other"], "....!"),
            (&["new", "old", "new", "old"], "...."),
            (&["new", "new", "old", "old"], ".!.!"),
        ] {
            assert_eq!(marks(&mut Looks::new("old"), found), told, "{found:?}");
        }
    }

    #[test]
    fn what_was_told_to_somebody_who_asked_is_no_news_and_the_looks_begin_anew() {
        let mut looks = Looks::new("old");
        assert_eq!(marks(&mut looks, &["new"]), ".");
        looks.tell("other");
        assert_eq!(*looks.told(), "other");
        assert_eq!(marks(&mut looks, &["other", "other", "new", "new"]), "...!");
        assert_eq!(*looks.told(), "new");
    }
}
