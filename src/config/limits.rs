//! The smallest and largest size of a group: from its own keys, from the defaults in `[global]`, or built in. A size
//! remembers where it came from, because an error about two of them has to say where the other one is.

use std::fmt;
use std::ops::RangeInclusive;

use super::error::Fault;
use super::keys::{self, Key};
use super::section::{SectionReader, Setting};
use super::value;
use crate::domain::spec::Limits;

const MIN_RANGE: RangeInclusive<u32> = 0..=LARGEST;
const MAX_RANGE: RangeInclusive<u32> = 1..=LARGEST;
/// More Nodes than any cluster has; a larger number is a slip of the keyboard.
const LARGEST: u32 = 10_000;
const BUILT_IN_MIN: u32 = 1;
const BUILT_IN_MAX: u32 = 8;

/// A size, and which key it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    value: u32,
    key: Key,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// A key of the group itself.
    Group { line: usize },
    /// A key of `[global]`.
    Global { line: usize },
    /// No key at all.
    BuiltIn,
}

impl Size {
    /// The line of the key, if this section has it.
    fn line_in_group(&self) -> Option<usize> {
        match self.origin {
            Origin::Group { line } => Some(line),
            Origin::Global { .. } | Origin::BuiltIn => None,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.key.name;
        match self.origin {
            Origin::Group { line } | Origin::Global { line } => write!(f, "{name} {} in line {line}", self.value),
            Origin::BuiltIn => write!(f, "{name}, which is {} unless it is set", self.value),
        }
    }
}

/// The defaults that groups without limits of their own get. `None` where a key is wrong, which is noted already.
#[derive(Clone, Copy, Debug)]
pub(super) struct DefaultLimits {
    min: Option<Size>,
    max: Option<Size>,
}

impl DefaultLimits {
    /// What holds without any key, for files whose `[global]` is missing.
    pub(super) const BUILT_IN: Self = Self {
        min: Some(built_in(keys::DEFAULT_MIN_SIZE, BUILT_IN_MIN)),
        max: Some(built_in(keys::DEFAULT_MAX_SIZE, BUILT_IN_MAX)),
    };

    /// Reads them from `[global]`.
    pub(super) fn read(reader: &mut SectionReader<'_>) -> Self {
        let limits = Self {
            min: default_size(reader, keys::DEFAULT_MIN_SIZE, MIN_RANGE, BUILT_IN_MIN),
            max: default_size(reader, keys::DEFAULT_MAX_SIZE, MAX_RANGE, BUILT_IN_MAX),
        };
        if let (Some(min), Some(max)) = (limits.min, limits.max)
            && min.value > max.value
            && let Origin::Global { line } = min.origin
        {
            reader.fault(&min.key, line, too_large(&min, &max));
        }
        limits
    }
}

const fn built_in(key: Key, value: u32) -> Size {
    Size {
        value,
        key,
        origin: Origin::BuiltIn,
    }
}

fn default_size(reader: &mut SectionReader<'_>, key: Key, range: RangeInclusive<u32>, otherwise: u32) -> Option<Size> {
    match reader.read(&key, |text| value::whole_number(text, range)) {
        Setting::Absent => Some(built_in(key, otherwise)),
        Setting::Faulty => None,
        Setting::Given { value, line } => Some(Size {
            value,
            key,
            origin: Origin::Global { line },
        }),
    }
}

/// Reads the limits of a group.
pub(super) fn read(reader: &mut SectionReader<'_>, defaults: &DefaultLimits) -> Option<Limits> {
    let min = group_size(reader, keys::MIN_SIZE, MIN_RANGE, defaults.min);
    let max = group_size(reader, keys::MAX_SIZE, MAX_RANGE, defaults.max);
    let (min, max) = (min?, max?);
    if min.value <= max.value {
        return Some(Limits {
            min: min.value,
            max: max.value,
        });
    }
    match (min.line_in_group(), max.line_in_group()) {
        (Some(line), _) => reader.fault(&min.key, line, too_large(&min, &max)),
        (None, Some(line)) => reader.fault(&max.key, line, too_small(&min, &max)),
        // Noted in [global], and not again for each group.
        (None, None) => {}
    }
    None
}

fn group_size(
    reader: &mut SectionReader<'_>,
    key: Key,
    range: RangeInclusive<u32>,
    default: Option<Size>,
) -> Option<Size> {
    match reader.read(&key, |text| value::whole_number(text, range)) {
        Setting::Absent => default,
        Setting::Faulty => None,
        Setting::Given { value, line } => Some(Size {
            value,
            key,
            origin: Origin::Group { line },
        }),
    }
}

fn too_large(min: &Size, max: &Size) -> Fault {
    let remedy = remedy(min, max);
    Fault::new(format!("{} is more than {max}; {remedy}", min.value))
}

fn too_small(min: &Size, max: &Size) -> Fault {
    let remedy = remedy(max, min);
    Fault::new(format!("{} is less than {min}; {remedy}", max.value))
}

/// What to do about `here`, which does not fit `other`.
fn remedy(here: &Size, other: &Size) -> String {
    match (here.origin, other.origin) {
        (Origin::Group { .. }, Origin::Global { .. } | Origin::BuiltIn) if here.key == keys::MIN_SIZE => {
            "set max-size as well".to_owned()
        }
        (Origin::Group { .. }, Origin::Global { .. } | Origin::BuiltIn) => "set min-size as well".to_owned(),
        (_, Origin::BuiltIn) => format!("set {} as well", other.key.name),
        _ => "change one of the two".to_owned(),
    }
}
