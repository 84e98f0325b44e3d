//! NodeGroupForNode in memory with few and with very many instances: it is called for every Node in every loop, so it
//! must not grow with their number. The same as the benchmark of that name, as a goal.

use std::time::{Duration, Instant};

use slicer_cloud_provider::grpc::pb::NodeGroupForNodeRequest;

use crate::Failure;
use crate::figures::{median, micros, ratio};
use crate::goals;
use crate::memory::{self, Memory};

const FEW: usize = 10;
const MANY: usize = 50_000;
/// Calls whose mean is one sample.
const CALLS: u32 = 500;
/// Samples of each, in turns.
const SAMPLES: usize = 101;

/// Measures and prints what came out.
pub(crate) fn run() -> Result<(), Failure> {
    let (few, many) = (Memory::with(FEW)?, Memory::with(MANY)?);
    let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        of_few.push(sample(&few, FEW)?);
        of_many.push(sample(&many, MANY)?);
    }
    let (of_few, of_many) = (median(&of_few), median(&of_many));
    println!(
        "NodeGroupForNode in memory: {} µs with {FEW} instances, {} µs with {MANY}\n",
        micros(of_few),
        micros(of_many)
    );
    goals::at_most(
        "NodeGroupForNode with 50000 instances against 10",
        ratio(of_many, of_few),
        goals::LOOK_UP_RATIO,
        "",
    );
    Ok(())
}

/// The mean of some calls for the Node in the middle.
fn sample(memory: &Memory, instances: usize) -> Result<Duration, Failure> {
    let node = memory::node(instances / 2)?;
    let mut client = memory.client.clone();
    memory.run(async {
        let begun = Instant::now();
        for _ in 0..CALLS {
            let node = Some(node.clone());
            let answer = client.node_group_for_node(NodeGroupForNodeRequest { node }).await;
            let group = answer.map_err(|status| status.to_string())?.into_inner().node_group;
            if group.is_none_or(|group| group.id != memory::GROUP) {
                return Err("the node was not found".to_owned());
            }
        }
        Ok(begun.elapsed() / CALLS)
    })
}
