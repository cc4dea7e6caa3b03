//! Asks a service what it offers, by server reflection.

use super::{Speech, Upstream};
use crate::wire::pack::Packing;
use bytes::Bytes;
use futures_util::StreamExt as _;
use sb_board::call::{Call, Code, Codec, End, Part, Parts, Status, Streaming};
use sb_board::mount::{BoxFuture, Dialer, Target};
use sb_core::model::{Error, Kind, Result};
use sb_schema::wire::{Fields, WireValue, put_bytes};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// How long all questions may take together.
const PATIENCE: Duration = Duration::from_secs(20);
/// The largest answer, and the most that all files may have together.
const MAX_BYTES: usize = sb_schema::MAX_BYTES;
const VERSIONS: [&str; 2] = ["v1", "v1alpha"];
/// Services about the server and not of it; they are left out unless they are asked for by name.
const ABOUT: [&str; 4] =
    ["grpc.reflection.v1.", "grpc.reflection.v1alpha.", "grpc.health.v1.", "grpc.channelz.v1."];

/// The files of the services wanted, with all they import, as an encoded `google.protobuf.FileDescriptorSet`. The second argument names the
/// services; empty for all that the service lists. Errors: `UNAVAILABLE` when it cannot be reached, `UNSUPPORTED` when it has no reflection,
/// `NOT_FOUND` when it does not know a service.
pub fn describe(target: Target, dialer: Arc<dyn Dialer>, wanted: Vec<String>) -> BoxFuture<Result<Bytes>> {
    Box::pin(async move {
        let scheme = target.scheme();
        let speech = match scheme.as_str() {
            s if s.starts_with("grpc-web") => Speech::Web,
            s if s.starts_with("connect") => Speech::Connect,
            _ => Speech::Grpc,
        };
        let upstream = Upstream::new(speech, &target, &*dialer, Packing::Identity)?;
        let mut last = None;
        for version in VERSIONS {
            let asked = async {
                let mut talk = Talk::begin(&upstream, version).await?;
                talk.files(&wanted).await
            };
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(set)) => return Ok(set),
                Ok(Err(status)) if status.code == Code::Unimplemented => last = Some(status),
                Ok(Err(status)) => return Err(status.to_error()),
                Err(_) => {
                    return Err(Error::new(
                        Kind::Deadline,
                        "SB0409",
                        format!("{} did not say within {} s what it offers", target.url, PATIENCE.as_secs()),
                    ));
                }
            }
        }
        let why = last.map(|status| format!(": {status}")).unwrap_or_default();
        Err(Error::new(
            Kind::Unsupported,
            "SB0409",
            format!("{} does not say what it offers by reflection{why}", target.url),
        )
        .fix(
            "Give its .proto files or a descriptor set with proto = …, or turn on reflection in the service",
        ))
    })
}

/// A stream of questions to one service.
struct Talk {
    questions: mpsc::Sender<Bytes>,
    answers: Parts,
}

/// What a question asks: the number of its field.
const FILE: u32 = 3;
const SYMBOL: u32 = 4;
const LIST: u32 = 7;

impl Talk {
    async fn begin(upstream: &Upstream, version: &str) -> std::result::Result<Talk, Status> {
        let (questions, asked) = mpsc::channel(1);
        let messages = futures_util::stream::unfold(asked, |mut asked: mpsc::Receiver<Bytes>| async move {
            Some((Ok(asked.recv().await?), asked))
        });
        let call = Call {
            streaming: Streaming { client: true, server: true },
            deadline: Instant::now().checked_add(PATIENCE),
            messages: Box::pin(messages),
            ..Call::unary(
                format!("grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"),
                Codec::Proto,
                Bytes::new(),
            )
        };
        // Some services send no head before they are asked: the first question must not wait for it.
        let first = question(LIST, "");
        let (_, reply) = tokio::join!(questions.send(first), upstream.exchange(call, MAX_BYTES));
        Ok(Talk { questions, answers: reply?.parts })
    }

    /// The next answer's field and its content.
    async fn answer(&mut self) -> std::result::Result<(u32, Bytes), Status> {
        let bytes = match self.answers.next().await {
            Some(Part::Message(bytes)) => bytes,
            Some(Part::End(End { status: Some(status), .. })) => return Err(status),
            Some(Part::End(_)) | None => {
                return Err(Status::new(Code::Internal, "the service ended the stream of answers"));
            }
        };
        let mut found = None;
        for field in Fields::new(&bytes) {
            if let (number @ 4..=7, WireValue::Bytes(inner)) = field.map_err(malformed)? {
                found = Some((number, bytes.slice_ref(inner)));
            }
        }
        let (number, inner) = found.ok_or_else(|| malformed("it says nothing"))?;
        if number != 7 {
            return Ok((number, inner));
        }
        let (mut code, mut text) = (Code::Unknown, String::new());
        for field in Fields::new(&inner) {
            match field.map_err(malformed)? {
                (1, WireValue::Varint(n)) => {
                    code = u32::try_from(n).ok().and_then(Code::from_number).unwrap_or(Code::Unknown);
                }
                (2, WireValue::Bytes(bytes)) => text = String::from_utf8_lossy(bytes).into_owned(),
                _ => {}
            }
        }
        Err(Status::new(code, text))
    }

    async fn ask(&mut self, field: u32, text: &str) -> std::result::Result<Bytes, Status> {
        // A stream that has ended says why by its answer.
        let _ = self.questions.send(question(field, text)).await;
        match self.answer().await? {
            (4, files) => Ok(files),
            _ => Err(malformed("it answers another question")),
        }
    }

    /// The set of files.
    async fn files(&mut self, wanted: &[String]) -> std::result::Result<Bytes, Status> {
        let (6, list) = self.answer().await? else { return Err(malformed("it is no list of services")) };
        let mut services = wanted.to_vec();
        if services.is_empty() {
            for service in strings(&list, 1)? {
                for name in strings(&service, 1)? {
                    let name = String::from_utf8_lossy(&name).into_owned();
                    if !ABOUT.iter().any(|about| name.starts_with(about)) {
                        services.push(name);
                    }
                }
            }
        }
        let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
        let mut missing: Vec<String> = Vec::new();
        let mut size = 0;
        let mut known = HashSet::new();
        let mut take = |answer: &Bytes, missing: &mut Vec<String>, files: &mut BTreeMap<String, Bytes>| {
            for file in strings(answer, 1)? {
                size += file.len();
                if size > MAX_BYTES || files.len() >= sb_schema::MAX_FILES {
                    return Err(Status::new(Code::ResourceExhausted, "the service has too many files"));
                }
                let name = strings(&file, 1)?.pop().unwrap_or_default();
                let name = String::from_utf8_lossy(&name).into_owned();
                for import in strings(&file, 3)? {
                    let import = String::from_utf8_lossy(&import).into_owned();
                    if known.insert(import.clone()) {
                        missing.push(import);
                    }
                }
                files.insert(name, file);
            }
            Ok(())
        };
        for service in &services {
            let answer = self.ask(SYMBOL, service).await?;
            take(&answer, &mut missing, &mut files)?;
        }
        while let Some(name) = missing.pop() {
            if files.contains_key(&name) {
                continue;
            }
            match self.ask(FILE, &name).await {
                Ok(answer) => take(&answer, &mut missing, &mut files)?,
                // Those that everybody has need not be handed out.
                Err(status) if status.code == Code::NotFound && name.starts_with("google/protobuf/") => {}
                Err(status) => return Err(status),
            }
        }
        let mut set = Vec::with_capacity(size);
        for file in files.values() {
            put_bytes(&mut set, 1, file);
        }
        Ok(set.into())
    }
}

fn question(field: u32, text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 4);
    put_bytes(&mut out, field, text.as_bytes());
    out.into()
}

fn malformed(why: impl std::fmt::Display) -> Status {
    Status::new(Code::Internal, format!("the service's answer about itself is malformed: {why}"))
}

/// The values of a repeated field of text, bytes or messages.
fn strings(bytes: &Bytes, wanted: u32) -> std::result::Result<Vec<Bytes>, Status> {
    let mut all = Vec::new();
    for field in Fields::new(bytes) {
        if let (number, WireValue::Bytes(inner)) = field.map_err(malformed)?
            && number == wanted
        {
            all.push(bytes.slice_ref(inner));
        }
    }
    Ok(all)
}
