//! The report of a run of the proof: what was done and met, and whether every point was hit.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
};

use serde_json::Value;

use super::{
    crash_points::{OPERATIONS, all_points},
    driver::figures,
    histories::number,
};

/// What one part of the proof left behind.
type Figures = BTreeMap<String, Value>;

/// Run after the tests, by `./dev test proof` and `./dev histories`: prints the figures they left.
/// `PROOF_WHOLE=1` demands that all of the sweep was run.
#[test]
#[ignore = "run by `./dev`, after the tests whose figures it prints"]
fn the_report() {
    let all = read();
    let (crash_points, others): (Figures, Figures) = all
        .into_iter()
        .partition(|(name, _)| name.starts_with("crash-points-"));
    let mut text = String::from("\n");
    let mut faults = vec![];
    sweep(&crash_points, &mut text, &mut faults);
    for (part, sums) in sums(&others) {
        put(&mut text, &part);
        for (name, sum) in sums {
            put(&mut text, &format!("{sum:>12}  {name}"));
        }
    }
    std::io::stderr()
        .write_all(text.as_bytes())
        .expect("somebody reads the report");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The crash points: cases, points, the fewest hits, and those without any.
fn sweep(parts: &Figures, text: &mut String, faults: &mut Vec<String>) {
    let swept: BTreeSet<&str> = parts
        .keys()
        .filter_map(|name| name.strip_prefix("crash-points-"))
        .collect();
    let missing: Vec<&str> = OPERATIONS
        .iter()
        .map(|operation| operation.name)
        .filter(|name| !swept.contains(name))
        .collect();
    if !missing.is_empty() {
        if number("PROOF_WHOLE", 0) == 1 {
            faults.push(format!("not swept: {missing:?}"));
        }
        return;
    }
    let mut hits: BTreeMap<String, u64> =
        all_points().into_iter().map(|point| (point, 0)).collect();
    let (mut cases, mut violations) = (0, 0);
    for part in parts.values() {
        cases += part["cases"].as_u64().unwrap_or(0);
        violations += part["violations"].as_u64().unwrap_or(0);
        for (point, times) in part["hits"].as_object().into_iter().flatten() {
            *hits.entry(point.clone()).or_default() += times.as_u64().unwrap_or(0);
        }
    }
    let fewest = hits.values().min().copied().unwrap_or(0);
    put(
        text,
        &format!(
            "crash points: {} points, {} operations, {cases} cases, at least {fewest} hits each, \
             {violations} violations",
            hits.len(),
            parts.len(),
        ),
    );
    for (point, times) in &hits {
        put(text, &format!("{times:>12}  {point}"));
    }
    let never: Vec<&String> = hits
        .iter()
        .filter(|(_, times)| **times == 0)
        .map(|(point, _)| point)
        .collect();
    if !never.is_empty() {
        faults.push(format!("hit by no operation: {never:?}"));
    }
}

/// Every number of each part, by name, summed over its shares.
fn sums(parts: &Figures) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut sums: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for (name, figures) in parts {
        // The shares of one thing are told apart by a number.
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        add("", figures, sums.entry(name.to_owned()).or_default());
    }
    sums
}

fn add(name: &str, figures: &Value, sums: &mut BTreeMap<String, u64>) {
    match figures {
        Value::Object(members) => {
            for (member, figures) in members {
                add(format!("{name} {member}").trim_start(), figures, sums);
            }
        }
        Value::Array(items) => {
            let count = u64::try_from(items.len()).unwrap_or(u64::MAX);
            *sums.entry(name.to_owned()).or_default() += count;
        }
        figure => *sums.entry(name.to_owned()).or_default() += figure.as_u64().unwrap_or(0),
    }
}

fn put(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a text takes every line");
}

fn read() -> Figures {
    let Ok(entries) = fs::read_dir(figures()) else {
        return Figures::new();
    };
    entries
        .map(|entry| {
            let path = entry.expect("an entry is readable").path();
            let name = path.file_stem().unwrap_or_default();
            let text = fs::read_to_string(&path).expect("figures are readable");
            (
                name.to_string_lossy().into_owned(),
                serde_json::from_str(&text).expect("figures are JSON"),
            )
        })
        .collect()
}

#[test]
fn figures_of_shares_are_summed() {
    let part = |n: u64| serde_json::json!({"runs": n, "met": {"a": 2}, "list": [1, 2]});
    let parts = Figures::from([
        ("part-1".to_owned(), part(1)),
        ("part-2".to_owned(), part(5)),
    ]);
    let sums: Vec<(String, u64)> = sums(&parts)["part"].clone().into_iter().collect();
    let expected = [("list", 4), ("met a", 4), ("runs", 6)];
    assert_eq!(sums, expected.map(|(name, sum)| (name.to_owned(), sum)));
}
