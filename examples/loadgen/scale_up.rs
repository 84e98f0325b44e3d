//! A scale-up on hosts that take their time: from IncreaseSize until the last VM is there, against what the hosts need
//! at best, and how long the call itself takes.

use std::path::Path;
use std::time::{Duration, Instant};

use prost::Message as _;
use prost::bytes::Bytes;
use slicer_cloud_provider::config;
use slicer_cloud_provider::grpc::pb;

use crate::figures::{median, mib, millis, ratio};
use crate::goals;
use crate::process::Process;
use crate::stage::Stage;
use crate::wire::{Line, Rpc};
use crate::{Failure, in_async};

const LOOK_EVERY: Duration = Duration::from_millis(1);
/// How long the hosts may take beyond what they need at best.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for.
pub(crate) struct Plan {
    /// VMs, on all hosts together. Each host has one group.
    pub(crate) launches: usize,
    /// What a host takes for one VM.
    pub(crate) create: Duration,
}

/// Measures one scale-up and prints what came out.
pub(crate) fn run(program: &Path, stage: &Stage, plan: &Plan) -> Result<(), Failure> {
    let shares = shares(plan.launches, stage.fleet.hosts);
    let best = best(stage, &shares, plan.create)?;
    in_async(async {
        let process = Process::serve(&stage.setup(program)).await?;
        let mut line = Line::to(&process.address).await?;
        // The first call may wait until every host was asked for its VMs.
        line.call(Rpc::NodeGroups, Bytes::new()).await?;
        let idle = process.usage()?;
        let begun = Instant::now();
        let mut calls = Vec::new();
        for (group, share) in stage.fleet.groups.iter().zip(&shares) {
            let request = pb::NodeGroupIncreaseSizeRequest {
                delta: i32::try_from(*share).map_err(|error| error.to_string())?,
                id: group.id.to_string(),
            };
            let (_, took) = line
                .call(Rpc::NodeGroupIncreaseSize, request.encode_to_vec().into())
                .await?;
            calls.push(took);
        }
        let took = wait_for_last(stage, plan.launches, begun, best + PATIENCE).await?;
        let usage = process.usage()?;
        println!(
            "{} launches on {} hosts that take {} each: {:.2} s, at best {:.2} s",
            plan.launches,
            stage.fleet.hosts,
            millis(plan.create),
            took.as_secs_f64(),
            best.as_secs_f64()
        );
        let slowest = calls.iter().max().copied().unwrap_or_default();
        println!(
            "IncreaseSize: {} in the middle, {} at most",
            millis(median(&calls)),
            millis(slowest)
        );
        println!(
            "memory of the server: {:.1} MiB before, {:.1} MiB at most; CPU time {}\n",
            mib(idle.rss),
            mib(usage.peak),
            millis(usage.cpu.saturating_sub(idle.cpu))
        );
        goals::at_most(
            "scale-up against the best",
            ratio(took, best),
            goals::SCALE_UP_RATIO,
            "",
        );
        goals::within("IncreaseSize", slowest, goals::INCREASE);
        process.kill().await
    })
}

/// How many VMs each host is to make.
fn shares(launches: usize, hosts: usize) -> Vec<usize> {
    (0..hosts).map(|host| (launches + hosts - 1 - host) / hosts).collect()
}

/// What the busiest host needs if it always makes as many VMs at once as it is allowed to.
fn best(stage: &Stage, shares: &[usize], create: Duration) -> Result<Duration, Failure> {
    let text = stage.fleet.config(&stage.hosts.urls());
    let config = config::parse(&text, Path::new("cloud-config")).map_err(|error| error.to_string())?;
    let at_once = config.groups.first().map_or(1, |group| group.create_concurrency.get());
    let most = shares.iter().max().copied().unwrap_or_default();
    let rounds = u32::try_from(most.div_ceil(at_once)).map_err(|error| error.to_string())?;
    Ok(create * rounds)
}

async fn wait_for_last(stage: &Stage, launches: usize, begun: Instant, limit: Duration) -> Result<Duration, Failure> {
    let wanted = u64::try_from(launches).unwrap_or(u64::MAX);
    while stage.hosts.created() < wanted {
        if begun.elapsed() > limit {
            return Err(format!("only {} VMs were created", stage.hosts.created()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(begun.elapsed())
}
