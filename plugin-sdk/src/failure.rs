use std::{fmt, time::Duration};

/// Why a delivery failed, and whether another attempt makes sense. None of the delivery's effects are kept.
///
/// `?` turns the errors of [`Host`](crate::Host) into failures: transient where the host couldn't, permanent where it
/// won't. For errors of your own, say which:
///
/// ```
/// # use tidegate_plugin::Failure;
/// fn depth(text: &str) -> Result<f64, Failure> {
///     text.parse().map_err(|error| Failure::permanent("bad-depth", error))
/// }
/// assert_eq!(depth("deep").unwrap_err().reason().message, "invalid float literal");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Worth another attempt, after the consumer's backoff.
    Transient(Reason),
    /// Another attempt would fail as well: to the dead-letter queue at once.
    Permanent(Reason),
}

/// The diagnosis that a failure leaves behind.
///
/// ```
/// use std::time::Duration;
/// use tidegate_plugin::Failure;
///
/// let busy = Failure::transient("busy", "the model is being loaded").retry_after(Duration::from_secs(2));
/// assert_eq!(busy.reason().code, "busy");
/// assert_eq!(busy.reason().retry_after, Some(Duration::from_secs(2)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// A short word that stays the same for the same cause, for people to count and filter by. The host cuts what is
    /// over 64 bytes.
    pub code: String,
    /// What happened, to which thing. The host cuts what is over 4 KiB.
    pub message: String,
    /// The least time to wait before the next attempt.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure that is worth another attempt.
    pub fn transient(code: &str, message: impl fmt::Display) -> Self {
        Self::Transient(Reason::new(code, &message))
    }

    /// A failure that no further attempt mends.
    pub fn permanent(code: &str, message: impl fmt::Display) -> Self {
        Self::Permanent(Reason::new(code, &message))
    }

    /// Asks to wait at least so long before the next attempt. The host waits longer where its own backoff says so, and
    /// takes more than a day for a day. Means nothing for a permanent failure.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        let (Self::Transient(reason) | Self::Permanent(reason)) = &mut self;
        reason.retry_after = Some(wait);
        self
    }

    /// The diagnosis.
    pub fn reason(&self) -> &Reason {
        let (Self::Transient(reason) | Self::Permanent(reason)) = self;
        reason
    }

    /// Whether another attempt makes sense.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Transient(_))
    }
}

impl Reason {
    fn new(code: &str, message: &dyn fmt::Display) -> Self {
        Self { code: code.to_owned(), message: message.to_string(), retry_after: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_transient() { "transient" } else { "permanent" };
        let Reason { code, message, .. } = self.reason();
        write!(f, "{kind} failure {code}: {message}")
    }
}

impl std::error::Error for Failure {}

/// What can't be written as JSON, for example a map whose keys aren't text: a mistake in the consumer.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::permanent("bad-json", error)
    }
}
