//! Topics: declaring, publishing, reading, tailing.

use super::*;
use crate::auth::Cover;
use crate::sign::MAX_POSITIONS;
use crate::tail::{Next, Tail};
use sb_core::batch;
use sb_core::model::{PartId, check_name};
use sb_core::ops::{Batch, Commit, Dedup, Op, Reply};
use sb_core::topics::{Policy, TopicView};

/// How many messages are looked at for the newest ones that match.
const LOOK_BACK: u64 = 100_000;

/// Where tails and reads begin: topic, partition, whether it is read whole, offset.
type Places = Vec<(Arc<Topic>, Arc<Part>, bool, u64)>;

impl Access {
    /// Publishes all or none; answers when they are durable.
    pub async fn publish(&self, mut messages: Vec<Message>, options: PublishOptions) -> Result<Published> {
        if messages.is_empty() || messages.len() > MAX_MESSAGES {
            return Err(Error::invalid("one request publishes between 1 and 1,000 messages"));
        }
        let now = self.board.now_ms();
        let mut bytes = 0;
        for message in &mut messages {
            message.strip_reserved();
            message.check()?;
            message.time_ms = now;
            self.check(Verb::Publish, &message.address)?;
            bytes += message.body.len() + 256;
        }
        if options.live {
            return self.publish_live(messages);
        }
        self.board.check_disk()?;
        let mut topics = Vec::with_capacity(messages.len());
        for message in &messages {
            let topic = self.claiming(&message.address, options.create).await?;
            self.check_size(message, topic.policy.max_message)?;
            topics.push(topic);
        }
        let permit = self.board.reserve(bytes).await?;
        let dedup = options.idempotency.map(|i| self.dedup("publish", i));
        // The common case needs no grouping.
        if let ([topic], [message]) = (topics.as_slice(), messages.as_slice()) {
            let partition = topic.partition(message.key.as_deref());
            let op = Op::Append { topic: topic.id, partition, batch: encode(&topic.name, &messages) };
            let answer = self.board.commit_held(Commit { dedup, ops: vec![op] }, Some(permit)).await?;
            return self.receipts(answer, &[0], &topics);
        }
        // One batch for each partition, in the order in which they first occur; `places` remembers where each message went.
        let mut batches: Vec<(Arc<Topic>, u32, Vec<Message>)> = Vec::new();
        let mut places = Vec::with_capacity(messages.len());
        for (message, topic) in messages.into_iter().zip(&topics) {
            let partition = topic.partition(message.key.as_deref());
            let at = batches.iter().position(|(t, p, _)| t.id == topic.id && *p == partition);
            let at = at.unwrap_or_else(|| {
                batches.push((topic.clone(), partition, Vec::new()));
                batches.len() - 1
            });
            places.push(at);
            batches[at].2.push(message);
        }
        let ops = batches
            .iter()
            .map(|(topic, partition, messages)| Op::Append {
                topic: topic.id,
                partition: *partition,
                batch: encode(&topic.name, messages),
            })
            .collect();
        let answer = self.board.commit_held(Commit { dedup, ops }, Some(permit)).await?;
        self.receipts(answer, &places, &topics)
    }

    fn receipts(
        &self,
        answer: sb_core::ops::Answer,
        places: &[usize],
        topics: &[Arc<Topic>],
    ) -> Result<Published> {
        let mut next: Vec<(PartId, u64, i64)> = Vec::with_capacity(answer.replies.len());
        for reply in answer.replies {
            if let Reply::Appended { part, base, at_ms, .. } = reply {
                next.push((part, base, at_ms));
            }
        }
        let mut receipts = Vec::with_capacity(places.len());
        for (place, topic) in places.iter().zip(topics) {
            let Some((part, offset, at_ms)) = next.get_mut(*place) else {
                return Err(Error::internal("the log gave fewer positions than messages"));
            };
            let position = Position::new(part.topic, part.partition, *offset);
            receipts.push(Receipt { position, topic: topic.name.clone(), at_ms: *at_ms });
            *offset += 1;
        }
        Ok(Published::Stored { receipts, replayed: answer.replayed })
    }

    fn publish_live(&self, messages: Vec<Message>) -> Result<Published> {
        let mut count = 0;
        for message in messages {
            let limit = self.board.settings().max_message as u32;
            self.check_size(&message, limit)?;
            let address = message.address.clone();
            let batch = Arc::new(SharedBatch::live(message, self.board.signer().clone()));
            count += self.board.send_live(batch, &address);
        }
        Ok(Published::Live(count))
    }

    pub(super) fn check_size(&self, message: &Message, limit: u32) -> Result<()> {
        let limit = (limit as usize).min(self.board.settings().max_message);
        if message.body.len() > limit {
            return Err(Error::new(
                Kind::TooLarge,
                "SB0205",
                format!(
                    "the message has {} bytes, and {} takes at most {limit}",
                    message.body.len(),
                    message.address
                ),
            )
            .fix("Send less, or raise max_message of the topic and [limits] message"));
        }
        Ok(())
    }

    pub(super) fn dedup(&self, what: &str, idempotency: Idempotency) -> Dedup {
        Dedup {
            scope: format!("{}/{what}", self.principal.name),
            key: idempotency.key,
            fingerprint: idempotency.fingerprint,
            window_ms: 86_400_000,
        }
    }

    /// The topic an address belongs to; created when that is asked for and allowed.
    async fn claiming(&self, address: &Address, create: bool) -> Result<Arc<Topic>> {
        let first = self.board.creating().quiet().then(|| self.board.directory().claiming(address)).flatten();
        if let Some(topic) = first {
            return Ok(topic);
        }
        // While a topic comes about, what is published later queues behind what was published first.
        let _turn = self.board.creating().turn().await;
        if let Some(topic) = self.board.directory().claiming(address) {
            return Ok(topic);
        }
        let unclaimed = || {
            Error::new(
                Kind::NotFound,
                "SB0307",
                format!("no topic claims the address {:?}", address.as_str()),
            )
            .fix("Create the topic: PUT /topics/NAME; or send it live: POST /topics/ADDRESS?live")
        };
        let name = address.as_str();
        if !create || check_name("topic", name).is_err() || !self.principal.may(Verb::Manage, address) {
            return Err(unclaimed());
        }
        let op =
            Op::DeclareTopic { name: name.into(), policy: Policy::default(), condition: Condition::Ensure };
        self.board.commit(op.into()).await?;
        self.board.directory().claiming(address).ok_or_else(unclaimed)
    }

    /// Reads what is there, without waiting.
    pub async fn read(&self, read: &Read) -> Result<ReadResult> {
        let cover = self.cover(&read.pattern)?;
        let mut places = self.places(&read.pattern, &read.from, read.partition, false).await?;
        if let From::Last(n) = read.from {
            self.newest(&read.pattern, cover, &mut places, n).await?;
        }
        let limit = read.limit.clamp(1, MAX_MESSAGES);
        let max_bytes = read.max_bytes.clamp(1, MAX_BYTES);
        let last = match read.from {
            From::Last(n) => Some(usize::try_from(n).unwrap_or(usize::MAX)),
            _ => None,
        };
        let mut messages: Vec<Delivered> = Vec::new();
        let mut newest: Vec<Delivered> = Vec::new();
        let mut bytes = 0;
        for (topic, part, whole, next) in &mut places {
            if let Some(n) = last {
                // Which are the newest is known only when every partition has been looked at.
                newest = merge(newest, std::mem::take(&mut messages));
                newest.drain(..newest.len().saturating_sub(n));
                bytes = 0;
            }
            'part: while messages.len() < limit && bytes < max_bytes {
                let batches = self.batches(&topic.name, part, *next, max_bytes - bytes).await?;
                if batches.is_empty() {
                    break;
                }
                for batch in batches {
                    for record in batch.records() {
                        if record.offset < *next {
                            continue;
                        }
                        if messages.len() >= limit || (bytes >= max_bytes && !messages.is_empty()) {
                            break 'part;
                        }
                        *next = record.offset + 1;
                        let address = &record.message.address;
                        if (*whole || read.pattern.matches(address))
                            && (cover == Cover::All || self.principal.may(Verb::Read, address))
                        {
                            bytes += record.message.body.len() + 128;
                            messages.push(Delivered {
                                topic: topic.name.clone(),
                                partition: part.id.partition,
                                cursor: batch.cursor(record),
                                record: record.clone(),
                            });
                        }
                    }
                    *next = (*next).max(batch.end());
                }
            }
        }
        if let Some(n) = last {
            messages = merge(newest, messages);
            messages.drain(..messages.len().saturating_sub(n));
        }
        self.delivered(messages.len());
        let positions: Vec<Position> = places
            .iter()
            .map(|(_, part, _, next)| Position::new(part.id.topic, part.id.partition, *next))
            .collect();
        Ok(ReadResult { messages, next: self.board.signer().cursor(&positions) })
    }

    /// Reads as soon as there is something, at most `wait_ms` later: then there is nothing, and `next` is where it began.
    pub async fn read_wait(&self, read: &Read, wait_ms: u64) -> Result<ReadResult> {
        // The tail lives only as long as it is waited for. It tells when there is something; a read from where it began fetches it.
        let (began, given) = {
            let mut tail = self.tail(&read.pattern, read.from.clone(), read.partition).await?;
            let began = tail.cursor();
            let wait = std::time::Duration::from_millis(self.wait_limit(wait_ms));
            let given = match tokio::time::timeout(wait, tail.next()).await {
                Ok(Next::Records(given)) => Some(given),
                Ok(Next::Reset(error)) => return Err(error),
                Ok(Next::Draining) | Err(_) => None,
            };
            (began, given)
        };
        match given {
            None => Ok(ReadResult { messages: Vec::new(), next: began }),
            Some(given) if given.batch.is_live() => {
                // Live messages are kept nowhere, so what the tail gave is all there is.
                let batch = &given.batch;
                let records = given.indexes.iter().filter_map(|i| batch.records().get(*i as usize));
                let messages = records.take(read.limit).map(|record| Delivered {
                    topic: batch.topic().clone(),
                    partition: batch.partition(),
                    record: record.clone(),
                    cursor: String::new(),
                });
                Ok(ReadResult { messages: messages.collect(), next: began })
            }
            Some(_) => self.read(&Read { from: From::After(began), ..read.clone() }).await,
        }
    }

    /// One message, by topic, partition and offset.
    pub async fn message(&self, topic: &str, partition: u32, offset: u64) -> Result<Delivered> {
        let topic = self.topic_named(topic)?;
        self.cover(&Pattern::exact(&topic.address))?;
        let part = topic.parts.get(partition as usize).ok_or_else(|| {
            Error::new(Kind::NotFound, "SB0304", format!("{:?} has no partition {partition}", topic.name))
        })?;
        let record = self.fetch(&topic.name, part, offset).await?;
        self.check(Verb::Read, &record.message.address)?;
        self.delivered(1);
        let cursor = self.cursor(Position::new(topic.id, partition, offset));
        Ok(Delivered { topic: topic.name.clone(), partition, record, cursor })
    }

    /// A reader that waits for more.
    pub async fn tail(&self, pattern: &Pattern, from: From, partition: Option<u32>) -> Result<Tail> {
        let cover = self.cover(pattern)?;
        let mut places = self.places(pattern, &from, partition, true).await?;
        if let From::Last(n) = from {
            self.newest(pattern, cover, &mut places, n).await?;
        }
        Ok(Tail::open(
            self.board.clone(),
            self.principal.clone(),
            pattern.clone(),
            partition,
            cover != Cover::All,
            places,
        ))
    }

    /// How much of a pattern the caller may read; nothing is an error.
    fn cover(&self, pattern: &Pattern) -> Result<Cover> {
        match self.principal.covers(Verb::Read, pattern) {
            Cover::None => {
                self.board.counters().denied.fetch_add(1, Ordering::Relaxed);
                Err(self.principal.denied(Verb::Read, pattern.as_str()))
            }
            Cover::All if !self.principal.grants.admin && pattern.literal().is_some() => {
                // A topic read by its name may hold messages of claimed addresses that the grant does not cover.
                let claims =
                    self.board.directory().by_name(pattern.as_str()).map(|t| t.policy.claims.clone());
                let all = claims
                    .unwrap_or_default()
                    .iter()
                    .all(|c| self.principal.covers(Verb::Read, c) == Cover::All);
                Ok(if all { Cover::All } else { Cover::Some })
            }
            cover => Ok(cover),
        }
    }

    /// Where reading begins in every partition concerned.
    async fn places(
        &self,
        pattern: &Pattern,
        from: &From,
        partition: Option<u32>,
        waits: bool,
    ) -> Result<Places> {
        let topics = self.board.directory().read_by(pattern, MAX_POSITIONS);
        if topics.is_empty() && !waits && pattern.literal().is_some() {
            return Err(self.no_topic(pattern.as_str()));
        }
        let mut parts: Vec<(Arc<Topic>, Arc<Part>, bool)> = Vec::new();
        for (topic, whole) in topics {
            for part in &topic.parts {
                if partition.is_none_or(|p| p == part.id.partition) {
                    parts.push((topic.clone(), part.clone(), whole));
                }
            }
        }
        if parts.len() > MAX_POSITIONS {
            return Err(Error::new(
                Kind::Unsupported,
                "SB0209",
                format!("{pattern} reads more than 256 partitions"),
            )
            .fix("Read fewer, or declare one topic that claims these addresses"));
        }
        let cursor = match from {
            From::After(text) => Some(self.board.signer().open_cursor(text)?),
            _ => None,
        };
        if let Some(positions) = &cursor
            && !positions.is_empty()
            && !positions.iter().any(|p| parts.iter().any(|(_, part, _)| part.id == p.part))
        {
            let known = positions.iter().any(|p| self.board.part(p.part).is_some());
            return Err(if known || parts.is_empty() && waits {
                Error::new(
                    Kind::Invalid,
                    "SB0204",
                    format!("this cursor belongs to another topic than {pattern}"),
                )
                .fix("Use a cursor of this topic, or from=start")
            } else {
                Error::new(Kind::Gone, "SB0305", "the topic of this cursor was deleted")
                    .fix("Begin again with from=start")
            });
        }
        let mut places = Vec::with_capacity(parts.len());
        for (topic, part, whole) in parts {
            let (first, end) = part.bounds();
            let next = match (from, &cursor) {
                (From::At(start), _) => self.resolve(&topic, &part, *start).await?,
                (From::Last(n), _) => end.saturating_sub(*n).max(first),
                (From::After(_), Some(positions)) => match positions.iter().find(|p| p.part == part.id) {
                    Some(position) if position.offset < first => {
                        return Err(crate::tail::gone(&topic.name, position.offset, first));
                    }
                    Some(position) => position.offset.min(end),
                    // A topic declared after the cursor was made.
                    None => first,
                },
                (From::After(_), None) => first,
            };
            places.push((topic, part, whole, next));
        }
        Ok(places)
    }

    /// Moves the places, which lie `n` messages before the ends, to where exactly the newest `n` messages follow that match and may be
    /// read. Where others lie between them it looks back in growing steps, over at most [`LOOK_BACK`] messages.
    async fn newest(&self, pattern: &Pattern, cover: Cover, places: &mut Places, n: u64) -> Result<()> {
        let filtered = cover != Cover::All || places.iter().any(|(_, _, whole, _)| !whole);
        let most = LOOK_BACK / (places.len() as u64).max(1);
        if !filtered && (places.len() < 2 || n > most) {
            return Ok(());
        }
        // Time, place and offset of what matches.
        let mut found: Vec<(i64, usize, u64)> = Vec::new();
        for (at, (topic, part, whole, next)) in places.iter_mut().enumerate() {
            let (first, end) = part.bounds();
            *next = end;
            let (mut high, mut step, mut left, mut count) = (end, n.clamp(1, 4_096), most, 0);
            while count < n && high > first && left > 0 {
                let low = high.saturating_sub(step.min(left)).max(first);
                let mut from = low;
                while from < high {
                    let batches = match self.batches(&topic.name, part, from, MAX_BYTES).await {
                        // Retention was faster.
                        Err(error) if error.kind == Kind::Gone => break,
                        batches => batches?,
                    };
                    if batches.is_empty() {
                        break;
                    }
                    for batch in batches {
                        for record in batch.records().iter().filter(|r| r.offset >= from && r.offset < high) {
                            let address = &record.message.address;
                            if (*whole || pattern.matches(address))
                                && (cover == Cover::All || self.principal.may(Verb::Read, address))
                            {
                                found.push((record.message.time_ms, at, record.offset));
                                count += 1;
                            }
                        }
                        from = from.max(batch.end());
                    }
                }
                left -= high - low;
                high = low;
                step = step.saturating_mul(4).min(16_384);
            }
        }
        found.sort_unstable();
        let extra = found.len().saturating_sub(usize::try_from(n).unwrap_or(usize::MAX));
        for (_, at, offset) in found.drain(extra..) {
            if let Some((_, _, _, next)) = places.get_mut(at) {
                *next = offset.min(*next);
            }
        }
        Ok(())
    }

    /// Creates a topic or replaces its policy; true when created.
    pub async fn declare_topic(
        &self,
        name: &str,
        policy: Policy,
        condition: Condition,
    ) -> Result<(bool, TopicView)> {
        check_name("topic", name)?;
        self.check(Verb::Manage, &Address::parse(name)?)?;
        for claim in &policy.claims {
            if self.principal.covers(Verb::Manage, claim) != Cover::All {
                return Err(self.principal.denied(Verb::Manage, claim.as_str()));
            }
        }
        if policy.max_message as usize > self.board.settings().max_message {
            return Err(Error::new(
                Kind::TooLarge,
                "SB0205",
                format!("max_message is above the server's limit of {}", self.board.settings().max_message),
            )
            .fix("Lower it, or raise [limits] message"));
        }
        let op = Op::DeclareTopic { name: name.into(), policy, condition };
        match self.board.commit(op.into()).await?.replies.pop() {
            Some(Reply::Topic { created, view }) => Ok((created, view)),
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    /// Deletes a topic with its messages and groups.
    pub async fn delete_topic(&self, name: &str) -> Result<()> {
        check_name("topic", name)?;
        self.check(Verb::Manage, &Address::parse(name)?)?;
        self.board.commit(Op::DeleteTopic { name: name.into() }.into()).await.map(|_| ())
    }

    /// Describes a topic.
    pub async fn topic(&self, name: &str) -> Result<TopicView> {
        check_name("topic", name)?;
        let address = Address::parse(name)?;
        if !self.sees(&address) {
            self.check(Verb::Read, &address)?;
        }
        let wanted = name.to_owned();
        let view = self.board.query(move |core| core.topic(&wanted)).await?;
        view.ok_or_else(|| self.no_topic(name))
    }

    /// Topics by name; true when there are more.
    pub async fn topics(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<TopicView>, bool)> {
        self.principal.known()?;
        let limit = limit.clamp(1, MAX_MESSAGES);
        let prefix = prefix.to_owned();
        let mut after = after.map(str::to_owned);
        let mut seen = Vec::new();
        // Names the caller may not see are skipped; the number of pages looked at is bounded.
        for _ in 0..20 {
            let (p, a) = (prefix.clone(), after.clone());
            let (page, more) = self.board.query(move |core| core.topics(&p, a.as_deref(), limit)).await?;
            after = page.last().map(|t| t.name.clone());
            seen.extend(page.into_iter().filter(|t| Address::parse(&t.name).is_ok_and(|a| self.sees(&a))));
            if !more || seen.len() >= limit {
                let more = more || seen.len() > limit;
                seen.truncate(limit);
                return Ok((seen, more));
            }
        }
        Ok((seen, true))
    }

    /// Whether the caller has any right on a topic, so that its existence is no secret.
    pub(super) fn sees(&self, address: &Address) -> bool {
        [Verb::Read, Verb::Publish, Verb::Consume, Verb::Manage]
            .iter()
            .any(|v| self.principal.may(*v, address))
    }
}

/// Merges messages of some partitions with those of one more by time. The order of each partition stays as it is: times are taken before
/// the log gives an offset, so they need not ascend with it.
fn merge(a: Vec<Delivered>, b: Vec<Delivered>) -> Vec<Delivered> {
    if a.is_empty() || b.is_empty() {
        return if a.is_empty() { b } else { a };
    }
    let mut out = Vec::with_capacity(a.len() + b.len());
    let mut b = b.into_iter().peekable();
    for message in a {
        while let Some(other) = b.next_if(|o| o.record.message.time_ms < message.record.message.time_ms) {
            out.push(other);
        }
        out.push(message);
    }
    out.extend(b);
    out
}

/// Encodes messages outside the commit loop.
pub(super) fn encode(topic: &str, messages: &[Message]) -> Batch {
    let times = |of: fn(&Message) -> Option<i64>| {
        messages.iter().enumerate().filter_map(|(n, m)| of(m).map(|t| (n as u32, t))).collect()
    };
    Batch {
        bytes: batch::encode(topic, messages),
        due: times(|m| m.due_ms),
        expires: times(|m| m.expires_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_keep_the_order_of_their_partition() {
        let of = |partition: u32, times: &[i64]| -> Vec<Delivered> {
            let record = |(offset, time): (usize, &i64)| {
                let mut message = Message::new(Address::parse("t").unwrap(), "");
                message.time_ms = *time;
                Record { offset: offset as u64, message }
            };
            let delivered =
                |record| Delivered { topic: "t".into(), partition, record, cursor: String::new() };
            times.iter().enumerate().map(record).map(delivered).collect()
        };
        let merged = merge(of(0, &[5, 4, 9]), of(1, &[3, 7, 6, 10]));
        let order: Vec<(u32, u64)> = merged.iter().map(|m| (m.partition, m.record.offset)).collect();
        assert_eq!(order, [(1, 0), (0, 0), (0, 1), (1, 1), (1, 2), (0, 2), (1, 3)]);
    }
}
