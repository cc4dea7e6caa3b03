//! Reading journal files back: what is intact, where it ends, and whether what follows the end was ever
//! promised to anyone.

use super::frame::{BadHead, FileHead, HEAD, Head, Key, Kind, PAGE, padded};
use super::journal::Visit;
use super::{Lsn, OpenError};
use crate::vfs::{File, Vfs, read_some};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One journal file and its header.
pub(crate) struct Opened {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    pub(crate) head: FileHead,
    pub(crate) key: Key,
    /// What is really there; less than `head.len` only if something cut it.
    pub(crate) actual: u64,
}

/// A torn tail: a frame that was being written when the machine stopped, and that nobody was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Where it was.
    pub file: PathBuf,
    /// Its position in the file.
    pub from: u64,
    /// How many bytes of it were found.
    pub bytes: u64,
    /// The LSN it would have had.
    pub lsn: Lsn,
}

/// How one file reads.
pub(crate) struct Scanned {
    /// Last frame's LSN and hash.
    pub(crate) last: Lsn,
    pub(crate) chain: u128,
    /// Highest LSN that something in the file says was durable.
    pub(crate) proven: Lsn,
    /// Where the next record would go.
    pub(crate) end: u64,
    /// The last record is a seal.
    pub(crate) sealed: bool,
    /// The last frame, unless its durability is proven.
    pub(crate) tail: Option<Vec<u8>>,
    pub(crate) dropped: Option<Dropped>,
    /// Frames seen.
    pub(crate) frames: u64,
}

/// Opens a journal file and reads its header.
pub(crate) fn open(vfs: &dyn Vfs, path: &Path, sequence: u64) -> Result<Opened, OpenError> {
    let file = vfs.open(path)?;
    let mut page = vec![0; PAGE as usize];
    let n = read_some(&*file, 0, &mut page)?;
    let actual = file.size()?;
    let corrupt =
        |why: &str| OpenError::Corrupt { file: path.to_path_buf(), from: 0, to: PAGE, why: why.into() };
    let head = match FileHead::decode(&page[..n]) {
        Ok(head) => head,
        Err(BadHead::Newer(v)) => return Err(OpenError::Newer { file: path.to_path_buf(), version: v }),
        // The header was synced before the file got this name, so a crash cannot have torn it.
        Err(BadHead::Damaged) => return Err(corrupt("the header of a journal file is damaged")),
    };
    if head.sequence != sequence {
        return Err(corrupt("the header belongs to another journal file"));
    }
    let key = Key::new(&head.salt);
    Ok(Opened { path: path.to_path_buf(), file, head, key, actual })
}

/// The intact record at `at`: header, its hash, body. `Err(Some(head))` if only the header is intact.
type Record = Result<(Head, u128, Vec<u8>), Option<Head>>;

fn record(o: &Opened, at: u64, end: u64) -> io::Result<Record> {
    let mut bytes = [0; HEAD];
    let n = read_some(&*o.file, at, &mut bytes)?;
    let Some((head, hash)) = Head::decode(&bytes[..n], &o.key, o.head.sequence, at) else {
        return Ok(Err(None));
    };
    // The header is genuine, but a length is still only believed if the file can hold it.
    if at.saturating_add(padded(head.len as usize)) > end {
        return Ok(Err(Some(head)));
    }
    let mut body = vec![0; head.len as usize];
    let n = read_some(&*o.file, at + HEAD as u64, &mut body)?;
    if n < body.len() || (o.key.hash(&body) != head.body && !crate::planted::frames_believed()) {
        return Ok(Err(Some(head)));
    }
    Ok(Ok((head, hash, body)))
}

/// Reads a whole file and hands every frame to `visit`, which may stop by returning `false`.
///
/// `next` is the header of the file after it, whose beginning proves everything before it durable.
pub(crate) fn scan(
    o: &Opened,
    next: Option<&FileHead>,
    visit: &mut Visit<'_, bool>,
) -> Result<Scanned, OpenError> {
    let corrupt = |from: u64, to: u64, why: String| OpenError::Corrupt {
        file: o.path.clone(),
        from,
        to: to.max(from + 1),
        why,
    };
    let end = o.head.len;
    let before = o.head.first.saturating_sub(1);
    let mut s = Scanned {
        last: before,
        chain: o.head.chain,
        proven: before,
        end: PAGE,
        sealed: false,
        tail: None,
        dropped: None,
        frames: 0,
    };
    let mut closed = false;
    while s.end + PAGE <= end && !closed {
        if next.is_some_and(|n| s.last + 1 == n.first) {
            break;
        }
        let at = s.end;
        let expected = s.last + 1;
        match record(o, at, end)? {
            Ok((head, hash, body)) => {
                let follows = match head.kind {
                    Kind::Frame => head.lsn == expected,
                    Kind::Seal | Kind::Close => head.lsn == s.last && head.len == 0,
                };
                if !follows || head.chain != s.chain {
                    let why = format!("LSN {} is genuine but does not follow LSN {}", head.lsn, s.last);
                    return Err(corrupt(at, at + padded(body.len()), why));
                }
                s.proven = s.proven.max(head.durable);
                s.end = at + padded(body.len());
                s.sealed = head.kind == Kind::Seal;
                closed = head.kind == Kind::Close;
                if head.kind == Kind::Frame {
                    s.last = head.lsn;
                    s.chain = hash;
                    s.frames += 1;
                    let go_on = visit(head.lsn, &body)
                        .map_err(|why| corrupt(at, s.end, format!("LSN {}: {why}", head.lsn)))?;
                    s.tail = Some(body);
                    if !go_on {
                        return Ok(s);
                    }
                }
            }
            Err(genuine) => {
                let evidence = match next {
                    // The next file was begun when everything before it was durable.
                    Some(n) => Some((end, format!("the next file begins with LSN {}", n.first))),
                    None => promised(o, at, expected)?,
                };
                if let Some((to, because)) = evidence {
                    let why = format!("LSN {expected} is damaged, and it was acknowledged: {because}");
                    return Err(corrupt(at, to, why));
                }
                // A crash never shortens a file whose space was reserved and synced before it was used. If
                // the cut may have taken a frame, nobody can tell any more whether it was acknowledged.
                if o.actual < end && (genuine.is_some() || at + HEAD as u64 > o.actual) {
                    let why = format!(
                        "the file was cut to {} bytes, so LSN {expected} may have been acknowledged and lost",
                        o.actual
                    );
                    return Err(corrupt(at.min(o.actual), end, why));
                }
                // Without its header an unfinished frame cannot be told from what a recycled file held before.
                s.dropped = genuine.map(|head| Dropped {
                    file: o.path.clone(),
                    from: at,
                    bytes: padded(head.len as usize),
                    lsn: expected,
                });
                break;
            }
        }
    }
    if let Some(n) = next {
        if s.last + 1 != n.first {
            let why = format!("it ends with LSN {}, but the next file begins with LSN {}", s.last, n.first);
            return Err(corrupt(s.end, end, why));
        }
        if s.chain != n.chain {
            return Err(corrupt(s.end, end, "the next file does not continue this one".into()));
        }
        s.proven = s.proven.max(n.first - 1);
    }
    if s.proven >= s.last {
        s.tail = None;
    }
    Ok(s)
}

/// Looks behind a bad record for anything genuine that could only have been written after it was durable.
fn promised(o: &Opened, bad: u64, lsn: Lsn) -> io::Result<Option<(u64, String)>> {
    let mut chunk = vec![0; 64 * PAGE as usize];
    let mut at = bad + PAGE;
    while at < o.actual {
        let n = read_some(&*o.file, at, &mut chunk)?;
        for (i, page) in chunk[..n].chunks(PAGE as usize).enumerate() {
            let position = at + i as u64 * PAGE;
            if let Some((head, _)) = Head::decode(page, &o.key, o.head.sequence, position) {
                if head.lsn >= lsn {
                    return Ok(Some((position, format!("LSN {} follows at byte {position}", head.lsn))));
                }
                if head.durable >= lsn {
                    return Ok(Some((position, format!("byte {position} says so"))));
                }
            }
        }
        if n < chunk.len() {
            break;
        }
        at += n as u64;
    }
    Ok(None)
}

/// The chain value that frame `lsn` of this file was built on.
pub(crate) fn chain_before(o: &Opened, lsn: Lsn) -> io::Result<u128> {
    let (mut at, mut chain) = (PAGE, o.head.chain);
    while at + PAGE <= o.head.len {
        let Ok((head, hash, body)) = record(o, at, o.head.len)? else { break };
        if head.kind == Kind::Frame {
            if head.lsn == lsn {
                break;
            }
            chain = hash;
        }
        at += padded(body.len());
    }
    Ok(chain)
}
