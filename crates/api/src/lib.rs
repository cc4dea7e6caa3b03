//! Switchboard's own API as a service: `switchboard.v1` and `google.longrunning.Operations`, described in `proto/switchboard/v1/*.proto` and
//! docs/api.md. It is served like any other service by the call path, so every RPC protocol has it, and it does nothing but by the caller's own
//! [`Access`]: rights, limits and semantics are those of the board.
//!
//! | file | is about |
//! |---|---|
//! | `call` | reading requests and writing answers |
//! | `map` | between the core's nouns and the messages of the API |
//! | the others | one service each |

mod call;
mod consume;
mod groups;
mod jobs;
mod map;
mod messages;
mod methods;
mod operations;
mod server;
mod services;
mod subscribe;
mod topics;

/// The messages of the API, made of the `.proto` files.
#[allow(missing_docs, unused_qualifications, rust_2018_idioms, clippy::all)]
pub mod types {
    include!(concat!(env!("OUT_DIR"), "/types.rs"));
}

use call::{bidi, stream, unary};
use sb_board::Access;
use sb_board::call::{ByJob, Call, Code, Codec, Provider, Reply, Service, Status};
use sb_board::mount::BoxFuture;
use std::sync::Arc;

/// The `.proto` files, under the names by which they import each other.
pub const FILES: &[(&str, &str)] = &[
    ("switchboard/v1/topics.proto", include_str!("../../../proto/switchboard/v1/topics.proto")),
    ("switchboard/v1/messages.proto", include_str!("../../../proto/switchboard/v1/messages.proto")),
    ("switchboard/v1/groups.proto", include_str!("../../../proto/switchboard/v1/groups.proto")),
    ("switchboard/v1/jobs.proto", include_str!("../../../proto/switchboard/v1/jobs.proto")),
    ("switchboard/v1/methods.proto", include_str!("../../../proto/switchboard/v1/methods.proto")),
    ("switchboard/v1/services.proto", include_str!("../../../proto/switchboard/v1/services.proto")),
    ("switchboard/v1/server.proto", include_str!("../../../proto/switchboard/v1/server.proto")),
    (OPERATIONS, include_str!("../../schema/proto/google/longrunning/operations.proto")),
    // Not named by any of them: the types of error details, so that those are shown as JSON.
    ("google/rpc/error_details.proto", include_str!("../../schema/proto/google/rpc/error_details.proto")),
];
const OPERATIONS: &str = "google/longrunning/operations.proto";

/// The services, in the order in which they are shown.
pub const SERVICES: [&str; 8] = [
    "switchboard.v1.Topics",
    "switchboard.v1.Messages",
    "switchboard.v1.Groups",
    "switchboard.v1.Jobs",
    "switchboard.v1.Methods",
    "switchboard.v1.Services",
    "switchboard.v1.Server",
    "google.longrunning.Operations",
];

/// Adds the description of the API to a schema that is being built.
pub fn add_to(schema: &mut sb_schema::Builder) -> sb_schema::Result<()> {
    for (name, text) in FILES {
        schema.text(name, text)?;
    }
    Ok(())
}

/// The services of the API, for the board's table of services.
pub fn services() -> Vec<Service> {
    let provider: Arc<dyn Provider> = Arc::new(Api);
    let service = |name: &str| Service {
        name: name.into(),
        provider: provider.clone(),
        timeout: None,
        shown: None,
        // Details of errors may be of types that only callers know.
        json: sb_schema::Options { opaque_any: true, ..sb_schema::Options::default() },
    };
    SERVICES.into_iter().map(service).collect()
}

/// Answers the calls of all services of the API.
struct Api;

impl Provider for Api {
    fn call(self: Arc<Self>, access: Access, call: Call) -> BoxFuture<Result<Reply, Status>> {
        let path = call.method.clone();
        match path.strip_prefix("switchboard.v1.") {
            Some(method) => ours(method, access, call),
            None => longrunning(&path, access, call),
        }
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        "this server".to_owned()
    }

    fn by_job(&self) -> ByJob {
        ByJob::Refused
    }

    fn checks_rights(&self) -> bool {
        true
    }
}

fn ours(method: &str, access: Access, call: Call) -> BoxFuture<Result<Reply, Status>> {
    match method {
        "Topics/Create" => unary(access, call, topics::create),
        "Topics/Update" => unary(access, call, topics::update),
        "Topics/Get" => unary(access, call, topics::get),
        "Topics/Delete" => unary(access, call, topics::delete),
        "Topics/List" => unary(access, call, topics::list),
        "Messages/Publish" => unary(access, call, messages::publish),
        "Messages/Read" => unary(access, call, messages::read),
        "Messages/Get" => unary(access, call, messages::get),
        "Messages/Subscribe" => stream(access, call, subscribe::open),
        "Groups/Create" => unary(access, call, groups::create),
        "Groups/Update" => unary(access, call, groups::update),
        "Groups/Get" => unary(access, call, groups::get),
        "Groups/Delete" => unary(access, call, groups::delete),
        "Groups/List" => unary(access, call, groups::list),
        "Groups/Lease" => unary(access, call, groups::lease),
        "Groups/Settle" => unary(access, call, groups::settle),
        "Groups/Peek" => unary(access, call, groups::peek),
        "Groups/Seek" => unary(access, call, groups::seek),
        "Groups/Commit" => unary(access, call, groups::commit),
        "Groups/Consume" => bidi(access, call, consume::open),
        "Jobs/Submit" => unary(access, call, jobs::submit),
        "Jobs/Get" => unary(access, call, jobs::get),
        "Jobs/Wait" => unary(access, call, jobs::wait),
        "Jobs/Watch" => stream(access, call, jobs::watch),
        "Jobs/List" => unary(access, call, jobs::list),
        "Jobs/GetInput" => unary(access, call, jobs::get_input),
        "Jobs/GetResult" => unary(access, call, jobs::get_result),
        "Jobs/Cancel" => unary(access, call, jobs::cancel),
        "Jobs/Rerun" => unary(access, call, jobs::rerun),
        "Jobs/Take" => unary(access, call, jobs::take),
        "Jobs/Extend" => unary(access, call, jobs::extend),
        "Jobs/Report" => unary(access, call, jobs::report),
        "Jobs/Complete" => unary(access, call, jobs::complete),
        "Jobs/Fail" => unary(access, call, jobs::fail),
        "Methods/Declare" => unary(access, call, methods::declare),
        "Methods/List" => unary(access, call, methods::list),
        "Methods/Delete" => unary(access, call, methods::delete),
        "Services/List" => unary(access, call, services::list),
        "Services/Get" => unary(access, call, services::get),
        "Services/GetSource" => unary(access, call, services::get_source),
        "Server/Status" => unary(access, call, server::status),
        "Server/Metrics" => unary(access, call, server::metrics),
        "Server/IssueToken" => unary(access, call, server::issue_token),
        _ => unknown(call.method),
    }
}

fn longrunning(path: &str, access: Access, call: Call) -> BoxFuture<Result<Reply, Status>> {
    match path.strip_prefix("google.longrunning.Operations/") {
        Some("GetOperation") => unary(access, call, operations::get),
        Some("ListOperations") => unary(access, call, operations::list),
        Some("WaitOperation") => unary(access, call, operations::wait),
        Some("CancelOperation") => unary(access, call, operations::cancel),
        Some("DeleteOperation") => unary(access, call, operations::delete),
        _ => unknown(call.method),
    }
}

fn unknown(method: Arc<str>) -> BoxFuture<Result<Reply, Status>> {
    Box::pin(async move { Err(Status::new(Code::Unimplemented, format!("there is no method {method}"))) })
}
