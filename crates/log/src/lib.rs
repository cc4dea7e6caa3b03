//! sb-log
