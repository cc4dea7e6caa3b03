//! sb-net
