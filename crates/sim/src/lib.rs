//! sb-sim
