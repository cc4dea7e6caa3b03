//! sb-wirekit
