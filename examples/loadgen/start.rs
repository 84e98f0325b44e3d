//! Starts of the server with one group and no VM: the time to the first answer, the memory of a server that has nothing
//! to do, and the size of the program.

use std::path::Path;
use std::time::Duration;

use prost::bytes::Bytes;

use crate::figures::{median, mib, millis};
use crate::goals;
use crate::process::Process;
use crate::stage::Stage;
use crate::wire::{Line, Rpc};
use crate::{Failure, in_async};

/// After a start: everything that belongs to it is over.
const SETTLED: Duration = Duration::from_secs(1);

/// Measures so many starts and prints what came out.
pub(crate) fn run(program: &Path, stage: &Stage, starts: usize) -> Result<(), Failure> {
    let size = std::fs::metadata(program).map_err(|error| format!("{}: {error}", program.display()))?;
    in_async(async {
        let (mut times, mut memory) = (Vec::new(), Vec::new());
        for number in 1..=starts {
            let process = Process::serve(&stage.setup(program)).await?;
            let mut line = Line::to(&process.address).await?;
            line.call(Rpc::NodeGroups, Bytes::new()).await?;
            times.push(process.started.elapsed());
            if number == starts {
                tokio::time::sleep(SETTLED).await;
            }
            memory.push(process.usage()?);
            process.kill().await?;
        }
        let slowest = times.iter().max().copied().unwrap_or_default();
        println!(
            "{starts} starts: {} in the middle, {} at most",
            millis(median(&times)),
            millis(slowest)
        );
        let last = memory.last().ok_or("no start")?;
        println!(
            "memory of the idle server: {:.1} MiB resident, of which {:.1} MiB its own\n",
            mib(last.rss),
            mib(last.own)
        );
        goals::within("start to the first answer, in the middle", median(&times), goals::START);
        goals::at_most("memory when idle", mib(last.rss), goals::IDLE_MIB, " MiB");
        goals::at_most(
            "size of the program",
            mib(size.len() / 1024),
            goals::PROGRAM_MIB,
            " MiB",
        );
        Ok(())
    })
}
