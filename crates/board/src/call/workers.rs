//! Methods that workers serve: a call is a job that is waited for.

use super::{ByJob, Call, Codec, Provider, Reply, Status};
use crate::Access;
use crate::access::AsJob;
use crate::mount::BoxFuture;
use std::sync::Arc;

/// Workers on a topic.
pub struct Workers {
    /// The topic their work waits in, for people.
    pub topic: String,
    /// The codecs in which they are given messages: JSON alone where the method is described, whatever the caller sends otherwise.
    pub codecs: &'static [Codec],
}

impl Provider for Workers {
    fn call(self: Arc<Self>, access: Access, call: Call) -> BoxFuture<Result<Reply, Status>> {
        Box::pin(async move {
            let (codec, streaming) = (call.codec, call.streaming);
            let (job, _) = access.submit_call(call, AsJob::default()).await?;
            access.job_reply(job.id, codec, streaming.server).await
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        self.codecs
    }

    fn target(&self) -> String {
        format!("workers on {}", self.topic)
    }

    fn by_job(&self) -> ByJob {
        ByJob::Worked
    }
}
