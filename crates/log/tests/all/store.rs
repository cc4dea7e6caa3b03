//! The store by itself: repeated puts, graduation, reclaim, time, many partitions, real files, threads.

use crate::world::*;
use sb_log::local::{Local, Options};
use sb_log::vfs::{Disk, Faults, Sim, Vfs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn fresh() -> (Sim, Local) {
    let sim = Sim::new(1);
    let local = open(&sim, &small()).unwrap();
    (sim, local)
}

fn put_at(local: &Local, topic: u32, base: u64, time: i64, n: usize) -> std::io::Result<()> {
    put(&local.store, &Op::Put(part(topic, 0), batch(base, 1, time, &vec![base as u8; n])))
}

#[test]
fn the_same_batch_again_changes_nothing() {
    let (_, local) = fresh();
    for base in 0..60 {
        put_at(&local, 1, base, 0, 200).unwrap();
        for again in 0..=base {
            put_at(&local, 1, again, 0, 200).unwrap();
        }
    }
    assert_eq!(read_all(&local, part(1, 0)).len(), 60);
    assert!(put_at(&local, 1, 61, 0, 10).is_err(), "a gap");
    let overlap = batch(59, 3, 0, b"x");
    assert!(local.store.put(part(1, 0), 59, 61, 0, &overlap).is_err());
    let lies = batch(60, 1, 0, b"x");
    assert!(local.store.put(part(1, 0), 60, 61, 0, &lies).is_err());
    assert_eq!(local.store.end(part(1, 0)), 60);
    assert!(local.store.read(part(9, 9), 0, 100).unwrap().is_empty());
    assert!(local.store.read(part(1, 0), 60, 100).unwrap().is_empty());
}

#[test]
fn many_at_once_are_the_same_as_one_by_one() {
    let ops: Vec<Op> = (0..400u64)
        .map(|n| {
            // Three partitions in turn, with batches from a few bytes to more than a segment takes.
            let size = if n % 97 == 96 { 5_000 } else { (n as usize * 37) % 300 };
            Op::Put(part(1 + (n % 3) as u32, 0), batch(n / 3, 1, n as i64, &vec![n as u8; size]))
        })
        .collect();
    let (sim, local) = fresh();
    let (one_sim, one) = fresh();
    for op in &ops {
        put(&one.store, op).unwrap();
    }
    // In pieces that overlap, as after an error.
    for from in (0..ops.len()).step_by(50) {
        put_all(&local.store, &ops.iter().skip(from.saturating_sub(20)).take(70).collect::<Vec<_>>())
            .unwrap();
    }
    for topic in 1..4 {
        assert_eq!(read_all(&local, part(topic, 0)), read_all(&one, part(topic, 0)));
        let time = local.store.offset_at_time(part(topic, 0), 200).unwrap();
        assert_eq!(time, one.store.offset_at_time(part(topic, 0), 200).unwrap());
    }
    let logs = |sim: &Sim| {
        sim.files().into_iter().filter(|f| f.to_string_lossy().contains("-0/")).collect::<Vec<_>>()
    };
    assert_eq!(logs(&sim), logs(&one_sim), "segments begin at the same offsets");
    let gap = [Op::Put(part(1, 0), batch(134, 1, 0, b"a")), Op::Put(part(1, 0), batch(136, 1, 0, b"a"))];
    assert!(put_all(&local.store, &gap.iter().collect::<Vec<_>>()).is_err());
    assert_eq!(local.store.end(part(1, 0)), 135, "what came before the gap is there");
}

#[test]
fn a_segment_begun_on_a_full_disk_and_again_is_kept() {
    let (sim, mut local) = fresh();
    for base in 0..20 {
        put_at(&local, 1, base, 0, 5_000).unwrap();
    }
    local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    // Its segment is begun, and nothing gets into it; then retention takes all there is, the empty one included.
    sim.set_faults(Faults { full_from: Some(0), ..Faults::default() });
    put_at(&local, 1, 20, 0, 5_000).unwrap_err();
    local.store.trim(part(1, 0), 20);
    sim.set_faults(Faults::default());
    put_at(&local, 1, 20, 0, 5_000).unwrap();
    local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    let before = read_all(&local, part(1, 0));
    assert_eq!(before.len(), 1);
    drop(local);
    let local = open(&sim, &small()).unwrap();
    assert_eq!(read_all(&local, part(1, 0)), before);
}

#[test]
fn graduation_rolling_and_reclaim() {
    let (sim, mut local) = fresh();
    let heaps = |sim: &Sim| sim.files().iter().filter(|f| f.display().to_string().contains("heap-")).count();
    let logs = |sim: &Sim, name: &str| {
        sim.files()
            .iter()
            .filter(|f| f.display().to_string().contains(name) && f.extension().is_some_and(|e| e == "log"))
            .count()
    };
    // Two partitions in turn: one grows out of the heap, the other stays.
    for base in 0..100 {
        put_at(&local, 1, base, 0, 300).unwrap();
        if base < 5 {
            put_at(&local, 2, base, 0, 50).unwrap();
        }
    }
    assert!(logs(&sim, "/1-0/") >= 4);
    assert_eq!(logs(&sim, "/2-0/"), 0);
    local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    let before = heaps(&sim);
    // Many small ones that are then trimmed: their heap files are mostly dead and go.
    for topic in 10..110 {
        put_at(&local, topic, 0, 0, 500).unwrap();
        put_at(&local, topic, 1, 0, 20).unwrap();
    }
    local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    let full = heaps(&sim);
    assert!(full > before + 4, "{before} {full}");
    for topic in 10..110 {
        local.store.trim(part(topic, 0), 1);
    }
    for _ in 0..2 {
        local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    }
    assert!(heaps(&sim) < full / 2, "{} of {full}", heaps(&sim));
    for topic in 10..110 {
        assert_eq!(read_all(&local, part(topic, 0)), vec![batch(1, 1, 0, &[1; 20])]);
    }
    // Trimming a large one frees whole segments, after the checkpoint and not before.
    let n = logs(&sim, "/1-0/");
    local.store.trim(part(1, 0), 90);
    assert_eq!(logs(&sim, "/1-0/"), n);
    local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    assert!(logs(&sim, "/1-0/") < n);
    // A time that came after the last checkpoint is recovered from the caller's frames; here: nothing.
    drop(local);
    sim.crash(1);
    let mut local = open(&sim, &small()).unwrap();
    assert_eq!(local.store.start(part(1, 0)), 90);
    assert_eq!(read_all(&local, part(1, 0)).last().unwrap(), &batch(99, 1, 0, &[99; 300]));
    assert!(local.store.scrub(u64::MAX).damage.is_empty());
    local.store.drop_topic(1);
    for topic in 2..110 {
        local.store.drop_topic(topic);
    }
    for _ in 0..2 {
        local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    }
    assert!(local.store.parts().is_empty());
    assert_eq!(logs(&sim, "/1-0/") + heaps(&sim), 0, "{:?}", sim.files());
}

#[test]
fn offsets_by_time() {
    let (sim, mut local) = fresh();
    let mut times = Vec::new();
    let mut rng = Rng(4);
    for base in 0..300u64 {
        times.push((base * 10 + rng.below(40)) as i64);
        put_at(&local, 1, base, times[base as usize], 100).unwrap();
    }
    for base in 0..10 {
        put_at(&local, 2, base, times[base as usize], 100).unwrap();
    }
    local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    for again in 0..2 {
        for t in (-5..3100).step_by(7) {
            let expected = times.iter().position(|x| *x >= t).map(|i| i as u64);
            assert_eq!(local.store.offset_at_time(part(1, 0), t).unwrap(), expected, "{t}");
            let expected = times[..10].iter().position(|x| *x >= t).map(|i| i as u64);
            assert_eq!(local.store.offset_at_time(part(2, 0), t).unwrap(), expected, "{t}");
        }
        if again == 0 {
            drop(local);
            sim.kill();
            // Without any of the caches it is only slower.
            for f in sim.files() {
                if f.display().to_string().ends_with("index") {
                    sim.remove(&f).unwrap();
                }
            }
            local = open(&sim, &small()).unwrap();
        }
    }
    for from in 0..300 {
        let got = local.store.read(part(1, 0), from, 1).unwrap();
        assert_eq!(got.len(), 1);
        assert_eq!(sb_core::batch::header(&got[0]).unwrap().base_offset, from);
    }
    assert!(sim.files().iter().any(|f| f.display().to_string().ends_with(".index")), "made again");
}

#[test]
fn many_partitions() {
    let sim = Sim::new(2);
    let options = Options {
        journal_file: 1 << 20,
        journal_max: 8 << 20,
        frame_max: 64 << 10,
        heap_file: 4 << 20,
        ..Options::default()
    };
    let mut local = open(&sim, &options).unwrap();
    let n = 20_000;
    for topic in 0..n {
        put_at(&local, topic, 0, 0, 30).unwrap();
    }
    local.checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
    assert!(sim.files().len() < 20, "{} files", sim.files().len());
    drop(local);
    sim.crash(0);
    let local = open(&sim, &options).unwrap();
    assert_eq!(local.store.parts().len(), n as usize);
    for topic in (0..n).step_by(501) {
        assert_eq!(read_all(&local, part(topic, 0)).len(), 1);
    }
}

struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Temp {
        let dir = std::env::temp_dir().join(format!("sb-log-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        Temp(dir)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn real_files_and_threads() {
    let temp = Temp::new("threads");
    let options = Options {
        journal_file: 1 << 20,
        journal_max: 8 << 20,
        frame_max: 64 << 10,
        disk_reserve: 1 << 20,
        ..small()
    };
    let open = |dir: &Path| Local::open(Arc::new(Disk) as Arc<dyn Vfs>, dir, options.clone());
    let mut local = open(&temp.0).unwrap();
    assert!(matches!(open(&temp.0), Err(sb_log::OpenError::Locked)));
    assert!(matches!(sb_log::check::run(&temp.0), Err(sb_log::check::CheckError::Locked)));
    let done = AtomicBool::new(false);
    let store = local.store.clone();
    let mut checkpoints = local.checkpoints;
    std::thread::scope(|s| {
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for p in store.parts() {
                    let (start, end) = (store.start(p), store.end(p));
                    let mut at = start;
                    while at < end {
                        let some = store.read(p, at, 4000).unwrap();
                        let Some(last) = some.last() else { break };
                        at = sb_core::batch::header(last).unwrap().end();
                    }
                }
            }
        });
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                checkpoints.write(0, std::iter::empty(), std::iter::empty()).unwrap();
                std::thread::yield_now();
            }
        });
        for i in 0..300u64 {
            let topic = 1 + (i % 7) as u32;
            let base = i / 7;
            let op = Op::Put(part(topic, 0), batch(base, 1, 0, &vec![topic as u8; 60 * topic as usize]));
            local.journal.append(i, &encode(std::slice::from_ref(&op))).unwrap();
            put(&store, &op).unwrap();
            if i % 20 == 0 && base > 3 {
                store.trim(part(topic, 0), base - 3);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    checkpoints.write(300, std::iter::empty(), std::iter::empty()).unwrap();
    local.journal.recycle(300);
    local.journal.seal().unwrap();
    drop((checkpoints, local.journal, store, local.store));
    let report = sb_log::check::run(&temp.0).unwrap();
    assert!(report.damage.is_empty() && report.sealed && report.applied == 300, "{report}");
    let local = open(&temp.0).unwrap();
    assert!(local.recovered.clean);
    assert_eq!(local.journal.durable(), 300);
}
