//! Names of models as labels. Users make names up, so only so many are told apart.

use std::{borrow::Cow, collections::BTreeSet};

use parking_lot::Mutex;

/// Names that are told apart; what comes later is one.
const MOST: usize = 50;

/// The longest name that is told from others.
const LONGEST: usize = 100;

/// What stands for all other names.
const OTHER: &str = "other";

/// The names that came first.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<BTreeSet<String>>);

impl Names {
    /// The label of a model.
    pub(super) fn label(&self, model: &str) -> Cow<'static, str> {
        if model.is_empty() || model.len() > LONGEST || model.chars().any(char::is_control) {
            return OTHER.into();
        }
        let mut names = self.0.lock();
        if !names.contains(model) {
            if names.len() == MOST {
                return OTHER.into();
            }
            names.insert(model.to_owned());
        }
        model.to_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_names_are_told_apart() {
        let names = Names::default();
        for number in 0..MOST {
            assert_eq!(names.label(&number.to_string()), number.to_string());
        }
        assert_eq!(names.label("one more"), OTHER);
        assert_eq!(names.label("0"), "0");
        assert_eq!(Names::default().label(&"x".repeat(LONGEST + 1)), OTHER);
        assert_eq!(Names::default().label("a\nb"), OTHER);
    }
}
