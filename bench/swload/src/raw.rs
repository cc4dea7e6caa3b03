//! Limits of the machine itself.
use crate::util::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

pub fn rtt(a: &Args) {
    let (secs, size) = (a.f("secs", 3.0), a.n("size", 64) as usize);
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = l.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut s, _) = l.accept().unwrap();
        s.set_nodelay(true).unwrap();
        let mut b = vec![0; size];
        while s.read_exact(&mut b).is_ok() {
            s.write_all(&b).unwrap();
        }
    });
    let mut s = TcpStream::connect(addr).unwrap();
    s.set_nodelay(true).unwrap();
    let (mut b, mut h) = (vec![1u8; size], Hist::new());
    let m = Meter::start(&[]);
    let t0 = now_ns();
    while ((now_ns() - t0) as f64) < secs * 1e9 {
        let t = now_ns();
        s.write_all(&b).unwrap();
        s.read_exact(&mut b).unwrap();
        h.add(now_ns() - t);
    }
    println!("{{\"cmd\":\"rtt\",\"size\":{size},{},{}}}", m.stop(h.n, None).3, h.json());
}

pub fn sync(a: &Args) {
    let (size, batch, secs) = (a.n("size", 128) as usize, a.n("batch", 1) as usize, a.f("secs", 3.0));
    let prealloc = a.n("prealloc", 0);
    let path = a.s("file", "swload.sync");
    let mut o = std::fs::OpenOptions::new();
    o.create(true).write(true).truncate(true);
    if a.n("odsync", 0) == 1 {
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut o, libc::O_DSYNC);
    }
    let mut f = o.open(&path).unwrap();
    if prealloc > 0 {
        let z = vec![0u8; 1 << 20];
        for _ in 0..prealloc {
            f.write_all(&z).unwrap();
        }
        f.sync_all().unwrap();
        std::io::Seek::rewind(&mut f).unwrap();
    }
    let (buf, mut h) = (vec![7u8; size * batch], Hist::new());
    let m = Meter::start(&[]);
    let t0 = now_ns();
    let mut off = 0u64;
    while ((now_ns() - t0) as f64) < secs * 1e9 {
        let t = now_ns();
        if prealloc > 0 && off + buf.len() as u64 > prealloc << 20 {
            std::io::Seek::rewind(&mut f).unwrap();
            off = 0;
        }
        f.write_all(&buf).unwrap();
        off += buf.len() as u64;
        if a.n("odsync", 0) == 0 {
            unsafe { libc::fdatasync(f.as_raw_fd()) };
        }
        h.add(now_ns() - t);
    }
    let n = h.n * batch as u64;
    println!(
        "{{\"cmd\":\"sync\",\"size\":{size},\"batch\":{batch},\"prealloc\":{prealloc},{},{}}}",
        m.stop(n, None).3,
        h.json()
    );
    std::fs::remove_file(path).ok();
}

pub fn mem(_a: &Args) {
    for sz in [4096usize, 65536, 1 << 20, 64 << 20] {
        let (src, mut dst) = (vec![3u8; sz], vec![0u8; sz]);
        let reps = ((4usize << 30) / sz).max(1);
        let t = now_ns();
        for _ in 0..reps {
            dst.copy_from_slice(std::hint::black_box(&src));
            std::hint::black_box(&mut dst);
        }
        println!(
            "{{\"cmd\":\"memcpy\",\"size\":{sz},\"GBps\":{:.2}}}",
            (reps * sz) as f64 / (now_ns() - t) as f64
        );
    }
}

pub fn crc(_a: &Args) {
    for sz in [128usize, 1024, 4096, 65536, 1 << 20] {
        let src = vec![3u8; sz];
        let reps = ((4usize << 30) / sz).max(1);
        let mut x = 0;
        let t = now_ns();
        for _ in 0..reps {
            x ^= crc32c::crc32c(std::hint::black_box(&src));
        }
        std::hint::black_box(x);
        println!(
            "{{\"cmd\":\"crc32c\",\"size\":{sz},\"GBps\":{:.2}}}",
            (reps * sz) as f64 / (now_ns() - t) as f64
        );
    }
}
