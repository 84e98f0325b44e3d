//! How large a VM is, or many together.

use std::fmt;
use std::iter::Sum;

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// What VMs take of their host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) cpus: u64,
    pub(super) ram_bytes: u64,
    pub(super) gpus: u64,
}

impl Size {
    /// That of so many.
    pub(super) fn times(self, count: u32) -> Self {
        let count = u64::from(count);
        Self {
            cpus: self.cpus.saturating_mul(count),
            ram_bytes: self.ram_bytes.saturating_mul(count),
            gpus: self.gpus.saturating_mul(count),
        }
    }
}

impl Sum for Size {
    fn sum<I: Iterator<Item = Self>>(sizes: I) -> Self {
        sizes.fold(Self::default(), |sum, size| Self {
            cpus: sum.cpus.saturating_add(size.cpus),
            ram_bytes: sum.ram_bytes.saturating_add(size.ram_bytes),
            gpus: sum.gpus.saturating_add(size.gpus),
        })
    }
}

/// `2 CPUs, 4 GiB of memory`, and the GPUs if there are any.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} CPUs, {} of memory", self.cpus, Memory(self.ram_bytes))?;
        match self.gpus {
            0 => Ok(()),
            gpus => write!(f, ", {gpus} GPUs"),
        }
    }
}

/// An amount of memory as people write it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory(pub(super) u64);

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(GIB) {
            write!(f, "{} GiB", self.0 / GIB)
        } else if self.0.is_multiple_of(MIB) {
            write!(f, "{} MiB", self.0 / MIB)
        } else {
            write!(f, "{} bytes", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_round_numbers_where_they_are_round() {
        let vm = Size {
            cpus: 2,
            ram_bytes: 3 << 29,
            gpus: 0,
        };
        assert_eq!(vm.to_string(), "2 CPUs, 1536 MiB of memory");
        assert_eq!(vm.times(8).to_string(), "16 CPUs, 12 GiB of memory");
        let with_gpu = Size { gpus: 1, ..vm };
        let all: Size = [vm, with_gpu].into_iter().sum();
        assert_eq!(all.to_string(), "4 CPUs, 3 GiB of memory, 1 GPUs");
        assert_eq!(Memory(4_000_000_000).to_string(), "4000000000 bytes");
    }
}
