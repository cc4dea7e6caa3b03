//! The readers of strangers' bytes against any bytes: what the fuzzer does, for a moment and on every compiler.

#[path = "../../../fuzz/src/rpc.rs"]
mod rpc;

use proptest::prelude::*;

#[test]
fn seeds() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/grpc");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        rpc::grpc(&bytes);
        // Every byte changed once, and every length.
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x81;
            rpc::grpc(&changed);
            rpc::grpc(&bytes[..at]);
        }
        count += 1;
    }
    assert!(count > 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        rpc::grpc(&bytes);
    }

    #[test]
    fn texts(text in "[a-zA-Z0-9=+/%&: \r\n_.\"{}\\[\\]-]{0,200}") {
        rpc::grpc(text.as_bytes());
    }
}
