//! Differences as CSV (RFC 4180), for spreadsheets, which take no cell of it for a formula.

use chrono::SecondsFormat;

use super::Difference;

/// The first line.
pub const HEAD: &str = "difference_id,class,file,line,row_type,merchant_id,payment_id,refund_id,store,partner_trans_id,alipay_trans_id,amount,currency,expected,found,acknowledged_at,acknowledged_reason\r\n";

/// Differences as a whole text.
pub fn of(differences: &[Difference]) -> String {
    let mut text = HEAD.to_owned();
    for difference in differences {
        line(&mut text, difference);
    }
    text
}

/// Adds a difference as a line.
pub fn line(text: &mut String, difference: &Difference) {
    let cells = [
        difference.id.to_string(),
        difference.class.as_str().to_owned(),
        difference.file_name.clone(),
        difference
            .line
            .map(|line| line.to_string())
            .unwrap_or_default(),
        difference.row_type.as_str().to_owned(),
        difference
            .merchant_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        difference
            .payment_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        difference
            .refund_id
            .map(|id| id.to_string())
            .unwrap_or_default(),
        difference.store.clone().unwrap_or_default(),
        difference.partner_trans_id.clone().unwrap_or_default(),
        difference.alipay_trans_id.clone().unwrap_or_default(),
        difference.amount.to_decimal(),
        difference.amount.currency().code().to_owned(),
        difference.expected.clone().unwrap_or_default(),
        difference.found.clone().unwrap_or_default(),
        difference
            .acknowledged_at
            .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true))
            .unwrap_or_default(),
        difference.acknowledged_reason.clone().unwrap_or_default(),
    ];
    let cells: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

/// A cell: what a spreadsheet would take for a formula gets an apostrophe, what could end the cell gets
/// quotes.
fn escape(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = if is_formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    };
    if cell.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_ends_early() {
        for (cell, expected) in [
            ("ST01", "ST01"),
            ("=1+1", "'=1+1"),
            ("@x", "'@x"),
            ("-1", "'-1"),
            ("+1", "'+1"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=a,\"b\"", "\"'=a,\"\"b\"\"\""),
        ] {
            assert_eq!(escape(cell), expected);
        }
    }
}
