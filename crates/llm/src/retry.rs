//! When a failed attempt is made again (contract: agent §2.6).

use std::time::Duration;

use longshore_protocol::Llm;

use crate::Error;

/// How often and how patiently to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    attempts: u32,
    multiplier: f64,
    shortest: Duration,
    longest: Duration,
}

impl Policy {
    /// `num_retries` counts attempts and not repetitions; the official server reads it so. Zero is one attempt.
    pub(crate) fn of(llm: &Llm) -> Self {
        let longest = Duration::from_secs(llm.retry_max_wait.into());
        Self {
            attempts: llm.num_retries.max(1),
            multiplier: llm.retry_multiplier,
            shortest: Duration::from_secs(llm.retry_min_wait.into()).min(longest),
            longest,
        }
    }

    /// How long to wait after the `failed`th failure, counted from 1.
    ///
    /// The provider's own wish replaces the computed wait, also if it is shorter, but not beyond the longest wait that the
    /// configuration allows: a provider must not park a conversation for hours.
    fn wait(&self, failed: u32, wish: Option<Duration>) -> Duration {
        if let Some(wish) = wish {
            return wish.min(self.longest);
        }
        let exponent = i32::try_from(failed - 1).unwrap_or(i32::MAX);
        let seconds = self.multiplier * 2f64.powi(exponent);
        // Infinite and absurd products mean the longest wait, like any product beyond it.
        Duration::try_from_secs_f64(seconds).unwrap_or(self.longest).clamp(self.shortest, self.longest)
    }
}

/// Counts the failures of one request.
#[derive(Debug)]
pub(crate) struct Retries {
    policy: Policy,
    failed: u32,
}

impl Retries {
    pub(crate) const fn new(policy: Policy) -> Self {
        Self { policy, failed: 0 }
    }

    /// Waits until the next attempt is due. Dropping the future ends the wait.
    ///
    /// # Errors
    /// `error` itself, if there is no point in another attempt.
    pub(crate) async fn after(&mut self, error: Error) -> Result<(), Error> {
        self.failed += 1;
        if !error.is_transient() || self.failed >= self.policy.attempts {
            return Err(error);
        }
        let wait = self.policy.wait(self.failed, error.retry_after);
        tracing::info!(
            code = error.code(),
            attempt = self.failed,
            attempts = self.policy.attempts,
            wait_ms = wait.as_millis(),
            "model call failed, trying again"
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Reads a `Retry-After` header: seconds, or a date after `now`.
pub(crate) fn retry_after(header: &str, now: jiff::Timestamp) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(header).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::ErrorKind;

    fn policy(attempts: u32) -> Policy {
        Policy::of(&Llm { num_retries: attempts, ..Llm::default() })
    }

    async fn waits(attempts: u32, error: Error) -> Vec<u64> {
        let mut retries = Retries::new(policy(attempts));
        let mut waits = Vec::new();
        loop {
            let start = Instant::now();
            if retries.after(error.clone()).await.is_err() {
                return waits;
            }
            waits.push(start.elapsed().as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_between_the_limits() {
        let unavailable = Error::new(ErrorKind::Unavailable, "down");
        assert_eq!(waits(5, unavailable.clone()).await, [8, 16, 32, 64]);
        assert_eq!(waits(7, unavailable.clone()).await, [8, 16, 32, 64, 64, 64]);
        assert_eq!(waits(1, unavailable.clone()).await, Vec::<u64>::new());
        assert_eq!(waits(0, unavailable).await, Vec::<u64>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wish_of_the_provider_counts_up_to_the_longest_wait() {
        let mut error = Error::new(ErrorKind::RateLimit, "slow down");
        error.retry_after = Some(Duration::from_secs(3));
        assert_eq!(waits(3, error.clone()).await, [3, 3]);
        error.retry_after = Some(Duration::from_hours(1));
        assert_eq!(waits(2, error).await, [64]);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_tried_again() {
        for kind in [ErrorKind::NoResponse, ErrorKind::RateLimit, ErrorKind::Unavailable, ErrorKind::Timeout] {
            assert_eq!(waits(2, Error::new(kind, "")).await.len(), 1, "{kind:?}");
        }
        for kind in [
            ErrorKind::Authentication,
            ErrorKind::BadRequest,
            ErrorKind::ContentPolicy,
            ErrorKind::ContextWindow,
            ErrorKind::MalformedHistory,
            ErrorKind::NotFound,
            ErrorKind::Quota,
        ] {
            assert_eq!(waits(2, Error::new(kind, "")).await, Vec::<u64>::new(), "{kind:?}");
        }
    }

    #[test]
    fn absurd_settings_mean_the_longest_wait() {
        let absurd = Policy { multiplier: f64::INFINITY, ..policy(5) };
        assert_eq!(absurd.wait(1, None), Duration::from_secs(64));
        assert_eq!(policy(5).wait(u32::MAX, None), Duration::from_secs(64));
        let crossed = Policy::of(&Llm { retry_min_wait: 9, retry_max_wait: 2, ..Llm::default() });
        assert_eq!(crossed.wait(1, None), Duration::from_secs(2));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: jiff::Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();
        assert_eq!(retry_after("12", now), Some(Duration::from_secs(12)));
        assert_eq!(retry_after(" 0.5 ", now), Some(Duration::from_millis(500)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 06:01:30 GMT", now), Some(Duration::from_secs(90)));
        assert_eq!(retry_after("Fri, 20 Nov 2026 05:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("-1", now), None);
        assert_eq!(retry_after("soon", now), None);
    }
}
