//! `2088000000000017_transaction_20260309.txt`: what a file's name says (`docs/protocol.md`
//! 9.1).

use std::{fmt, str::FromStr};

use chrono::NaiveDate;

use super::FileKind;

/// The name of a daily file. Displayed, it is the name that Alipay gives; what is parsed may also
/// carry directories in front and be in any case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    /// The partner whose file it is: 16 digits.
    pub partner: String,
    /// Which of the two files.
    pub kind: FileKind,
    /// The GMT+8 day: of the transactions, or of the settlement.
    pub day: NaiveDate,
}

/// Why a name is not that of a daily file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// There are not three parts and `.txt`.
    #[error("the name is not PARTNER_transaction_YYYYMMDD.txt or PARTNER_settlement_YYYYMMDD.txt")]
    Shape,
    /// The first part is not a partner id.
    #[error("the name does not begin with a partner id of 16 digits")]
    Partner,
    /// The second part is neither `transaction` nor `settlement`.
    #[error("the name says neither transaction nor settlement")]
    Kind,
    /// The third part is not a date.
    #[error("the name does not end in a day YYYYMMDD")]
    Day,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partner, kind, day } = self;
        write!(f, "{partner}_{kind}_{}.txt", day.format("%Y%m%d"))
    }
}

impl FromStr for FileName {
    type Err = FileNameError;

    fn from_str(text: &str) -> Result<Self, FileNameError> {
        let name = text.rsplit(['/', '\\']).next().unwrap_or(text);
        let name = name.trim().to_ascii_lowercase();
        let stem = name.strip_suffix(".txt").ok_or(FileNameError::Shape)?;
        let parts: Vec<&str> = stem.split('_').collect();
        let [partner, kind, day] = parts[..] else {
            return Err(FileNameError::Shape);
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if partner.len() != 16 || !digits(partner) {
            return Err(FileNameError::Partner);
        }
        if day.len() != 8 || !digits(day) {
            return Err(FileNameError::Day);
        }
        Ok(Self {
            partner: partner.to_owned(),
            kind: FileKind::from_name(kind).ok_or(FileNameError::Kind)?,
            day: NaiveDate::parse_from_str(day, "%Y%m%d").map_err(|_| FileNameError::Day)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_partner_kind_and_day_whatever_its_case_and_directory() {
        let plain = "2088000000000017_transaction_20260309.txt";
        for text in [
            plain,
            "/download/2088000000000017_transaction_20260309.txt",
            "C:\\files\\2088000000000017_Transaction_20260309.TXT",
            "2088000000000017_TRANSACTION_20260309.txt ",
        ] {
            let name: FileName = text.parse().expect(text);
            assert_eq!(name.kind, FileKind::Transaction, "{text}");
            assert_eq!(name.day.to_string(), "2026-03-09", "{text}");
            assert_eq!(name.to_string(), plain, "{text}");
        }
        let settlement: FileName = "2088000000000017_settlement_20280229.txt".parse().unwrap();
        assert_eq!(settlement.kind, FileKind::Settlement);
    }

    #[test]
    fn any_other_name_is_refused_with_what_is_wrong() {
        use FileNameError::{Day, Kind, Partner, Shape};
        for (text, error) in [
            ("", Shape),
            ("march.txt", Shape),
            ("2088000000000017_transaction_20260309.csv", Shape),
            ("2088000000000017_transaction_20260309", Shape),
            ("2088000000000017_transaction_20260309_2.txt", Shape),
            ("208800000000001_transaction_20260309.txt", Partner),
            ("208800000000001x_transaction_20260309.txt", Partner),
            ("２０８８_transaction_20260309.txt", Partner),
            ("2088000000000017_fee_20260309.txt", Kind),
            ("2088000000000017_settlement_20260229.txt", Day),
            ("2088000000000017_settlement_2026039.txt", Day),
            ("2088000000000017_settlement_+2026030.txt", Day),
        ] {
            assert_eq!(text.parse::<FileName>(), Err(error), "{text}");
        }
    }
}
