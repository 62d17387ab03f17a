//! Scenario files, the built-in workloads they use, and the runner
