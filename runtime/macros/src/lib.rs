//! The task and main attribute macros of Mobula
