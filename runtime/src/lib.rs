//! Head, node, worker and driver of Mobula as thin shells over protocol machines, and the public API
