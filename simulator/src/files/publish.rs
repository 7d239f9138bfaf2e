//! `--files-dir`: files are laid out at 09:30 GMT+8 of the simulator's clock, as Alipay lays them out
//! between 09:00 and 10:00 (`docs/protocol.md` 9.3): the transaction file of the day before, and
//! the settlement file of the settlement on the day before. For an SFTP server to serve.

use std::{io, path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use tokio::time::MissedTickBehavior;

use super::{File, FileId, Kind};
use crate::{
    clock::{beijing_time, from_beijing},
    state::Simulator,
};

/// How often the clock is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// Lays out what time has made due, until the program ends.
pub(crate) async fn keep_publishing(simulator: Arc<Simulator>) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        publish_due(&simulator);
    }
}

/// Lays out the files that are due and have not been. Returns their names.
pub(crate) fn publish_due(simulator: &Simulator) -> Vec<String> {
    let Some(directory) = &simulator.files_dir else {
        return vec![];
    };
    let files: Vec<File> = {
        let mut state = simulator.state();
        let now = state.clock.now();
        let since = std::mem::replace(&mut state.files.published_until, now);
        let due = publications(since, now).flat_map(published_at);
        due.filter_map(|id| state.make_file(&simulator.partner, id))
            .collect()
    };
    for file in &files {
        match lay_out(directory, file) {
            Ok(()) => tracing::info!(records = file.records, "file {} laid out", file.name),
            Err(error) => tracing::error!("file {} cannot be written: {error}", file.name),
        }
    }
    files.into_iter().map(|file| file.name).collect()
}

/// Every 09:30 after `since` and not after `until`.
fn publications(since: DateTime<Utc>, until: DateTime<Utc>) -> impl Iterator<Item = DateTime<Utc>> {
    let half_past_nine = NaiveTime::from_hms_opt(9, 30, 0).expect("a time of day");
    let first = from_beijing(beijing_time(since).date().and_time(half_past_nine));
    (0..)
        .map(move |days| first + TimeDelta::days(days))
        .skip_while(move |at| *at <= since)
        .take_while(move |at| *at <= until)
}

fn published_at(at: DateTime<Utc>) -> [FileId; 2] {
    let day = beijing_time(at - TimeDelta::days(1)).date();
    [Kind::Transaction, Kind::Settlement].map(|kind| FileId { kind, day })
}

/// Written aside and moved, so that nobody reads half of it.
pub(crate) fn lay_out(directory: &Path, file: &File) -> io::Result<()> {
    let aside = directory.join(format!(".{}.part", file.name));
    std::fs::create_dir_all(directory)?;
    std::fs::write(&aside, &file.bytes)?;
    std::fs::rename(aside, directory.join(&file.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_past_nine_is_met_once() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let found = |since, until| {
            let names = publications(at(since), at(until)).flat_map(published_at);
            names.map(|id| id.name("P")).collect::<Vec<_>>()
        };
        let day = "2026-03-10T09:29:59.999+08:00";
        let due = "2026-03-10T09:30:00+08:00";
        assert_eq!(found("2026-03-09T12:00:00+08:00", day), [""; 0]);
        assert_eq!(
            found(day, due),
            ["P_transaction_20260309.txt", "P_settlement_20260309.txt"]
        );
        assert_eq!(found(due, "2026-03-10T23:00:00+08:00"), [""; 0]);
        assert_eq!(found(due, "2026-03-13T09:30:00+08:00").len(), 6);
    }
}
