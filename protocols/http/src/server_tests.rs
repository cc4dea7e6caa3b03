//! Tests of the table of routes, of CORS and of what every answer has.

use super::*;
use proptest::prelude::*;

fn found(method: &str, path: &str) -> String {
    match find(method, path) {
        Ok(Found::Route(route, args)) => format!("{} {}", route.id, args.join(" ")).trim_end().to_owned(),
        Ok(Found::Methods(methods)) => format!("405 {}", methods.join(" ")),
        Ok(Found::Nothing) => "404".to_owned(),
        Err(error) => error.code.to_owned(),
    }
}

#[test]
fn paths_lead_to_handlers() {
    for (method, path, want) in [
        ("POST", "/topics/orders.eu", "publish orders.eu"),
        ("GET", "/topics/orders.%3E", "read orders.>"),
        ("GET", "/topics/a%252Eb", "read a%2Eb"),
        ("GET", "/topics", "listTopics"),
        ("PUT", "/topics/a/groups/g", "putGroup a g"),
        ("POST", "/topics/a/groups/g/ack", "ack a g"),
        ("GET", "/topics/a/messages/0-1", "getMessage a 0-1"),
        ("POST", "/jobs/take", "takeJobs"),
        ("GET", "/jobs/take", "getJob take"),
        ("POST", "/jobs/x", "405 GET DELETE"),
        ("POST", "/jobs/x/nothing", "404"),
        ("POST", "/code.v1.Runner/Run", "call code.v1.Runner Run"),
        ("POST", "/Runner/Run", "call Runner Run"),
        ("GET", "/code.v1.Runner/Run", "405 POST"),
        ("GET", "/assets/app.js", "404"),
        ("POST", "/console/x", "404"),
        ("PUT", "/methods/a.B/C", "putMethod a.B C"),
        ("GET", "/ws", "websocket"),
        ("GET", "/nothing/here/at/all", "404"),
        ("GET", "/a/b/c/d/e/f/g/h/i", "404"),
        ("GET", "", "404"),
        ("GET", "*", "404"),
        ("GET", "/topics/%FF", "SB0202"),
        ("GET", "/topics/%2", "SB0202"),
        ("POST", "/topics/", "404"),
        ("DELETE", "/topics", "405 GET"),
    ] {
        assert_eq!(found(method, path), want, "{method} {path}");
    }
}

#[test]
fn every_route_is_reached_by_its_own_path() {
    for route in ROUTES {
        let path = route.path.replace(['{', '}'], "");
        let Ok(Found::Route(got, _)) = find(route.method, &path) else { panic!("{} {path}", route.method) };
        assert_eq!(got.id, route.id);
        assert!(allowed(&path).contains(&route.method));
        let first = route.path.split('/').nth(1).unwrap();
        assert!(first.starts_with('{') || RESERVED.contains(&first), "{first} could be taken for a service");
    }
}

#[test]
fn near_paths() {
    assert_eq!(near_path("/topcis/orders"), Some("/topics/{topic}"));
    assert_eq!(near_path("/topics/a/grops/g"), Some("/topics/{topic}/groups/{group}"));
    assert_eq!(near_path("/metrisc"), Some("/metrics"));
    assert_eq!(near_path("/wp-admin"), None);
}

fn parts(method: &str, pairs: &[(&'static str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri("/topics/orders");
    for (name, value) in pairs {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn preflights() {
    let settings = HttpSettings { origins: vec!["https://app.example".into()], ..HttpSettings::default() };
    let ask = |origin: &str| {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type, sb-header-tenant, x-evil"),
        ];
        let parts = parts("OPTIONS", &asked);
        let mut response = options(&settings, &parts);
        finish(&mut response, &Cors::new(&settings, &parts.headers), false);
        response
    };
    let good = ask("https://app.example");
    assert_eq!(good.status(), 204);
    assert_eq!(good.headers()["access-control-allow-origin"], "https://app.example");
    let allowed = good.headers()["access-control-allow-headers"].to_str().unwrap();
    assert!(
        allowed.contains("sb-header-tenant")
            && allowed.contains("Idempotency-Key")
            && !allowed.contains("x-evil")
    );
    assert!(good.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST"));
    for bad in ["https://app.example.evil", "http://app.example", "null", "https://app.example:444"] {
        let response = ask(bad);
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{bad}");
        assert!(!response.headers().contains_key("access-control-allow-methods"));
        assert!(response.headers().get_all("vary").iter().any(|v| v == "Origin"));
    }
}

#[test]
fn loopback_origins_in_development() {
    let settings = HttpSettings { any_loopback_origin: true, ..HttpSettings::default() };
    let seen =
        |origin: &str| Cors::new(&settings, &parts("GET", &[("origin", origin)]).headers).origin.is_some();
    assert!(seen("http://localhost:3000") && seen("http://127.0.0.1") && !seen("https://evil.example"));
}

#[test]
fn every_answer() {
    let cors = Cors { origin: Some(HeaderValue::from_static("http://localhost")), varies: true };
    let mut response = sb_board::problem::response(&Error::invalid("x"), None);
    finish(&mut response, &cors, true);
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["access-control-allow-origin"], "http://localhost");
    assert!(response.headers()["access-control-expose-headers"].to_str().unwrap().contains("ETag"));
    assert!(matches!(response.body(), Body::Empty));
    assert_ne!(response.headers()["content-length"], "0", "HEAD tells the length of GET");
    let mut message = empty(StatusCode::OK);
    set(&mut message, "sb-header-tenant", "acme");
    set(&mut message, "etag", "bad\nvalue");
    finish(&mut message, &cors, false);
    assert!(
        message.headers()["access-control-expose-headers"].to_str().unwrap().ends_with("sb-header-tenant")
    );
    assert!(!message.headers().contains_key("etag"));
}

#[test]
fn upgrades_are_seen() {
    assert!(is_websocket(&parts("GET", &[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")])));
    assert!(!is_websocket(&parts("GET", &[("upgrade", "websocket")])));
    assert!(!is_websocket(&parts("POST", &[("upgrade", "websocket"), ("connection", "upgrade")])));
    assert!(!is_websocket(&parts("GET", &[("upgrade", "h2c"), ("connection", "upgrade")])));
}

#[test]
fn trace_ids() {
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let full = format!("00-{id}-00f067aa0ba902b7-01");
    assert_eq!(trace_id(&parts("GET", &[("traceparent", &full)]).headers), Some(id));
    assert_eq!(trace_id(&parts("GET", &[("traceparent", "00-xyz-1-01")]).headers), None);
}

#[test]
fn paths_of_the_users_own() {
    let call = sb_board::Route {
        http_method: "POST".into(),
        path: "/api/execute".into(),
        target: RouteTarget::Call("code.v1.Runner/Run".into()),
    };
    let Some(Found::Route(route, args)) = own_route(&call) else { panic!("a route") };
    assert_eq!((route.id, args.join("/")), ("call", "code.v1.Runner/Run".to_owned()));
    let events = sb_board::Route {
        http_method: "GET".into(),
        path: "/events".into(),
        target: RouteTarget::Topic(sb_core::model::Pattern::parse("orders.>").unwrap()),
    };
    let Some(Found::Route(route, args)) = own_route(&events) else { panic!("a route") };
    assert_eq!((route.id, args.join(" ")), ("read", "orders.>".to_owned()));
}

#[tokio::test]
async fn bodies_are_bounded() {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};
    let pieces = |count: usize| {
        let frame = |_| Ok::<_, std::io::Error>(http_body::Frame::data(Bytes::from_static(b"0123456789")));
        StreamBody::new(stream::iter((0..count).map(frame)))
    };
    let shared = Bytes::from_static(b"one piece");
    let whole = collect(&mut Full::new(shared.clone()), 9).await.unwrap();
    assert_eq!(whole.as_ptr(), shared.as_ptr(), "not copied");
    assert_eq!(collect(&mut Full::new(shared), 8).await.unwrap_err().code, "SB0205");
    assert_eq!(collect(&mut pieces(3), 30).await.unwrap().len(), 30);
    assert_eq!(collect(&mut pieces(3), 29).await.unwrap_err().code, "SB0205");
    assert_eq!(collect(&mut pieces(usize::MAX), 1000).await.unwrap_err().code, "SB0205", "endless");
    assert!(collect(&mut pieces(0), 0).await.unwrap().is_empty());
    let cut = stream::iter([Err::<http_body::Frame<Bytes>, _>(std::io::Error::other("gone"))]);
    assert_eq!(collect(&mut StreamBody::new(cut), 10).await.unwrap_err().code, "SB0201");
}

proptest! {
    #[test]
    fn no_path_panics(path in "(/[ -~]{0,12}){0,9}", method in "[A-Z]{0,7}") {
        let _ = find(&method, &path);
        let _ = (allowed(&path), near_path(&path));
    }
}
