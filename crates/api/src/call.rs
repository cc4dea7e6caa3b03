//! Reading requests and writing answers: what every method of the API has in common.

use buffa::Message;
use bytes::Bytes;
use sb_board::Access;
use sb_board::call::{Call, Code, End, Messages, Part, Parts, Reply, Status};
use sb_board::mount::BoxFuture;
use std::future::Future;
use tokio::time::Instant;

/// What a handler gives.
pub(crate) type Answer<T> = Result<T, Status>;

/// About the most bytes of messages in one answer: what readers of every protocol take without being asked to allow more.
pub(crate) const PAGE_BYTES: usize = 1 << 20;

/// The circumstances of a call.
pub(crate) struct Cx {
    /// The board as the caller sees it.
    pub(crate) access: Access,
    /// What came with the request.
    pub(crate) metadata: http::HeaderMap,
    deadline: Option<Instant>,
}

impl Cx {
    fn new(access: Access, call: &mut Call) -> Cx {
        Cx { access, metadata: std::mem::take(&mut call.metadata), deadline: call.deadline }
    }

    /// Milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> i64 {
        self.access.board().now_ms()
    }

    /// How long a call may wait: at most what the server allows, and a little less than until its deadline, so that the answer that there is
    /// nothing still arrives, and nothing is taken for a caller who has gone.
    pub(crate) fn wait_ms(&self, wait: Option<u64>) -> u64 {
        let wait = wait.unwrap_or(0).min(self.access.board().max_wait_ms());
        let Some(deadline) = self.deadline else { return wait };
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        wait.min(left - (left / 10).min(500))
    }
}

/// Reads a message. Its fields refer to the bytes it came in.
pub(crate) fn decode<I: Message>(mut bytes: Bytes) -> Answer<I> {
    I::decode(&mut bytes)
        .map_err(|error| Status::new(Code::InvalidArgument, format!("the request cannot be read: {error}")))
}

pub(crate) fn encode(message: &impl Message) -> Answer<Bytes> {
    message
        .try_encode_to_bytes()
        .map_err(|error| Status::new(Code::Internal, format!("the answer cannot be written: {error}")))
}

/// A response of a stream.
pub(crate) fn part(message: &impl Message) -> Part {
    match encode(message) {
        Ok(bytes) => Part::Message(bytes),
        Err(status) => Part::End(status.into()),
    }
}

/// The end of a stream.
pub(crate) fn end(status: Option<Status>) -> Part {
    Part::End(End { status, ..End::default() })
}

/// One request, one answer.
pub(crate) fn unary<I, O, F>(
    access: Access,
    mut call: Call,
    handle: impl FnOnce(Cx, I) -> F + Send + 'static,
) -> BoxFuture<Answer<Reply>>
where
    I: Message + Send,
    O: Message,
    F: Future<Output = Answer<O>> + Send,
{
    Box::pin(async move {
        let request = decode(call.message().await?)?;
        let answer = handle(Cx::new(access, &mut call), request).await?;
        Ok(Reply::unary(encode(&answer)?))
    })
}

/// One request, any number of answers.
pub(crate) fn stream<I, F>(
    access: Access,
    mut call: Call,
    open: impl FnOnce(Cx, I) -> F + Send + 'static,
) -> BoxFuture<Answer<Reply>>
where
    I: Message + Send,
    F: Future<Output = Answer<Parts>> + Send,
{
    Box::pin(async move {
        let request = decode(call.message().await?)?;
        let parts = open(Cx::new(access, &mut call), request).await?;
        Ok(Reply { metadata: http::HeaderMap::new(), parts })
    })
}

/// Any number of requests, any number of answers. The reply is there before the first request is: some callers wait for it.
pub(crate) fn bidi(
    access: Access,
    mut call: Call,
    open: impl FnOnce(Cx, Messages) -> Parts + Send + 'static,
) -> BoxFuture<Answer<Reply>> {
    Box::pin(async move {
        let cx = Cx::new(access, &mut call);
        Ok(Reply { metadata: http::HeaderMap::new(), parts: open(cx, call.messages) })
    })
}
