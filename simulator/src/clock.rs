//! The simulator's own clock: the machine's time plus an offset, or a time that only moves when it is
//! told to. Everything that depends on time (the three-minute close, midnight, the 23:00 batch) is
//! computed from it when the book is read, so no timer ever has to fire.

use chrono::{
    DateTime, Days, FixedOffset, NaiveDateTime, NaiveTime, SecondsFormat, TimeDelta, Utc,
};

/// Where the simulator's time comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clock {
    /// The machine's time, shifted.
    System {
        /// Added to the machine's time.
        offset: TimeDelta,
    },
    /// A time that stands still until the control API moves it.
    Manual {
        /// The present.
        now: DateTime<Utc>,
    },
}

impl Clock {
    /// A running clock that shows the machine's time.
    pub(crate) fn system() -> Self {
        Self::System {
            offset: TimeDelta::zero(),
        }
    }

    /// A clock that stands still at `now`, by default at the machine's time.
    pub(crate) fn manual(now: Option<DateTime<Utc>>) -> Self {
        Self::Manual {
            now: now.unwrap_or_else(machine_time),
        }
    }

    /// Whether the clock only moves when told to.
    pub(crate) fn is_manual(self) -> bool {
        matches!(self, Self::Manual { .. })
    }

    /// The present, as the simulator sees it.
    pub(crate) fn now(self) -> DateTime<Utc> {
        match self {
            Self::System { offset } => machine_time() + offset,
            Self::Manual { now } => now,
        }
    }

    /// Makes `now` the present; a running clock runs on from there.
    pub(crate) fn set(&mut self, now: DateTime<Utc>) {
        match self {
            Self::System { offset } => *offset = now - machine_time(),
            Self::Manual { now: present } => *present = now,
        }
    }

    /// Moves the present by `by`, which may be negative.
    pub(crate) fn advance(&mut self, by: TimeDelta) {
        match self {
            Self::System { offset } => *offset += by,
            Self::Manual { now } => *now += by,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the simulator's clock")]
fn machine_time() -> DateTime<Utc> {
    Utc::now()
}

/// GMT+8, the zone of every Alipay clock rule (`docs/protocol.md` 1).
fn beijing() -> FixedOffset {
    FixedOffset::east_opt(8 * 3600).expect("eight hours are less than a day")
}

/// The wall clock in Beijing, which is also Hong Kong's.
pub(crate) fn beijing_time(at: DateTime<Utc>) -> NaiveDateTime {
    at.with_timezone(&beijing()).naive_local()
}

/// The instant at which Beijing's wall clock shows `local`; there is no daylight saving time.
pub(crate) fn from_beijing(local: NaiveDateTime) -> DateTime<Utc> {
    local
        .and_local_timezone(beijing())
        .single()
        .expect("a fixed offset maps each local time to one instant")
        .to_utc()
}

/// The first instant after the Beijing day of `at`.
pub(crate) fn end_of_beijing_day(at: DateTime<Utc>) -> DateTime<Utc> {
    from_beijing((beijing_time(at).date() + Days::new(1)).and_time(NaiveTime::MIN))
}

/// `yyyyMMddHHmmss` in Beijing, the form of `alipay_pay_time`.
pub(crate) fn compact(at: DateTime<Utc>) -> String {
    beijing_time(at).format("%Y%m%d%H%M%S").to_string()
}

/// `yyyy-MM-dd HH:mm:ss` in Beijing, the form of `gmt_create`.
pub(crate) fn spaced(at: DateTime<Utc>) -> String {
    beijing_time(at).format("%Y-%m-%d %H:%M:%S").to_string()
}

/// RFC 3339 in UTC with milliseconds, the form of the control API.
pub(crate) fn rfc3339(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn the_beijing_day_ends_at_sixteen_hours_utc() {
        assert_eq!(
            end_of_beijing_day(at("2026-01-01T15:50:00Z")),
            at("2026-01-01T16:00:00Z")
        );
        assert_eq!(
            end_of_beijing_day(at("2026-01-01T16:00:00Z")),
            at("2026-01-02T16:00:00Z")
        );
        assert_eq!(compact(at("2026-01-01T15:50:01Z")), "20260101235001");
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let mut clock = Clock::manual(Some(at("2026-01-01T00:00:00Z")));
        clock.advance(TimeDelta::milliseconds(1500));
        assert_eq!(rfc3339(clock.now()), "2026-01-01T00:00:01.500Z");
        clock.set(at("2026-02-01T00:00:00Z"));
        assert_eq!(clock.now(), at("2026-02-01T00:00:00Z"));
    }
}
