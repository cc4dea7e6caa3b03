//! sb-board
