//! Compiles the reference servers' protocol definitions: those of `bench/proto`.
use tonic_build::manual::{Builder, Method, Service};

fn method(name: &str, route: &str, input: &str, output: &str) -> tonic_build::manual::MethodBuilder {
    Method::builder()
        .name(name)
        .route_name(route)
        .input_type(format!("crate::calls::{input}"))
        .output_type(format!("crate::calls::{output}"))
        .codec_path("tonic_prost::ProstCodec")
}

fn service(name: &str, methods: Vec<Method>) -> Service {
    methods.into_iter().fold(Service::builder().name(name).package("sw"), |s, m| s.method(m)).build()
}

fn main() {
    let one = |name, route, input, output| vec![method(name, route, input, output).build()];
    Builder::new().compile(&[
        service(
            "Echo",
            vec![
                method("unary", "Unary", "Msg", "Msg").build(),
                method("down", "Down", "Msg", "Msg").server_streaming().build(),
                method("bidi", "Bidi", "Msg", "Msg").client_streaming().server_streaming().build(),
                method("put_order", "PutOrder", "Order", "Order").build(),
            ],
        ),
        service("Users", one("get_user", "GetUser", "UserKey", "User")),
        service("Posts", one("list_posts", "ListPosts", "UserKey", "PostList")),
        service("Friends", one("list_friends", "ListFriends", "UserKey", "FriendList")),
    ]);
}
