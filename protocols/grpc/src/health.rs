//! `grpc.health.v1.Health`: how the server and the services behind it are.
//!
//! The server as a whole (the empty name) is serving until it drains; a service is serving while its upstream can be reached, or workers can be
//! given work. Anyone may ask about the server; about a service only who may call it, to others it does not exist.

use sb_board::Access;
use sb_board::call::{Code, End, Part, Reply, Service, Services, Status};
use sb_schema::wire::{Fields, WireValue, put_bytes, put_tag, put_varint};
use std::time::Duration;

/// Pause between two looks of a watch.
const LOOK: Duration = Duration::from_secs(1);

/// The numbers of `HealthCheckResponse.ServingStatus`.
#[derive(Copy, Clone, PartialEq, Eq)]
enum State {
    Up = 1,
    Down = 2,
    Unknown = 3,
}

/// The services the caller may know of: shown over its protocol, with a method it may call.
pub(crate) fn known<'a>(access: &'a Access, services: &'a Services) -> impl Iterator<Item = &'a Service> {
    services
        .services()
        .iter()
        .map(|service| &**service)
        .filter(move |service| may_know(access, services, service))
}

fn may_know(access: &Access, services: &Services, service: &Service) -> bool {
    let methods = services.schema().service(&service.name).map(|s| s.methods.as_slice()).unwrap_or_default();
    service.is_shown(access.protocol()) && methods.iter().any(|method| access.may_call(&method.path))
}

fn state(access: &Access, name: &str) -> State {
    let board = access.board();
    if name.is_empty() || crate::own::NAMES.contains(&name) {
        return if board.is_draining() { State::Down } else { State::Up };
    }
    let services = board.services();
    match services.service(name).filter(|service| may_know(access, &services, service)) {
        None => State::Unknown,
        Some(_) if board.is_draining() => State::Down,
        Some(service) if service.provider.healthy().is_ok() => State::Up,
        Some(_) => State::Down,
    }
}

fn name_of(request: &[u8]) -> Result<String, Status> {
    let mut name = "";
    for field in Fields::new(request) {
        if let (1, WireValue::Bytes(bytes)) = field.map_err(|e| malformed(&e.to_string()))? {
            name = std::str::from_utf8(bytes).map_err(|_| malformed("the name is not UTF-8"))?;
        }
    }
    Ok(name.to_owned())
}

pub(crate) fn malformed(why: &str) -> Status {
    Status::new(Code::InvalidArgument, format!("the request is malformed: {why}"))
}

fn response(state: State) -> Vec<u8> {
    vec![1 << 3, state as u8]
}

/// `Check`
pub(crate) fn check(access: &Access, request: &[u8]) -> Result<Reply, Status> {
    let name = name_of(request)?;
    match state(access, &name) {
        State::Unknown => Err(Status::new(Code::NotFound, format!("there is no service {name:?}"))),
        state => Ok(Reply::unary(response(state).into())),
    }
}

/// `List`
pub(crate) fn list(access: &Access) -> Reply {
    let services = access.board().services();
    let names = std::iter::once("").chain(known(access, &services).map(|service| &*service.name));
    let mut out = Vec::new();
    for name in names {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, name.as_bytes());
        put_bytes(&mut entry, 2, &response(state(access, name)));
        put_bytes(&mut out, 1, &entry);
    }
    Reply::unary(out.into())
}

/// `Watch`: what it is now, and then whenever that changes. Ends when the server drains.
pub(crate) fn watch(access: Access, request: &[u8]) -> Result<Reply, Status> {
    let name = name_of(request)?;
    let parts = futures_util::stream::unfold(Some(None), move |before: Option<Option<State>>| {
        let (access, name) = (access.clone(), name.clone());
        async move {
            let last = before?;
            loop {
                let now = state(&access, &name);
                if last != Some(now) {
                    return Some((Part::Message(response(now).into()), Some(Some(now))));
                }
                if access.board().is_draining() {
                    let status = Status::new(Code::Unavailable, "the server stops");
                    return Some((Part::End(End::from(status)), None));
                }
                let _ = tokio::time::timeout(LOOK, access.board().draining()).await;
            }
        }
    });
    Ok(Reply { metadata: http::HeaderMap::new(), parts: Box::pin(parts) })
}

/// A number as a field.
pub(crate) fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_tag(out, number, 0);
    put_varint(out, value);
}
