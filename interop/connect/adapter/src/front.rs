//! A server in front of a service that says by reflection what it offers: what client libraries are held against.

use crate::{Result, board};
use sb_board::call::{Provider, Service};
use sb_board::mount::{Descriptor, Dialer, Target};
use sb_net::{Listener, NetLimits, Server};
use sb_schema::Schema;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;

/// Stands in front of the service at this URL until standard input ends. Says on standard output, as one line of JSON, where it listens.
pub(crate) async fn run(url: &str, protocols: &'static [&'static Descriptor]) -> Result<()> {
    let target = Target { url: url.to_owned(), ..Target::default() };
    let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
    let scheme = target.scheme();
    let client = protocols.iter().find_map(|p| p.client.as_ref().filter(|c| c.schemes.contains(&&*scheme)));
    let client = client.ok_or_else(|| format!("{scheme} is not spoken"))?;
    let describe = client.describe.ok_or("the protocol cannot tell what a service offers")?;
    let set = describe(target.clone(), dialer.clone(), Vec::new()).await.map_err(|e| e.to_string())?;
    let schema = Schema::from_descriptor_set(&set)?;
    let provider: Arc<dyn Provider> = (client.connect)(&target, &dialer).map_err(|e| e.to_string())?;
    let services = schema.services().iter().map(|service| Service {
        name: service.full_name.as_str().into(),
        provider: provider.clone(),
        timeout: None,
        shown: None,
        json: sb_schema::Options::default(),
    });
    let services: Vec<Service> = services.collect();
    let names: Vec<String> = services.iter().map(|service| service.name.to_string()).collect();
    let board = board(0)?;
    board.set_services(schema, services).await.map_err(|e| e.to_string())?;
    let listener = Listener { addr: SocketAddr::from(([127, 0, 0, 1], 0)), only: None, tls: None };
    let server = Server::bind(board, protocols, vec![listener], NetLimits::default())?;
    let port = server.local_addrs().first().ok_or("no address")?.port();
    println!("{}", json!({ "port": port, "services": names }));
    let mut input = tokio::io::stdin();
    server
        .run(async move {
            let mut rest = Vec::new();
            let _ = tokio::io::AsyncReadExt::read_to_end(&mut input, &mut rest).await;
        })
        .await;
    Ok(())
}
