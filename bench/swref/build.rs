//! Compiles the reference servers' protocol definitions.
use tonic_build::manual::{Builder, Method, Service};
fn main() {
    let m = |n: &str, r: &str| {
        Method::builder()
            .name(n)
            .route_name(r)
            .input_type("crate::Msg")
            .output_type("crate::Msg")
            .codec_path("tonic_prost::ProstCodec")
    };
    let s = Service::builder()
        .name("Echo")
        .package("sw")
        .method(m("unary", "Unary").build())
        .method(m("down", "Down").server_streaming().build())
        .method(m("bidi", "Bidi").client_streaming().server_streaming().build())
        .build();
    Builder::new().compile(&[s]);
}
