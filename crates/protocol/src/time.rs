//! The two forms of time on the wire.

use std::{fmt, str::FromStr};

use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The time of an event: local wall-clock time without a zone, always with six fractional digits.
///
/// Clients sort events by this text, so every event of a server must have the same form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(DateTime);

impl EventTime {
    /// The wall-clock time of `now` in `zone`.
    pub fn at(now: Timestamp, zone: &TimeZone) -> Self {
        Self(zone.to_datetime(now))
    }

    /// The next instant this type can tell apart.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(SignedDuration::from_micros(1)))
    }
}

impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%S%.6f"))
    }
}

impl FromStr for EventTime {
    type Err = jiff::Error;

    /// Reads a local time. A time with a zone is taken as the wall-clock time it names.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim_end_matches('Z').parse().map(Self)
    }
}

/// A moment in UTC, written with a `Z` and six fractional digits: conversations, bash events, files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcTime(pub Timestamp);

impl UtcTime {
    /// The next moment this type can tell apart.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(SignedDuration::from_micros(1)).unwrap_or(Timestamp::MAX))
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    }
}

impl FromStr for UtcTime {
    type Err = jiff::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
                String::schema()
            }
        }

        impl utoipa::ToSchema for $name {}
    )*};
}
as_text!(EventTime, UtcTime);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_times_always_have_six_digits_and_no_zone() {
        let time = EventTime::at("2026-11-20T04:16:46Z".parse().unwrap(), &TimeZone::UTC);
        assert_eq!(time.to_string(), "2026-11-20T04:16:46.000000");
        assert_eq!(time.next().to_string(), "2026-11-20T04:16:46.000001");
        assert_eq!("2026-11-20T04:16:46".parse::<EventTime>().unwrap(), time);
    }

    #[test]
    fn utc_times_end_in_z() {
        let time: UtcTime = "2026-11-20T04:15:59.071302Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-20T04:15:59.071302Z");
        assert_eq!("2026-11-20T05:15:59.071302+01:00".parse::<UtcTime>().unwrap(), time);
    }
}
