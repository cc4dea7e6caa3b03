//! The services that this crate answers itself: `grpc.health.v1.Health` and `grpc.reflection` in both versions. They are not in the table of
//! services: they are about it.

use crate::{health, reflection};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sb_board::Access;
use sb_board::call::{Call, Code, Codec, End, Part, Reply, Status, Streaming};
use sb_schema::{Message, Schema};
use std::sync::LazyLock;

/// What describes them.
pub(crate) static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let texts = [
        ("grpc/health/v1/health.proto", include_str!("../proto/health.proto")),
        ("grpc/reflection/v1/reflection.proto", include_str!("../proto/reflection_v1.proto")),
        ("grpc/reflection/v1alpha/reflection.proto", include_str!("../proto/reflection_v1alpha.proto")),
    ];
    Schema::from_texts(texts).expect("the texts above compile: a test sees to it")
});

/// Their names.
pub(crate) const NAMES: [&str; 3] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// One of their methods.
#[derive(Copy, Clone)]
pub(crate) enum Own {
    /// `Health/Check`
    Check,
    /// `Health/List`
    List,
    /// `Health/Watch`
    Watch,
    /// `ServerReflectionInfo` of either version: their messages are alike.
    Reflect,
}

impl Own {
    /// The method of this path.
    pub(crate) fn find(path: &str) -> Option<Own> {
        Some(match path.strip_prefix("grpc.")? {
            "health.v1.Health/Check" => Own::Check,
            "health.v1.Health/List" => Own::List,
            "health.v1.Health/Watch" => Own::Watch,
            "reflection.v1.ServerReflection/ServerReflectionInfo"
            | "reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Own::Reflect,
            _ => return None,
        })
    }

    /// Which sides stream.
    pub(crate) fn streaming(self) -> Streaming {
        match self {
            Own::Check | Own::List => Streaming::default(),
            Own::Watch => Streaming { client: false, server: true },
            Own::Reflect => Streaming { client: true, server: true },
        }
    }

    /// Answers a call.
    pub(crate) async fn call(self, access: Access, mut call: Call) -> Result<Reply, Status> {
        let codec = call.codec;
        let method = SCHEMA.method(&call.method).cloned();
        let (input, output) = match &method {
            Some(method) => (method.input.clone(), method.output.clone()),
            None => return Err(Status::new(Code::Unimplemented, "there is no such method")),
        };
        if codec == Codec::Json {
            let messages = call.messages.map(move |m| m.and_then(|m| to_proto(&input, &m)));
            call.messages = Box::pin(messages);
        }
        let mut reply = match self {
            Own::Check => health::check(&access, &call.message().await?)?,
            Own::List => {
                call.message().await?;
                health::list(&access)
            }
            Own::Watch => {
                let request = call.message().await?;
                health::watch(access, &request)?
            }
            Own::Reflect => reflection::reply(access, call.messages),
        };
        if codec == Codec::Json {
            reply.parts = Box::pin(reply.parts.map(move |part| match part {
                Part::Message(bytes) => match to_json(&output, &bytes) {
                    Ok(bytes) => Part::Message(bytes),
                    Err(status) => Part::End(End::from(status)),
                },
                end => end,
            }));
        }
        Ok(reply)
    }
}

fn to_proto(kind: &Message, json: &[u8]) -> Result<Bytes, Status> {
    sb_schema::json_to_proto(kind, json, &sb_schema::Options::default())
        .map_err(|error| Status::new(Code::InvalidArgument, error.to_string()))
}

fn to_json(kind: &Message, proto: &[u8]) -> Result<Bytes, Status> {
    sb_schema::proto_to_json(kind, proto, &sb_schema::Options::default())
        .map(Bytes::from)
        .map_err(|error| Status::new(Code::Internal, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_described_as_it_is_answered() {
        let mut methods = 0;
        for service in SCHEMA.services() {
            assert!(NAMES.contains(&&*service.full_name));
            for method in &service.methods {
                let streaming = Own::find(&method.path).unwrap().streaming();
                assert_eq!(streaming.client, method.client_streaming, "{}", method.path);
                assert_eq!(streaming.server, method.server_streaming, "{}", method.path);
                methods += 1;
            }
        }
        assert_eq!(methods, 5);
        assert!(Own::find("grpc.health.v1.Health/Nonsense").is_none());
    }
}
