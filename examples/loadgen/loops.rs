//! The loop of a cluster-autoscaler, replayed against the server and, in turns of some hundred calls, against the bare
//! one: what is noise hits both, and their ratio is what counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bare;
use crate::figures::{median, mib, micros, quantile, ratio};
use crate::goals;
use crate::hosts::{Hosts, LISTING, Requests};
use crate::process::Process;
use crate::script::{self, Call, Script};
use crate::stage::Stage;
use crate::usage::Usage;
use crate::wire::{Line, Rpc};
use crate::{Failure, in_async};

/// How long the server may take to know all VMs and Nodes.
const KNOWS_WITHIN: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Calls before it is the other server's turn: some hundredths of a second, shorter than most of what disturbs.
const TURN: usize = 500;
/// After a loop: the listings that its Refresh asked for have ended. Longer than the server waits between two.
const LISTINGS_END: Duration = Duration::from_millis(500);
/// With which the memory goal is about.
const MANY_VMS: usize = 5000;

/// One side: a server and what its loops took.
struct Side {
    process: Process,
    line: Line,
    loops: Vec<Duration>,
    calls: BTreeMap<Rpc, Vec<Duration>>,
    cpu: Vec<Duration>,
}

impl Side {
    fn new(process: Process, line: Line) -> Self {
        Self {
            process,
            line,
            loops: Vec::new(),
            calls: BTreeMap::new(),
            cpu: Vec::new(),
        }
    }

    /// Makes some calls of the loop; gives how long they took together.
    async fn make(&mut self, calls: &[Call]) -> Result<Duration, Failure> {
        let begun = Instant::now();
        for call in calls {
            let (_, took) = self.line.call(call.rpc, call.request.clone()).await?;
            self.calls.entry(call.rpc).or_default().push(took);
        }
        Ok(begun.elapsed())
    }

    fn cpu_so_far(&self) -> Result<Duration, Failure> {
        Ok(self.process.usage()?.cpu)
    }

    fn forget(&mut self) {
        self.loops.clear();
        self.calls.clear();
        self.cpu.clear();
    }

    fn sorted(&mut self) -> &BTreeMap<Rpc, Vec<Duration>> {
        self.calls.values_mut().for_each(|times| times.sort_unstable());
        &self.calls
    }

    fn fastest(&self) -> Duration {
        self.loops.iter().min().copied().unwrap_or_default()
    }

    /// CPU time of one loop. The clock behind it is coarse, so all loops count.
    fn cpu_per_loop(&self) -> Duration {
        let loops = u32::try_from(self.cpu.len()).unwrap_or(u32::MAX).max(1);
        self.cpu.iter().sum::<Duration>() / loops
    }
}

/// Measures so many loops of each side and prints what came out.
pub(crate) fn run(program: &Path, stage: &Stage, loops: usize) -> Result<(), Failure> {
    in_async(async {
        let process = Process::serve(&stage.setup(program)).await?;
        let mut line = Line::to(&process.address).await?;
        wait_until_known(&mut line, stage).await?;
        let script = Script::of(&stage.fleet);
        let answers = script.rehearse(&mut line, &stage.fleet).await?;
        bare::write(&answers, stage.folder())?;
        let ours = Side::new(process, line);
        let process = Process::bare(stage.folder()).await?;
        let line = Line::to(&process.address).await?;
        let mut measured = Measured {
            ours,
            bare: Side::new(process, line),
            requests: Vec::new(),
        };
        measured.play(&script, &stage.hosts).await?;
        measured.forget();
        for _ in 0..loops {
            measured.play(&script, &stage.hosts).await?;
        }
        let usage = measured.ours.process.usage()?;
        measured.print(stage, &script);
        measured.judge(stage, usage);
        measured.ours.process.kill().await?;
        measured.bare.process.kill().await
    })
}

async fn wait_until_known(line: &mut Line, stage: &Stage) -> Result<(), Failure> {
    let begun = Instant::now();
    while !script::all_run(line, &stage.fleet).await? {
        if begun.elapsed() > KNOWS_WITHIN {
            return Err("the server does not get to know all VMs".to_owned());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Both sides.
struct Measured {
    ours: Side,
    bare: Side,
    /// What the hosts were asked in each loop of ours.
    requests: Vec<Requests>,
}

impl Measured {
    /// Plays the loop once with each, in turns.
    async fn play(&mut self, script: &Script, hosts: &Hosts) -> Result<(), Failure> {
        let before = hosts.requests();
        let cpu = [self.ours.cpu_so_far()?, self.bare.cpu_so_far()?];
        let mut took = [Duration::ZERO; 2];
        for calls in script.calls.chunks(TURN) {
            took[0] += self.ours.make(calls).await?;
            took[1] += self.bare.make(calls).await?;
        }
        tokio::time::sleep(LISTINGS_END).await;
        for ((side, took), cpu) in [&mut self.ours, &mut self.bare].into_iter().zip(took).zip(cpu) {
            side.loops.push(took);
            side.cpu.push(side.cpu_so_far()?.saturating_sub(cpu));
        }
        let mut asked = hosts.requests();
        for (route, count) in &mut asked {
            *count -= before.get(route).copied().unwrap_or_default();
        }
        asked.retain(|_, count| *count > 0);
        self.requests.push(asked);
        Ok(())
    }

    /// What was measured so far was to warm up.
    fn forget(&mut self) {
        self.ours.forget();
        self.bare.forget();
        self.requests.clear();
    }

    fn print(&mut self, stage: &Stage, script: &Script) {
        println!(
            "{} groups, {} nodes, {} hosts; {} calls in a loop, {} loops of each\n",
            stage.fleet.groups.len(),
            stage.fleet.machines.len(),
            stage.fleet.hosts,
            script.calls.len(),
            self.ours.loops.len()
        );
        println!("| | server | bare tonic | ratio |\n|---|---|---|---|");
        row("loop, median", median(&self.ours.loops), median(&self.bare.loops));
        row("loop, fastest", self.ours.fastest(), self.bare.fastest());
        row("CPU time of a loop", self.ours.cpu_per_loop(), self.bare.cpu_per_loop());
        println!("\n| call, µs | number | p50 | p90 | p99 | max | bare p50 | p90 | p99 | max |");
        println!("|---|---|---|---|---|---|---|---|---|---|");
        let bare = self.bare.sorted();
        for (rpc, times) in self.ours.sorted() {
            let none = Vec::new();
            let beside = bare.get(rpc).unwrap_or(&none);
            let quantiles =
                [times, beside].map(|times| [0.5, 0.9, 0.99, 1.0].map(|part| micros(quantile(times, part))));
            println!(
                "| {} | {} | {} |",
                rpc.name(),
                times.len(),
                quantiles.concat().join(" | ")
            );
        }
        println!();
    }

    fn judge(&self, stage: &Stage, usage: Usage) {
        let usual = |count: fn(&Requests) -> u64| {
            let mut counts: Vec<u64> = self.requests.iter().map(count).collect();
            counts.sort_unstable();
            counts.get(counts.len() / 2).copied().unwrap_or_default()
        };
        let all = usual(|asked| asked.values().sum());
        let listings = usual(|asked| asked.get(LISTING).copied().unwrap_or_default());
        println!(
            "memory of the server: {:.1} MiB resident, of which {:.1} MiB its own; at most {:.1} MiB",
            mib(usage.rss),
            mib(usage.own),
            mib(usage.peak)
        );
        // A loop that takes longer than the ten seconds after which the server lists by itself has more.
        println!("requests to hosts in the usual loop: {all}, of which {listings} listings of host groups\n");
        let ratio = ratio(median(&self.ours.loops), median(&self.bare.loops));
        goals::at_most("loop against bare tonic", ratio, goals::LOOP_RATIO, "");
        let groups = u64::try_from(stage.fleet.groups.len()).unwrap_or(u64::MAX);
        goals::exactly("requests to hosts in a loop", all, groups);
        if stage.fleet.machines.len() == MANY_VMS {
            goals::at_most("memory with 5000 VMs", mib(usage.rss), goals::LOADED_MIB, " MiB");
        }
    }
}

fn row(what: &str, ours: Duration, bare: Duration) {
    let ratio = ratio(ours, bare);
    println!(
        "| {what} | {:.3} s | {:.3} s | {ratio:.2} |",
        ours.as_secs_f64(),
        bare.as_secs_f64()
    );
}
