//! The one error type. Each protocol has one total match from [`Kind`] to its own codes.

use std::borrow::Cow;

/// What went wrong, in the terms every protocol can translate.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What was named is not there.
    NotFound,
    /// It was there (retention or a deletion removed it) and will not come back.
    Gone,
    /// What was to be created is there already.
    Exists,
    /// The request itself is wrong.
    Invalid,
    /// More bytes than the limit.
    TooLarge,
    /// Nobody has said who is calling, or the proof is wrong.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// The state does not allow it now: stale handle, finished job, overlapping claim.
    Conflict,
    /// A condition the caller gave does not hold.
    Precondition,
    /// An idempotency key was used again for something else.
    Mismatch,
    /// A limit of rate or memory.
    Exhausted,
    /// The disk is full.
    DiskFull,
    /// Not now: draining, starting, storage failed.
    Unavailable,
    /// It took longer than the caller or the method allows.
    Deadline,
    /// The caller or an operator ended it.
    Cancelled,
    /// Known, and not offered here.
    Unsupported,
    /// Stored bytes are damaged.
    Corrupt,
    /// A fault of ours.
    Internal,
}

impl Kind {
    /// Every kind, for tests that a protocol's match is total and for the docs table.
    pub const ALL: [Kind; 18] = [
        Kind::NotFound,
        Kind::Gone,
        Kind::Exists,
        Kind::Invalid,
        Kind::TooLarge,
        Kind::Unauthenticated,
        Kind::Denied,
        Kind::Conflict,
        Kind::Precondition,
        Kind::Mismatch,
        Kind::Exhausted,
        Kind::DiskFull,
        Kind::Unavailable,
        Kind::Deadline,
        Kind::Cancelled,
        Kind::Unsupported,
        Kind::Corrupt,
        Kind::Internal,
    ];

    /// Whether trying the same again later can succeed.
    pub fn retryable(self) -> bool {
        matches!(self, Kind::Exhausted | Kind::DiskFull | Kind::Unavailable | Kind::Deadline)
    }

    /// A short name for metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Kind::NotFound => "not_found",
            Kind::Gone => "gone",
            Kind::Exists => "exists",
            Kind::Invalid => "invalid",
            Kind::TooLarge => "too_large",
            Kind::Unauthenticated => "unauthenticated",
            Kind::Denied => "denied",
            Kind::Conflict => "conflict",
            Kind::Precondition => "precondition",
            Kind::Mismatch => "mismatch",
            Kind::Exhausted => "exhausted",
            Kind::DiskFull => "disk_full",
            Kind::Unavailable => "unavailable",
            Kind::Deadline => "deadline",
            Kind::Cancelled => "cancelled",
            Kind::Unsupported => "unsupported",
            Kind::Corrupt => "corrupt",
            Kind::Internal => "internal",
        }
    }
}

/// An error: kind, stable code, what happened, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// The stable code, `SBnnnn`, with a row in `docs/errors.md`.
    pub code: &'static str,
    /// What happened, with the names concerned. Never a secret.
    pub detail: Cow<'static, str>,
    /// What the caller can do about it; may be empty.
    pub fix: Cow<'static, str>,
    /// When to try again, in milliseconds, where that is known.
    pub retry_after_ms: Option<u64>,
}

impl Error {
    /// An error without a remedy.
    pub fn new(kind: Kind, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Error { kind, code, detail: detail.into(), fix: Cow::Borrowed(""), retry_after_ms: None }
    }

    /// The same with a remedy.
    pub fn fix(mut self, fix: impl Into<Cow<'static, str>>) -> Self {
        self.fix = fix.into();
        self
    }

    /// The same with a time to wait.
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// A malformed request.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Kind::Invalid, "SB0201", detail)
    }

    /// A fault of ours.
    pub fn internal(detail: impl Into<Cow<'static, str>>) -> Self {
        Error::new(Kind::Internal, "SB0901", detail)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.code)?;
        if !self.fix.is_empty() {
            write!(f, ". {}", self.fix)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The result of everything in the core.
pub type Result<T> = std::result::Result<T, Error>;
