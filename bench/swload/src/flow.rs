//! One epoll thread: publishers with a window, subscribers that find a time mark in whatever they are sent.
use crate::proto::*;
use crate::util::*;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

const MARK: usize = 19; // "@@T" and 16 hexadecimal digits of nanoseconds

#[derive(Clone, Copy, PartialEq)]
enum Acks {
    None,
    Needle(&'static [u8], u64),
    Mqtt,
    Amqp,
}

struct Conn {
    s: TcpStream,
    out: Vec<u8>,
    pos: usize,
    carry: Vec<u8>,
    armed: bool,
    publ: bool,
    sub: bool,
    resp: bool,
    packets: bool, // MQTT or AMQP packets must be parsed on this connection
    p: P,
    times: VecDeque<u64>,
    framer: Option<Framer>,
    sent: u64,
    got: u64,
    tag: u64,
    acked_tag: u64,
    unping: u64,
}

pub fn run(a: &Args) {
    let (sc, pc) = (Cfg::new(a, false), Cfg::new(a, true));
    let mode = a.s("mode", "pubsub");
    let (echo, rr, queue) = (mode == "echo", mode == "rr", mode == "queue");
    let (pubs, subs) = (a.n("pubs", 1) as usize, a.n("subs", if echo || rr { 0 } else { 1 }) as usize);
    let window = a.n("window", 1000);
    let (secs, count, rate, runs) =
        (a.f("secs", 4.0), a.n("count", u64::MAX), a.f("rate", 0.0), a.n("runs", 3));
    let srv = pids(a);
    let self_acks = match pc.p {
        _ if echo || rr => Acks::None,
        P::NatsJs => Acks::Needle(b"\"seq\":", 1),
        P::Nats if subs == 0 => Acks::Needle(b"PONG\r\n", 100),
        P::Redis => Acks::Needle(b":", 1),
        P::RedisX => Acks::Needle(b"$", 1),
        P::Http => Acks::Needle(b"HTTP/1.1 2", 1),
        P::Sb => Acks::Needle(b"\"ok\"", 1),
        P::Mqtt if pc.qos > 0 => Acks::Mqtt,
        P::Amqp if pc.confirm => Acks::Amqp,
        _ => Acks::None,
    };
    let mut cs: Vec<Conn> = Vec::new();
    let mk = |s: TcpStream, p: P, publ, sub, resp, packets, framer| {
        s.set_nonblocking(true).unwrap();
        Conn {
            s,
            out: Vec::new(),
            pos: 0,
            carry: Vec::new(),
            armed: false,
            publ,
            sub,
            resp,
            packets,
            p,
            times: VecDeque::new(),
            framer,
            sent: 0,
            got: 0,
            tag: 0,
            acked_tag: 0,
            unping: 0,
        }
    };
    if echo || rr {
        if rr {
            cs.push(mk(responder(&sc), sc.p, false, false, true, false, None));
        }
        for i in 0..pubs {
            cs.push(mk(
                connect(&pc, i, true, true),
                pc.p,
                true,
                true,
                false,
                false,
                Some(Framer::new(&pc, i)),
            ));
        }
    } else {
        // A JetStream stream must be there before its consumers.
        let mut ps = Vec::new();
        for i in 0..pubs {
            let pk = matches!(self_acks, Acks::Mqtt | Acks::Amqp);
            ps.push(mk(
                connect(&pc, i, true, false),
                pc.p,
                true,
                false,
                false,
                pk,
                Some(Framer::new(&pc, i)),
            ));
        }
        for i in 0..subs {
            let pk = (sc.p == P::Mqtt && sc.sub_qos > 0) || (sc.p == P::Amqp && !sc.autoack);
            cs.push(mk(connect(&sc, i, false, true), sc.p, false, true, false, pk, None));
        }
        cs.append(&mut ps);
    }
    let ep = unsafe { libc::epoll_create1(0) };
    for (i, c) in cs.iter().enumerate() {
        let mut e = libc::epoll_event { events: libc::EPOLLIN as u32, u64: i as u64 };
        assert_eq!(0, unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, c.s.as_raw_fd(), &mut e) });
    }
    let pubidx: Vec<usize> = (0..cs.len()).filter(|i| cs[*i].publ).collect();
    let fan = if queue || echo || rr { 1 } else { subs as u64 };
    let (mut rates, mut srvs, mut p50s, mut p99s, mut clis) = (vec![], vec![], vec![], vec![], vec![]);
    let mut payload = vec![b'x'; pc.size];
    let mut rb = vec![0u8; 1 << 20];
    let mut evs: Vec<libc::epoll_event> = vec![libc::epoll_event { events: 0, u64: 0 }; 1024];
    let settle = a.f("settle", 0.3);
    // Requests under way on one connection; most HTTP clients have one.
    let per_conn = a.n("per-conn", u64::MAX) as usize;
    let reconnect = a.n("pub-reconnect", 0) == 1; // for servers that close after each HTTP answer
    for run in 0..runs {
        std::thread::sleep(std::time::Duration::from_secs_f64(settle));
        let (mut sent, mut delivered, mut acked) = (0u64, 0u64, 0u64);
        let (mut hd, mut ha) = (Hist::new(), Hist::new());
        for c in cs.iter_mut() {
            c.sent = 0;
            c.got = 0;
            c.times.clear();
        }
        let m = Meter::start(&srv);
        let t0 = now_ns();
        let end = t0 + (secs * 1e9) as u64;
        let (mut last, mut rrb) = (t0, 0usize);
        let mut dirty: Vec<usize> = Vec::new();
        loop {
            let now = now_ns();
            let open = now < end && sent < count;
            let done = |sent: u64, delivered: u64, acked: u64| {
                (fan == 0 || delivered >= sent * fan) && (self_acks == Acks::None || acked >= sent)
            };
            if !open
                && (done(sent, delivered, acked)
                    || now > end + 8_000_000_000
                    || (sent >= count && now > last + 8_000_000_000))
            {
                break;
            }
            // Publish as far as the window and the rate let us.
            if open {
                let allowed = if rate > 0.0 { ((now - t0) as f64 * rate / 1e9) as u64 } else { u64::MAX };
                if echo || rr {
                    for &i in &pubidx {
                        let c = &mut cs[i];
                        let before = c.sent;
                        while c.sent - c.got < window && sent < allowed.min(count) {
                            mark(&mut payload, now_ns());
                            c.framer.as_mut().unwrap().put(&mut c.out, &payload);
                            c.sent += 1;
                            sent += 1;
                        }
                        if c.sent != before {
                            dirty.push(i);
                        }
                    }
                } else {
                    let mut compl = u64::MAX;
                    if fan > 0 {
                        compl = compl.min(delivered / fan);
                    }
                    if self_acks != Acks::None {
                        compl = compl.min(acked);
                    }
                    if compl == u64::MAX {
                        compl = sent; // nothing comes back: socket back-pressure only
                    }
                    let mut idle = 0;
                    while sent < compl.saturating_add(window)
                        && sent < allowed.min(count)
                        && idle < pubidx.len()
                    {
                        let i = pubidx[rrb % pubidx.len()];
                        rrb += 1;
                        let c = &mut cs[i];
                        if c.out.len() - c.pos > 64 << 10
                            || c.times.len() >= per_conn
                            || (reconnect && !c.times.is_empty())
                        {
                            idle += 1;
                            continue;
                        }
                        idle = 0;
                        let t = now_ns();
                        mark(&mut payload, t);
                        c.framer.as_mut().unwrap().put(&mut c.out, &payload);
                        if self_acks != Acks::None {
                            match self_acks {
                                Acks::Needle(_, k) if k > 1 => {
                                    c.unping += 1;
                                    if c.unping == k {
                                        c.out.extend_from_slice(b"PING\r\n");
                                        c.unping = 0;
                                        c.times.push_back(t);
                                    }
                                }
                                _ => c.times.push_back(t),
                            }
                        }
                        if !c.armed && c.out.len() - c.pos > 32 << 10 {
                            flush(c, ep, i);
                        }
                        dirty.push(i);
                        sent += 1;
                    }
                }
            } else if let Acks::Needle(_, k) = self_acks {
                // Close an unfinished PING batch.
                if k > 1 {
                    for &i in &pubidx {
                        let c = &mut cs[i];
                        if c.unping > 0 {
                            c.out.extend_from_slice(b"PING\r\n");
                            c.times.push_back(0);
                            acked = acked.wrapping_sub(k - c.unping);
                            c.unping = 0;
                            dirty.push(i);
                        }
                    }
                }
            }
            dirty.dedup();
            for i in dirty.drain(..) {
                if !cs[i].armed {
                    flush(&mut cs[i], ep, i);
                }
            }
            let wait_ns: u64 =
                if rate > 0.0 && open { ((1e9 / rate) as u64).min(5_000_000) } else { 50_000_000 };
            let can_send_more =
                open && self_acks == Acks::None && fan == 0 && pubidx.iter().any(|i| !cs[*i].armed);
            let ts = libc::timespec { tv_sec: 0, tv_nsec: if can_send_more { 0 } else { wait_ns as i64 } };
            let n = unsafe {
                libc::syscall(
                    libc::SYS_epoll_pwait2,
                    ep,
                    evs.as_mut_ptr(),
                    evs.len() as i32,
                    &ts,
                    std::ptr::null::<u8>(),
                    8usize,
                )
            };
            for e in 0..n.max(0) as usize {
                let (i, ev) = (evs[e].u64 as usize, evs[e].events);
                if ev & libc::EPOLLOUT as u32 != 0 {
                    flush(&mut cs[i], ep, i);
                }
                if ev & !(libc::EPOLLOUT as u32) == 0 {
                    continue;
                }
                let c = &mut cs[i];
                let keep = c.carry.len();
                rb[..keep].copy_from_slice(&c.carry);
                let got = match c.s.read(&mut rb[keep..]) {
                    Ok(0) => panic!(
                        "server closed connection {i}: {}",
                        String::from_utf8_lossy(&rb[..keep.min(200)])
                    ),
                    Ok(g) => g,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                    Err(e) => panic!("connection {i}: {e}"),
                };
                let b = &rb[..keep + got];
                let t = now_ns();
                last = t;
                let used;
                if c.packets {
                    used = packets(c, b, t, &mut delivered, &mut acked, &mut hd, &mut ha);
                } else if c.resp {
                    used = respond(c, b);
                } else if c.sub {
                    let d0 = delivered;
                    used = marks(b, t, &mut delivered, &mut hd);
                    c.got += delivered - d0;
                    if c.p == P::Sio && b.len() < 8 && b.ends_with(b"2") {
                        ws_frame(&mut c.out, 1, b"3");
                    }
                } else if let Acks::Needle(nd, k) = self_acks {
                    used = needles(b, nd, |_| {
                        acked = acked.wrapping_add(k);
                        if let Some(s) = c.times.pop_front() {
                            if s > 0 {
                                ha.add(t - s);
                            }
                        }
                    });
                    if reconnect && c.times.is_empty() {
                        c.s = connect(&pc, i, true, false); // dropping the old socket takes it out of the epoll set
                        c.s.set_nonblocking(true).unwrap();
                        c.carry.clear();
                        let mut e = libc::epoll_event { events: libc::EPOLLIN as u32, u64: i as u64 };
                        unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_ADD, c.s.as_raw_fd(), &mut e) };
                        continue;
                    }
                    if pc.p == P::Http && b.starts_with(b"HTTP/1.1 ") && !b.starts_with(b"HTTP/1.1 2") {
                        panic!("refused: {}", String::from_utf8_lossy(&b[..b.len().min(600)]));
                    }
                    if pc.p == P::Sb && b.windows(7).any(|w| w == b"\"error\"") {
                        panic!("refused: {}", String::from_utf8_lossy(&b[..b.len().min(600)]));
                    }
                    if k == 1 && acked > sent {
                        panic!(
                            "more acks than messages: {}",
                            String::from_utf8_lossy(&b[..b.len().min(300)])
                        );
                    }
                } else {
                    used = b.len();
                }
                c.carry.clear();
                c.carry.extend_from_slice(&b[used..]);
                if !c.out.is_empty() && !c.armed {
                    flush(c, ep, i);
                }
            }
        }
        let units = if fan > 0 { delivered } else { sent };
        let msgs = sent.max(1);
        let wall = (last.max(t0 + 1) - t0) as f64 / 1e9;
        let (_, s, cl, j) = m.stop(units, Some(wall));
        println!(
            "{{\"run\":{run},\"sent\":{sent},\"delivered\":{delivered},\"acked\":{acked},{j},\"srv_us_pub\":{:.3},\"deliver\":{{{}}},\"ack\":{{{}}}}}",
            s * 1e6 / msgs as f64,
            hd.json(),
            ha.json()
        );
        rates.push(units as f64 / wall);
        srvs.push(s * 1e6 / units.max(1) as f64);
        clis.push(cl * 1e6 / units.max(1) as f64);
        let h = if hd.n > 0 { &hd } else { &ha };
        p50s.push(h.q(0.5));
        p99s.push(h.q(0.99));
        let lost = if fan > 0 { (sent * fan).saturating_sub(delivered) } else { 0 };
        let unacked = if self_acks == Acks::None { 0 } else { sent.saturating_sub(acked) };
        if lost > 0 || unacked > 0 {
            println!("{{\"lost\":{lost},\"unacked\":{unacked}}}");
            break;
        }
    }
    let med = |v: &mut Vec<f64>| {
        v.sort_by(|a, b| a.total_cmp(b));
        (v[v.len() / 2], v[0], v[v.len() - 1])
    };
    let (r, s, c, p, q) = (med(&mut rates), med(&mut srvs), med(&mut clis), med(&mut p50s), med(&mut p99s));
    println!(
        "MEDIAN rate={:.0} [{:.0}-{:.0}] srv_us={:.2} [{:.2}-{:.2}] cli_us={:.2} p50_us={:.0} p99_us={:.0} runs={}",
        r.0,
        r.1,
        r.2,
        s.0,
        s.1,
        s.2,
        c.0,
        p.0,
        q.0,
        rates.len()
    );
}

/// Opens connections that only listen, and says what each costs the server in resident memory.
pub fn idle(a: &Args) {
    let c = Cfg::new(a, false);
    let (n, hold, pid) = (a.n("subs", 5000), a.f("hold", 2.0), pids(a)[0]);
    let before = resident(pid);
    let open: Vec<TcpStream> = (0..n as usize).map(|i| connect(&c, i, false, true)).collect();
    std::thread::sleep(std::time::Duration::from_secs_f64(hold));
    let after = resident(pid);
    println!(
        "{{\"connections\":{},\"before_kib\":{before},\"after_kib\":{after},\"kib_each\":{:.2}}}",
        open.len(),
        after.saturating_sub(before) as f64 / n as f64
    );
}

fn resident(pid: u32) -> u64 {
    let s = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server is running");
    let line = s.lines().find(|l| l.starts_with("VmRSS")).expect("VmRSS");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("VmRSS in kB")
}

fn mark(p: &mut [u8], t: u64) {
    p[..3].copy_from_slice(b"@@T");
    for i in 0..16 {
        p[3 + i] = b"0123456789abcdef"[(t >> (60 - 4 * i)) as usize & 15];
    }
}
fn unmark(b: &[u8]) -> u64 {
    b.iter().fold(0, |a, c| a << 4 | (if *c > b'9' { c - b'a' + 10 } else { c.wrapping_sub(b'0') }) as u64)
}

fn flush(c: &mut Conn, ep: i32, i: usize) {
    loop {
        if c.pos == c.out.len() {
            c.out.clear();
            c.pos = 0;
            if c.armed {
                arm(c, ep, i, false);
            }
            return;
        }
        match c.s.write(&c.out[c.pos..]) {
            Ok(n) => c.pos += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                if c.pos > 1 << 20 {
                    c.out.drain(..c.pos);
                    c.pos = 0;
                }
                if !c.armed {
                    arm(c, ep, i, true);
                }
                return;
            }
            Err(e) => panic!("write on connection {i}: {e}"),
        }
    }
}
fn arm(c: &mut Conn, ep: i32, i: usize, on: bool) {
    c.armed = on;
    let ev = libc::EPOLLIN as u32 | if on { libc::EPOLLOUT as u32 } else { 0 };
    let mut e = libc::epoll_event { events: ev, u64: i as u64 };
    unsafe { libc::epoll_ctl(ep, libc::EPOLL_CTL_MOD, c.s.as_raw_fd(), &mut e) };
}

fn find(b: &[u8], from: usize, x: u8) -> Option<usize> {
    let p = unsafe { libc::memchr(b[from..].as_ptr() as _, x as i32, b.len() - from) };
    if p.is_null() { None } else { Some(p as usize - b.as_ptr() as usize) }
}
fn needles(b: &[u8], nd: &[u8], mut f: impl FnMut(usize)) -> usize {
    let mut at = 0;
    while let Some(i) = find(b, at, nd[0]) {
        if b.len() - i < nd.len() {
            return if nd.starts_with(&b[i..]) { i } else { b.len() };
        }
        if &b[i..i + nd.len()] == nd {
            f(i);
            at = i + nd.len();
        } else {
            at = i + 1;
        }
    }
    b.len()
}
fn marks(b: &[u8], t: u64, delivered: &mut u64, h: &mut Hist) -> usize {
    let mut at = 0;
    while let Some(i) = find(b, at, b'@') {
        if b.len() - i < MARK {
            return i;
        }
        if &b[i..i + 3] == b"@@T" {
            h.add(t.saturating_sub(unmark(&b[i + 3..i + MARK])));
            *delivered += 1;
            at = i + MARK;
        } else {
            at = i + 1;
        }
    }
    b.len()
}
/// NATS requests: `MSG subject sid reply len` and a body that is sent back as it came.
fn respond(c: &mut Conn, b: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let Some(e) = find(b, at, b'\n') else { return at };
        let line = &b[at..e - 1];
        if !line.starts_with(b"MSG ") {
            at = e + 1;
            if line.starts_with(b"PING") {
                c.out.extend_from_slice(b"PONG\r\n");
            }
            continue;
        }
        let w: Vec<&[u8]> = line.split(|x| *x == b' ').collect();
        let n: usize = std::str::from_utf8(w[w.len() - 1]).unwrap().parse().unwrap();
        if b.len() < e + 1 + n + 2 {
            return at;
        }
        c.out.extend_from_slice(b"PUB ");
        c.out.extend_from_slice(w[3]);
        c.out.push(b' ');
        c.out.extend_from_slice(w[w.len() - 1]);
        c.out.extend_from_slice(&b[e - 1..e + 1 + n + 2]);
        at = e + 1 + n + 2;
    }
}
fn packets(
    c: &mut Conn,
    b: &[u8],
    t: u64,
    delivered: &mut u64,
    acked: &mut u64,
    hd: &mut Hist,
    ha: &mut Hist,
) -> usize {
    let mut at = 0;
    let mut ack = |c: &mut Conn, k: u64| {
        *acked += k;
        for _ in 0..k {
            if let Some(s) = c.times.pop_front() {
                ha.add(t - s);
            }
        }
    };
    if c.p == P::Mqtt {
        loop {
            let (mut n, mut k, mut ok) = (0usize, 1, false);
            while at + k < b.len() && k < 5 {
                let x = b[at + k];
                n |= ((x & 127) as usize) << (7 * (k - 1));
                k += 1;
                if x < 128 {
                    ok = true;
                    break;
                }
            }
            if !ok || b.len() - at < k + n {
                return at;
            }
            let body = &b[at + k..at + k + n];
            match b[at] >> 4 {
                3 => {
                    let q = b[at] >> 1 & 3;
                    let tl = 2 + u16::from_be_bytes([body[0], body[1]]) as usize;
                    let p0 = if q > 0 { tl + 2 } else { tl };
                    hd.add(t.saturating_sub(unmark(&body[p0 + 3..p0 + MARK])));
                    *delivered += 1;
                    c.got += 1;
                    if q > 0 {
                        c.out.extend_from_slice(&[
                            if q == 1 { 0x40 } else { 0x50 },
                            2,
                            body[tl],
                            body[tl + 1],
                        ]);
                    }
                }
                4 | 7 => ack(c, 1),
                5 => c.out.extend_from_slice(&[0x62, 2, body[0], body[1]]),
                6 => c.out.extend_from_slice(&[0x70, 2, body[0], body[1]]),
                _ => {}
            }
            at += k + n;
        }
    }
    loop {
        if b.len() - at < 8 {
            break;
        }
        let n = u32::from_be_bytes(b[at + 3..at + 7].try_into().unwrap()) as usize;
        if b.len() - at < n + 8 {
            break;
        }
        let body = &b[at + 7..at + 7 + n];
        match b[at] {
            1 => match (u16::from_be_bytes([body[0], body[1]]), u16::from_be_bytes([body[2], body[3]])) {
                (60, 80) => {
                    let tag = u64::from_be_bytes(body[4..12].try_into().unwrap());
                    if body[12] & 1 == 1 {
                        // "multiple": everything up to the tag; single acks before it were already counted
                        let k = tag.saturating_sub(c.acked_tag);
                        c.acked_tag = c.acked_tag.max(tag);
                        ack(c, k);
                    } else {
                        c.acked_tag += 1;
                        ack(c, 1);
                    }
                }
                (60, 60) => c.tag += 1,
                (60, 120) => panic!("nack"),
                (10, 50) | (20, 40) => panic!("amqp closed: {}", String::from_utf8_lossy(body)),
                _ => {}
            },
            3 => {
                hd.add(t.saturating_sub(unmark(&body[3..MARK])));
                *delivered += 1;
                c.got += 1;
            }
            _ => {}
        }
        at += n + 8;
    }
    if c.sub && c.tag > c.acked_tag {
        c.acked_tag = c.tag;
        let a = amqp_ack(c.tag);
        c.out.extend_from_slice(&a);
    }
    at
}
