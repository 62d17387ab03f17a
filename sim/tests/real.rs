//! Clusters of processes. The head and the nodes are this very binary, which is why it has a main function of its own.

#[cfg(not(madsim))]
mod common;
#[cfg(not(madsim))]
mod processes;

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    processes::main()
}

/// There is no real world in a build for madsim.
#[cfg(madsim)]
fn main() {}
