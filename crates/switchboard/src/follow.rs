//! Following an event stream for as long as it takes: a lost connection is said, tried again with growing pauses, and
//! resumed behind the last event.

use std::time::{Duration, Instant};

use http::Method;
use http::header::ACCEPT;
use http_body_util::BodyExt;

use crate::client::{self, Client, Request};
use crate::error::{CliError, exit};
use crate::sse;

/// A stream without any bytes for so long is taken as lost. The server sends a comment every 15 s unless configured.
const SILENCE: Duration = Duration::from_secs(90);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What to do after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Next,
    /// The server says goodbye: connect again.
    Again,
    /// Done.
    Stop,
}

/// One stream to follow.
#[derive(Debug, Clone, Default)]
pub struct Follow {
    /// Path with the query of the first connection.
    pub first: String,
    /// Path with the query of later connections while there is no event id yet.
    pub later: String,
    /// Path for connections that resume behind an id.
    pub resume: String,
    /// The id of the last event.
    pub last_id: Option<String>,
    /// Stop after being cut off for so long.
    pub give_up: Option<Duration>,
}

impl Follow {
    /// Follows until `on_event` stops it, the server refuses, or `give_up` is over.
    pub async fn run(
        &mut self,
        client: &Client,
        mut on_event: impl AsyncFnMut(sse::Event) -> Result<Flow, CliError>,
    ) -> Result<(), CliError> {
        let mut connected_before = false;
        let mut lost_at: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let reason = match self.once(client, connected_before, lost_at.is_some(), &mut on_event).await {
                Ok((Flow::Stop, _)) => return Ok(()),
                Ok((_, retry)) => {
                    connected_before = true;
                    lost_at = None;
                    pause = retry.unwrap_or(FIRST_PAUSE).clamp(Duration::from_millis(10), LONGEST_PAUSE);
                    "the server ended the stream".to_owned()
                }
                Err(Lost::Refused(error)) => return Err(error),
                Err(Lost::Broken(reason)) => {
                    connected_before = true;
                    lost_at = None;
                    pause = FIRST_PAUSE;
                    reason
                }
                Err(Lost::Unreachable(error)) if !connected_before => return Err(error),
                Err(Lost::Unreachable(error)) => error.help.first().unwrap_or(&error.title).clone(),
            };
            let since = *lost_at.get_or_insert_with(Instant::now);
            if let Some(limit) = self.give_up
                && since.elapsed() + pause > limit
            {
                return Err(CliError::new(
                    exit::UNREACHABLE,
                    "SB0001",
                    format!("{} was not reached again within {} s", client.target().url, limit.as_secs()),
                )
                .help(reason));
            }
            note!(
                "connection lost ({}); trying again in {:.1} s",
                client::clean(&reason),
                pause.as_secs_f32()
            );
            tokio::time::sleep(spread(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn once(
        &mut self,
        client: &Client,
        again: bool,
        lost: bool,
        on_event: &mut impl AsyncFnMut(sse::Event) -> Result<Flow, CliError>,
    ) -> Result<(Flow, Option<Duration>), Lost> {
        let path = match (&self.last_id, again) {
            (Some(_), _) => &self.resume,
            (None, true) => &self.later,
            (None, false) => &self.first,
        };
        let request = Request::new(Method::GET, path.as_str())
            .header(ACCEPT.as_str(), "text/event-stream")
            .maybe("last-event-id", self.last_id.as_deref());
        let answer = client.open(&request).await.map_err(Lost::Unreachable)?;
        let (head, mut body) = answer.into_parts();
        if !head.status.is_success() {
            let bytes = http_body_util::Limited::new(body, 1 << 20)
                .collect()
                .await
                .map(|b| b.to_bytes())
                .unwrap_or_default();
            let error = client::refusal(head.status, &bytes);
            let passing = head.status.is_server_error() || head.status.as_u16() == 429;
            return Err(if passing { Lost::Unreachable(error) } else { Lost::Refused(error) });
        }
        let kind = head.headers.get(http::header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
        if !kind.starts_with("text/event-stream") {
            return Err(Lost::Refused(CliError::new(
                exit::REFUSED,
                "SB0006",
                format!("{} did not answer with an event stream", client.target().url),
            )));
        }
        if lost {
            note!(
                "connected again{}",
                if self.last_id.is_some() { ", resuming behind the last message" } else { "" }
            );
        }
        let mut reader = sse::Reader::default();
        loop {
            let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
                Err(_) => return Err(Lost::Broken(format!("nothing heard for {} s", SILENCE.as_secs()))),
                Ok(None) => return Ok((Flow::Again, reader.retry.map(Duration::from_millis))),
                Ok(Some(Err(why))) => return Err(Lost::Broken(why.to_string())),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(bytes) = frame.into_data() else { continue };
            let events = reader
                .push(&bytes)
                .map_err(|why| Lost::Refused(CliError::new(exit::REFUSED, "SB0006", why)))?;
            for event in events {
                let id = event.id.clone();
                let flow = on_event(event).await.map_err(Lost::Refused)?;
                // Only what was dealt with counts as seen.
                self.last_id = id.or(self.last_id.take());
                match flow {
                    Flow::Next => {}
                    Flow::Again => return Ok((flow, reader.retry.map(Duration::from_millis))),
                    Flow::Stop => return Ok((flow, None)),
                }
            }
        }
    }
}

enum Lost {
    /// The server said no: there is no use in asking again.
    Refused(CliError),
    /// It did not come to an answer.
    Unreachable(CliError),
    /// The stream broke.
    Broken(String),
}

/// Spreads a pause by a quarter, so that many clients do not come back at the same moment.
fn spread(pause: Duration) -> Duration {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    pause.mul_f64(0.75 + f64::from(now.subsec_micros() % 1000) / 2000.0)
}
