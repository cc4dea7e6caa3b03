//! docs/api.md is made of the comments in the `.proto` files. `SWITCHBOARD_WRITE_DOCS=1 cargo test -p sb-api --test docs` writes it anew.

use sb_schema::{Cardinality, Field, Idempotency, Message, Type};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

const INTRO: &str = "\
# Switchboard's own API

<!-- Made of proto/switchboard/v1/*.proto by crates/api/tests/docs.rs: change the comments there. -->

Topics, messages, groups, jobs and the server as services described in Protobuf. Every RPC protocol reaches them like any other service:
gRPC and Connect at `/switchboard.v1.Messages/Publish`, JSON by posting ProtoJSON to the same path, and so on. The semantics, names, units and
limits are those of [the HTTP surface](http.md), which is the friendly form of the same operations; the `.proto` files are in
`proto/switchboard/v1`.

- **Rights** are those of what is done: publishing needs the right to publish. Nobody needs the right to call these methods as well.
- **Errors** are statuses of gRPC. Their details hold `google.rpc.ErrorInfo` with the domain `switchboard`, the code of [errors.md](errors.md) as
  `reason` and what to do as `metadata.fix`; and `google.rpc.RetryInfo` where waiting helps.
- **Times** are kept in milliseconds; parts of a millisecond in a duration count as one.
- **Streams** are pulled: who does not read gets no more. They end with `UNAVAILABLE` when the server stops, and with `UNAUTHENTICATED` when the
  caller's token ends.
- **Waiting** ends a little before the call's deadline, so that the answer that there is nothing still arrives.
- None of these methods can be submitted as a job.
- `traceparent`, `tracestate` and `baggage` among a call's metadata are kept as headers of what is published or submitted by it, unless that has
  such headers itself.
- A request has at most `[limits] request` bytes, 8 MiB unless configured, so that a batch has room; GraphQL, Thrift and MCP keep their own bounds.

Jobs are also `google.longrunning.Operations`: `jobs/ID` is the operation's name, its metadata is a `switchboard.v1.Job`, its response is the method's
own output message when the method is described and answers once, otherwise a `switchboard.v1.JobResult`. `DeleteOperation` is `UNIMPLEMENTED`; the
filter of `ListOperations` is `method = NAME`, `state = NAME`, or both joined by `AND`.
";

fn short(name: &str) -> &str {
    name.strip_prefix("switchboard.v1.").unwrap_or(name)
}

fn one_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn scalar(field: &Field<'_>) -> String {
    match field.r#type() {
        Type::Scalar(scalar) => format!("{scalar:?}").to_lowercase(),
        Type::Enum(kind) => short(kind.full_name()).to_owned(),
        Type::Message(kind) => short(kind.full_name()).trim_start_matches("google.protobuf.").to_owned(),
    }
}

/// A message as a table, behind it those that it is the first to name.
fn message(out: &mut String, message: &Message, done: &mut BTreeSet<String>) {
    if !message.full_name().starts_with("switchboard.") || !done.insert(message.full_name().to_owned()) {
        return;
    }
    writeln!(out, "\n**{}**: {}", short(message.full_name()), one_line(message.comment())).unwrap();
    let fields: Vec<Field<'_>> = message.fields().collect();
    if !fields.is_empty() {
        out.push_str("\n| field | type | |\n|---|---|---|\n");
    }
    for field in &fields {
        let many = if matches!(field.cardinality(), Cardinality::List) { " …" } else { "" };
        writeln!(out, "| `{}` | {}{many} | {} |", field.name(), scalar(field), one_line(field.comment()))
            .unwrap();
    }
    for field in &fields {
        match field.r#type() {
            Type::Message(kind) => self::message(out, &kind, done),
            Type::Enum(kind) if done.insert(kind.full_name().to_owned()) => {
                writeln!(
                    out,
                    "\n**{}**: {}\n\n| value | |\n|---|---|",
                    short(kind.full_name()),
                    one_line(kind.comment())
                )
                .unwrap();
                for value in kind.values() {
                    writeln!(out, "| `{}` | {} |", value.name(), one_line(value.comment())).unwrap();
                }
            }
            _ => {}
        }
    }
}

fn page() -> String {
    let mut builder = sb_schema::Builder::new();
    sb_api::add_to(&mut builder).unwrap();
    let schema = builder.build().unwrap();
    let mut out = INTRO.to_owned();
    let mut done = BTreeSet::new();
    for name in sb_api::SERVICES.iter().filter(|n| n.starts_with("switchboard.")) {
        let service = schema.service(name).unwrap();
        writeln!(out, "\n## {}\n\n{}\n", short(name), one_line(&service.comment)).unwrap();
        out.push_str("| method | takes | answers | |\n|---|---|---|---|\n");
        for method in &service.methods {
            let side = |message: &Message, streams| {
                format!("{}{}", if streams { "stream of " } else { "" }, short(message.full_name()))
            };
            let reads = if method.idempotency == Idempotency::NoSideEffects { " Only reads." } else { "" };
            writeln!(
                out,
                "| `{}` | {} | {} | {}{reads} |",
                method.name,
                side(&method.input, method.client_streaming),
                side(&method.output, method.server_streaming),
                one_line(&method.comment)
            )
            .unwrap();
        }
        for method in &service.methods {
            message(&mut out, &method.input, &mut done);
            message(&mut out, &method.output, &mut done);
        }
    }
    out
}

#[test]
fn the_page_is_that_of_the_description() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let page = page();
    if std::env::var_os("SWITCHBOARD_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "docs/api.md is not that of the .proto files; SWITCHBOARD_WRITE_DOCS=1 writes it");
}

#[test]
fn everything_is_described() {
    let mut builder = sb_schema::Builder::new();
    sb_api::add_to(&mut builder).unwrap();
    let schema = builder.build().unwrap();
    let ours = |name: &str| name.starts_with("switchboard.v1.");
    for service in schema.services() {
        assert!(!service.comment.is_empty(), "{}", service.full_name);
        for method in &service.methods {
            assert!(!method.comment.is_empty(), "{}", method.path);
        }
    }
    for message in schema.messages().filter(|m| ours(m.full_name())) {
        assert!(!message.comment().is_empty(), "{}", message.full_name());
        for field in message.fields() {
            assert!(!field.comment().is_empty(), "{}.{}", message.full_name(), field.name());
        }
    }
}
