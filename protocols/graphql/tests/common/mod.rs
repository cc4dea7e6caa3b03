//! Services in process, described by Protobuf and called in Protobuf, behind a real server: what the tests, the clients of `interop/graphql` and
//! the fuzz target ask.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use sb_board::access::Access;
use sb_board::auth::{Authority, Grants};
use sb_board::call::{Call, Code, Codec, End, Part, Provider, Reply, Service, Status};
use sb_board::mount::{BoxFuture, Descriptor};
use sb_board::{Board, HttpSettings, Settings};
use sb_graphql::{Batch, Entity, Join, Options};
use sb_schema::Schema;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PROTOS: [(&str, &str); 4] = [
    ("user/v1/user.proto", include_str!("user.proto")),
    ("blog/v1/blog.proto", include_str!("blog.proto")),
    ("social/v1/social.proto", include_str!("social.proto")),
    ("zoo/v1/zoo.proto", include_str!("zoo.proto")),
];

pub fn schema() -> Schema {
    Schema::from_texts(PROTOS).unwrap()
}

/// What was called, in order: path and request in JSON.
pub type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers from a table. It speaks Protobuf, so that every message is converted on its way in and out.
pub struct Table {
    pub schema: Schema,
    pub calls: Calls,
    /// Calls that run now, and the most there were.
    pub running: Arc<(AtomicUsize, AtomicUsize)>,
}

impl Provider for Table {
    fn call(self: Arc<Self>, _: Access, mut call: Call) -> BoxFuture<Result<Reply, Status>> {
        Box::pin(async move {
            let method = self.schema.method(&call.method).unwrap().clone();
            let options = sb_schema::Options::default();
            let bytes = call.message().await?;
            let request: Value = serde_json::from_slice(
                &sb_schema::proto_to_json(&method.input, &bytes, &options).map_err(internal)?,
            )
            .unwrap();
            self.calls.lock().unwrap().push((call.method.to_string(), request.clone()));
            let now = self.running.0.fetch_add(1, Ordering::SeqCst) + 1;
            self.running.1.fetch_max(now, Ordering::SeqCst);
            let running = Running(self.running.clone());
            // Others of the same level get their turn, so that they are seen to run together.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
            let encode = move |value: Value| -> Result<Bytes, Status> {
                sb_schema::json_to_proto(&method.output, value.to_string().as_bytes(), &options)
                    .map_err(internal)
            };
            if call.method.ends_with("/Watch") {
                let from: u64 =
                    request.get("after").and_then(Value::as_str).map_or(0, |a| a.parse().unwrap_or(0));
                let until = request.get("until").and_then(Value::as_u64).unwrap_or(u64::MAX);
                let parts = futures_util::stream::unfold((from, running), move |(at, running)| {
                    let encode = encode.clone();
                    async move {
                        if at > until {
                            return None;
                        }
                        if at == until {
                            return Some((Part::End(End::default()), (at + 1, running)));
                        }
                        if at > 3 {
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                        let next = at + 1;
                        let item = json!({ "cursor": next.to_string(), "text": format!("item {next}"), "userId": "1" });
                        let part = match encode(item) {
                            Ok(bytes) => Part::Message(bytes),
                            Err(status) => Part::End(status.into()),
                        };
                        Some((part, (next, running)))
                    }
                });
                return Ok(Reply { metadata: HeaderMap::new(), parts: Box::pin(parts.boxed()) });
            }
            let answer = answer(&call.method, &request, &call.metadata).await;
            drop(running);
            Ok(Reply::unary(encode(answer?)?))
        })
    }

    fn codecs(&self) -> &'static [Codec] {
        &[Codec::Proto]
    }

    fn target(&self) -> String {
        "a table".into()
    }
}

struct Running(Arc<(AtomicUsize, AtomicUsize)>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn internal(error: sb_schema::Error) -> Status {
    Status::new(Code::Internal, error.to_string())
}

fn user(id: u64) -> Value {
    let friends: Vec<String> = [id + 1, id + 2].iter().map(u64::to_string).collect();
    json!({ "id": id.to_string(), "name": format!("user {id}"), "friendIds": friends, "status": "ACTIVE" })
}

async fn answer(method: &str, request: &Value, metadata: &HeaderMap) -> Result<Value, Status> {
    let number = |name: &str| request.get(name).and_then(Value::as_str).and_then(|id| id.parse::<u64>().ok());
    let ids = |name: &str| -> Vec<u64> {
        let list = request.get(name).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|id| id.as_str()?.parse().ok()).collect()
    };
    Ok(match method {
        "user.v1.Users/GetUser" => match number("id") {
            None | Some(0) => {
                let mut status = Status::new(Code::InvalidArgument, "id is missing");
                status.details.push(sb_board::call::Detail {
                    type_url: "type.googleapis.com/user.v1.Problem".into(),
                    value: Bytes::from_static(b"\x0a\x02id"),
                });
                return Err(status);
            }
            Some(404) => return Err(Status::new(Code::NotFound, "there is no user 404")),
            Some(id) => user(id),
        },
        "user.v1.Users/ListUsers" => {
            let ids = ids("ids");
            let ids = if ids.is_empty() { vec![1, 2, 3] } else { ids };
            json!({ "users": ids.into_iter().filter(|id| *id < 100).map(user).collect::<Vec<_>>() })
        }
        "user.v1.Users/RenameUser" => {
            let mut user = user(number("id").unwrap_or_default());
            user["name"] = request.get("name").cloned().unwrap_or_default();
            user
        }
        "user.v1.Users/Ping" => json!({}),
        "user.v1.Users/WhoAmI" => {
            let text = metadata.get("x-name").and_then(|v| v.to_str().ok()).unwrap_or_default();
            json!(text)
        }
        "user.v1.Users/Slow" => {
            std::future::pending::<()>().await;
            json!({})
        }
        "blog.v1.Posts/ListPosts" => {
            let id = number("userId").unwrap_or_default();
            json!({ "posts": [
                { "id": format!("{id}1"), "title": format!("first of {id}"), "authorId": id.to_string() },
                { "id": format!("{id}2"), "title": format!("second of {id}"), "authorId": id.to_string() },
            ] })
        }
        "blog.v1.Posts/BatchPosts" => {
            let posts = ids("authorIds").into_iter().filter(|id| id % 2 == 1).flat_map(|id| {
                [1, 2].map(|n| json!({ "id": format!("{id}{n}"), "title": format!("{n} of {id}"), "authorId": id.to_string() }))
            });
            json!({ "posts": posts.collect::<Vec<_>>() })
        }
        "social.v1.Friends/ListFriends" => {
            let id = number("userId").unwrap_or_default();
            json!({ "friends": [{ "name": format!("friend of {id}"), "since": "2026-11-28T10:00:00Z" }] })
        }
        "zoo.v1.Zoo/Echo" | "zoo.v1.Zoo/Keep" => request.clone(),
        "zoo.v1.Zoo/Odd" => {
            json!({ "enumeration": 77, "double": "NaN", "enumerations": ["ONE", 9], "int64": "1" })
        }
        other => return Err(Status::new(Code::Unimplemented, other.to_owned())),
    })
}

/// A running server with these services.
pub struct Site {
    pub addr: SocketAddr,
    pub board: Arc<Board>,
    pub calls: Calls,
    pub most: Arc<(AtomicUsize, AtomicUsize)>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    done: Option<tokio::task::JoinHandle<()>>,
}

/// The joins and entities of the tests.
pub fn options() -> Options {
    let args = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    };
    let join = |call: &str, pairs: &[(&str, &str)], pick: Option<&str>| Join {
        call: call.into(),
        args: args(pairs),
        pick: pick.map(str::to_owned),
        batch: None,
    };
    let mut options = Options::default();
    let mut add = |name: &str, join: Join| options.joins.insert(name.into(), join);
    add("Query.user", join("user.v1.Users/GetUser", &[], None));
    add("Query.users", join("user.v1.Users/ListUsers", &[], Some("users")));
    add("User.posts", join("blog.v1.Posts/ListPosts", &[("user_id", "id")], Some("posts")));
    add("User.friends", join("social.v1.Friends/ListFriends", &[("user_id", "id")], Some("friends")));
    add(
        "User.articles",
        Join {
            batch: Some(Batch { list: "author_ids".into(), key: "author_id".into(), many: true }),
            ..join("blog.v1.Posts/BatchPosts", &[("author_ids", "id")], Some("posts"))
        },
    );
    add(
        "User.buddies",
        Join {
            batch: Some(Batch { list: "ids".into(), key: "id".into(), many: false }),
            ..join("user.v1.Users/ListUsers", &[("ids", "friend_ids")], Some("users"))
        },
    );
    add(
        "Post.author",
        Join {
            batch: Some(Batch { list: "ids".into(), key: "id".into(), many: false }),
            ..join("user.v1.Users/ListUsers", &[("ids", "author_id")], Some("users"))
        },
    );
    add("Item.user", join("user.v1.Users/GetUser", &[("id", "user_id")], None));
    options.entities.insert(
        "User".into(),
        Entity {
            key: "id".into(),
            call: Some("user.v1.Users/ListUsers".into()),
            args: args(&[("ids", "id")]),
            pick: Some("users".into()),
            batch: Some(Batch { list: "ids".into(), key: "id".into(), many: false }),
        },
    );
    options
}

/// Who may come in: everybody, or one key for everything and anybody else nothing.
pub fn authority(key: Option<&str>) -> Authority {
    match key {
        None => Authority::new([], Vec::new(), BTreeMap::new()),
        Some(key) => {
            let grants = Grants { admin: true, ..Grants::default() };
            Authority::new(
                [(key.to_owned(), "admin".to_owned())],
                Vec::new(),
                [("admin".to_owned(), grants)].into(),
            )
        }
    }
}

pub static PROTOCOLS: &[&Descriptor] = &[&sb_graphql::DESCRIPTOR];

impl Site {
    pub async fn start(port: u16, options: Options, key: Option<&str>) -> Site {
        let (board, _) = Board::start(Settings {
            dir: None,
            authority: authority(key),
            http: HttpSettings { any_loopback_origin: true, heartbeat_ms: 1_000, ..HttpSettings::default() },
            memory: 64 << 20,
            max_message: 1 << 20,
            max_request: 8 << 20,
            max_wait_ms: 60_000,
            mode: "development".into(),
        })
        .unwrap();
        board.share(options);
        let schema = schema();
        let calls = Calls::default();
        let most: Arc<(AtomicUsize, AtomicUsize)> = Arc::default();
        let table = Arc::new(Table { schema: schema.clone(), calls: calls.clone(), running: most.clone() });
        let services =
            ["user.v1.Users", "blog.v1.Posts", "social.v1.Friends", "zoo.v1.Zoo"].map(|name| Service {
                name: name.into(),
                provider: table.clone(),
                timeout: None,
                shown: None,
                json: sb_schema::Options::default(),
            });
        board.set_services(schema, services.into()).await.unwrap();
        let (addr, stop, done) = serve(&board, port);
        Site { addr, board, calls, most, stop: Some(stop), done: Some(done) }
    }

    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(done) = self.done.take() {
            let _ = done.await;
        }
        self.board.stop().await;
    }
}

fn serve(
    board: &Arc<Board>,
    port: u16,
) -> (SocketAddr, tokio::sync::oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    use sb_net::{Listener, NetLimits, Server};
    let listener = Listener { addr: ([127, 0, 0, 1], port).into(), only: None, tls: None };
    let limits = NetLimits { drain: Duration::from_millis(500), ..NetLimits::default() };
    let server = Server::bind(board.clone(), PROTOCOLS, vec![listener], limits).unwrap();
    let addr = server.local_addrs()[0];
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let done = tokio::spawn(server.run(async move {
        let _ = stopped.await;
    }));
    (addr, stop, done)
}
