//! Compiles the two wire contracts in `proto/` with protox, so that nobody has to install protoc.

use std::path::PathBuf;
use std::{env, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let service = protox::compile(["externalgrpc.proto"], ["proto"])?;
    // The reflection service hands this very set to its clients.
    fs::write(out.join("externalgrpc.fds"), service.encode_to_vec())?;
    // BTreeMap: the labels of a Node are a dozen short texts, which cost less to sort than to hash.
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .codec_path("crate::grpc::codec::SmallBuffers")
        .compile_fds(service)?;

    // BTreeMap: the same template is the same bytes every time.
    let node = protox::compile(["node.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .btree_map(".")
        .compile_fds(node)?;
    Ok(())
}
