//! A server in memory with the services of the tests, for client libraries of other languages: prints its address as the one line
//! `http://127.0.0.1:PORT`, and ends when its input does.
//!
//! `POST /topics/…` publishes, as everywhere; the method `toy.v1.Work/Render` is worked on in process, with progress and a line of log.

use sb_board::Access;
use sb_board::access::{Finish, Report};
use std::io::Read as _;

#[tokio::main]
async fn main() {
    let server = sb_suite::start().await;
    sb_suite::rpc::serve(&server).await;
    tokio::spawn(work(server.board.admin()));
    println!("http://{}", server.addr);
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
}

async fn work(access: Access) {
    let methods = ["toy.v1.Work/Render".to_owned()];
    while let Ok(taken) = access.take(&methods, 1, 60_000, None, "example").await {
        for job in taken {
            let id = job.job.id;
            let log = Report::Log { stream: "stdout".into(), text: "rendering".into() };
            let _ = access.job_report(id, &job.handle, log).await;
            let _ = access.job_report(id, &job.handle, Report::Progress(r#"{"done":1}"#.into())).await;
            let done = Finish::Complete {
                content_type: Some("application/json".into()),
                body: r#"{"text":"rendered"}"#.into(),
            };
            let _ = access.job_finish(id, &job.handle, done).await;
        }
    }
}
