//! The services of the tests behind a server: `cargo run -p sb-graphql --example services [PORT] [KEY]`. Prints its address; ends when its standard
//! input does. The clients of `interop/graphql` talk to it.

#[path = "../tests/common/mod.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod common;

#[tokio::main]
async fn main() {
    let mut words = std::env::args().skip(1);
    let port = words.next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let key = words.next().filter(|key| !key.is_empty());
    let site = common::Site::start(port, common::options(), key.as_deref()).await;
    println!("http://{}/graphql", site.addr);
    let _ = tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await;
    site.stop().await;
}
