//! Resources: topics and their messages, and being told of new ones.

use crate::map;
use crate::server::caller;
use crate::tools::FRESH_MS;
use crate::wire::{self, Resource};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rmcp::model::{
    CacheScope, ListResourceTemplatesResult, ListResourcesResult, PaginatedRequestParams, ReadResourceResult,
    ResourceContents, ResourceTemplate,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer};
use sb_board::Access;
use sb_board::access::{Delivered, From, Read};
use sb_board::tail::{Next, Tail};
use sb_core::groups::Start;
use sb_core::model::{Address, Error, Kind, Pattern};
use std::time::Duration;

/// Topics of one page.
const PAGE: usize = 100;
/// The bytes of messages that one read gives, about.
const MAX_BYTES: usize = 1 << 20;
/// Updates of one resource are at least so far apart.
const PAUSE: Duration = Duration::from_millis(100);

/// `resources/list`.
pub(crate) async fn list(
    request: Option<PaginatedRequestParams>,
    context: &RequestContext<RoleServer>,
) -> Result<ListResourcesResult, ErrorData> {
    let access = caller(context)?;
    let cursor = request.and_then(|request| request.cursor);
    let (topics, more) = access.topics("", cursor.as_deref(), PAGE).await.map_err(|e| map::error(&e))?;
    let next_cursor = topics.last().filter(|_| more).map(|topic| topic.name.clone());
    let resources = topics
        .iter()
        .map(|topic| {
            let held: u64 = topic.parts.iter().map(|part| part.end.saturating_sub(part.start)).sum();
            rmcp::model::Resource::new(wire::topic_uri(&topic.name), topic.name.clone())
                .with_description(format!("The newest messages of a topic with {held} messages."))
        })
        .collect();
    let result = ListResourcesResult::with_all_items(resources)
        .with_ttl_ms(FRESH_MS)
        .with_cache_scope(CacheScope::Private);
    Ok(ListResourcesResult { next_cursor, ..result })
}

/// `resources/templates/list`.
pub(crate) fn templates() -> ListResourceTemplatesResult {
    let templates = vec![
        ResourceTemplate::new("sb://topics/{topic}{?last}", "topic")
            .with_description("The newest messages of a topic: 20, or as many as `last` says, at most 100."),
        ResourceTemplate::new("sb://topics/{topic}/{partition}-{offset}", "message")
            .with_description("One message of a topic, by partition and offset."),
    ];
    ListResourceTemplatesResult::with_all_items(templates)
        .with_ttl_ms(3_600_000)
        .with_cache_scope(CacheScope::Public)
}

/// The resource of a URI.
fn resource(uri: &str) -> Result<Resource, ErrorData> {
    Resource::parse(uri).ok_or_else(|| {
        let error = Error::new(Kind::NotFound, "SB0304", format!("there is no resource {uri:.200?}"));
        map::error(&error.fix("Resources are sb://topics/TOPIC and sb://topics/TOPIC/PARTITION-OFFSET"))
    })
}

/// `resources/read`.
pub(crate) async fn read(
    uri: &str,
    context: &RequestContext<RoleServer>,
) -> Result<ReadResourceResult, ErrorData> {
    let access = caller(context)?;
    let messages = match resource(uri)? {
        Resource::Topic(topic, last) => newest(&access, &topic, last).await,
        Resource::Message(topic, partition, offset) => {
            access.message(&topic, partition, offset).await.map(|message| vec![message])
        }
    };
    let messages = messages.map_err(|e| map::error(&e))?;
    let contents = messages.iter().map(content).collect();
    Ok(ReadResourceResult::new(contents).with_ttl_ms(0).with_cache_scope(CacheScope::Private))
}

async fn newest(access: &Access, topic: &str, last: u64) -> sb_core::model::Result<Vec<Delivered>> {
    let read = Read {
        pattern: Pattern::exact(&Address::parse(topic)?),
        from: From::Last(last),
        partition: None,
        limit: usize::try_from(last).unwrap_or(1),
        max_bytes: MAX_BYTES,
    };
    Ok(access.read(&read).await?.messages)
}

/// A message: text where it is text, bytes in base64 otherwise.
fn content(message: &Delivered) -> ResourceContents {
    let uri = wire::message_uri(&message.topic, message.partition, message.record.offset);
    let body = &message.record.message.body;
    let content = match std::str::from_utf8(body) {
        Ok(text) => ResourceContents::text(text, uri),
        Err(_) => ResourceContents::blob(BASE64_STANDARD.encode(body), uri)
            .with_mime_type("application/octet-stream"),
    };
    match &message.record.message.content_type {
        Some(kind) => content.with_mime_type(kind.clone()),
        None => content,
    }
}

/// Waits for new messages of a resource.
pub(crate) struct Watch(Tail);

impl Watch {
    /// Begins at the end. Rights are checked here, and again for each message.
    pub(crate) async fn open(access: &Access, uri: &str) -> Result<Watch, ErrorData> {
        let resource = resource(uri)?;
        let open = async {
            access.topic(resource.topic()).await?;
            let pattern = Pattern::exact(&Address::parse(resource.topic())?);
            access.tail(&pattern, From::At(Start::End), None).await
        };
        open.await.map(Watch).map_err(|e| map::error(&e))
    }

    /// Waits until there is something new; false when there will be nothing more.
    pub(crate) async fn changed(&mut self) -> bool {
        tokio::time::sleep(PAUSE).await;
        matches!(self.0.next().await, Next::Records(_))
    }
}
