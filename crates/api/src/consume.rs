//! `switchboard.v1.Groups/Consume`: leasing and settling in one stream, with credit. Requests are read when the caller takes responses; leases that
//! are left when the stream ends, however that is, return to the group.

use crate::call::{Answer, Cx, PAGE_BYTES, decode, end, part};
use crate::groups::{results, settles};
use crate::map::{self, natural, span_in};
use crate::types::switchboard::v1::__buffa::oneof::consume_request::Request;
use crate::types::switchboard::v1::{ConsumeRequest, ConsumeResponse, ConsumeSettle, ConsumeStart};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sb_board::Access;
use sb_board::access::{LeaseOptions, Leased, Settle};
use sb_board::call::{Messages, Part, Parts, Status};
use sb_board::mount::BoxFuture;
use sb_board::request;
use sb_core::model::{Error, Kind, Result};
use std::collections::HashMap;
use std::time::Duration;

/// The most credit that one request gives.
const MAX_CREDIT: usize = 1_000;
/// The most leases and credit of one stream.
const MAX_LEASES: usize = 20_000;
/// The most messages leased at once.
const AT_ONCE: usize = 100;
/// So many are leased at first, while their size is not known: what is leased and does not fit into a response would count as an attempt.
const AT_FIRST: usize = 4;
/// How long one wait for messages lasts; after it the wait begins again.
const WAIT_MS: u64 = 20_000;
/// How long a lease that is on its way is waited for when the stream has ended, so that it can be given back.
const LAST_LEASE: Duration = Duration::from_millis(250);

pub(crate) fn open(cx: Cx, requests: Messages) -> Parts {
    let access = cx.access.clone();
    let consumer = Consumer {
        access: cx.access,
        requests: Some(requests),
        begun: None,
        credit: 0,
        at_once: AT_FIRST,
        leasing: None,
        held: HashMap::new(),
        revoked: Box::pin(async move { access.revoked().await }),
        over: false,
    };
    Box::pin(futures_util::stream::unfold(consumer, |mut consumer| async move {
        if consumer.over {
            return None;
        }
        let part = match consumer.next().await {
            Ok(Some(response)) => part(&response),
            Ok(None) => end(None),
            Err(status) => end(Some(status)),
        };
        if let Part::End(_) = part {
            consumer.over = true;
            consumer.give_back();
        }
        Some((part, consumer))
    }))
}

/// What a stream consumes.
#[derive(Clone)]
struct Begun {
    topic: String,
    group: String,
    lease_ms: Option<u64>,
    consumer: String,
}

type Leasing = BoxFuture<Result<Vec<Leased>>>;

struct Consumer {
    access: Access,
    /// `None` when the caller has ended its side.
    requests: Option<Messages>,
    begun: Option<Begun>,
    /// So many more messages may be delivered.
    credit: usize,
    /// So many messages of the size of the last ones make a response.
    at_once: usize,
    /// The lease that is being waited for. It outlives each call of `next`: what it takes must not be lost.
    leasing: Option<Leasing>,
    /// Handles that were delivered and not ended since, and when they end by themselves.
    held: HashMap<String, i64>,
    revoked: BoxFuture<()>,
    over: bool,
}

/// What happened first.
enum Event {
    Request(Option<std::result::Result<Bytes, Status>>),
    Leased(Result<Vec<Leased>>),
}

impl Consumer {
    /// The next response; `None` at the end.
    async fn next(&mut self) -> Answer<Option<ConsumeResponse>> {
        loop {
            let Some(requests) = &mut self.requests else { return Ok(None) };
            if self.leasing.is_none()
                && self.credit > 0
                && let Some(begun) = self.begun.clone()
            {
                self.leasing = Some(lease(self.access.clone(), begun, self.credit.min(self.at_once)));
            }
            let leased = async {
                match &mut self.leasing {
                    Some(leasing) => leasing.await,
                    None => std::future::pending().await,
                }
            };
            let event = tokio::select! {
                biased;
                () = &mut self.revoked => return Err(self.access.expired().into()),
                () = self.access.board().draining() => return Err(self.access.stopping().into()),
                request = requests.next() => Event::Request(request),
                leased = leased => Event::Leased(leased),
            };
            match event {
                Event::Request(None) => self.requests = None,
                Event::Request(Some(Err(status))) => return Err(status),
                Event::Request(Some(Ok(bytes))) => {
                    if let Some(response) = self.request(decode(bytes)?).await? {
                        return Ok(Some(response));
                    }
                }
                Event::Leased(leased) => {
                    self.leasing = None;
                    let leased = leased?;
                    self.credit = self.credit.saturating_sub(leased.len());
                    if !leased.is_empty() {
                        let bytes: usize = leased.iter().map(|l| l.record.message.body.len() + 256).sum();
                        self.at_once = (PAGE_BYTES * leased.len() / bytes).clamp(1, AT_ONCE);
                        self.held.extend(leased.iter().map(|l| (l.handle.clone(), l.until_ms)));
                        let messages = leased.into_iter().map(map::leased).collect();
                        return Ok(Some(ConsumeResponse { messages, ..ConsumeResponse::default() }));
                    }
                }
            }
        }
    }

    async fn request(&mut self, request: ConsumeRequest) -> Answer<Option<ConsumeResponse>> {
        match (request.request, &self.begun) {
            (Some(Request::Start(start)), None) => {
                self.start(start).await?;
                Ok(Some(ConsumeResponse::default()))
            }
            (Some(Request::Credit(n)), Some(_)) => {
                self.credit(n)?;
                Ok(None)
            }
            (Some(Request::Settle(settle)), Some(begun)) => {
                let begun = begun.clone();
                Ok(Some(self.settle(&begun, settle).await?))
            }
            (Some(Request::Start(_)), Some(_)) => {
                Err(Error::invalid("start is the first request alone").into())
            }
            (None, _) => Err(Error::invalid("a request is one of start, credit and settle").into()),
            (_, None) => Err(Error::invalid("the first request is start").into()),
        }
    }

    async fn start(&mut self, start: ConsumeStart) -> Answer<()> {
        let begun = Begun {
            lease_ms: request::lease_ms(span_in("lease", &start.lease)?)?,
            consumer: request::consumer(Some(start.consumer))?,
            topic: start.topic,
            group: start.group,
        };
        // Says at once that the group is missing or not the caller's, also when there is no credit yet.
        self.access.peek(&begun.topic, &begun.group, 1).await?;
        self.credit(start.credit)?;
        self.begun = Some(begun);
        Ok(())
    }

    fn credit(&mut self, n: i32) -> Result<()> {
        let n: usize = natural("credit", n)?;
        if n > MAX_CREDIT {
            return Err(Error::invalid("credit is at most 1,000 at a time"));
        }
        if self.held.len() + self.credit + n > MAX_LEASES {
            let now = self.access.board().now_ms();
            self.held.retain(|_, until| *until > now);
        }
        if self.held.len() + self.credit + n > MAX_LEASES {
            return Err(Error::new(Kind::Exhausted, "SB0601", "this stream has 20,000 leases and credit")
                .fix("Ack or nack some of them first"));
        }
        self.credit += n;
        Ok(())
    }

    async fn settle(&mut self, begun: &Begun, settle: ConsumeSettle) -> Answer<ConsumeResponse> {
        let settles = settles(&settle.settlements)?;
        let handles: Vec<String> = settles.iter().map(|(handle, _)| handle.clone()).collect();
        let settled = self.access.settle_in(&begun.topic, &begun.group, settles).await?;
        for (handle, result) in handles.iter().zip(&settled) {
            match result {
                Ok(until) if *until > 0 => {
                    if let Some(known) = self.held.get_mut(handle) {
                        *known = *until;
                    }
                }
                _ => drop(self.held.remove(handle)),
            }
        }
        Ok(ConsumeResponse { results: results(handles, settled), ..ConsumeResponse::default() })
    }

    /// Returns what was not settled, and what is being leased just now.
    fn give_back(&mut self) {
        let (access, leasing) = (self.access.clone(), self.leasing.take());
        let mut held: Vec<(String, i64)> = std::mem::take(&mut self.held).into_iter().collect();
        if held.is_empty() && leasing.is_none() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Some(leasing) = leasing
                && let Ok(Ok(leased)) = tokio::time::timeout(LAST_LEASE, leasing).await
            {
                held.extend(leased.into_iter().map(|l| (l.handle, l.until_ms)));
            }
            let now = access.board().now_ms();
            let back: Vec<(String, Settle)> = held
                .into_iter()
                .filter(|(_, until)| *until > now)
                .map(|(handle, _)| (handle, Settle::Nack { delay_ms: 0 }))
                .collect();
            for some in back.chunks(MAX_CREDIT) {
                // Otherwise they return when their terms end.
                let _ = access.settle(some.to_vec()).await;
            }
        });
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn lease(access: Access, begun: Begun, max: usize) -> Leasing {
    Box::pin(async move {
        let options =
            LeaseOptions { max, wait_ms: WAIT_MS, lease_ms: begun.lease_ms, consumer: begun.consumer };
        access.lease(&begun.topic, &begun.group, options).await
    })
}
