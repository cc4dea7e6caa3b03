//! Groups: declaring, leasing, settling, looking, seeking; and burying dead messages.

use super::topics::encode;
use super::*;
use sb_core::groups::{GroupView, Options};
use sb_core::model::{GroupId, Header, TopicId, Value, check_name};
use sb_core::ops::{Delivery, Dying, Grant, GroupStart, Op, Reply};
use std::time::Duration;
use tokio::time::Instant;

impl Access {
    async fn group_id(&self, topic: &Arc<Topic>, group: &str) -> Result<GroupId> {
        let key = (topic.id, Box::from(group));
        if let Some(id) = crate::part::lock(self.board.group_ids()).get(&key) {
            return Ok(*id);
        }
        check_name("group", group)?;
        let id = self.group_view(&topic.name, group).await?.id;
        crate::part::lock(self.board.group_ids()).insert(key, id);
        Ok(id)
    }

    async fn group_view(&self, topic: &str, group: &str) -> Result<GroupView> {
        let (t, g) = (topic.to_owned(), group.to_owned());
        let (view, others) = self
            .board
            .query(move |core| match core.group(&t, &g) {
                Some(view) => (Some(view), Vec::new()),
                None => (None, core.groups(Some(&t), None, 10).0.into_iter().map(|g| g.name).collect()),
            })
            .await?;
        view.ok_or_else(|| {
            let fix = if others.is_empty() {
                "Create it: PUT /topics/TOPIC/groups/GROUP".to_owned()
            } else {
                format!("The topic has: {}", others.join(", "))
            };
            Error::new(Kind::NotFound, "SB0303", format!("{topic:?} has no group {group:?}")).fix(fix)
        })
    }

    fn forget_group(&self, topic: TopicId, group: &str) {
        crate::part::lock(self.board.group_ids()).remove(&(topic, Box::from(group)));
    }

    fn consumed(&self, topic: &str) -> Result<Arc<Topic>> {
        let topic = self.topic_named(topic)?;
        self.check(Verb::Consume, &topic.address)?;
        Ok(topic)
    }

    /// Leases messages; waits for the first if asked to.
    pub async fn lease(&self, topic: &str, group: &str, options: LeaseOptions) -> Result<Vec<Leased>> {
        let topic = self.consumed(topic)?;
        let deadline = Instant::now() + Duration::from_millis(self.wait_limit(options.wait_ms));
        let mut id = self.group_id(&topic, group).await?;
        let mut retried = false;
        loop {
            let mut bell = self.board.group_wait(id);
            let rung = bell.rung();
            // From here on, also when the caller goes away, the next in the row looks whether there is more.
            bell.pass_on = true;
            let grants = match self.grants(id, &options).await {
                Err(error) if error.kind == Kind::NotFound && !retried => {
                    // The group was deleted and perhaps created again since its id was remembered.
                    retried = true;
                    self.forget_group(topic.id, group);
                    id = self.group_id(&topic, group).await?;
                    continue;
                }
                other => other?,
            };
            if !grants.is_empty() {
                drop(rung);
                drop(bell);
                return self.open_grants(&topic, grants).await;
            }
            bell.pass_on = false;
            let waited = tokio::select! {
                () = rung => true,
                () = tokio::time::sleep_until(deadline) => false,
                () = self.board.draining() => false,
            };
            drop(bell);
            if !waited {
                return Ok(Vec::new());
            }
        }
    }

    async fn grants(&self, group: GroupId, options: &LeaseOptions) -> Result<Vec<Grant>> {
        let op = Op::Lease {
            group,
            max: options.max.clamp(1, MAX_MESSAGES),
            lease_ms: options.lease_ms,
            consumer: options.consumer.chars().take(200).collect(),
        };
        match self.board.commit(op.into()).await?.replies.pop() {
            Some(Reply::Leased(grants)) => Ok(grants),
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    /// Reads what was granted. A message that cannot be read is not delivered; its lease ends by itself, and the damage is reported.
    async fn open_grants(&self, topic: &Arc<Topic>, grants: Vec<Grant>) -> Result<Vec<Leased>> {
        let now = self.board.now_ms();
        let mut out = Vec::with_capacity(grants.len());
        let mut give_back = Vec::new();
        let mut cached: Option<Arc<SharedBatch>> = None;
        let mut failure = None;
        let mut bytes = 0;
        for grant in grants {
            let at = grant.delivery;
            let Some(part) = topic.parts.get(at.partition as usize) else { continue };
            if bytes >= MAX_BYTES {
                give_back.push((at, Settle::Unseen));
                continue;
            }
            let hit = cached
                .as_ref()
                .filter(|b| b.partition() == at.partition && b.base() <= at.offset && at.offset < b.end());
            let batch = match hit {
                Some(batch) => batch.clone(),
                None => match self.batches(&topic.name, part, at.offset, 1).await {
                    Ok(batches) => match batches.into_iter().next() {
                        Some(batch) => batch,
                        None => continue,
                    },
                    Err(error) => {
                        failure = Some(error);
                        continue;
                    }
                },
            };
            if let Some(record) = batch.records().iter().find(|r| r.offset == at.offset) {
                bytes += record.message.body.len() + 256;
                out.push(Leased {
                    handle: self.board.signer().handle(&at, grant.attempt),
                    attempt: grant.attempt,
                    until_ms: now + grant.lease_ms as i64,
                    topic: topic.name.clone(),
                    partition: at.partition,
                    cursor: batch.cursor(record),
                    record: record.clone(),
                });
            }
            cached = Some(batch);
        }
        if !give_back.is_empty() {
            let _ = self.board.commit(Op::Settle { settles: give_back }.into()).await;
        }
        if let (true, Some(error)) = (out.is_empty(), failure) {
            return Err(error);
        }
        self.delivered(out.len());
        Ok(out)
    }

    /// Ends or renews leases, each on its own: `Ok` holds the new end (milliseconds since 1970) when extended, otherwise 0.
    pub async fn settle(&self, settles: Vec<(String, Settle)>) -> Result<Vec<Result<i64>>> {
        self.principal.known()?;
        if settles.is_empty() || settles.len() > MAX_MESSAGES {
            return Err(Error::invalid("one request settles between 1 and 1,000 handles"));
        }
        let mut deliveries = Vec::with_capacity(settles.len());
        let mut groups: Vec<GroupId> = Vec::new();
        for (handle, how) in &settles {
            let (delivery, _) = self.board.signer().open_handle(handle)?;
            if !groups.contains(&delivery.group) {
                groups.push(delivery.group);
            }
            deliveries.push((delivery, *how));
        }
        if !self.principal.grants.admin {
            let views = self
                .board
                .query(move |core| groups.iter().map(|g| core.group_by_id(*g)).collect::<Vec<_>>())
                .await?;
            for view in views.into_iter().flatten() {
                self.check(Verb::Consume, &Address::parse(&view.topic)?)?;
            }
        }
        let now = self.board.now_ms();
        match self.board.commit(Op::Settle { settles: deliveries }.into()).await?.replies.pop() {
            Some(Reply::Settled(results)) => Ok(results
                .into_iter()
                .map(|r| r.map(|term| if term > 0 { now + term as i64 } else { 0 }))
                .collect()),
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    /// The same for handles of this group alone: a handle of another group counts as stale.
    pub async fn settle_in(
        &self,
        topic: &str,
        group: &str,
        settles: Vec<(String, Settle)>,
    ) -> Result<Vec<Result<i64>>> {
        let topic = self.consumed(topic)?;
        let id = self.group_id(&topic, group).await?;
        let mut results: Vec<Option<Result<i64>>> = Vec::with_capacity(settles.len());
        let mut own = Vec::with_capacity(settles.len());
        for (handle, how) in settles {
            let (delivery, _) = self.delivery(&handle)?;
            if delivery.group == id {
                results.push(None);
                own.push((handle, how));
            } else {
                let stale = Error::new(Kind::Conflict, "SB0402", "this handle belongs to another group")
                    .fix("Settle it at the group that it was leased from");
                results.push(Some(Err(stale)));
            }
        }
        let settled =
            if own.is_empty() && !results.is_empty() { Vec::new() } else { self.settle(own).await? };
        let mut settled = settled.into_iter();
        Ok(results
            .into_iter()
            .map(|r| {
                r.or_else(|| settled.next()).unwrap_or_else(|| Err(Error::internal("an answer is missing")))
            })
            .collect())
    }

    /// The messages that would be delivered next, without taking them.
    pub async fn peek(&self, topic: &str, group: &str, limit: usize) -> Result<Vec<Delivered>> {
        let topic = self.consumed(topic)?;
        let id = self.group_id(&topic, group).await?;
        let limit = limit.clamp(1, MAX_MESSAGES);
        let places = self.board.query(move |core| core.peek(id, limit)).await?;
        let mut out = Vec::with_capacity(places.len());
        let mut bytes = 0;
        for (partition, offset) in places {
            let Some(part) = topic.parts.get(partition as usize) else { continue };
            let record = self.fetch(&topic.name, part, offset).await?;
            bytes += record.message.body.len() + 256;
            let cursor = self.cursor(Position::new(topic.id, partition, offset));
            out.push(Delivered { topic: topic.name.clone(), partition, record, cursor });
            if bytes >= MAX_BYTES {
                break;
            }
        }
        Ok(out)
    }

    /// Moves a group.
    pub async fn seek(
        &self,
        topic: &str,
        group: &str,
        to: Start,
        partition: Option<u32>,
        dry_run: bool,
    ) -> Result<SeekReport> {
        let topic = self.consumed(topic)?;
        let id = self.group_id(&topic, group).await?;
        let mut offsets = Vec::new();
        for part in &topic.parts {
            if partition.is_none_or(|p| p == part.id.partition) {
                offsets.push((part.id.partition, self.resolve(&topic, part, to).await?));
            }
        }
        if offsets.is_empty() {
            return Err(Error::invalid(format!("{:?} has no such partition", topic.name)));
        }
        match self.board.commit(Op::Seek { group: id, to: offsets, dry_run }.into()).await?.replies.pop() {
            Some(Reply::Seek { skipped, again }) => Ok(SeekReport { skipped, again }),
            other => Err(Error::internal(format!("unexpected answer {other:?}"))),
        }
    }

    /// Remembers a position of a group of mode `cursor`.
    pub async fn commit_cursor(&self, topic: &str, group: &str, cursor: &str) -> Result<()> {
        let topic = self.consumed(topic)?;
        let id = self.group_id(&topic, group).await?;
        let positions = self.board.signer().open_cursor(cursor)?;
        let own: Vec<(u32, u64)> = positions
            .iter()
            .filter(|p| p.part.topic == topic.id)
            .map(|p| (p.part.partition, p.offset))
            .collect();
        if own.is_empty() {
            return Err(Error::new(
                Kind::Invalid,
                "SB0204",
                format!("this cursor does not belong to {:?}", topic.name),
            )
            .fix("Use an id or a next of an answer about this topic"));
        }
        self.board.commit(Op::CommitCursor { group: id, positions: own }.into()).await.map(|_| ())
    }

    /// Creates a group or changes its options; true when created. Creates the topic, too, if it is missing and that is allowed.
    pub async fn declare_group(
        &self,
        topic: &str,
        group: &str,
        options: Options,
        start: Start,
    ) -> Result<(bool, GroupView)> {
        self.declare_group_if(topic, group, options, start, Condition::Any).await
    }

    /// The same on a condition. Where the group must exist already, a missing topic is not created either.
    pub async fn declare_group_if(
        &self,
        topic: &str,
        group: &str,
        options: Options,
        start: Start,
        condition: Condition,
    ) -> Result<(bool, GroupView)> {
        check_name("group", group)?;
        let address = Address::parse(topic)?;
        check_name("topic", topic)?;
        self.check(Verb::Consume, &address)?;
        if let Some(dead) = &options.dead_letter {
            check_name("topic", dead)?;
            // Dead messages are published there on the caller's behalf.
            self.check(Verb::Publish, &Address::parse(dead)?)?;
        }
        if self.board.directory().by_name(topic).is_none() {
            if condition == Condition::Present || !self.principal.may(Verb::Manage, &address) {
                return Err(self.no_topic(topic));
            }
            self.declare_topic(topic, Default::default(), Condition::Ensure).await?;
        }
        let known = self.topic_named(topic)?;
        for _ in 0..5 {
            let start = match GroupStart::simple(start) {
                Some(simple) => simple,
                None => {
                    let mut offsets = Vec::new();
                    for part in &known.parts {
                        offsets.push((part.id.partition, self.resolve(&known, part, start).await?));
                    }
                    GroupStart::Offsets(offsets)
                }
            };
            let keys = if options.key_order { self.key_hashes(&known).await? } else { Vec::new() };
            let op = Op::DeclareGroup {
                topic: topic.into(),
                group: group.into(),
                options: options.clone(),
                start,
                condition,
                keys,
            };
            match self.board.commit(op.into()).await {
                // Messages came in between reading the keys and declaring: read again.
                Err(error) if error.kind == Kind::Conflict && options.key_order => continue,
                Err(error) => return Err(error),
                Ok(mut answer) => match answer.replies.pop() {
                    Some(Reply::Group { created, view }) => return Ok((created, view)),
                    other => return Err(Error::internal(format!("unexpected answer {other:?}"))),
                },
            }
        }
        Err(Error::new(
            Kind::Conflict,
            "SB0302",
            format!("{topic:?} changes too fast to order its kept messages by key"),
        )
        .fix("Start the group at the end, or pause the publishers"))
    }

    /// The hash of each kept message's key, which a group with key order needs of messages that came before it.
    async fn key_hashes(&self, topic: &Arc<Topic>) -> Result<Vec<(u32, u64, Vec<u64>)>> {
        let mut all = Vec::new();
        for part in &topic.parts {
            let (start, end) = part.bounds();
            let mut hashes = Vec::new();
            let mut next = start;
            while next < end {
                for batch in self.batches(&topic.name, part, next, MAX_BYTES).await? {
                    for record in batch.records().iter().filter(|r| r.offset >= next && r.offset < end) {
                        hashes.push(record.message.key.as_ref().map_or(0, |k| sb_core::batch::key_hash(k)));
                    }
                    next = batch.end();
                }
            }
            all.push((part.id.partition, start, hashes));
        }
        Ok(all)
    }

    /// Deletes a group.
    pub async fn delete_group(&self, topic: &str, group: &str) -> Result<()> {
        let known = self.consumed(topic)?;
        check_name("group", group)?;
        self.board.commit(Op::DeleteGroup { topic: topic.into(), group: group.into() }.into()).await?;
        self.forget_group(known.id, group);
        Ok(())
    }

    /// Describes a group.
    pub async fn group(&self, topic: &str, group: &str) -> Result<GroupView> {
        let topic = self.topic_named(topic)?;
        check_name("group", group)?;
        if !self.sees(&topic.address) {
            self.check(Verb::Consume, &topic.address)?;
        }
        self.group_view(&topic.name, group).await
    }

    /// Groups by topic and name; true when there are more.
    pub async fn groups(
        &self,
        topic: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<(Vec<GroupView>, bool)> {
        self.principal.known()?;
        if let Some(topic) = topic {
            self.topic_named(topic)?;
        }
        let limit = limit.clamp(1, MAX_MESSAGES);
        let topic = topic.map(str::to_owned);
        let mut after = after.map(|(t, g)| (t.to_owned(), g.to_owned()));
        let mut seen = Vec::new();
        for _ in 0..20 {
            let (t, a) = (topic.clone(), after.clone());
            let (page, more) = self
                .board
                .query(move |core| {
                    core.groups(t.as_deref(), a.as_ref().map(|(t, g)| (t.as_str(), g.as_str())), limit)
                })
                .await?;
            after = page.last().map(|g| (g.topic.clone(), g.name.clone()));
            seen.extend(page.into_iter().filter(|g| Address::parse(&g.topic).is_ok_and(|a| self.sees(&a))));
            if !more || seen.len() >= limit {
                let more = more || seen.len() > limit;
                seen.truncate(limit);
                return Ok((seen, more));
            }
        }
        Ok((seen, true))
    }

    /// Opens a handle for the job methods.
    pub(super) fn delivery(&self, handle: &str) -> Result<(Delivery, u32)> {
        self.board.signer().open_handle(handle)
    }
}

/// Moves dying messages to their dead-letter topics: reads the body, which the core does not have, and appends it there in the same commit that
/// ends the message. Runs for as long as the board does; what is interrupted by a crash is found again at the next start.
pub(crate) async fn bury(board: Arc<Board>, mut groups: tokio::sync::mpsc::UnboundedReceiver<GroupId>) {
    while let Some(group) = groups.recv().await {
        let access = board.admin();
        loop {
            let Ok(dying) = board.query(move |core| core.dying(group, 100)).await else { break };
            if dying.is_empty() {
                break;
            }
            let mut progress = false;
            for message in dying {
                match access.bury_one(&message).await {
                    Ok(()) => progress = true,
                    Err(error) => {
                        tracing::warn!(%error, group = message.group_name, "a dead message cannot be moved yet")
                    }
                }
            }
            if !progress {
                // A full disk or the like: later, without holding up other groups.
                let (board, pause) = (board.clone(), Duration::from_secs(2));
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    board.group_dying(group);
                });
                break;
            }
        }
    }
}

impl Access {
    async fn bury_one(&self, dying: &Dying) -> Result<()> {
        let at = dying.position;
        let target = match (&dying.target, self.board.part(at.part)) {
            (Some(name), Some(part)) => match self.fetch(&dying.topic_name, &part, at.offset).await {
                Ok(record) => Some((name.clone(), record)),
                Err(error) if matches!(error.kind, Kind::Corrupt | Kind::Gone | Kind::NotFound) => {
                    tracing::error!(%error, topic = dying.topic_name, "a dead message cannot be read and is dropped");
                    None
                }
                Err(error) => return Err(error),
            },
            _ => None,
        };
        let target = match target {
            None => None,
            Some((name, record)) => {
                if self.board.directory().by_name(&name).is_none() {
                    self.declare_topic(&name, Default::default(), Condition::Ensure).await?;
                }
                let topic = self.topic_named(&name)?;
                let mut message = record.message;
                let mut put =
                    |name: &str, value: Value| message.headers.push(Header { name: name.into(), value });
                put("sb-dead-topic", Value::Text(dying.topic_name.clone()));
                put("sb-dead-group", Value::Text(dying.group_name.clone()));
                put("sb-dead-offset", Value::Int(at.offset as i64));
                put("sb-dead-attempts", Value::Int(i64::from(dying.attempts)));
                put("sb-dead-reason", Value::Text(dying.reason.into()));
                message.time_ms = self.board.now_ms();
                // It has its own life there: neither the old delay nor the old end applies.
                message.due_ms = None;
                message.expires_ms = None;
                let partition = topic.partition(message.key.as_deref());
                Some((topic.id, partition, encode(&topic.name, &[message])))
            }
        };
        let op =
            Op::DeadLetter { group: dying.group, partition: at.part.partition, offset: at.offset, target };
        match self.board.commit(op.into()).await {
            // Somebody else has ended it (a seek, a deletion).
            Err(error) if matches!(error.kind, Kind::Conflict | Kind::NotFound) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
