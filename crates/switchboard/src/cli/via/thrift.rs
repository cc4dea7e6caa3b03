//! Thrift over HTTP, in the binary protocol. JSON becomes Protobuf and that Thrift, and back, by what describes the method.

use std::sync::Arc;

use sb_board::call::Workers;
use sb_board::call::services::{Service, Services};
use sb_thrift::map::plan::Plan;
use sb_thrift::map::{Outcome, status};
use sb_thrift::wire::{Head, Kind, Proto, Reader, Writer};

use super::{Asked, Each, MAX_MESSAGE, not_called, not_understood, of_status};
use crate::client::{Client, segment};
use crate::error::CliError;

/// Calls a method that does not stream.
pub(super) async fn call(client: &Client, asked: &Asked, each: Each<'_>) -> Result<(), CliError> {
    let described = asked.described("thrift")?;
    let options = sb_schema::Options { opaque_any: true, ..sb_schema::Options::default() };
    let proto = sb_schema::json_to_proto(&described.method.input, &asked.message(), &options)
        .map_err(|why| CliError::usage(format!("the request does not fit {}: {why}", asked.path)))?;
    let (service, _) = asked.path.split_once('/').unwrap_or((&asked.path, ""));
    // The table of methods wants to know who serves them, which plays no part here.
    let table = Service {
        name: service.into(),
        provider: Arc::new(Workers { topic: String::new(), codecs: &[] }),
        timeout: None,
        shown: None,
        json: options.clone(),
    };
    let plan = Plan::new(&Services::new(described.schema.clone(), vec![table], None));
    let Some(method) = plan.method(&asked.path) else {
        return Err(not_understood("the description has no such method"));
    };
    let mut writer = Writer::new(Vec::new(), Proto::Binary);
    writer.head(&Head { kind: Kind::Call, name: method.name.clone(), seqid: 1, strict: true });
    plan.parameters(method, &proto, &mut writer, MAX_MESSAGE)
        .map_err(|why| CliError::usage(format!("the request has no form in Thrift: {why}")))?;
    let request = asked
        .post(format!("/thrift/{}", segment(service)))
        .header("content-type", "application/vnd.apache.thrift.binary")
        .body(writer.into_bytes());
    let answer = client.read(&request).await?;
    if !answer.status.is_success() {
        return Err(not_called(answer.status, &answer.body));
    }
    let wrong = |why: String| not_understood(&why);
    let mut reader = Reader::new(&answer.body, Proto::Binary);
    let head = reader.head().map_err(|why| wrong(why.to_string()))?;
    let response = match head.kind {
        Kind::Exception => {
            let status = status::read_application(&mut reader).map_err(|why| wrong(why.to_string()))?;
            return Err(of_status(&status, Some(described)));
        }
        _ => match plan.outcome(method, &mut reader, MAX_MESSAGE).map_err(|why| wrong(why.to_string()))? {
            Outcome::Good(response) => response,
            Outcome::Failed(status) => return Err(of_status(&status, Some(described))),
        },
    };
    let json = sb_schema::proto_to_json(&described.method.output, &response, &options)
        .map_err(|why| wrong(why.to_string()))?;
    each(&json).map(|_| ())
}
