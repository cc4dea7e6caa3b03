//! The services of `bench/proto` by tonic, a client for their streams, and the bodies that other load tools send.
use futures_util::StreamExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tonic::{Request, Response, Status, Streaming};

mod echo {
    include!(concat!(env!("OUT_DIR"), "/sw.Echo.rs"));
}
mod users {
    include!(concat!(env!("OUT_DIR"), "/sw.Users.rs"));
}
mod posts {
    include!(concat!(env!("OUT_DIR"), "/sw.Posts.rs"));
}
mod friends {
    include!(concat!(env!("OUT_DIR"), "/sw.Friends.rs"));
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Msg {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    #[prost(uint64, tag = "2")]
    pub n: u64,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct Order {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub customer: String,
    #[prost(message, repeated, tag = "3")]
    pub lines: Vec<Line>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct Line {
    #[prost(string, tag = "1")]
    pub sku: String,
    #[prost(int32, tag = "2")]
    pub count: i32,
    #[prost(int64, tag = "3")]
    pub price_minor: i64,
    #[prost(double, tag = "4")]
    pub weight: f64,
    #[prost(bool, tag = "5")]
    pub gift: bool,
    #[prost(string, tag = "6")]
    pub note: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct UserKey {
    #[prost(uint32, tag = "1")]
    pub id: u32,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct User {
    #[prost(uint32, tag = "1")]
    pub id: u32,
    #[prost(string, tag = "2")]
    pub name: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct Post {
    #[prost(string, tag = "1")]
    pub title: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct PostList {
    #[prost(message, repeated, tag = "1")]
    pub posts: Vec<Post>,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct Friend {
    #[prost(string, tag = "1")]
    pub name: String,
}
#[derive(Clone, PartialEq, prost::Message)]
pub struct FriendList {
    #[prost(message, repeated, tag = "1")]
    pub friends: Vec<Friend>,
}

struct All;
type Answer<T> = Result<Response<T>, Status>;
type Items = Pin<Box<dyn futures_util::Stream<Item = Result<Msg, Status>> + Send>>;

#[tonic::async_trait]
impl echo::echo_server::Echo for All {
    type DownStream = Items;
    type BidiStream = Items;
    async fn unary(&self, r: Request<Msg>) -> Answer<Msg> {
        Ok(Response::new(r.into_inner()))
    }
    async fn down(&self, r: Request<Msg>) -> Answer<Items> {
        let m = r.into_inner();
        Ok(Response::new(Box::pin(tokio_stream::iter((0..m.n).map(move |_| Ok(m.clone()))))))
    }
    async fn bidi(&self, r: Request<Streaming<Msg>>) -> Answer<Items> {
        Ok(Response::new(Box::pin(r.into_inner())))
    }
    async fn put_order(&self, r: Request<Order>) -> Answer<Order> {
        Ok(Response::new(r.into_inner()))
    }
}
#[tonic::async_trait]
impl users::users_server::Users for All {
    async fn get_user(&self, r: Request<UserKey>) -> Answer<User> {
        let id = r.into_inner().id;
        Ok(Response::new(User { id, name: format!("user {id}") }))
    }
}
#[tonic::async_trait]
impl posts::posts_server::Posts for All {
    async fn list_posts(&self, r: Request<UserKey>) -> Answer<PostList> {
        let id = r.into_inner().id;
        let posts = (1..=3).map(|n| Post { title: format!("post {n} of {id}") }).collect();
        Ok(Response::new(PostList { posts }))
    }
}
#[tonic::async_trait]
impl friends::friends_server::Friends for All {
    async fn list_friends(&self, r: Request<UserKey>) -> Answer<FriendList> {
        let id = r.into_inner().id;
        let friends = (1..=3).map(|n| Friend { name: format!("friend {n} of {id}") }).collect();
        Ok(Response::new(FriendList { friends }))
    }
}

pub async fn serve(port: u16) {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(echo::echo_server::EchoServer::new(All))
        .add_service(users::users_server::UsersServer::new(All))
        .add_service(posts::posts_server::PostsServer::new(All))
        .add_service(friends::friends_server::FriendsServer::new(All))
        .serve(format!("127.0.0.1:{port}").parse().unwrap())
        .await
        .unwrap()
}

/// Messages of one stream, but for `chat`.
const STREAM: u64 = 1000;

/// Calls over and over, `streams` at a time on each of `conns` connections, and prints what it got. A call that fails, or an answer that is not
/// what was sent, ends the program.
pub async fn client(addr: String, mode: String, conns: usize, streams: usize, secs: f64, size: usize) {
    let n = Arc::new(AtomicU64::new(0));
    let took = Arc::new(std::sync::Mutex::new(Vec::<u32>::new()));
    let mut jobs = Vec::new();
    let mut channels = Vec::new();
    for _ in 0..conns {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
        channels.push(endpoint.tcp_nodelay(true).connect().await.unwrap());
    }
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(secs);
    for channel in channels.iter().flat_map(|c| std::iter::repeat_n(c, streams)) {
        let (n, took, mode, channel) = (n.clone(), took.clone(), mode.clone(), channel.clone());
        jobs.push(tokio::spawn(async move {
            let mut c = echo::echo_client::EchoClient::new(channel);
            let m = Msg { body: vec![7; size], n: STREAM };
            let mut mine = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                match mode.as_str() {
                    "unary" => {
                        assert_eq!(c.unary(m.clone()).await.unwrap().into_inner(), m);
                        n.fetch_add(1, Relaxed);
                    }
                    "down" => read(c.down(m.clone()).await.unwrap().into_inner(), &m, &n).await,
                    "bidi" => {
                        let sent = tokio_stream::iter(std::iter::repeat_n(m.clone(), STREAM as usize));
                        read(c.bidi(sent).await.unwrap().into_inner(), &m, &n).await;
                    }
                    "chat" => {
                        let (tx, rx) = tokio::sync::mpsc::channel(1);
                        let sent = tokio_stream::wrappers::ReceiverStream::new(rx);
                        tx.send(m.clone()).await.unwrap();
                        let mut got = c.bidi(sent).await.unwrap().into_inner();
                        while got.message().await.unwrap().as_ref() == Some(&m) {
                            n.fetch_add(1, Relaxed);
                            mine.push(start.elapsed().as_micros() as u32);
                            if Instant::now() >= end {
                                break;
                            }
                            tx.send(m.clone()).await.unwrap();
                        }
                        assert!(Instant::now() >= end, "the stream ended, or something else came back");
                        drop(tx);
                        assert_eq!(got.message().await.unwrap(), None);
                        continue;
                    }
                    other => panic!("unary, down, bidi or chat, not {other}"),
                }
                mine.push(start.elapsed().as_micros() as u32);
            }
            took.lock().unwrap().extend(mine);
        }));
    }
    for job in jobs {
        job.await.unwrap();
    }
    let (wall, n) = (begun.elapsed().as_secs_f64(), n.load(Relaxed));
    let mut took = took.lock().unwrap();
    took.sort();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or(0);
    println!("{}", serde_json::json!({"n": n, "rate": n as f64 / wall, "p50_us": at(50), "p99_us": at(99)}));
}

async fn read(mut items: Streaming<Msg>, wanted: &Msg, n: &AtomicU64) {
    let mut got = 0;
    while let Some(item) = items.next().await {
        assert_eq!(item.unwrap(), *wanted);
        got += 1;
    }
    assert_eq!(got, STREAM, "messages are missing");
    n.fetch_add(got, Relaxed);
}

/// Writes what other load tools send: `msg-SIZE.grpc` with a body of so many bytes, and an order whose JSON is about as long as
/// `order-SIZE.json` and, in an envelope, as `order-SIZE.grpc`.
pub fn bodies(folder: &Path) {
    let write = |name: String, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
    for size in [128, 1024, 102_400] {
        write(format!("msg-{size}.grpc"), envelope(&Msg { body: vec![7; size], n: 0 }));
    }
    for size in [1024, 102_400] {
        let mut order =
            Order { id: "order-2026-000017".into(), customer: "Łucja Ångström".into(), lines: vec![] };
        while json(&order).len() < size - 60 {
            let n = order.lines.len() as i64 + 1;
            order.lines.push(Line {
                sku: format!("SKU-{n:06}"),
                count: n as i32 % 7 + 1,
                price_minor: 1_299 * n,
                weight: 0.25 * n as f64,
                gift: true,
                note: "leave it at the door".into(),
            });
        }
        write(format!("order-{size}.json"), json(&order));
        write(format!("order-{size}.grpc"), envelope(&order));
    }
}

fn envelope(message: &impl prost::Message) -> Vec<u8> {
    let mut out = vec![0];
    out.extend((message.encoded_len() as u32).to_be_bytes());
    message.encode(&mut out).unwrap();
    out
}

fn json(order: &Order) -> Vec<u8> {
    let line = |l: &Line| serde_json::json!({"sku": l.sku, "count": l.count, "priceMinor": l.price_minor.to_string(), "weight": l.weight, "gift": l.gift, "note": l.note});
    let lines: Vec<_> = order.lines.iter().map(line).collect();
    serde_json::to_vec(&serde_json::json!({"id": order.id, "customer": order.customer, "lines": lines}))
        .unwrap()
}
