//! Time and ids of the real world.

use jiff::{Timestamp, tz::TimeZone};
use longshore_agent::World;
use longshore_protocol::{EventTime, UtcTime};
use uuid::Uuid;

/// The system's clock and random ids.
#[derive(Debug, Clone)]
pub struct Clock {
    zone: TimeZone,
}

impl Clock {
    /// The clock of this machine, in its time zone.
    pub fn system() -> Self {
        Self { zone: TimeZone::system() }
    }

    /// The time in UTC.
    pub fn now(&self) -> UtcTime {
        UtcTime(Timestamp::now())
    }

    /// The wall-clock time of a moment, in the form of events.
    pub fn event_time(&self, moment: UtcTime) -> EventTime {
        EventTime::at(moment.0, &self.zone)
    }
}

impl World for Clock {
    fn time(&mut self) -> EventTime {
        self.event_time(self.now())
    }

    fn id(&mut self) -> String {
        Uuid::new_v4().to_string()
    }
}
