//! What operators start from (`deploy`, `docker-compose.yml`) names what is there: metrics, pages, files.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Whoever is woken by an alert finds what it means and what to do, and each was fired once.
#[test]
fn each_alert_has_a_test_and_an_entry_of_the_runbook() {
    let (rules, tests, page) = (
        read("deploy/prometheus/alerts.yml"),
        read("deploy/prometheus/alerts_test.yml"),
        read("docs/operate.md"),
    );
    let names: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 20);
    for name in names {
        assert!(
            page.contains(&format!("\n### {name}\n")),
            "docs/operate.md has no entry for {name}"
        );
        assert!(
            tests.contains(&format!("- alertname: {name}\n")),
            "no test fires {name}"
        );
        let link = format!("runbook: docs/operate.md#{}\n", name.to_lowercase());
        assert!(rules.contains(&link), "{name} does not name its entry");
    }
}

/// A metric that the program does not have would never fire, and never show.
#[test]
fn alerts_and_dashboards_name_metrics_that_there_are() {
    let mut there = BTreeSet::new();
    described(&Path::new(ROOT).join("src"), &mut there);
    assert!(there.len() > 30, "{there:?}");
    let rules = read("deploy/prometheus/alerts.yml");
    let mut expressions: Vec<String> = rules
        .lines()
        .filter_map(|line| Some(line.trim().strip_prefix("expr: ")?.to_owned()))
        .collect();
    for entry in fs::read_dir(Path::new(ROOT).join("deploy/grafana")).expect("the dashboards") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a dashboard");
        let board: Value = serde_json::from_str(&text).expect("a dashboard is JSON");
        let panels = board["panels"].as_array().into_iter().flatten();
        let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
        expressions.extend(targets.filter_map(|target| Some(target["expr"].as_str()?.to_owned())));
    }
    assert!(expressions.len() > 50);
    for expression in expressions {
        for name in metrics_of(&expression) {
            let name = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(
                name == "up" || there.contains(name),
                "{name} in {expression}"
            );
        }
    }
}

#[test]
fn the_composition_pins_its_images_and_mounts_files_that_there_are() {
    let text = read("docker-compose.yml");
    for line in text.lines().map(str::trim) {
        if let Some(image) = line.strip_prefix("image: ") {
            let image = image.rsplit(' ').next().unwrap_or(image);
            let is_reference = image.starts_with('*');
            let tag = image.split_once(':').map(|(_, tag)| tag);
            assert!(
                is_reference || tag.is_some_and(|tag| tag != "latest"),
                "{line}"
            );
        }
        if let Some(mount) = line.strip_prefix("- ./") {
            let path = mount.split(':').next().unwrap_or(mount);
            assert!(Path::new(ROOT).join(path).exists(), "{line}");
        }
    }
}

/// The words before `{`, `[` or `)` that look like a metric's name.
fn metrics_of(expression: &str) -> impl Iterator<Item = &str> {
    /// What is no metric: functions, words of the language, and labels, which stand in `by (...)`.
    const WORDS: [&str; 16] = [
        "sum",
        "max",
        "rate",
        "increase",
        "absent",
        "by",
        "or",
        "unless",
        "offset",
        "histogram_quantile",
        "le",
        "kind",
        "service",
        "reason",
        "m",
        "h",
    ];
    let without_labels = expression.split('{').enumerate().map(|(at, part)| {
        if at == 0 {
            part
        } else {
            part.split_once('}').map_or("", |(_, rest)| rest)
        }
    });
    let without_groups = without_labels.flat_map(|part| {
        part.split("by (").enumerate().map(|(at, part)| {
            if at == 0 {
                part
            } else {
                part.split_once(')').map_or("", |(_, rest)| rest)
            }
        })
    });
    without_groups
        .flat_map(|part| part.split(|c: char| !(c.is_ascii_lowercase() || c == '_')))
        .filter(|word| word.len() > 1 && !WORDS.contains(word))
}

/// The names that sources describe or count.
fn described(directory: &Path, there: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).expect("a source directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            described(&path, there);
            continue;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        for name in text.split('"') {
            let ends = [
                "_total",
                "_seconds",
                "_due",
                "_parked",
                "_open",
                "_missing",
                "_in_flight",
            ];
            if ends.iter().any(|end| name.ends_with(end))
                && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            {
                there.insert(name.to_owned());
            }
        }
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).expect("a file of the repository is readable")
}
