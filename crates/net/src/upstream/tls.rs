//! TLS towards upstreams: whom we trust, and who we say we are.

use super::invalid;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sb_board::mount::Target;
use sb_core::model::Result;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Encrypts connections to one target.
pub(super) struct Client {
    connector: TlsConnector,
    server_name: Option<ServerName<'static>>,
}

impl Client {
    pub(super) fn new(target: &Target, alpn: &[&[u8]]) -> Result<Client> {
        let mut roots = rustls::RootCertStore::empty();
        match &target.ca {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                let bad = |e: String| invalid(target, format!("{}: {e}", path.display()));
                for cert in CertificateDer::pem_file_iter(path).map_err(|e| bad(e.to_string()))? {
                    let cert = cert.map_err(|e| bad(e.to_string()))?;
                    roots.add(cert).map_err(|e| bad(e.to_string()))?;
                }
            }
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let mut config = match &target.identity {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
                let bad = |e: String| invalid(target, format!("{}: {e}", cert.display()));
                let chain = CertificateDer::pem_file_iter(cert)
                    .and_then(Iterator::collect)
                    .map_err(|e| bad(e.to_string()))?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| invalid(target, format!("{}: {e}", key.display())))?;
                builder.with_client_auth_cert(chain, key).map_err(|e| bad(e.to_string()))?
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let server_name = match &target.server_name {
            None => None,
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|e| invalid(target, e))?),
        };
        Ok(Client { connector: Arc::new(config).into(), server_name })
    }

    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned())
                .map_err(|e| std::io::Error::new(std::io::ErrorKind::InvalidInput, e))?,
        };
        self.connector.connect(name, stream).await
    }
}
