//! Asks the endpoints of a target how they are, every few seconds, as long as the pool lives.

use super::http::Upstream;
use bytes::{BufMut as _, BytesMut};
use http::{HeaderValue, Request, header};
use http_body_util::BodyExt as _;
use sb_board::mount::{Body, Health, ReplyBody};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(5);
/// How long an endpoint may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read.
const LONGEST: usize = 4 * 1024;

/// Begins to watch. Outside a runtime (a config that is only checked) nothing is watched.
pub(super) fn watch(upstream: &Arc<Upstream>, health: Health) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(rounds(Arc::downgrade(upstream), health));
    }
}

async fn rounds(upstream: Weak<Upstream>, health: Health) {
    loop {
        {
            let Some(upstream) = upstream.upgrade() else { return };
            if upstream.endpoints().refresh().await.is_ok() {
                for endpoint in upstream.endpoints().list().iter() {
                    let asked = tokio::time::timeout(PATIENCE, async {
                        let mut question = question(&health);
                        if upstream.prefix(question.uri_mut()).is_err() {
                            return false;
                        }
                        match upstream.on(endpoint, question, None).await {
                            Ok((response, _counted)) => well(response, &health).await,
                            Err(_) => false,
                        }
                    });
                    upstream.endpoints().set_well(endpoint, asked.await.unwrap_or(false));
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn question(health: &Health) -> Request<Body> {
    let (method, path, body) = match health {
        Health::Http(path) => ("GET", path.as_str(), Body::Empty),
        Health::Grpc(service) => {
            // grpc.health.v1.HealthCheckRequest { service = 1 } behind the five bytes of a gRPC message.
            let name = service.as_bytes().get(..service.len().min(127)).unwrap_or_default();
            let mut message = BytesMut::new();
            message.put_u8(0);
            message.put_u32(if name.is_empty() { 0 } else { name.len() as u32 + 2 });
            if !name.is_empty() {
                message.put_slice(&[10, name.len() as u8]);
                message.put_slice(name);
            }
            ("POST", "/grpc.health.v1.Health/Check", Body::Full(message.freeze()))
        }
        Health::None => ("GET", "/", Body::Empty),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method.parse().unwrap_or_default();
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    if matches!(health, Health::Grpc(_)) {
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
    }
    request
}

async fn well(response: http::Response<ReplyBody>, health: &Health) -> bool {
    let success = response.status().is_success();
    let (mut body, mut said) = (response.into_body(), BytesMut::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map(|frame| frame.into_data().unwrap_or_default()) else { return false };
        if said.len() + data.len() > LONGEST {
            return false;
        }
        said.extend_from_slice(&data);
    }
    match health {
        // HealthCheckResponse { status = 1: SERVING = 1 }.
        Health::Grpc(_) => success && serving(&said),
        _ => success,
    }
}

fn serving(message: &[u8]) -> bool {
    matches!(message, [0, 0, 0, 0, _, 8, 1, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        assert!(serving(&[0, 0, 0, 0, 2, 8, 1]));
        assert!(!serving(&[0, 0, 0, 0, 2, 8, 2]));
        assert!(!serving(&[]));
    }
}
