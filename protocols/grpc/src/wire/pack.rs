//! Compression of single messages: each is a stream of its own. Decompression stops at the limit for messages, whatever the input promises.

use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::Compression;
use std::io::{Read, Write};

/// How a message is compressed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
    /// RFC 7932.
    Brotli,
    /// RFC 1950, which HTTP and gRPC call deflate.
    Deflate,
}

/// What is spoken, in the order in which it is preferred; for `grpc-accept-encoding` and its sisters.
pub const SPOKEN: &str = "gzip, zstd, br, deflate, identity";
/// Windows larger than 8 MiB are refused, as RFC 8878 §3.1.1.1.2 lets decoders do.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Messages shorter than this are sent as they are: they would not get shorter.
const WORTH_IT: usize = 128;

/// Why a message could not be decompressed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Unpacked {
    /// It is larger than the limit.
    TooLarge,
    /// It is not what it says it is.
    Malformed,
}

impl Packing {
    /// The packing of a name on the wire.
    pub fn from_name(name: &str) -> Option<Packing> {
        Some(match name {
            "identity" | "" => Packing::Identity,
            "gzip" => Packing::Gzip,
            "zstd" => Packing::Zstd,
            "br" => Packing::Brotli,
            "deflate" => Packing::Deflate,
            _ => return None,
        })
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Packing::Identity => "identity",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Brotli => "br",
            Packing::Deflate => "deflate",
        }
    }

    /// Decompresses into at most `limit` bytes. Nothing is nothing in every packing.
    pub fn unpack(self, bytes: Bytes, limit: usize) -> Result<Bytes, Unpacked> {
        if bytes.is_empty() {
            return Ok(bytes);
        }
        match self {
            Packing::Identity if bytes.len() > limit => Err(Unpacked::TooLarge),
            Packing::Identity => Ok(bytes),
            Packing::Gzip => read(flate2::bufread::MultiGzDecoder::new(&bytes[..]), bytes.len(), limit),
            Packing::Deflate => read(flate2::bufread::ZlibDecoder::new(&bytes[..]), bytes.len(), limit),
            Packing::Brotli => read(brotli::Decompressor::new(&bytes[..], 4096), bytes.len(), limit),
            Packing::Zstd => {
                let mut decoder =
                    zstd::stream::read::Decoder::with_buffer(&bytes[..]).map_err(|_| Unpacked::Malformed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| Unpacked::Malformed)?;
                read(decoder, bytes.len(), limit)
            }
        }
    }

    /// Compresses; `None` when the message is better sent as it is.
    pub fn pack(self, bytes: &[u8]) -> Option<Bytes> {
        if self == Packing::Identity || bytes.len() < WORTH_IT { None } else { self.pack_any(bytes) }
    }

    /// Compresses, whether it is worth it or not. `None` for [`Packing::Identity`].
    pub fn pack_any(self, bytes: &[u8]) -> Option<Bytes> {
        let mut out = Vec::with_capacity(bytes.len() / 2);
        let packed = match self {
            Packing::Identity => return None,
            Packing::Gzip => {
                let mut to = flate2::write::GzEncoder::new(out, Compression::fast());
                to.write_all(bytes).ok()?;
                to.finish().ok()?
            }
            Packing::Deflate => {
                let mut to = flate2::write::ZlibEncoder::new(out, Compression::fast());
                to.write_all(bytes).ok()?;
                to.finish().ok()?
            }
            Packing::Zstd => zstd::bulk::compress(bytes, 1).ok()?,
            Packing::Brotli => {
                let params = BrotliEncoderParams { quality: 4, lgwin: 20, ..Default::default() };
                brotli::BrotliCompress(&mut &bytes[..], &mut out, &params).ok()?;
                out
            }
        };
        Some(packed.into())
    }

    /// The packing of an answer: that of the request, if the client takes it back. A client that does not compress gets its answers as they
    /// are: nearly all say what they could take, and compressing for them costs this server more than the network.
    pub fn of_answer(self, accepted: Option<&str>) -> Packing {
        match accepted {
            Some(accepted) if !takes(accepted, self) => Packing::Identity,
            _ => self,
        }
    }

    /// The first packing of a client's list that is spoken here.
    pub fn among(accepted: &str) -> Packing {
        let all = [Packing::Gzip, Packing::Zstd, Packing::Brotli, Packing::Deflate];
        all.into_iter().find(|packing| takes(accepted, *packing)).unwrap_or(Packing::Identity)
    }
}

/// Whether a list like `gzip, br;q=0.5` has this packing.
fn takes(accepted: &str, packing: Packing) -> bool {
    accepted.split(',').any(|item| {
        let (name, quality) = item.split_once(';').unwrap_or((item, ""));
        let zero = quality.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case(packing.name()) && !zero
    })
}

fn read(from: impl Read, packed: usize, limit: usize) -> Result<Bytes, Unpacked> {
    // Memory follows what comes out, not what the input promises.
    let mut out = Vec::with_capacity(packed.saturating_mul(3).min(limit).min(64 * 1024));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    from.take(most).read_to_end(&mut out).map_err(|_| Unpacked::Malformed)?;
    if out.len() > limit { Err(Unpacked::TooLarge) } else { Ok(out.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Packing; 4] = [Packing::Gzip, Packing::Zstd, Packing::Brotli, Packing::Deflate];

    #[test]
    fn every_packing_round_trips() {
        let text: Vec<u8> = (0..10_000u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        for packing in ALL {
            let packed = packing.pack(&text).unwrap();
            assert!(packed.len() < text.len(), "{packing:?}");
            assert_eq!(packing.unpack(packed.clone(), text.len()).unwrap(), text);
            assert_eq!(packing.unpack(packed.clone(), text.len() - 1), Err(Unpacked::TooLarge));
            for cut in [1, packed.len() / 2, packed.len() - 1] {
                assert_eq!(
                    packing.unpack(packed.slice(..cut), text.len()),
                    Err(Unpacked::Malformed),
                    "{packing:?} {cut}"
                );
            }
            assert_eq!(packing.unpack(Bytes::new(), 10), Ok(Bytes::new()));
            assert_eq!(Packing::from_name(packing.name()), Some(packing));
            assert!(SPOKEN.contains(packing.name()));
            assert_eq!(packing.pack(b"short"), None);
            let short = packing.pack_any(b"short").unwrap();
            assert_eq!(packing.unpack(short, 5).unwrap(), "short");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let zeros = vec![0; 32 << 20];
        for packing in ALL {
            let bomb = packing.pack(&zeros).unwrap();
            assert!(bomb.len() < 1 << 20, "{packing:?}");
            assert_eq!(packing.unpack(bomb, 1 << 20), Err(Unpacked::TooLarge), "{packing:?}");
        }
    }

    #[test]
    fn answers_are_packed_as_the_client_wants() {
        assert_eq!(Packing::Gzip.of_answer(None), Packing::Gzip);
        assert_eq!(Packing::Gzip.of_answer(Some("zstd, gzip")), Packing::Gzip);
        assert_eq!(Packing::Gzip.of_answer(Some("zstd")), Packing::Identity);
        assert_eq!(Packing::Identity.of_answer(Some("gzip")), Packing::Identity);
        assert_eq!(Packing::among("deflate, br;q=1.0, gzip;q=0"), Packing::Brotli);
        assert_eq!(Packing::among("snappy"), Packing::Identity);
    }
}
