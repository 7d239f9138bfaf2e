//! The daily files, made from the ledger whenever somebody asks for them (`docs/protocol.md` 9),
//! with planted differences where a test wants them.
//!
//! A transaction file holds what was completed on its day in GMT+8: payments, cancels of paid trades,
//! and refunds, also those from the merchant portal. A refund that was undone later is in no file: no
//! document says how it would be shown. A settlement file holds what is paid out on its day; see
//! [`calendar`]. There is a file only for a day that has something in it.
//!
//! Fees are rounded half up per row; no document has the formula (`docs/protocol.md` 9.6).

mod calendar;
mod columns;
mod entry;
mod plant;
pub(crate) mod publish;
mod settings;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;

use self::{entry::Entry, plant::Row};
use crate::book::{Refund, Trade};

pub(crate) use self::{plant::Plant, settings::FileSettings};

/// Which of the two files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What happened on a day.
    Transaction,
    /// What was paid out on a day.
    Settlement,
}

impl Kind {
    /// The word in the file's name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Settlement => "settlement",
        }
    }
}

/// One file of a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    pub(crate) kind: Kind,
    /// In GMT+8.
    pub(crate) day: NaiveDate,
}

impl FileId {
    /// `2088000000000017_transaction_20260309.txt`
    pub(crate) fn name(self, partner: &str) -> String {
        let day = self.day.format("%Y%m%d");
        format!("{partner}_{}_{day}.txt", self.kind.word())
    }
}

/// A file as Alipay lays it out.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    /// How many records it has.
    pub(crate) records: usize,
    /// What became of each planted difference, in the order of planting.
    pub(crate) planted: Vec<Value>,
}

/// How files are made, and what is wrong with which.
pub(crate) struct Files {
    pub(crate) settings: FileSettings,
    plants: BTreeMap<FileId, Vec<Plant>>,
    /// Until when files were laid out.
    published_until: DateTime<Utc>,
}

/// What the files are made of.
pub(crate) struct Ledger<'a> {
    pub(crate) partner: &'a str,
    pub(crate) trades: &'a [Trade],
    pub(crate) refunds: &'a [Refund],
}

impl Files {
    /// Files for what happens from `now` on are laid out in time.
    pub(crate) fn new(now: DateTime<Utc>) -> Self {
        Self {
            settings: FileSettings::default(),
            plants: BTreeMap::new(),
            published_until: now,
        }
    }

    /// Makes one more thing wrong with a file.
    pub(crate) fn plant(&mut self, id: FileId, plant: Plant) {
        self.plants.entry(id).or_default().push(plant);
    }

    /// Makes a file right again.
    pub(crate) fn clear(&mut self, id: FileId) {
        self.plants.remove(&id);
    }

    /// The file; `None` if there is nothing in it.
    pub(crate) fn make(&self, ledger: &Ledger<'_>, id: FileId) -> Option<File> {
        let entries = entry::of_ledger(ledger, &self.settings);
        let entries: Vec<Entry> = match id.kind {
            Kind::Transaction => entries
                .into_iter()
                .filter(|entry| entry.day() == id.day)
                .collect(),
            Kind::Settlement => entries
                .into_iter()
                .filter(|entry| entry.settled_on(&self.settings) == id.day)
                .filter(|entry| self.settings.settle_canceled || !entry.of_canceled)
                .collect(),
        };
        let mut rows: Vec<Row> = entries.into_iter().map(Row::new).collect();
        let plants = self.plants.get(&id).map_or(&[][..], Vec::as_slice);
        let effects = plant::apply(&mut rows, plants, ledger, id, &self.settings);
        if rows.is_empty() {
            return None;
        }
        let written = write::write(&rows, ledger.partner, id, &self.settings, plants);
        Some(File {
            name: id.name(ledger.partner),
            bytes: written.bytes,
            records: rows.len(),
            planted: plant::report(plants, &effects, &rows, &written.lines),
        })
    }

    /// Every file that has something in it by now.
    pub(crate) fn ids(&self, ledger: &Ledger<'_>) -> Vec<FileId> {
        let mut ids: Vec<FileId> = self.plants.keys().copied().collect();
        for entry in entry::of_ledger(ledger, &self.settings) {
            ids.push(FileId {
                kind: Kind::Transaction,
                day: entry.day(),
            });
            if self.settings.settle_canceled || !entry.of_canceled {
                ids.push(FileId {
                    kind: Kind::Settlement,
                    day: entry.settled_on(&self.settings),
                });
            }
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}
