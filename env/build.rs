//! Compiles `proto/rpc.proto` with protox: no protoc binary has to be installed.
#![allow(clippy::disallowed_methods, reason = "a build script writes files")]

use prost::Message;
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(["proto/rpc.proto"], ["proto"])?;
    let path = PathBuf::from(std::env::var("OUT_DIR")?).join("rpc.bin");
    std::fs::write(&path, descriptors.encode_to_vec())?;
    tonic_build::configure()
        .bytes(["."])
        .file_descriptor_set_path(&path)
        .skip_protoc_run()
        .compile_protos(&["proto/rpc.proto"], &["proto"])?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
