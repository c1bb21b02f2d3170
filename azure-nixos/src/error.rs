//! The one error type of the library.
//!
//! An [`Error`] says what happened, to which thing, and what to do about it. It is opaque:
//! programs decide on [`Error::kind`] and the predicates, people read the `Display` text and
//! [`Error::hint`]. `Display` never repeats the source; walk [`std::error::Error::source`] for
//! the whole chain, or print [`Error::report`].
//!
//! No error of this crate contains a secret: access signatures and tokens are cut out where a
//! foreign error is taken in, never where it is printed.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt::{self, Write as _};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong; the part of an [`Error`] that programs decide on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is not acceptable; nothing was created.
    InvalidInput,
    /// A file is not a disk image that Azure would take, or is damaged.
    InvalidImage,
    /// A local file or directory could not be read or written.
    Io,
    /// Nix is missing, refused the expression, or the build failed.
    Build,
    /// There is no usable login, or the service refused it.
    Unauthenticated,
    /// The login is good, but may not do this.
    Forbidden,
    /// The thing does not exist.
    NotFound,
    /// Something of that name exists and is not what was asked for.
    AlreadyExists,
    /// More than one thing answers to the name that was given.
    Ambiguous,
    /// The thing is in a state that does not allow the request.
    Conflict,
    /// A quota or the capacity of a region is used up.
    Quota,
    /// The service asks for fewer requests; it was asked often enough already.
    Throttled,
    /// The network failed, more often than is worth trying.
    Network,
    /// It took longer than it may.
    Timeout,
    /// The service failed, or answered something that is not in its contract.
    Service,
    /// Bytes that arrived are not the bytes that were sent.
    Integrity,
    /// The caller cancelled, or dropped the future.
    Cancelled,
    /// A defect of this library.
    Internal,
}

impl ErrorKind {
    /// The kind in the words of a sentence.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidInput => "invalid input",
            Self::InvalidImage => "invalid disk image",
            Self::Io => "input/output error",
            Self::Build => "build failed",
            Self::Unauthenticated => "not logged in",
            Self::Forbidden => "not allowed",
            Self::NotFound => "not found",
            Self::AlreadyExists => "already exists",
            Self::Ambiguous => "ambiguous",
            Self::Conflict => "conflict",
            Self::Quota => "quota or capacity exceeded",
            Self::Throttled => "throttled",
            Self::Network => "network error",
            Self::Timeout => "timed out",
            Self::Service => "service error",
            Self::Integrity => "integrity error",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal error",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something failed, for a program and for a person.
///
/// ```
/// use azure_nixos::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::NotFound, "there is no file web.vhd")
///     .with_operation("inspect")
///     .with_hint("look at the path once more");
/// assert!(error.is_not_found());
/// assert_eq!(error.to_string(), "there is no file web.vhd");
/// assert_eq!(error.hint(), Some("look at the path once more"));
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    operation: Option<&'static str>,
    context: Vec<(&'static str, String)>,
    code: Option<String>,
    status: Option<u16>,
    retryable: bool,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind. The message is a clause without a full stop that names the thing
    /// concerned: `the file web.vhd is empty`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            operation: None,
            context: Vec::new(),
            code: None,
            status: None,
            retryable: matches!(
                kind,
                ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Throttled
            ),
            hint: None,
            source: None,
        }))
    }

    /// Names the step that failed, in the words of the API (`begin disk access`). The first name
    /// given stays: it is the one nearest to the cause.
    #[must_use]
    pub fn with_operation(mut self, operation: &'static str) -> Self {
        self.0.operation.get_or_insert(operation);
        self
    }

    /// Adds a fact for whoever looks for the cause: a request id, an offset.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// The service's own error code (`InvalidVhd`, `AuthorizationFailed`).
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// The HTTP status of the answer that said so.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Whether the same call can succeed later; replaces what the kind implies.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// What the reader can do about it. The first hint given stays.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        if self.0.hint.is_none() {
            self.0.hint = Some(hint.into());
        }
        self
    }

    /// Another hint in the place of the one that there is, for who knows more about it.
    #[must_use]
    pub(crate) fn with_better_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The error below this one.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// An I/O error on a named file.
    #[must_use]
    pub fn io(doing: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        let kind = match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {doing} {}", path.display())).with_source(source)
    }

    /// The error of work that was stopped by its caller.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled before it was done")
    }

    /// The kind, for programs.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The step that failed, where it has a name.
    #[must_use]
    pub fn operation(&self) -> Option<&'static str> {
        self.0.operation
    }

    /// Facts for whoever looks for the cause, as pairs of name and value.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .context
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
    }

    /// The service's error code, where a service said no.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The HTTP status, where there was one.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same call can succeed later without anything being changed. What the library
    /// retries by itself has been retried when this error reaches a caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Whether the thing asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.0.kind == ErrorKind::NotFound
    }

    /// Whether the caller stopped the work.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.kind == ErrorKind::Cancelled
    }

    /// Whether an argument was refused before anything was created.
    #[must_use]
    pub fn is_invalid_input(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::InvalidInput | ErrorKind::InvalidImage | ErrorKind::Ambiguous
        )
    }

    /// Whether the login or its rights are the cause.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::Unauthenticated | ErrorKind::Forbidden
        )
    }

    /// The whole chain as text for a terminal: the message, each source on a line of its own,
    /// the facts, and the hint last.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = self.to_string();
        let mut said = text.clone();
        let mut next = self.source();
        let mut hint = self.hint().map(str::to_owned);
        while let Some(error) = next {
            let line = error.to_string();
            // Libraries below us print their source in their own text; once is enough.
            if !line.is_empty() && !said.contains(&line) {
                let _ = write!(text, "\n  caused by: {line}");
                said = line;
            }
            if hint.is_none() {
                hint = error
                    .downcast_ref::<Self>()
                    .and_then(Self::hint)
                    .map(str::to_owned);
            }
            next = error.source();
        }
        for (key, value) in self.context() {
            let _ = write!(text, "\n  {key}: {value}");
        }
        if let Some(hint) = hint {
            let _ = write!(text, "\n  hint: {hint}");
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        f.debug_struct("Error")
            .field("kind", &inner.kind)
            .field("message", &inner.message)
            .field("operation", &inner.operation)
            .field("code", &inner.code)
            .field("status", &inner.status)
            .field("context", &inner.context)
            .field("hint", &inner.hint)
            .field("source", &inner.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_shows_the_chain_once_and_the_hint_last() {
        let below = Error::new(ErrorKind::Network, "connection refused").with_hint("start it");
        let error = Error::new(ErrorKind::Service, "cannot create the disk web")
            .with_source(below)
            .with_context("request", "42");
        assert_eq!(
            error.report(),
            "cannot create the disk web\n  caused by: connection refused\n  request: 42\n  hint: start it"
        );
        assert_eq!(error.to_string(), "cannot create the disk web");
    }

    #[test]
    fn the_name_and_hint_nearest_to_the_cause_stay() {
        let error = Error::new(ErrorKind::Io, "x")
            .with_operation("read")
            .with_operation("upload")
            .with_hint("first")
            .with_hint("second");
        assert_eq!(error.operation(), Some("read"));
        assert_eq!(error.hint(), Some("first"));
    }

    #[test]
    fn retryable_follows_the_kind_until_told_otherwise() {
        assert!(Error::new(ErrorKind::Network, "x").is_retryable());
        assert!(!Error::new(ErrorKind::Forbidden, "x").is_retryable());
        assert!(
            Error::new(ErrorKind::Service, "x")
                .with_retryable(true)
                .is_retryable()
        );
    }
}
