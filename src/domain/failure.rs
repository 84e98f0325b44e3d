//! What can go wrong, as facts that policy can ask about: the errors of a host's answers, and why an instance failed.

use std::fmt;

/// What kind of error a Slicer host's answer, or the lack of one, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostErrorKind {
    /// The host has no room for another VM: memory, CPUs, disk, addresses, licence limit.
    OutOfResources,
    /// The host understood and said no: bad input, over the group's limits, protected.
    Refused,
    /// The token is missing or wrong (401).
    Unauthorized,
    /// The host group, VM or secret does not exist (404).
    NotFound,
    /// The host asks to come again later (429), or so much came at once that this request had to give way.
    Busy,
    /// Nobody answered: refused, unknown name, no route, TLS failed, connection lost, time-out.
    Unreachable,
    /// The host failed (5xx).
    Broken,
    /// The answer makes no sense: no JSON, cut off, too long, an unknown status.
    Nonsense,
}

impl HostErrorKind {
    /// A short stable name, for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfResources => "out_of_resources",
            Self::Refused => "refused",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not_found",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::Nonsense => "nonsense",
        }
    }
}

/// Whether a request that ended in an error may nevertheless have been carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFate {
    /// It certainly was not: it never reached the host, or the host refused it.
    NotDone,
    /// The host has finished with it, but what it did is not known (an error or nonsense as answer, connection lost).
    Unclear,
    /// The host may still be at it: no answer came in time.
    MayStillHappen,
}

/// A request to a Slicer host that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostError {
    /// What kind of failure.
    pub kind: HostErrorKind,
    /// Whether the request may have had an effect all the same.
    pub fate: RequestFate,
    /// What was tried and what came back, for a person. Never holds a secret.
    pub message: String,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for HostError {}

/// The classes of the cluster-autoscaler's `InstanceErrorInfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// 1: no room; another group may have some.
    OutOfResources,
    /// 99: everything else.
    Other,
}

impl ErrorClass {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::OutOfResources => 1,
            Self::Other => 99,
        }
    }
}

/// Why an instance failed. The set is small and stable: the cluster-autoscaler makes metric labels of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureCode {
    /// The host has no room.
    OutOfResources,
    /// The host said no to the request.
    HostRefused,
    /// The host did not accept our token.
    HostUnauthorized,
    /// The host does not know the host group.
    HostGroupNotFound,
    /// The host could not be reached in time.
    HostUnreachable,
    /// The host failed, or its answers made no sense.
    HostError,
    /// The userdata ended with an error: the agent could not join.
    UserdataFailed,
    /// The VM runs, but no Node registered in time.
    JoinTimeout,
    /// The VM disappeared before its Node registered.
    VmVanished,
    /// This server could not prepare the launch (for example: the join token's file cannot be read).
    LaunchNotPrepared,
}

impl FailureCode {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::OutOfResources,
        Self::HostRefused,
        Self::HostUnauthorized,
        Self::HostGroupNotFound,
        Self::HostUnreachable,
        Self::HostError,
        Self::UserdataFailed,
        Self::JoinTimeout,
        Self::VmVanished,
        Self::LaunchNotPrepared,
    ];

    /// The code on the wire, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfResources => "OutOfResources",
            Self::HostRefused => "HostRefused",
            Self::HostUnauthorized => "HostUnauthorized",
            Self::HostGroupNotFound => "HostGroupNotFound",
            Self::HostUnreachable => "HostUnreachable",
            Self::HostError => "HostError",
            Self::UserdataFailed => "UserdataFailed",
            Self::JoinTimeout => "JoinTimeout",
            Self::VmVanished => "VmVanished",
            Self::LaunchNotPrepared => "LaunchNotPrepared",
        }
    }

    /// The class that the cluster-autoscaler is told.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        match self {
            Self::OutOfResources => ErrorClass::OutOfResources,
            _ => ErrorClass::Other,
        }
    }
}

/// Why an instance failed, with the story for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the cluster-autoscaler's metrics count.
    pub code: FailureCode,
    /// What happened. Shown in events and logs; never holds a secret.
    pub message: String,
}

impl Failure {
    /// Longest message kept, in characters: it travels in every NodeGroupNodes answer and into events.
    pub const MAX_MESSAGE: usize = 2000;

    /// A failure with this story, cut to [`Self::MAX_MESSAGE`].
    #[must_use]
    pub fn new(code: FailureCode, message: impl Into<String>) -> Self {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(Self::MAX_MESSAGE) {
            message.truncate(end);
        }
        Self { code, message }
    }

    /// A failure of a VM with the end of its serial log: as much of it as there is room for, its last lines before all.
    #[must_use]
    pub fn with_log(code: FailureCode, story: &str, log: &str) -> Self {
        const INTRODUCTION: &str = "; end of its serial log: ";
        let log = log.trim();
        if log.is_empty() {
            return Self::new(code, story);
        }
        let room = Self::MAX_MESSAGE.saturating_sub(story.chars().count() + INTRODUCTION.chars().count());
        let cut = log.chars().count().saturating_sub(room);
        let tail = log.char_indices().nth(cut).map_or("", |(start, _)| &log[start..]);
        Self::new(code, format!("{story}{INTRODUCTION}{tail}"))
    }
}

impl From<&HostError> for Failure {
    fn from(error: &HostError) -> Self {
        let code = match error.kind {
            HostErrorKind::OutOfResources => FailureCode::OutOfResources,
            HostErrorKind::Refused => FailureCode::HostRefused,
            HostErrorKind::Unauthorized => FailureCode::HostUnauthorized,
            HostErrorKind::NotFound => FailureCode::HostGroupNotFound,
            HostErrorKind::Unreachable => FailureCode::HostUnreachable,
            HostErrorKind::Busy | HostErrorKind::Broken | HostErrorKind::Nonsense => FailureCode::HostError,
        };
        Self::new(code, error.message.clone())
    }
}
