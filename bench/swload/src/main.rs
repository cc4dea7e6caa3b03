//! swload: one load client for many messaging protocols (127.0.0.1 only by intent).
mod flow;
mod proto;
mod raw;
mod util;

const HELP: &str = "swload flow  --proto P --addr H:P [--topic T] [--path /x] [--pubs N] [--subs N] [--window W]
              [--size B] [--secs S] [--count N] [--rate R] [--runs N] [--pid SERVERPID[,..]] [--mode pubsub|echo|rr|queue]
              [--pub-proto P --pub-addr H:P --pub-path /x --pub-template 'a{}b'] [--qos 0|1|2] [--sub-qos Q]
              P: nats natsjs mqtt redis redisx ws sb sio sse amqp http
              --per-conn N: requests under way on one connection; sb (the subprotocol switchboard.v1): --path /ws --topic T --live 0|1
              amqp: --queue-type classic|quorum|stream --durable 0|1 --persistent 0|1 --confirm 0|1 --autoack 0|1 --exchange X
              natsjs: --stream S --storage file|memory --setup 1
swload idle  --proto P --addr H:P --path /x --subs N --hold S --pid PID     resident memory a connection
swload rtt [--size B]            blocking loopback TCP round trip (own echo thread)
swload sync  --file F --size B --batch N --secs S      append N*B bytes then fdatasync
swload mem   | swload crc";

fn main() {
    let mut it = std::env::args().skip(1);
    let cmd = it.next().unwrap_or_default();
    let rest = it.collect::<Vec<_>>();
    let a = util::Args::parse(rest.into_iter());
    match cmd.as_str() {
        "flow" => flow::run(&a),
        "idle" => flow::idle(&a),
        "rtt" => raw::rtt(&a),
        "sync" => raw::sync(&a),
        "mem" => raw::mem(&a),
        "crc" => raw::crc(&a),
        _ => {
            eprintln!("{HELP}");
            std::process::exit(2)
        }
    }
}
