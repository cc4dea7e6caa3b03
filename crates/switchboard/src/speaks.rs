//! The table of protocols. From a line here follow listener, login, metrics, drain and docs.

use sb_board::mount::Descriptor;

/// Every protocol, in the order in which they are asked about an HTTP request.
pub static SPEAKS: &[&Descriptor] = &[
    // Knows its own by the content type, and is called most often.
    &sb_grpc::GRPC,
    &sb_grpc::GRPC_WEB,
    &sb_grpc::CONNECT,
    &sb_echo::WEB,
    &sb_graphql::DESCRIPTOR,
    &sb_jsonrpc::DESCRIPTOR,
    &sb_mcp::DESCRIPTOR,
    &sb_thrift::WEB,
    // Answers every path, so it is the last to be asked.
    &sb_http::DESCRIPTOR,
    &sb_thrift::DESCRIPTOR,
    &sb_echo::LINES,
];

/// The protocols that are spoken only when the config asks for them.
pub const OFF_BY_DEFAULT: &[&str] = &["echo", "echo-web"];
