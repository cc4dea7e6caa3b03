//! The gateway against subgraphs that misbehave. That it agrees with real ones is tested in `interop/graphql`.

#[allow(dead_code, reason = "other tests use more of it")]
mod common;

use common::{Site, options};
use sb_board::mount::{Dialer, Target};
use sb_graphql::{Gateway, GatewaySettings, SharedGateway, Subgraph};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const SDL: &str = include_str!("common/supergraph.graphql");

/// A subgraph that answers whatever it is told to: status and body.
struct Fake {
    url: String,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<(u16, String)>>,
}

impl Fake {
    async fn start() -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/graphql", listener.local_addr().unwrap());
        let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new((200, String::new()))));
        let (count, given) = (asked.clone(), answer.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, count.clone(), given.clone()));
            }
        });
        Fake { url, asked, answer }
    }

    fn says(&self, status: u16, body: impl ToString) {
        *self.answer.lock().unwrap() = (status, body.to_string());
        self.asked.store(0, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<AtomicUsize>, answer: Arc<Mutex<(u16, String)>>) {
    let (mut buffer, mut chunk) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        let text = String::from_utf8_lossy(&buffer).to_ascii_lowercase();
        let whole = text.find("\r\n\r\n").filter(|end| {
            let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next());
            buffer.len() >= end + 4 + length.map_or(0, |length| length.parse::<usize>().unwrap())
        });
        if whole.is_some() {
            buffer.clear();
            asked.fetch_add(1, Ordering::SeqCst);
            let (status, body) = answer.lock().unwrap().clone();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len());
            if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => buffer.extend_from_slice(&chunk[..n]),
            _ => return,
        }
    }
}

struct World {
    site: Site,
    products: Fake,
    reviews: Fake,
}

async fn world(change: impl FnOnce(&mut sb_graphql::Options)) -> World {
    let mut options = options();
    change(&mut options);
    let site = Site::start(0, options, None).await;
    let (products, reviews) = (Fake::start().await, Fake::start().await);
    let at = |fake: &Fake| Subgraph::At {
        target: Target { url: fake.url.clone(), ..Target::default() },
        timeout: None,
    };
    let settings = GatewaySettings {
        sdl: SDL.into(),
        subgraphs: [("products".to_owned(), at(&products)), ("reviews".to_owned(), at(&reviews))].into(),
        forward: Vec::new(),
    };
    let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
    let gateway = Gateway::new(&settings, &dialer).unwrap();
    site.board.share(SharedGateway(Some(Arc::new(gateway))));
    World { site, products, reviews }
}

impl World {
    async fn ask(&self, query: &str) -> Value {
        let body = json!({ "query": query }).to_string();
        let mut stream = TcpStream::connect(self.site.addr).await.unwrap();
        let head = format!(
            "POST /graphql/supergraph HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }
}

fn paths(answer: &Value) -> Vec<Value> {
    answer["errors"].as_array().into_iter().flatten().map(|error| error["path"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_the_schema() {
    let world = world(|_| ()).await;
    for (data, shown, place) in [
        (json!({ "media": [{ "__typename": "Shop", "title": "x" }] }), Value::Null, json!(["media", 0])),
        (json!({ "media": { "title": "x" } }), Value::Null, json!(["media"])),
        (json!({ "media": [7] }), Value::Null, json!(["media", 0])),
        (
            json!({ "media": [{ "__typename": "Book", "title": 7 }] }),
            Value::Null,
            json!(["media", 0, "title"]),
        ),
        (json!({ "media": null }), Value::Null, json!(["media"])),
        (json!({}), Value::Null, json!(["media"])),
    ] {
        world.products.says(200, json!({ "data": data }));
        let answer = world.ask("{ media { title } }").await;
        assert_eq!((&answer["data"], paths(&answer)), (&shown, vec![place]), "{data}: {answer}");
    }
    for (weight, fits) in
        [(json!(3), true), (json!(3.5), false), (json!(1_u64 << 31), false), (json!("3"), false)]
    {
        world.products.says(200, json!({ "data": { "product": { "weight": weight } } }));
        let answer = world.ask("{ product(upc: 1) { weight } }").await;
        assert_eq!(answer["data"]["product"]["weight"] == weight, fits, "{answer}");
        assert_eq!(answer.get("errors").is_none(), fits, "{answer}");
    }
    world.products.says(200, json!({ "data": { "product": { "upc": 7 } } }));
    assert_eq!(
        world.ask("{ product(upc: 1) { upc } }").await,
        json!({ "data": { "product": { "upc": "7" } } })
    );
    world.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_none() {
    let world = world(|_| ()).await;
    for (status, body, code, asked) in [
        (200, "", "INTERNAL", 1),
        (200, "[]", "INTERNAL", 1),
        (200, "{\"data\":[]}", "INTERNAL", 1),
        (404, "<html>", "NOT_FOUND", 1),
        (401, "{}", "UNAUTHENTICATED", 1),
        (503, "{\"data\":{\"whoami\":\"x\"}}", "UNAVAILABLE", 3),
    ] {
        world.products.says(status, body);
        let answer = world.ask("{ whoami }").await;
        assert_eq!(answer["data"], json!({ "whoami": null }), "{status} {body}");
        assert_eq!(
            answer["errors"][0]["extensions"],
            json!({ "code": code, "service": "products" }),
            "{answer}"
        );
        assert_eq!(paths(&answer), [json!(["whoami"])]);
        assert_eq!(world.products.asked(), asked, "{status} {body}");
    }
    // An error with a status of its own is an answer; what it says of its place is believed as far as it makes sense.
    let errors = json!([{ "message": "no", "path": ["whoami", -1, {}], "extensions": { "code": "X", "service": "y" } }, 7]);
    world.products.says(500, json!({ "errors": errors }));
    let answer = world.ask("{ whoami }").await;
    assert_eq!(
        answer["errors"][0],
        json!({ "message": "no", "path": ["whoami"], "extensions": { "code": "X", "service": "products" } })
    );
    assert_eq!(answer["errors"].as_array().unwrap().len(), 2);
    world.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entities_and_limits() {
    let world = world(|options| options.limits.bytes = 20_000).await;
    let products = |n: usize| json!({ "data": { "products": vec![json!({ "__typename": "Product", "upc": "1", "weight": 1 }); n] } });
    let query = "{ products { upc it: broken } }";
    world.products.says(200, products(3));
    world.reviews.says(200, json!({ "data": { "_entities": [{ "it": "x" }, { "it": "too many" }] } }));
    let answer = world.ask(query).await;
    assert_eq!(answer, json!({ "data": { "products": vec![json!({ "upc": "1", "it": "x" }); 3] } }));
    // The same entity a hundred times is asked for once, and its copies count.
    world.products.says(200, products(100));
    world.reviews.says(200, json!({ "data": { "_entities": [{ "it": "x".repeat(1_000) }] } }));
    let answer = world.ask(query).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "RESOURCE_EXHAUSTED", "{answer}");
    assert_eq!(world.reviews.asked(), 1);
    world
        .reviews
        .says(200, format!("{{\"data\":{{\"_entities\":[{{\"it\":\"{}\"}}]}}}}", "x".repeat(30_000)));
    world.products.says(200, products(1));
    let answer = world.ask(query).await;
    assert_eq!(answer["data"], json!({ "products": [{ "upc": "1", "it": null }] }));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "RESOURCE_EXHAUSTED", "{answer}");
    assert_eq!(paths(&answer), [json!(["products", 0, "it"])]);
    // Nothing to look up: nobody is asked.
    world.products.says(200, json!({ "data": { "products": [] } }));
    world.reviews.says(200, "");
    assert_eq!(world.ask(query).await, json!({ "data": { "products": [] } }));
    assert_eq!(world.reviews.asked(), 0);
    world.site.stop().await;
    let world = self::world(|options| options.limits.calls = 1).await;
    world.products.says(200, products(1));
    let answer = world.ask(query).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "RESOURCE_EXHAUSTED", "{answer}");
    assert_eq!(world.reviews.asked(), 0);
    world.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_is_for_the_whole() {
    let world = world(|options| options.timeout_ms = 50).await;
    // It takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target { url: format!("http://{}", silent.local_addr().unwrap()), ..Target::default() };
    let settings = GatewaySettings {
        sdl: SDL.into(),
        subgraphs: [("products".to_owned(), Subgraph::At { target, timeout: None })].into(),
        forward: Vec::new(),
    };
    let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
    world.site.board.share(SharedGateway(Some(Arc::new(Gateway::new(&settings, &dialer).unwrap()))));
    let answer = world.ask("{ whoami }").await;
    assert_eq!(answer["data"], json!({ "whoami": null }));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "DEADLINE_EXCEEDED", "{answer}");
    world.site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_supergraph_there_is_no_gateway() {
    let site = Site::start(0, options(), None).await;
    let mut stream = TcpStream::connect(site.addr).await.unwrap();
    stream
        .write_all(
            b"GET /graphql/supergraph?query=%7Ba%7D HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    site.stop().await;
    let dialer: Arc<dyn Dialer> = Arc::new(sb_net::Dial);
    for (sdl, url) in [
        ("type Query { a: Int }", "http://h"),
        (SDL, "grpc://h:1"),
        (SDL, "http://:1/"),
        (SDL, "http://h:x/"),
    ] {
        let target = Target { url: url.into(), ..Target::default() };
        let settings = GatewaySettings {
            sdl: sdl.into(),
            subgraphs: [("reviews".to_owned(), Subgraph::At { target, timeout: None })].into(),
            forward: Vec::new(),
        };
        assert!(Gateway::new(&settings, &dialer).is_err(), "{url}");
    }
}
