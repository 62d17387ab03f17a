//! The program `mobula-bench`.

#[cfg(not(madsim))]
fn main() -> std::process::ExitCode {
    mobula_bench::main()
}

#[cfg(madsim)]
fn main() -> std::process::ExitCode {
    eprintln!(
        "error: this build simulates; measure with the standard one: cargo run --release -p mobula-bench -- tasks"
    );
    std::process::ExitCode::from(2)
}
