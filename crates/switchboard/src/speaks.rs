//! The table of protocols. From a line here follow listener, login, metrics, drain and docs.

use sb_board::mount::Descriptor;

/// Every protocol, in the order in which they are asked about an HTTP request.
pub static SPEAKS: &[&Descriptor] = &[
    &sb_echo::WEB,
    &sb_graphql::DESCRIPTOR,
    &sb_thrift::WEB,
    &sb_grpc::GRPC,
    &sb_grpc::GRPC_WEB,
    &sb_grpc::CONNECT,
    // Answers every path, so it is the last to be asked.
    &sb_http::DESCRIPTOR,
    &sb_thrift::DESCRIPTOR,
    &sb_echo::LINES,
];

/// The protocols that are spoken only when the config asks for them.
pub const OFF_BY_DEFAULT: &[&str] = &["echo", "echo-web"];
