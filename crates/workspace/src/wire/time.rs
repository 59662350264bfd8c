//! A time as nanoseconds from the beginning of 1970, which may be before it.

use std::time::{Duration, SystemTime};

use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

const SECOND: u128 = 1_000_000_000;

#[expect(clippy::ref_option, reason = "the form in which it is called")]
pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let nanos = |duration: Duration| i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
    let time = time.map(|time| match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => nanos(after),
        Err(before) => -nanos(before.duration()),
    });
    time.serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let nanos = Option::<i128>::deserialize(deserializer)?;
    // A time that this system cannot tell is none.
    Ok(nanos.and_then(|nanos| {
        let length = nanos.unsigned_abs();
        let (seconds, rest) = (u64::try_from(length / SECOND).ok()?, u32::try_from(length % SECOND).ok()?);
        let duration = Duration::new(seconds, rest);
        if nanos < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(duration)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(duration)
        }
    }))
}
