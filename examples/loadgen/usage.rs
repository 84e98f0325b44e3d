//! What a process uses, as Linux tells in `/proc`: CPU time and memory of that process alone.

use std::time::Duration;

use crate::Failure;

/// `/proc` counts CPU time in hundredths of a second on every Linux that there is.
const TICK: Duration = Duration::from_millis(10);

/// At one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// In user space and in the kernel, from the start on.
    pub(crate) cpu: Duration,
    /// Resident memory in KiB: all of it, as `VmRSS` says.
    pub(crate) rss: u64,
    /// The part of it that is the process's own and not a page of a file, such as the program itself.
    pub(crate) own: u64,
    /// The most that it ever was.
    pub(crate) peak: u64,
}

impl Usage {
    /// Of the process with this id.
    pub(crate) fn of(pid: u32) -> Result<Self, Failure> {
        let read = |name: &str| {
            let file = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))
        };
        let status = read("status")?;
        Ok(Self {
            cpu: cpu(&read("stat")?)?,
            rss: kib(&status, "VmRSS:")?,
            own: kib(&status, "RssAnon:")?,
            peak: kib(&status, "VmHWM:")?,
        })
    }
}

/// `utime` and `stime`: the fields 14 and 15. The second is a name in brackets that may hold anything.
fn cpu(stat: &str) -> Result<Duration, Failure> {
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ');
    let ticks: Vec<u32> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, system] => Ok(TICK * (user + system)),
        _ => Err(format!("/proc tells no CPU time: {stat}")),
    }
}

fn kib(status: &str, name: &str) -> Result<u64, Failure> {
    let value = status.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok());
    number.ok_or_else(|| format!("/proc tells no {name}"))
}
