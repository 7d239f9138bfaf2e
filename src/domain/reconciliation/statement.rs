//! A reconciliation as a page for finance: to be read, printed and filed. One HTML document without
//! scripts and without anything from elsewhere; whatever comes from a file or from people is escaped.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Difference, Reconciliation, ReconciliationItem, ReconciliationStatus, Total};
use crate::domain::{
    calendar::beijing,
    money::{Currency, Money},
    reconciliation::daily_file::FileKind,
    text::is_deceptive,
};

/// Most differences on a page: all are in the CSV.
pub const MOST_DIFFERENCES: u16 = 2_000;

/// All of the page's style; the answer's policy names it by its hash and allows nothing else.
pub const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;color:#111;margin:2rem auto;max-width:72rem;padding:0 1rem}\
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem;border-bottom:1px solid #999}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.2rem .5rem;border-bottom:1px solid #ddd;overflow-wrap:anywhere}\
th{background:#f2f2f2}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}tr.sum td{font-weight:600;border-top:2px solid #111}\
.good{color:#06622a}.bad{color:#9b1c1c}.note{color:#555}\
@media print{body{margin:0;max-width:none;font-size:9pt}thead{display:table-header-group}tr{break-inside:avoid}h2{break-after:avoid}}\
@page{margin:1.5cm}";

/// The page. Of `differences` the first [`MOST_DIFFERENCES`] are on it; `are_all` says whether they are all
/// there are.
pub fn page(report: &Reconciliation, differences: &[Difference], are_all: bool) -> String {
    let item = &report.item;
    let shown = differences.get(..usize::from(MOST_DIFFERENCES));
    let are_all = are_all && shown.is_none_or(|shown| shown.len() == differences.len());
    let differences = shown.unwrap_or(differences);
    let title = format!("Reconciliation of account {}", item.partner);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta name="robots" content="noindex";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (verdict(item, report.agrees()))
                (files(item))
                (totals(&report.totals))
                (classes(item))
                (listed(differences, are_all, item))
                (unreadable(report))
                (colophon(item))
            }
        }
    };
    page.into_string()
}

fn verdict(item: &ReconciliationItem, agrees: bool) -> Markup {
    let unread: i64 = item.files.iter().map(|file| file.faults).sum();
    html! {
        @if agrees {
            p.good { strong { "All agrees." } " Nothing waits for a person." }
        } @else if item.status == ReconciliationStatus::Complete {
            p.bad {
                strong { (item.open) " differences are open" }
                @if item.files.iter().any(|file| file.is_provisional) { ", " strong { "a file is not complete" } }
                @if unread > 0 { ", " strong { (unread) " rows could not be read" } }
                "."
            }
        } @else {
            p.bad {
                strong { "Not complete: " (item.status.as_str()) "." }
                @if let Some(failure) = &item.failure { " " (failure) "." }
                " What follows is what was found so far."
            }
        }
    }
}

fn files(item: &ReconciliationItem) -> Markup {
    html! {
        h2 { "Files" }
        table {
            thead { tr {
                th { "File" } th { "Of day (GMT+8)" } th.n { "Version" } th.n { "Rows" } th.n { "Agree" }
                th.n { "Unreadable" } th { "SHA-256" }
            } }
            tbody {
                @for file in &item.files {
                    tr {
                        td {
                            (text(&file.name))
                            @if file.is_superseded { " " span.note { "(another version has its place)" } }
                            @if file.lacks_rows() { " " span.bad { "(not complete: a whole version is still to come)" } }
                            @for warning in &file.warnings { br; span.note { (text(warning)) } }
                        }
                        td { (file.day) }
                        td.n { @if let Some(version) = file.version { (version) } }
                        td.n { (file.rows) }
                        td.n { (file.matched) }
                        td.n { (file.faults) }
                        td { (hex::encode(&file.sha256)) }
                    }
                }
            }
        }
    }
}

/// The sums per day, store, wallet and currency, and per currency over all of them.
fn totals(totals: &[Total]) -> Markup {
    html! {
        @for (kind, heading) in [
            (FileKind::Transaction, "Transactions: what came in less what went back"),
            (FileKind::Settlement, "Settlement: what Alipay pays out"),
        ] {
            @let of_kind: Vec<&Total> = totals.iter().filter(|total| total.kind == kind).collect();
            @if !of_kind.is_empty() {
                h2 { (heading) }
                table {
                    thead { tr {
                        th { "Day (GMT+8)" } th { "Store" } th { "Wallet" } th { "Currency" } th.n { "Rows" }
                        th.n { "Amount" } th.n { "Fee" } th.n { "Alipay's net" } th.n { "Expected net" }
                        th.n { "Difference" }
                    } }
                    tbody {
                        @for total in &of_kind {
                            tr {
                                td { (total.day) }
                                td { (optional(total.store.as_deref())) }
                                td { (optional(total.wallet.as_deref())) }
                                td { (text(&total.currency)) }
                                (sums(total))
                            }
                        }
                        @for total in by_currency(&of_kind).values() {
                            tr.sum {
                                td colspan="3" { "All" }
                                td { (text(&total.currency)) }
                                (sums(total))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sums(total: &Total) -> Markup {
    let difference = total.net_minor.saturating_sub(total.expected_net_minor);
    let amount = |minor| decimal(minor, &total.currency);
    html! {
        td.n { (total.rows) }
        td.n { (amount(total.amount_minor)) }
        td.n { (amount(total.fee_minor)) }
        td.n { (amount(total.net_minor)) }
        td.n { (amount(total.expected_net_minor)) }
        td.n.bad[difference != 0] { (amount(difference)) }
    }
}

fn by_currency(totals: &[&Total]) -> BTreeMap<String, Total> {
    let mut sums: BTreeMap<String, Total> = BTreeMap::new();
    for total in totals {
        match sums.get_mut(&total.currency) {
            None => {
                sums.insert(total.currency.clone(), (*total).clone());
            }
            Some(sum) => {
                for (all, one) in [
                    (&mut sum.rows, total.rows),
                    (&mut sum.amount_minor, total.amount_minor),
                    (&mut sum.fee_minor, total.fee_minor),
                    (&mut sum.net_minor, total.net_minor),
                    (&mut sum.expected_net_minor, total.expected_net_minor),
                ] {
                    *all = all.saturating_add(one);
                }
            }
        }
    }
    sums
}

fn classes(item: &ReconciliationItem) -> Markup {
    html! {
        @if !item.counts.is_empty() {
            h2 { "Differences by class" }
            table {
                thead { tr { th { "Class" } th { "Meaning" } th.n { "How many" } } }
                tbody {
                    @for (class, count) in &item.counts {
                        tr { td { (class.as_str()) } td { (class.meaning()) } td.n { (count) } }
                    }
                }
            }
        }
    }
}

fn listed(differences: &[Difference], are_all: bool, item: &ReconciliationItem) -> Markup {
    html! {
        @if !differences.is_empty() {
            h2 { "Differences" }
            @if !are_all {
                p.note {
                    "The first " (differences.len()) ". All are in the CSV"
                    @if let Some(id) = item.id { ": /v1/reconciliations/" (id) "/differences.csv" }
                    "."
                }
            }
            table {
                thead { tr {
                    th { "Class" } th { "Row" } th { "Store" } th { "Our id" } th { "Alipay's id" }
                    th.n { "Amount" } th { "Books" } th { "File" } th { "Acknowledged" }
                } }
                tbody {
                    @for difference in differences { (row(difference)) }
                }
            }
        }
    }
}

fn row(difference: &Difference) -> Markup {
    html! {
        tr {
            td { (difference.class.as_str()) }
            td {
                (difference.row_type.as_str())
                @if let Some(line) = difference.line { ", line " (line) }
                br; span.note { (text(&difference.file_name)) }
            }
            td { (optional(difference.store.as_deref())) }
            td { (optional(difference.partner_trans_id.as_deref())) }
            td { (optional(difference.alipay_trans_id.as_deref())) }
            td.n { (difference.amount.currency().code()) " " (difference.amount.to_decimal()) }
            td { (optional(difference.expected.as_deref())) }
            td { (optional(difference.found.as_deref())) }
            td {
                @if let Some(at) = difference.acknowledged_at {
                    (clock(at))
                    @let by = difference.acknowledged_by.as_ref();
                    @if let Some(name) = by.and_then(|by| by["name"].as_str()) { " by " (text(name)) }
                    @if let Some(reason) = &difference.acknowledged_reason { ": " (text(reason)) }
                } @else { "\u{2014}" }
            }
        }
    }
}

fn unreadable(report: &Reconciliation) -> Markup {
    let all: i64 = report.item.files.iter().map(|file| file.faults).sum();
    let shown = i64::try_from(report.faults.len()).unwrap_or(i64::MAX);
    html! {
        @if !report.faults.is_empty() {
            h2 { "Rows that could not be read" }
            @if shown < all { p.note { "The first " (shown) " of " (all) "." } }
            table {
                thead { tr { th { "File" } th.n { "Line" } th { "Column" } th { "Why" } } }
                tbody {
                    @for fault in &report.faults {
                        tr {
                            td { (text(&fault.file_name)) }
                            td.n { (fault.line) }
                            td { (optional(fault.column.as_deref())) }
                            td { (text(&fault.reason)) }
                        }
                    }
                }
            }
        }
    }
}

fn colophon(item: &ReconciliationItem) -> Markup {
    html! {
        h2 { "About this statement" }
        p {
            "Amounts in the settlement currency, signed: what goes back is negative. Days are those of Alipay, GMT+8. "
            @match item.fee_basis_points {
                Some(points) => { "Fees were checked against " (decimal(points.into(), "HKD")) " %." }
                None => { "No fee rate is configured: fees were not checked." }
            }
        }
        p.note {
            @match item.id {
                Some(id) => { (id) ", " }
                None => { "A dry run: nothing was stored or changed. " }
            }
            "files by " (item.source.as_str()) ", begun " (clock(item.created_at))
            @if let Some(at) = item.completed_at { ", done " (clock(at)) }
            "."
        }
    }
}

/// Text as it may be shown: without what shows its reader something else, and without marks that turn the
/// direction of what follows.
fn text(shown: &str) -> String {
    // Marks of direction too: on paper nobody needs them.
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}');
    shown
        .chars()
        .map(|c| {
            if is_deceptive(c) || turns(c) {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

fn optional(shown: Option<&str>) -> String {
    shown.map_or_else(|| "\u{2014}".to_owned(), text)
}

fn clock(at: DateTime<Utc>) -> String {
    at.with_timezone(&beijing())
        .format("%Y-%m-%d %H:%M:%S GMT+8")
        .to_string()
}

/// An amount with its decimals; two for a currency that is not known here.
fn decimal(minor: i64, currency: &str) -> String {
    let currency = Currency::from_code(currency).unwrap_or(Currency::HKD);
    Money::new(minor, currency).to_decimal()
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;
    use crate::domain::{
        id::{DifferenceId, FileId},
        reconciliation::{
            DifferenceClass, ReconciledFile, Source, StoredFault, daily_file::RowType,
        },
    };

    const NASTY: &str = "<script>alert('x')</script>&\"\u{1b}[31m\u{202e}\0";

    fn day() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, 9).expect("a day")
    }

    fn total(store: &str, currency: &str, net_minor: i64, expected_net_minor: i64) -> Total {
        Total {
            kind: FileKind::Settlement,
            day: day(),
            merchant_id: None,
            store: Some(store.to_owned()),
            wallet: Some("ALIPAYHK".to_owned()),
            currency: currency.to_owned(),
            rows: 2,
            amount_minor: net_minor + 80,
            fee_minor: 80,
            net_minor,
            expected_net_minor,
        }
    }

    fn report() -> Reconciliation {
        let at = DateTime::from_timestamp(1_773_100_000, 0).expect("a time");
        Reconciliation {
            item: ReconciliationItem {
                id: None,
                partner: "2088000000000017".to_owned(),
                source: Source::Upload,
                status: ReconciliationStatus::Complete,
                failure: None,
                fee_basis_points: Some(80),
                created_at: at,
                completed_at: Some(at),
                files: vec![ReconciledFile {
                    id: FileId::mint(),
                    kind: FileKind::Settlement,
                    day: day(),
                    name: NASTY.to_owned(),
                    sha256: vec![0xab; 32],
                    version: Some(2),
                    is_superseded: false,
                    is_provisional: false,
                    open: 0,
                    rows: 4,
                    faults: 1,
                    matched: 3,
                    warnings: vec![NASTY.to_owned()],
                }],
                counts: BTreeMap::from([(DifferenceClass::AmountDiffers, 1)]),
                open: 1,
            },
            faults: vec![StoredFault {
                file_name: NASTY.to_owned(),
                line: 7,
                column: Some("Amount".to_owned()),
                reason: NASTY.to_owned(),
            }],
            totals: vec![
                total("ST01", "HKD", 9_920, 9_920),
                total("ST02", "HKD", -2_250, 0),
            ],
        }
    }

    fn difference() -> Difference {
        Difference {
            id: DifferenceId::mint(),
            file_id: FileId::mint(),
            file_name: NASTY.to_owned(),
            line: Some(3),
            class: DifferenceClass::AmountDiffers,
            row_type: RowType::Payment,
            merchant_id: None,
            payment_id: None,
            refund_id: None,
            store: Some(NASTY.to_owned()),
            partner_trans_id: Some(NASTY.to_owned()),
            alipay_trans_id: None,
            amount: Money::new(3_925, Currency::HKD),
            expected: Some(NASTY.to_owned()),
            found: Some(NASTY.to_owned()),
            acknowledged_at: None,
            acknowledged_by: None,
            acknowledged_reason: None,
        }
    }

    #[test]
    fn q15_nothing_of_a_file_becomes_markup_or_moves_the_terminal() {
        let page = page(&report(), &[difference()], true);
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert_eq!(page.matches("<script").count(), 0, "{page}");
        for c in ['\u{1b}', '\0', '\u{202e}'] {
            assert!(!page.contains(c), "{c:?}");
        }
    }

    #[test]
    fn sums_are_shown_per_store_and_over_all_with_their_difference() {
        let page = page(&report(), &[], true);
        assert!(page.contains(r#"<td class="n bad">-22.50</td>"#), "{page}");
        assert!(page.contains(r#"<td class="n">99.20</td>"#), "{page}");
        // Over both stores: 76.70 against 99.20.
        let all = page.split(r#"<tr class="sum">"#).nth(1).expect("the sum");
        assert!(all.contains(r#"<td class="n">76.70</td>"#), "{all}");
        assert!(all.contains(r#"<td class="n bad">-22.50</td>"#), "{all}");
    }

    #[test]
    fn a_page_that_is_cut_says_so() {
        let cut = page(&report(), &[difference()], false);
        assert!(cut.contains("The first 1. All are in the CSV."), "{cut}");
        let whole = page(&report(), &[difference()], true);
        assert!(!whole.contains("All are in the CSV"), "{whole}");
    }

    #[test]
    fn the_verdict_is_the_first_thing() {
        assert!(page(&report(), &[], true).contains("1 differences are open"));
        let mut good = report();
        good.item.open = 0;
        good.item.files[0].faults = 0;
        assert!(page(&good, &[], true).contains("All agrees."));
        good.item.status = ReconciliationStatus::Running;
        assert!(page(&good, &[], true).contains("Not complete: running."));
    }
}
