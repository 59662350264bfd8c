//! Times in queries.

use jiff::Timestamp;
use longshore_engine::Clock;
use longshore_protocol::{EventTime, UtcTime};
use serde::{Deserialize, Deserializer, de};

/// A time in the form of events, which is the server's wall-clock time; a time with a zone is converted to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallTime(pub(crate) EventTime);

impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A plus that was not escaped in a query arrives as a space.
        let text = String::deserialize(deserializer)?.replace(' ', "+");
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Ok(Self(Clock::system().event_time(UtcTime(moment))));
        }
        text.parse()
            .map(Self)
            .map_err(|_| de::Error::custom("Input should be a valid datetime, such as 2026-11-20T04:16:46"))
    }
}
