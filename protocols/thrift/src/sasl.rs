//! Thrift's SASL transport (`TSaslClientTransport`), with PLAIN alone: a login before the first call. Afterwards messages are framed.
//!
//! Each message of the negotiation is a status byte, four bytes of length and so many bytes.

use bytes::{Buf, BytesMut};
use sb_board::mount::Recognised;

const START: u8 = 1;
const OK: u8 = 2;
const BAD: u8 = 3;
const ERROR: u8 = 4;
const COMPLETE: u8 = 5;
/// The longest message of a negotiation.
const MOST: usize = 16 * 1024;

/// Whether these bytes begin a negotiation: START and the short name of a mechanism, in capitals.
pub fn recognise(bytes: &[u8]) -> Recognised {
    let begin = [START, 0, 0, 0];
    match bytes.split_first_chunk::<4>() {
        None if begin.starts_with(bytes) => Recognised::More,
        Some((head, rest)) if *head == begin => match rest {
            [] | [1..=20] => Recognised::More,
            [1..=20, letter, ..] if letter.is_ascii_uppercase() => Recognised::Yes,
            _ => Recognised::No,
        },
        _ => Recognised::No,
    }
}

/// What the negotiation does next.
pub enum Step {
    /// More bytes are needed.
    More,
    /// The other side wants to log in with this name and password: answer with [`accepted`] or [`refused`].
    Login(String, String),
    /// It is over, with this last message.
    Refused(Vec<u8>),
}

/// The negotiation, from the server's side.
#[derive(Default)]
pub struct Negotiation {
    plain: bool,
}

impl Negotiation {
    /// Takes what has come in.
    pub fn next(&mut self, input: &mut BytesMut) -> Step {
        loop {
            let Some((head, rest)) = input.split_first_chunk::<5>() else { return Step::More };
            let [status, a, b, c, d] = *head;
            let len = u32::from_be_bytes([a, b, c, d]) as usize;
            if len > MOST {
                return Step::Refused(message(BAD, "the message is too long"));
            }
            if rest.len() < len {
                return Step::More;
            }
            input.advance(5);
            let body = input.split_to(len);
            match (status, self.plain) {
                (START, false) if &*body == b"PLAIN" => self.plain = true,
                (START, false) => {
                    return Step::Refused(message(BAD, "the mechanism PLAIN is spoken, no other"));
                }
                (OK | COMPLETE, true) => {
                    // RFC 4616: authorization identity, name and password, with zeros between.
                    let text: &[u8] = &body;
                    let mut parts =
                        text.split(|byte| *byte == 0).skip(1).map(|p| String::from_utf8(p.to_vec()));
                    return match (parts.next(), parts.next(), parts.next()) {
                        (Some(Ok(name)), Some(Ok(password)), None) => Step::Login(name, password),
                        _ => Step::Refused(message(BAD, "the response is not that of PLAIN")),
                    };
                }
                _ => return Step::Refused(message(ERROR, "the negotiation does not go on like this")),
            }
        }
    }
}

/// The login is good: frames follow.
pub fn accepted() -> Vec<u8> {
    message(COMPLETE, "")
}

/// The login is not good.
pub fn refused(why: &str) -> Vec<u8> {
    message(BAD, why)
}

fn message(status: u8, text: &str) -> Vec<u8> {
    let mut out = vec![status];
    out.extend_from_slice(&(text.len() as u32).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}
