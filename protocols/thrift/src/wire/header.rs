//! The THeader transport: a frame with a head that names protocol, transforms and metadata (`doc/specs/HeaderFormat.md`).

use super::{Proto, Result, WireError};
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use sb_wirekit::{Reader, put_bytes, put_varint};
use std::io::{Read, Write};

/// What stands at the place of a message's first bytes.
pub const MAGIC: [u8; 2] = [0x0f, 0xff];
/// The most pairs of metadata that are read.
const MAX_INFO: u64 = 256;
/// The most transforms of one message.
const MAX_TRANSFORMS: u64 = 4;
const ZLIB: u64 = 1;

/// The head of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Not used by anybody.
    pub flags: u16,
    /// The number of the message, beside the one inside it.
    pub seqid: u32,
    /// How the message is encoded.
    pub proto: Proto,
    /// Whether it is compressed.
    pub zlib: bool,
    /// Metadata of this message.
    pub info: Vec<(String, String)>,
    /// Metadata that stays for the connection.
    pub persistent: Vec<(String, String)>,
}

impl Header {
    /// The header of an answer: the same protocol and transforms, no metadata.
    pub fn answer(&self) -> Header {
        Header { info: Vec::new(), persistent: Vec::new(), ..self.clone() }
    }
}

/// Takes a frame (without its length) apart into head and message. The message may have `limit` bytes, also when it was compressed.
pub fn decode(frame: &[u8], limit: usize) -> Result<(Header, Vec<u8>)> {
    let mut all = Reader::new(frame);
    if all.take(2)? != MAGIC {
        return Err(WireError::Malformed("the frame has no THeader"));
    }
    let flags = all.u16()?;
    let seqid = all.u32()?;
    let words = usize::from(all.u16()?);
    let mut head = Reader::new(all.take(words * 4)?);
    let proto = match head.varint()? {
        0 => Proto::Binary,
        2 => Proto::Compact,
        other => return Err(WireError::Protocol(other)),
    };
    let transforms = head.varint()?;
    if transforms > MAX_TRANSFORMS {
        return Err(WireError::Malformed("the header names too many transforms"));
    }
    let mut zlib = false;
    for _ in 0..transforms {
        match head.varint()? {
            ZLIB if !zlib => zlib = true,
            other => return Err(WireError::Transform(other)),
        }
    }
    let mut header = Header { flags, seqid, proto, zlib, info: Vec::new(), persistent: Vec::new() };
    // What follows the last block is padding of zeros; blocks that are not known end the reading, since their length is not known either.
    while !head.is_empty() {
        let list = match head.varint()? {
            1 => &mut header.info,
            2 => &mut header.persistent,
            _ => break,
        };
        let n = head.varint()?;
        if n > MAX_INFO {
            return Err(WireError::Malformed("the header has too much metadata"));
        }
        for _ in 0..n {
            let (name, value) = (head.bytes(frame.len())?, head.bytes(frame.len())?);
            list.push((
                String::from_utf8_lossy(name).into_owned(),
                String::from_utf8_lossy(value).into_owned(),
            ));
        }
    }
    let rest = all.rest();
    let message = if zlib { inflate(rest, limit)? } else { rest.to_vec() };
    Ok((header, message))
}

fn inflate(bytes: &[u8], limit: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = ZlibDecoder::new(bytes).take(most).read_to_end(&mut out);
    read.map_err(|_| WireError::Malformed("the message is not compressed as its header says"))?;
    if out.len() > limit {
        return Err(WireError::TooLarge(limit));
    }
    Ok(out)
}

/// The frame with its length in front.
pub fn encode(header: &Header, message: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    put_varint(&mut head, if header.proto == Proto::Binary { 0 } else { 2 });
    put_varint(&mut head, u64::from(header.zlib));
    if header.zlib {
        put_varint(&mut head, ZLIB);
    }
    for (kind, list) in [(2, &header.persistent), (1, &header.info)] {
        // The size of the head is counted in 16 bits of words.
        let mut block = Vec::new();
        let mut n = 0;
        for (name, value) in list {
            if head.len() + block.len() + name.len() + value.len() + 32 > 4 * usize::from(u16::MAX)
                || n == MAX_INFO
            {
                break;
            }
            put_bytes(&mut block, name.as_bytes());
            put_bytes(&mut block, value.as_bytes());
            n += 1;
        }
        if n > 0 {
            put_varint(&mut head, kind);
            put_varint(&mut head, n);
            head.extend_from_slice(&block);
        }
    }
    head.resize(head.len().next_multiple_of(4), 0);
    let packed = if header.zlib { deflate(message) } else { None };
    let message = packed.as_deref().unwrap_or(message);
    let mut out = Vec::with_capacity(14 + head.len() + message.len());
    out.extend_from_slice(&((10 + head.len() + message.len()) as u32).to_be_bytes());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&header.flags.to_be_bytes());
    out.extend_from_slice(&header.seqid.to_be_bytes());
    out.extend_from_slice(&((head.len() / 4) as u16).to_be_bytes());
    out.extend_from_slice(&head);
    out.extend_from_slice(message);
    out
}

/// Writing to memory does not fail.
fn deflate(message: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(message).ok()?;
    encoder.finish().ok()
}
