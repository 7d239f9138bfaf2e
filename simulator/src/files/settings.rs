//! How files are made and written; set by the control API.

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

/// How files are made and written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, as no document says how it stands"
)]
pub(crate) struct FileSettings {
    /// Alipay's commission in hundredths of a percent: 80 is 0.8 %.
    pub(crate) fee_basis_points: i64,
    /// Whether a refund gives its part of the commission back. A cancel always does.
    pub(crate) fee_returned_on_refund: bool,
    /// What a cancel of a paid trade is called: `CANCEL`, `REVERSAL` or `REVERSE`.
    pub(crate) cancel_word: CancelWord,
    /// Whether canceled payments are in the settlement file, with a row that takes them back.
    pub(crate) settle_canceled: bool,
    /// Days on which nothing is paid out, beside weekends.
    pub(crate) holidays: Vec<NaiveDate>,
    pub(crate) layout: FileLayout,
    /// Whether transaction files begin with `Partner:...`.
    pub(crate) header: bool,
    /// Whether there is a line with the names of the columns.
    pub(crate) names: bool,
    /// Whether what goes back has a minus.
    pub(crate) signed_refunds: bool,
    /// In which character set.
    pub(crate) charset: FileCharset,
    /// Whether lines end in CRLF.
    pub(crate) crlf: bool,
    /// Whether an empty line follows each.
    pub(crate) blank_lines: bool,
}

impl Default for FileSettings {
    /// The samples of `docs/protocol.md` 9.5.
    fn default() -> Self {
        Self {
            fee_basis_points: 80,
            fee_returned_on_refund: true,
            cancel_word: CancelWord::Cancel,
            settle_canceled: false,
            holidays: vec![],
            layout: FileLayout::Hk,
            header: true,
            names: true,
            signed_refunds: false,
            charset: FileCharset::Utf8,
            crlf: false,
            blank_lines: false,
        }
    }
}

impl FileSettings {
    /// The commission on an amount, rounded half up.
    pub(super) fn fee(&self, amount_minor: i64) -> i64 {
        (amount_minor * self.fee_basis_points + 5_000) / 10_000
    }
}

/// The three words for a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum CancelWord {
    /// Of the HK page.
    Cancel,
    /// Of the HK page.
    Reversal,
    /// Of old text.
    Reverse,
}

impl CancelWord {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Cancel => "CANCEL",
            Self::Reversal => "REVERSAL",
            Self::Reverse => "REVERSE",
        }
    }
}

/// The columns of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileLayout {
    /// The HK product's: 17 and 20.
    Hk,
    /// The other products': 15 and 18.
    Standard,
    /// The oldest transaction file's: 8. A settlement file is then as `standard`.
    Old,
}

/// The character set of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FileCharset {
    /// Without a byte order mark.
    #[serde(rename = "UTF-8")]
    Utf8,
    /// With a byte order mark.
    #[serde(rename = "UTF-8-BOM")]
    Utf8Mark,
    #[serde(rename = "GBK")]
    Gbk,
}
