//! x
/// x
pub fn main(_: std::time::Instant) -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
