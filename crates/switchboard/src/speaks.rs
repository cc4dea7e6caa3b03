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

/// What is spoken, as people know it by name: for those who look whether it is there.
pub const SHOWN: &[&str] =
    &["REST", "SSE", "WebSocket", "gRPC", "gRPC-Web", "Connect", "GraphQL", "JSON-RPC", "MCP", "Thrift"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spoken_is_shown() {
        let plain = |name: &str| name.to_lowercase().replace('-', "");
        let shown: Vec<String> = SHOWN.iter().map(|name| plain(name)).collect();
        for protocol in SPEAKS.iter().filter(|protocol| !OFF_BY_DEFAULT.contains(&protocol.name)) {
            // A protocol's own form over HTTP goes by the protocol's name.
            let name = plain(protocol.name.strip_suffix("-http").unwrap_or(protocol.name));
            assert!(name == "http" || shown.contains(&name), "{name}");
        }
    }
}
