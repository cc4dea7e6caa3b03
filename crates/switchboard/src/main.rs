//! Entry point: what a process sets up once, then the command line.

use std::process::ExitCode;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often memory is given back.
const GIVE_BACK: Duration = Duration::from_secs(5);

/// Gives back to the system what has been free for a second. The allocator does so only while it allocates, so that a server at rest
/// after a rush would keep all that the rush took.
#[expect(unsafe_code, reason = "the allocator's own call has no safe form")]
fn give_back() {
    loop {
        std::thread::sleep(GIVE_BACK);
        // SAFETY: it takes no pointer and may be called at any time from any thread; it touches only what nobody has allocated.
        unsafe { libmimalloc_sys::mi_collect(false) };
    }
}

fn main() -> ExitCode {
    let started = Instant::now();
    // Without it everything works as well, with more memory.
    let _ = std::thread::Builder::new().name("memory".into()).spawn(give_back);
    // Fails only when a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    switchboard::cli::main(started)
}
