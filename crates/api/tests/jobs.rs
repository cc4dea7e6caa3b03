//! Jobs, methods and operations: every method, and its errors.

mod common;

use buffa::MessageField;
use common::*;
use futures_util::future::BoxFuture;
use sb_api::types::google::longrunning::__buffa::oneof::operation::Result as Ended;
use sb_api::types::google::longrunning::*;
use sb_api::types::switchboard::v1::__buffa::oneof::job_event::Event;
use sb_api::types::switchboard::v1::__buffa::oneof::report_job_request::Report;
use sb_api::types::switchboard::v1::*;
use sb_board::Access;
use sb_board::call::{Call, Code, Codec, Provider, Reply, Status, Workers};
use std::sync::Arc;

const METHOD: &str = "code.v1.Runner/Run";

async fn declare(access: &Access, method: Method) -> DeclareMethodResponse {
    let request = DeclareMethodRequest { method: MessageField::some(method) };
    call(access, "Methods/Declare", &request).await.unwrap()
}

fn input(body: &str) -> JobInput {
    JobInput { content_type: Some("text/plain".into()), body: body.to_owned().into(), ..JobInput::default() }
}

fn submission(body: &str) -> SubmitJobRequest {
    SubmitJobRequest {
        method: METHOD.into(),
        input: MessageField::some(input(body)),
        ..SubmitJobRequest::default()
    }
}

async fn submit(access: &Access, body: &str) -> Job {
    call(access, "Jobs/Submit", &submission(body)).await.unwrap()
}

async fn take(access: &Access) -> TakenJob {
    let request = TakeJobsRequest {
        methods: vec![METHOD.into()],
        wait: duration(30_000),
        worker: "w".into(),
        ..TakeJobsRequest::default()
    };
    let taken: TakeJobsResponse = call(access, "Jobs/Take", &request).await.unwrap();
    taken.jobs.into_iter().next().expect("a job")
}

async fn job(access: &Access, id: &str) -> Job {
    call(access, "Jobs/Get", &GetJobRequest { id: id.into() }).await.unwrap()
}

async fn complete(access: &Access, taken: &TakenJob, content_type: &str, body: &[u8]) -> Job {
    let result = JobResult { content_type: Some(content_type.into()), body: body.to_vec().into() };
    let request = CompleteJobRequest {
        id: taken.id.clone(),
        handle: taken.handle.clone(),
        result: MessageField::some(result),
    };
    call(access, "Jobs/Complete", &request).await.unwrap()
}

async fn fail(access: &Access, taken: &TakenJob, code: &str, retryable: Option<bool>) -> Job {
    let request = FailJobRequest {
        id: taken.id.clone(),
        handle: taken.handle.clone(),
        code: code.into(),
        message: "no luck".into(),
        retryable,
        delay: duration(0),
        details: Vec::new(),
    };
    call(access, "Jobs/Fail", &request).await.unwrap()
}

#[tokio::test]
async fn methods() {
    let (_board, access) = board().await;
    let method =
        Method { name: METHOD.into(), attempts: Some(2), timeout: duration(60_000), ..Method::default() };
    let declared = declare(&access, method.clone()).await;
    assert!(declared.created);
    assert_eq!(declared.method.topic, "code.v1.Runner.Run");
    assert_eq!(declared.method.lease.as_option(), Some(&Duration::from_millis(30_000)));
    assert!(!declare(&access, Method { attempts: Some(3), ..method.clone() }).await.created);
    let list: ListMethodsResponse = call(&access, "Methods/List", &ListMethodsRequest {}).await.unwrap();
    assert_eq!(
        list.methods.iter().map(|m| (m.name.as_str(), m.attempts)).collect::<Vec<_>>(),
        [(METHOD, Some(3))]
    );
    for bad in [
        Method { name: "no method".into(), ..Method::default() },
        Method { timeout: duration(0), ..method.clone() },
        Method { lease: duration(1), ..method.clone() },
        Method { attempts: Some(-1), ..method.clone() },
    ] {
        let request = DeclareMethodRequest { method: MessageField::some(bad) };
        assert_eq!(
            refused(&access, "Methods/Declare", &request).await.0,
            Code::InvalidArgument,
            "{request:?}"
        );
    }
    let delete = DeleteMethodRequest { name: METHOD.into() };
    call::<_, DeleteMethodResponse>(&access, "Methods/Delete", &delete).await.unwrap();
    assert_eq!(refused(&access, "Methods/Delete", &delete).await, (Code::NotFound, "SB0310".into()));
    assert_eq!(refused(&access, "Jobs/Submit", &submission("x")).await, (Code::NotFound, "SB0310".into()));
}

#[tokio::test]
async fn a_job_from_submission_to_result() {
    let (_board, access) = board().await;
    declare(&access, Method { name: METHOD.into(), ..Method::default() }).await;
    let mut request = SubmitJobRequest { idempotency_key: "k".into(), ..submission("do it") };
    let first: Job = call(&access, "Jobs/Submit", &request).await.unwrap();
    let again: Job = call(&access, "Jobs/Submit", &request).await.unwrap();
    assert_eq!((first.id.as_str(), first.replayed, again.replayed), (again.id.as_str(), false, true));
    request.input = MessageField::some(input("something else"));
    assert_eq!(refused(&access, "Jobs/Submit", &request).await, (Code::InvalidArgument, "SB0306".into()));
    assert_eq!(first.state, JobState::JOB_STATE_QUEUED);

    let get_result = |wait| GetJobResultRequest { id: first.id.clone(), wait };
    assert_eq!(
        refused(&access, "Jobs/GetResult", &get_result(MessageField::none())).await,
        (Code::Aborted, "SB0406".into())
    );
    let (waiter, wanted) = (access.clone(), get_result(duration(30_000)));
    let waiting = tokio::spawn(async move { call::<_, JobResult>(&waiter, "Jobs/GetResult", &wanted).await });
    let (waiter, id) = (access.clone(), first.id.clone());
    let waiting_for_the_end = tokio::spawn(async move {
        call::<_, Job>(&waiter, "Jobs/Wait", &WaitJobRequest { id, ..WaitJobRequest::default() }).await
    });

    let taken = take(&access).await;
    assert_eq!(
        (taken.id.as_str(), taken.attempt, text(&taken.input.body).as_str()),
        (first.id.as_str(), 1, "do it")
    );
    assert!(taken.input.headers.is_empty(), "the server's own headers are its own business");
    let extend =
        ExtendJobRequest { id: taken.id.clone(), handle: taken.handle.clone(), lease: duration(3_600_000) };
    let term: JobTerm = call(&access, "Jobs/Extend", &extend).await.unwrap();
    assert!(term.lease_until.seconds > taken.lease_until.seconds && !term.cancel_requested);
    let report = |report| ReportJobRequest { id: taken.id.clone(), handle: taken.handle.clone(), report };
    let progress = report(Some(Report::Progress("{\"percent\": 50}".into())));
    call::<_, JobTerm>(&access, "Jobs/Report", &progress).await.unwrap();
    let log = report(Some(Report::Log(JobLog { text: "half\n".into(), ..JobLog::default() })));
    call::<_, JobTerm>(&access, "Jobs/Report", &log).await.unwrap();
    for (bad, code) in [
        (report(None), Code::InvalidArgument),
        (report(Some(Report::Progress("{".into()))), Code::InvalidArgument),
        (report(Some(Report::Progress(format!("\"{}\"", "x".repeat(20_000))))), Code::ResourceExhausted),
        (
            report(Some(Report::Log(JobLog { text: "x".repeat(70_000), ..JobLog::default() }))),
            Code::ResourceExhausted,
        ),
        (
            report(Some(Report::Log(JobLog { stream: "\n".into(), ..JobLog::default() }))),
            Code::InvalidArgument,
        ),
        (ReportJobRequest { handle: "rubbish".into(), ..log.clone() }, Code::InvalidArgument),
    ] {
        assert_eq!(refused(&access, "Jobs/Report", &bad).await.0, code);
    }
    let seen = job(&access, &first.id).await;
    assert_eq!(
        (seen.state, seen.progress.as_str()),
        (JobState::JOB_STATE_RUNNING.into(), "{\"percent\": 50}")
    );
    let done = complete(&access, &taken, "text/plain", b"done").await;
    assert_eq!((done.state, done.result.is_set()), (JobState::JOB_STATE_SUCCEEDED.into(), false));
    assert_eq!(text(&waiting.await.unwrap().unwrap().body), "done");
    let ended = waiting_for_the_end.await.unwrap().unwrap();
    assert_eq!((text(&ended.result.body).as_str(), ended.worker.as_str()), ("done", "w"));
    let back: JobInput =
        call(&access, "Jobs/GetInput", &GetJobInputRequest { id: first.id.clone() }).await.unwrap();
    assert_eq!(back, input("do it"));
    // A worker that comes too late.
    let late =
        ExtendJobRequest { id: taken.id.clone(), handle: taken.handle.clone(), lease: MessageField::none() };
    assert_eq!(refused(&access, "Jobs/Extend", &late).await, (Code::Aborted, "SB0403".into()));
    for bad in ["", "rubbish", "01234567890123456789012345"] {
        let request = GetJobRequest { id: bad.into() };
        assert_eq!(refused(&access, "Jobs/Get", &request).await, (Code::NotFound, "SB0401".into()));
    }
}

#[tokio::test]
async fn failures_cancelling_and_doing_it_again() {
    let (_board, access) = board().await;
    declare(&access, Method { name: METHOD.into(), attempts: Some(2), ..Method::default() }).await;
    let one = submit(&access, "1").await;
    let again = fail(&access, &take(&access).await, "busy", None).await;
    assert_eq!(again.state, JobState::JOB_STATE_QUEUED, "an attempt is left");
    let failed = fail(&access, &take(&access).await, "not_found", None).await;
    assert_eq!((failed.state, failed.error.code.as_str()), (JobState::JOB_STATE_FAILED.into(), "not_found"));
    let result = |id: &str| GetJobResultRequest { id: id.into(), wait: MessageField::none() };
    assert_eq!(refused(&access, "Jobs/GetResult", &result(&one.id)).await.0, Code::NotFound);
    let other = submit(&access, "2").await;
    fail(&access, &take(&access).await, "my own", Some(false)).await;
    assert_eq!(refused(&access, "Jobs/GetResult", &result(&other.id)).await.0, Code::Unknown);
    let no_code = FailJobRequest { id: one.id.clone(), handle: "h".into(), ..FailJobRequest::default() };
    assert_eq!(refused(&access, "Jobs/Fail", &no_code).await.0, Code::InvalidArgument);

    let queued = submit(&access, "3").await;
    let cancel = |id: &str| CancelJobRequest { id: id.into() };
    let cancelled: Job = call(&access, "Jobs/Cancel", &cancel(&queued.id)).await.unwrap();
    assert_eq!(cancelled.state, JobState::JOB_STATE_CANCELLED);
    assert_eq!(refused(&access, "Jobs/GetResult", &result(&queued.id)).await.0, Code::Cancelled);
    assert_eq!(refused(&access, "Jobs/Cancel", &cancel(&queued.id)).await, (Code::Aborted, "SB0403".into()));
    let running = submit(&access, "4").await;
    let taken = take(&access).await;
    let asked: Job = call(&access, "Jobs/Cancel", &cancel(&running.id)).await.unwrap();
    assert_eq!((asked.state, asked.cancel_requested), (JobState::JOB_STATE_RUNNING.into(), true));
    let extend = ExtendJobRequest { id: taken.id, handle: taken.handle, lease: MessageField::none() };
    let term: JobTerm = call(&access, "Jobs/Extend", &extend).await.unwrap();
    assert!(term.cancel_requested);

    let rerun = RerunJobRequest { id: one.id.clone(), input: MessageField::none() };
    let second: Job = call(&access, "Jobs/Rerun", &rerun).await.unwrap();
    assert_eq!(second.rerun_of, one.id);
    let back: JobInput =
        call(&access, "Jobs/GetInput", &GetJobInputRequest { id: second.id.clone() }).await.unwrap();
    assert_eq!(back, input("1"));
    let rerun = RerunJobRequest { id: one.id.clone(), input: MessageField::some(input("other")) };
    let third: Job = call(&access, "Jobs/Rerun", &rerun).await.unwrap();
    let back: JobInput = call(&access, "Jobs/GetInput", &GetJobInputRequest { id: third.id }).await.unwrap();
    assert_eq!(text(&back.body), "other");

    let list = ListJobsRequest { state: JobState::JOB_STATE_FAILED.into(), limit: 1, ..Default::default() };
    let page: ListJobsResponse = call(&access, "Jobs/List", &list).await.unwrap();
    assert_eq!((page.jobs[0].id.as_str(), page.next.as_str()), (other.id.as_str(), other.id.as_str()));
    let page: ListJobsResponse =
        call(&access, "Jobs/List", &ListJobsRequest { after: page.next, ..list.clone() }).await.unwrap();
    assert_eq!((page.jobs[0].id.as_str(), page.next.as_str()), (one.id.as_str(), ""));
    let none = ListJobsRequest { method: "a.B/C".into(), ..ListJobsRequest::default() };
    assert!(call::<_, ListJobsResponse>(&access, "Jobs/List", &none).await.unwrap().jobs.is_empty());
    let bad = ListJobsRequest { state: 77.into(), ..ListJobsRequest::default() };
    assert_eq!(refused(&access, "Jobs/List", &bad).await.0, Code::InvalidArgument);
    let nobody = TakeJobsRequest::default();
    assert_eq!(refused(&access, "Jobs/Take", &nobody).await.0, Code::InvalidArgument);
    let delayed =
        SubmitJobRequest { delay: duration(3_600_000), timeout: duration(60_000), ..submission("5") };
    call::<_, Job>(&access, "Jobs/Submit", &delayed).await.unwrap();
}

#[tokio::test]
async fn a_watch_that_is_cut_after_every_event_misses_nothing() {
    let (_board, access) = board().await;
    declare(&access, Method { name: METHOD.into(), ..Method::default() }).await;
    let submitted = submit(&access, "x").await;
    let (worker, id) = (access.clone(), submitted.id.clone());
    let watching = tokio::spawn(async move {
        let (mut events, mut after) = (Vec::<JobEvent>::new(), 0);
        loop {
            let request = WatchJobRequest { id: id.clone(), after };
            let mut answers = open(&worker, "Jobs/Watch", &request).await.unwrap();
            match answers.next::<JobEvent>().await {
                Ok(event) => {
                    after = event.seq;
                    events.push(event);
                }
                Err(status) => {
                    assert_eq!(status, None);
                    return events;
                }
            }
        }
    });
    let taken = take(&access).await;
    for n in 0..5 {
        let request = ReportJobRequest {
            id: taken.id.clone(),
            handle: taken.handle.clone(),
            report: Some(Report::Progress(n.to_string())),
        };
        call::<_, JobTerm>(&access, "Jobs/Report", &request).await.unwrap();
    }
    complete(&access, &taken, "text/plain", b"done").await;
    let events = watching.await.unwrap();
    let seqs: Vec<i64> = events.iter().map(|e| e.seq).collect();
    assert_eq!(seqs, (1..=events.len() as i64).collect::<Vec<_>>());
    let progress: Vec<&str> = events
        .iter()
        .filter_map(|e| match &e.event {
            Some(Event::Progress(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(progress, ["0", "1", "2", "3", "4"]);
    assert!(events.iter().any(|e| matches!(&e.event, Some(Event::Result(r)) if &r.body[..] == b"done")));
    let mut whole =
        open(&access, "Jobs/Watch", &WatchJobRequest { id: submitted.id, after: 0 }).await.unwrap();
    for event in &events {
        assert_eq!(whole.next::<JobEvent>().await.unwrap(), *event);
    }
    assert_eq!(whole.end().await, None);
    let none = WatchJobRequest { id: "x".into(), after: 0 };
    assert_eq!(refused(&access, "Jobs/Watch", &none).await, (Code::NotFound, "SB0401".into()));
    let negative = WatchJobRequest { after: -1, ..none };
    assert_eq!(refused(&access, "Jobs/Watch", &negative).await.0, Code::NotFound);
}

/// Answers each call with the number 7.
struct Seven;

impl Provider for Seven {
    fn call(self: Arc<Self>, _: Access, mut call: Call) -> BoxFuture<'static, Result<Reply, Status>> {
        Box::pin(async move {
            call.message().await?;
            Ok(Reply::unary(vec![8, 7].into()))
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        "seven".into()
    }
}

async fn waited(access: &Access, id: &str) -> Operation {
    let request = WaitOperationRequest { name: format!("jobs/{id}"), timeout: duration(30_000) };
    call(access, "WaitOperation", &request).await.unwrap()
}

#[tokio::test]
async fn operations_of_a_described_method() {
    let (_board, access) = shop(Arc::new(Seven)).await;
    let order = |content_type: &str, body: &str| SubmitJobRequest {
        method: "shop.v1.Shop/Buy".into(),
        input: MessageField::some(JobInput {
            content_type: Some(content_type.into()),
            body: body.to_owned().into(),
            ..JobInput::default()
        }),
        ..SubmitJobRequest::default()
    };
    let job: Job =
        call(&access, "Jobs/Submit", &order("application/json", r#"{"what":"tea"}"#)).await.unwrap();
    let operation = waited(&access, &job.id).await;
    assert!(operation.done && operation.name == format!("jobs/{}", job.id));
    let Some(Ended::Response(any)) = &operation.result else { panic!("{operation:?}") };
    assert_eq!((any.type_url.as_str(), &any.value[..]), ("type.googleapis.com/shop.v1.Receipt", &[8, 7][..]));
    let metadata: Job = operation.metadata.unpack_if(Job::TYPE_URL).unwrap().expect("a job");
    assert_eq!((metadata.id, metadata.state), (job.id.clone(), JobState::JOB_STATE_SUCCEEDED.into()));
    assert_eq!(
        refused(&access, "Jobs/Submit", &order("text/plain", "x")).await,
        (Code::InvalidArgument, "SB0201".into())
    );
    assert_eq!(
        refused(&access, "Jobs/Submit", &order("application/json", "{")).await.0,
        Code::InvalidArgument
    );
    // The API itself is no work for jobs.
    let own = SubmitJobRequest { method: path("Topics/List"), ..SubmitJobRequest::default() };
    assert_eq!(refused(&access, "Jobs/Submit", &own).await, (Code::Unimplemented, "SB0209".into()));

    let get = GetOperationRequest { name: format!("operations/{}", job.id) };
    assert_eq!(call::<_, Operation>(&access, "GetOperation", &get).await.unwrap(), operation);
    let cancel = CancelOperationRequest { name: operation.name.clone() };
    call::<_, buffa_types::google::protobuf::Empty>(&access, "CancelOperation", &cancel).await.unwrap();
    let delete = DeleteOperationRequest { name: operation.name.clone() };
    assert_eq!(refused(&access, "DeleteOperation", &delete).await, (Code::Unimplemented, "SB0209".into()));
    let missing = GetOperationRequest { name: "jobs/none".into() };
    assert_eq!(refused(&access, "GetOperation", &missing).await, (Code::NotFound, "SB0401".into()));
}

#[tokio::test]
async fn operations_of_workers() {
    let (_board, access) = shop(Arc::new(Workers { topic: "shop".into(), codecs: &[Codec::Json] })).await;
    declare(&access, Method { name: METHOD.into(), attempts: Some(1), ..Method::default() }).await;
    // A method that nothing describes: the result as it is.
    let plain = submit(&access, "x").await;
    let get = GetOperationRequest { name: format!("jobs/{}", plain.id) };
    let operation: Operation = call(&access, "GetOperation", &get).await.unwrap();
    assert!(!operation.done && operation.result.is_none());
    complete(&access, &take(&access).await, "text/plain", b"done").await;
    let Some(Ended::Response(any)) = waited(&access, &plain.id).await.result else { panic!() };
    let result: JobResult = any.unpack_if(JobResult::TYPE_URL).unwrap().expect("a result");
    assert_eq!(text(&result.body), "done");
    let failing = submit(&access, "y").await;
    fail(&access, &take(&access).await, "UNAVAILABLE", None).await;
    let Some(Ended::Error(error)) = waited(&access, &failing.id).await.result else { panic!() };
    assert_eq!((error.code, error.message.as_str()), (14, "no luck"));
    let cancelled = submit(&access, "z").await;
    let cancel = CancelOperationRequest { name: format!("jobs/{}", cancelled.id) };
    call::<_, buffa_types::google::protobuf::Empty>(&access, "CancelOperation", &cancel).await.unwrap();
    let Some(Ended::Error(error)) = waited(&access, &cancelled.id).await.result else { panic!() };
    assert_eq!(error.code, 1, "CANCELLED");

    let mut list = ListOperationsRequest {
        name: "jobs".into(),
        filter: format!("method=\"{METHOD}\" AND state = failed"),
        ..Default::default()
    };
    let page: ListOperationsResponse = call(&access, "ListOperations", &list).await.unwrap();
    assert_eq!(page.operations.len(), 1);
    assert_eq!(page.operations[0].name, format!("jobs/{}", failing.id));
    list.filter = String::new();
    list.page_size = 2;
    let page: ListOperationsResponse = call(&access, "ListOperations", &list).await.unwrap();
    assert_eq!((page.operations.len(), page.next_page_token.is_empty()), (2, false));
    list.page_token = page.next_page_token;
    let page: ListOperationsResponse = call(&access, "ListOperations", &list).await.unwrap();
    assert_eq!((page.operations.len(), page.next_page_token.is_empty()), (1, true));
    list.filter = "colour = red".into();
    assert_eq!(refused(&access, "ListOperations", &list).await.0, Code::InvalidArgument);
    list.name = "projects/x".into();
    assert_eq!(refused(&access, "ListOperations", &list).await.0, Code::NotFound);
}
