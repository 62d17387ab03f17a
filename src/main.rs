//! The command line of Mobula.
fn main() {}
