//! Text that people and programs write: addresses, patterns, tokens, cursors, configuration.

use sb_board::Credentials;
use sb_board::auth::{Authority, Grants};
use sb_board::sign::Signer;
use sb_core::model::address::Spelling;
use sb_core::model::{Address, GroupId, Pattern, Position, TopicId, check_name};
use sb_core::ops::Delivery;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use switchboard::config::{Engine, Origin, load};

const SPELLINGS: [Spelling; 4] = [Spelling::CANONICAL, Spelling::MQTT, Spelling::AMQP, Spelling::NATS];

/// Lines: addresses and patterns. One spelling of each, every spelling reversible, and what covers matches.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut addresses = Vec::new();
    let mut patterns = Vec::new();
    for line in text.lines().take(8) {
        let _ = check_name("topic", line);
        if let Ok(address) = Address::parse(line) {
            assert_eq!(address.as_str(), line, "a spelling was repaired");
            addresses.push(address);
        }
        if let Ok(pattern) = Pattern::parse(line) {
            assert_eq!(pattern.as_str(), line);
            patterns.push(pattern);
        }
        for spelling in SPELLINGS {
            if let Ok(address) = Address::from_spelling(line, spelling) {
                assert_eq!(
                    address.to_spelling(spelling).as_deref(),
                    Some(line),
                    "{spelling:?} is not reversible"
                );
                assert_eq!(Address::parse(address.as_str()).as_ref(), Ok(&address));
                addresses.push(address);
            }
            if let Ok(pattern) = Pattern::from_spelling(line, spelling) {
                assert_eq!(Pattern::parse(pattern.as_str()).as_ref(), Ok(&pattern), "{spelling:?}");
                patterns.push(pattern);
            }
        }
    }
    for address in &addresses {
        assert!(Pattern::exact(address).matches(address));
    }
    for a in &patterns {
        assert!(a.overlaps(a) && (a.covers(a) || a.parts().len() > 1));
        for b in &patterns {
            assert_eq!(a.overlaps(b), b.overlaps(a));
            let (covers, overlaps) = (a.covers(b), a.overlaps(b));
            for address in &addresses {
                if b.matches(address) {
                    assert!(!covers || a.matches(address), "{a} covers {b} but not {address}");
                    assert!(overlaps || !a.matches(address), "{a} and {b} meet in {address}");
                }
            }
        }
    }
}

/// Cursors, handles and tokens: only what this node signed opens, and what it signed says what it said.
pub fn tokens(data: &[u8]) {
    static SIGNER: OnceLock<(Signer, Authority)> = OnceLock::new();
    let (signer, authority) = SIGNER.get_or_init(|| {
        let keys = [("a key".to_owned(), "admin".to_owned())];
        let roles = BTreeMap::from([("admin".to_owned(), Grants { admin: true, ..Grants::default() })]);
        (Signer::new(&[7; 32]), Authority::new(keys, Vec::new(), roles))
    });
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(signer.open_cursor(text).is_err() && signer.open_handle(text).is_err());
        assert!(signer.open_token(text).is_none());
        let _ = authority.judge(signer, Credentials::Token(text), 0);
        let _ = authority.judge(signer, Credentials::Password("", text), 0);
    }
    // Claims that are signed, whatever they say: a version before or after this one may have written them.
    let token = signer.token(data);
    if token.len() < 12_000 {
        assert_eq!(signer.open_token(&token).as_deref(), Some(data));
    }
    let _ = authority.judge(signer, Credentials::Token(&token), 1);
    let number = |n: usize| {
        let mut bytes = [0; 8];
        let from = data.get(n * 8..).unwrap_or_default();
        let len = from.len().min(8);
        bytes[..len].copy_from_slice(&from[..len]);
        u64::from_le_bytes(bytes)
    };
    let positions: Vec<Position> = (0..data.len() / 24)
        .take(64)
        .map(|n| Position::new(TopicId(number(n * 3) as u32), number(n * 3 + 1) as u32, number(n * 3 + 2)))
        .collect();
    let cursor = signer.cursor(&positions);
    assert_eq!(signer.open_cursor(&cursor).as_deref(), Ok(positions.as_slice()));
    let delivery = Delivery {
        group: GroupId(number(0) as u32),
        partition: number(1) as u32,
        offset: number(2),
        lease: number(3),
    };
    let handle = signer.handle(&delivery, number(4) as u32);
    assert_eq!(signer.open_handle(&handle), Ok((delivery, number(4) as u32)));
    // One changed character must not open.
    if let Some((&at, &to)) = data.first().zip(data.get(1)) {
        let at = usize::from(at) % handle.len();
        let to = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[usize::from(to) % 64];
        let mut bad = handle.clone().into_bytes();
        if std::mem::replace(&mut bad[at], to) != to {
            let bad = String::from_utf8(bad).expect("ASCII");
            assert!(signer.open_handle(&bad).is_err(), "a changed handle opened");
        }
    }
}

/// A configuration: every fault has a place that can be shown.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // Files that a configuration names are none of the fuzzer's business.
    if text.contains("$file") || text.contains("static") {
        return;
    }
    let mut origin = Origin { engine: Some(Engine::Memory), only_check: true, ..Origin::default() };
    origin.sources.push("switchboard.toml", text);
    let env = |name: &str| (name == "KEY").then(|| "a secret of some length".to_owned());
    let faults = match load(origin, &env) {
        Ok((_, faults)) | Err(faults) => faults,
    };
    let _ = faults.render(false);
    let _ = faults.json();
}
