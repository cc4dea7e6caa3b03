//! sb-suite
