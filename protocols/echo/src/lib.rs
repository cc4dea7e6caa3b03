//! sb-echo
