//! Requests to calls and back: what HTTP and WebSocket have in common.

use crate::map::{self, Extension, NAME};
use crate::wire::{self, Fault, Incoming, Request};
use crate::{discover, wire::Invalid};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::HeaderMap;
use sb_board::Access;
use sb_board::call::metadata::metadata;
use sb_board::call::{Call, Code, Codec, End, Part, Reply, Status};
use sb_core::model::{Error, Kind};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

/// Requests of one batch that run at the same time.
const AT_ONCE: usize = 16;
/// The answers of a batch may have so many bytes together, or twice the largest message.
const MAX_ANSWERS: usize = 16 << 20;

/// How long a notification may be carried out, if it does not say itself: nobody waits for its end.
const UNWATCHED: Duration = Duration::from_secs(60);

/// Who calls, and how.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) access: Access,
    /// Whose methods have bare names: what follows `/rpc/`.
    pub(crate) service: Option<String>,
    /// Metadata for every call.
    pub(crate) metadata: HeaderMap,
    /// How long a call may take that does not say so itself.
    pub(crate) timeout: Result<Option<Duration>, Error>,
    /// Whether answers may stream.
    pub(crate) streams: bool,
}

/// What becomes of a request.
pub(crate) enum Outcome {
    /// Nothing is answered.
    Silent,
    /// This is answered; the headers are the call's metadata.
    Answer(Vec<u8>, HeaderMap),
    /// The answer to this id is a subscription.
    Stream(String, Reply),
    /// A subscription has to end, and this id gets to know whether there was one.
    Unsubscribe(Option<String>, String),
}

type Boxed<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

enum Done {
    Result(Bytes, HeaderMap),
    Stream(Reply),
    Unsubscribe(String),
}

/// What became of a text.
pub(crate) enum Acted {
    One(Outcome),
    Batch(Vec<Outcome>),
}

impl Caller {
    /// Acts on a text. Requests of a batch run beside each other; their outcomes come in their order.
    pub(crate) async fn act(&self, text: &[u8]) -> Acted {
        match wire::read(text) {
            Err(malformed) => {
                Acted::One(Outcome::Answer(wire::failed(None, &malformed.into()), HeaderMap::new()))
            }
            Ok(Incoming::One(request)) => Acted::One(self.request(request).await),
            Ok(Incoming::Batch(requests)) => {
                let mut left = MAX_ANSWERS.max(self.access.board().max_message().saturating_mul(2));
                let requests: Vec<_> = requests.into_iter().map(|request| self.request(request)).collect();
                let mut running = stream::iter(requests).buffered(AT_ONCE);
                let mut outcomes = Vec::new();
                while let Some(mut outcome) = running.next().await {
                    if let Outcome::Answer(text, _) = &mut outcome {
                        match left.checked_sub(text.len()) {
                            Some(rest) => left = rest,
                            None => *text = self.too_much(text),
                        }
                    }
                    outcomes.push(outcome);
                }
                Acted::Batch(outcomes)
            }
        }
    }

    /// The same answer, without what makes it large.
    fn too_much(&self, answer: &[u8]) -> Vec<u8> {
        #[derive(serde::Deserialize)]
        struct Answer<'a> {
            #[serde(borrow)]
            id: &'a serde_json::value::RawValue,
        }
        let id = serde_json::from_slice::<Answer<'_>>(answer).map_or("null", |answer| answer.id.get());
        let error = Error::new(Kind::Exhausted, "SB0205", "the answers of the batch are together too large")
            .fix("Send the request in a batch with fewer others");
        wire::failed(Some(id), &self.fault(&error.into()))
    }

    pub(crate) fn fault(&self, status: &Status) -> Fault {
        map::fault(status, self.access.board().services().schema())
    }

    fn request<'a>(&'a self, request: Result<Request<'a>, Invalid<'a>>) -> Boxed<'a> {
        Box::pin(self.answer(request))
    }

    async fn answer(&self, request: Result<Request<'_>, Invalid<'_>>) -> Outcome {
        let request = match request {
            Ok(request) => request,
            Err(Invalid { id, why }) => {
                return Outcome::Answer(wire::failed(id, &Fault::invalid(why)), HeaderMap::new());
            }
        };
        let done = self.perform(&request).await;
        let Some(id) = request.id else {
            return match done {
                Ok(Done::Unsubscribe(subscription)) => Outcome::Unsubscribe(None, subscription),
                // A stream is dropped: there is nobody to send it to.
                _ => Outcome::Silent,
            };
        };
        match done {
            Ok(Done::Result(result, headers)) => Outcome::Answer(wire::result(id, &result), headers),
            Ok(Done::Stream(reply)) => Outcome::Stream(id.to_owned(), reply),
            Ok(Done::Unsubscribe(subscription)) => Outcome::Unsubscribe(Some(id.to_owned()), subscription),
            Err(failed) => Outcome::Answer(wire::failed(Some(id), &failed.0), failed.1),
        }
    }

    async fn perform(&self, request: &Request<'_>) -> Result<Done, Failed> {
        let board = self.access.board();
        let extension = Extension::read(request.extension)?;
        if let Some(own) = request.method.strip_prefix("rpc.") {
            return match own {
                "discover" => {
                    self.access.known().map_err(Status::from).map_err(|s| self.fault(&s))?;
                    Ok(Done::Result(
                        discover::document(&self.access, self.service.as_deref()),
                        HeaderMap::new(),
                    ))
                }
                "unsubscribe" if self.streams => {
                    discover::subscription(&request.params).map(Done::Unsubscribe).map_err(Failed::from)
                }
                _ => Err(map::not_found(&board.services(), &request.method).into()),
            };
        }
        let services = board.services();
        let path = map::path(&request.method, self.service.as_deref());
        let entry = services.shown(&path, NAME).cloned();
        let hidden = entry.is_none() && services.method(&path).is_some();
        if hidden || !map::is_path(&path) {
            return Err(map::not_found(&services, &path).into());
        }
        let failed = |status: Status| match &status.error {
            // Neither described nor declared.
            Some(error) if error.code == "SB0310" => map::not_found(&services, &path),
            _ => self.fault(&status),
        };
        let streams = entry.as_ref().is_some_and(|entry| entry.method.server_streaming);
        if let Some(entry) = &entry {
            if entry.method.client_streaming {
                return Err(self.fault(&map::streams_in(entry)).into());
            }
            if streams && !extension.as_job && (!self.streams || request.id.is_none()) {
                return Err(self.fault(&map::needs_stream(entry)).into());
            }
        }
        let message =
            map::message(entry.as_ref().map(|entry| &entry.method.input), &request.params).map_err(failed)?;
        if message.len() > board.max_message() {
            let limit = board.max_message();
            let error =
                Error::new(Kind::TooLarge, "SB0205", format!("the params have more than {limit} bytes"));
            return Err(self.fault(&error.fix("Send less, or raise [limits] message").into()).into());
        }
        let mut given = self.metadata.clone();
        extension.add_metadata(&mut given)?;
        let most = self.timeout.clone().map_err(|error| failed(error.into()))?;
        let timeout = extension.timeout().or(most).or(request.id.is_none().then_some(UNWATCHED));
        let as_job = extension.job();
        // Also of a call that does not become a job: what cannot be a key is a mistake.
        sb_board::request::idempotency(as_job.idempotency.as_deref(), &[]).map_err(|e| failed(e.into()))?;
        let call = Call {
            metadata: given,
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            ..Call::unary(path.as_str(), Codec::Json, message)
        };
        if extension.as_job {
            let (job, _) = self.access.submit_call(call, as_job).await.map_err(failed)?;
            let wait = extension.wait_ms().min(board.max_wait_ms());
            let result = self.job(job, wait, streams).await.map_err(failed)?;
            return Ok(Done::Result(result.into(), HeaderMap::new()));
        }
        if request.id.is_none() {
            // Who sends a notification may leave at once: it is carried out all the same.
            let access = self.access.clone();
            let carried = tokio::spawn(async move {
                if let Ok(reply) = access.call(call).await {
                    drop(reply.one().await);
                }
            });
            let _ = carried.await;
            return Ok(Done::Result(Bytes::new(), HeaderMap::new()));
        }
        let reply = self.access.call(call).await.map_err(failed)?;
        if streams {
            return Ok(Done::Stream(reply));
        }
        let (leading, result, trailers) = reply.one().await;
        let mut headers = metadata(&leading);
        map::trailers(&trailers, &mut headers);
        match result {
            Ok(result) => Ok(Done::Result(result, headers)),
            Err(status) => Err(Failed(failed(status), headers)),
        }
    }

    /// The handle of a job that was submitted, with its outcome if it ends within the wait.
    async fn job(&self, job: sb_core::jobs::JobView, wait_ms: u64, streams: bool) -> Result<Vec<u8>, Status> {
        let job = match wait_ms {
            0 => job,
            wait_ms => self.access.job_wait(job.id, u64::MAX, wait_ms).await?,
        };
        if !job.state.terminal() {
            return Ok(map::job(&job, None));
        }
        let mut reply = self.access.job_reply(job.id, Codec::Json, false).await?;
        let mut items: Vec<Bytes> = Vec::new();
        let ended = loop {
            match reply.parts.next().await {
                Some(Part::Message(item)) => items.push(item),
                Some(Part::End(End { status, .. })) => break status,
                None => break Some(Status::new(Code::Internal, "the job's outcome has no end")),
            }
        };
        let outcome = match ended {
            Some(status) => Err(self.fault(&status)),
            None if streams => {
                let joined = items.iter().map(|item| &item[..]).collect::<Vec<_>>().join(&b", "[..]);
                Ok(Bytes::from([b"[", &joined[..], b"]"].concat()))
            }
            None => Ok(items.pop().filter(|item| !item.is_empty()).unwrap_or(Bytes::from_static(b"null"))),
        };
        Ok(map::job(&job, Some(outcome)))
    }
}

/// An error, and the metadata that came with it.
struct Failed(Fault, HeaderMap);

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Failed {
        Failed(fault, HeaderMap::new())
    }
}
