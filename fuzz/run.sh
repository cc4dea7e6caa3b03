#!/bin/sh
# Runs every fuzz target, or those named, for so many seconds: fuzz/run.sh SECONDS [TARGET ...]
# Needs a nightly compiler and cargo-fuzz (cargo install --locked cargo-fuzz). A finding stops the run and is kept in fuzz/artifacts.
set -eu
cd "$(dirname "$0")"
seconds=${1:?"how many seconds for each target?"}
shift
[ $# -gt 0 ] || set -- $(ls fuzz_targets | sed 's/\.rs$//')
failed=
for target in "$@"; do
    mkdir -p "corpus/$target"
    echo "== $target"
    # No RUSTUP_TOOLCHAIN: the project's pinned compiler is not the one that fuzzes.
    if ! env -u RUSTUP_TOOLCHAIN cargo +nightly fuzz run "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -max_len=16384 -print_final_stats=1; then
        failed="$failed $target"
    fi
done
[ -z "$failed" ] || { echo "findings in:$failed" >&2; exit 1; }
