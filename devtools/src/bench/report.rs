//! What was measured: a table to read, JSON to compare a later run with, and a page with plots.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde_json::{Value, json};

/// A figure of one run, in hundredths of its unit.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) unit: &'static str,
    /// One for each round.
    pub(super) values: Vec<u64>,
    pub(super) target: Option<Target>,
}

/// What it should be, in hundredths of its unit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    AtMost(u64),
    AtLeast(u64),
}

impl Figure {
    fn sorted(&self) -> Vec<u64> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable();
        sorted
    }

    /// The lower one of two in the middle.
    pub(super) fn median(&self) -> u64 {
        let sorted = self.sorted();
        let middle = sorted.len().saturating_sub(1) / 2;
        sorted.get(middle).copied().unwrap_or_default()
    }

    /// The least and the most of all rounds.
    fn ends(&self) -> [String; 2] {
        let sorted = self.sorted();
        [sorted.first(), sorted.last()]
            .map(|end| end.map_or_else(String::new, |value| number(*value)))
    }

    /// Its name, and the unit where there is one.
    fn label(&self) -> String {
        if self.unit.is_empty() {
            self.name.clone()
        } else {
            format!("{}, {}", self.name, self.unit)
        }
    }

    fn verdict(&self) -> &'static str {
        let median = self.median();
        match self.target {
            None => "",
            Some(Target::AtMost(limit)) if median <= limit => "met",
            Some(Target::AtLeast(limit)) if median >= limit => "met",
            Some(_) => "MISSED",
        }
    }

    fn target(&self) -> String {
        match self.target {
            None => String::new(),
            Some(Target::AtMost(limit)) => format!("≤ {}", number(limit)),
            Some(Target::AtLeast(limit)) => format!("≥ {}", number(limit)),
        }
    }
}

/// Lines of one plot: points in the units of the axes.
#[derive(Debug)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) across: &'static str,
    pub(super) up: &'static str,
    pub(super) lines: Vec<(String, Vec<(u64, u64)>)>,
}

/// Everything of one run.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) figures: Vec<Figure>,
    pub(super) plots: Vec<Plot>,
    /// What could not be measured, and why.
    pub(super) left_out: Vec<String>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        values: Vec<u64>,
        target: Option<Target>,
    ) {
        if !values.is_empty() {
            self.figures.push(Figure {
                name: name.into(),
                unit,
                values,
                target,
            });
        }
    }

    /// The table, beside an earlier run's medians where there is one.
    pub(super) fn table(&self, earlier: Option<&Value>) -> String {
        let mut text = format!(
            "\n{:<66} {:>11} {:>11} {:>11} {:>10} {:>7} {:>9}\n",
            "figure", "median", "least", "most", "target", "", "earlier"
        );
        for figure in &self.figures {
            let [least, most] = figure.ends();
            let before = earlier
                .and_then(|run| run["figures"][&figure.name]["median"].as_u64())
                .map_or_else(String::new, number);
            let name = figure.label();
            let _ = writeln!(
                text,
                "{name:<66} {:>11} {least:>11} {most:>11} {:>10} {:>7} {before:>9}",
                number(figure.median()),
                figure.target(),
                figure.verdict(),
            );
        }
        for what in &self.left_out {
            let _ = writeln!(text, "not measured: {what}");
        }
        text
    }

    pub(super) fn json(&self) -> Value {
        let figures = self.figures.iter().map(|figure| {
            let value = json!({
                "unit": figure.unit, "median": figure.median(), "values": figure.values,
                "verdict": figure.verdict(),
            });
            (figure.name.clone(), value)
        });
        json!({
            "values_are": "hundredths of the unit",
            "figures": figures.collect::<serde_json::Map<_, _>>(),
            "left_out": self.left_out,
        })
    }

    /// Writes `bench.json` and `bench.html`.
    pub(super) fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let json = serde_json::to_string_pretty(&self.json())?;
        fs::write(dir.join("bench.json"), json)?;
        fs::write(dir.join("bench.html"), self.page())
            .with_context(|| format!("cannot write into {}", dir.display()))
    }

    fn page(&self) -> String {
        let mut page = String::from(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Benchmark of the gateway</title><style>
body{font:15px/1.4 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}figure{display:inline-block;margin:1rem}
.MISSED{color:#b00}.met{color:#070}svg text{font-size:11px;fill:#444}
</style><h1>Benchmark of the gateway</h1>
<p>Medians of interleaved rounds on one machine that the load, Alipay's stub, Postgres and the programs share. Ratios and CPU say something; absolute times are of this machine.</p>
<table><tr><th>figure<th>median<th>least<th>most<th>target<th></tr>",
        );
        for figure in &self.figures {
            let [least, most] = figure.ends();
            let _ = write!(
                page,
                "<tr><td>{}<td>{}<td>{least}<td>{most}<td>{}<td class=\"{verdict}\">{verdict}</tr>",
                escaped(&figure.label()),
                number(figure.median()),
                figure.target(),
                verdict = figure.verdict(),
            );
        }
        page.push_str("</table>");
        for plot in &self.plots {
            plot.draw(&mut page);
        }
        for what in &self.left_out {
            let _ = write!(page, "<p>Not measured: {}</p>", escaped(what));
        }
        page
    }
}

const WIDTH: u64 = 460;
const HEIGHT: u64 = 240;
const COLOURS: [&str; 6] = ["#0a6", "#36c", "#c63", "#939", "#777", "#b00"];

impl Plot {
    fn draw(&self, page: &mut String) {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let right = points().map(|point| point.0).max().unwrap_or(1).max(1);
        let top = points().map(|point| point.1).max().unwrap_or(1).max(1);
        let _ = write!(
            page,
            "<figure><figcaption>{}</figcaption><svg width=\"{}\" height=\"{}\" viewBox=\"-60 -10 {} {}\"><path d=\"M0 0V{HEIGHT}H{WIDTH}\" fill=\"none\" stroke=\"#999\"/><text x=\"-4\" y=\"8\" text-anchor=\"end\">{top}</text><text x=\"-4\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text><text x=\"-4\" y=\"24\" text-anchor=\"end\">{}</text><text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{right} {}</text>",
            escaped(&self.title),
            WIDTH + 80,
            HEIGHT + 50,
            WIDTH + 80,
            HEIGHT + 50,
            self.up,
            HEIGHT + 14,
            self.across,
        );
        for ((name, points), (colour, row)) in
            self.lines.iter().zip(COLOURS.iter().cycle().zip(1_u64..))
        {
            let mut path = String::new();
            for (x, y) in points {
                let _ = write!(path, "{},{} ", x * WIDTH / right, HEIGHT - y * HEIGHT / top);
            }
            let _ = write!(
                page,
                "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/><text x=\"{}\" y=\"{}\" style=\"fill:{colour}\">{}</text>",
                12,
                row * 14,
                escaped(name),
            );
        }
        page.push_str("</svg></figure>");
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// Hundredths as `12.34`, without what a large number does not need.
pub(super) fn number(hundredths: u64) -> String {
    if hundredths >= 100_000 {
        format!("{}", (hundredths + 50) / 100)
    } else {
        format!("{}.{:02}", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_by_its_median() {
        let mut report = Report::default();
        report.add("ratio", "", vec![90, 60, 75], Some(Target::AtMost(70)));
        report.add(
            "rate",
            "a second",
            vec![150_000],
            Some(Target::AtLeast(100)),
        );
        assert_eq!(report.figures[0].median(), 75);
        let table = report.table(None);
        assert!(
            table.contains("0.75") && table.contains("MISSED"),
            "{table}"
        );
        assert!(table.contains("1500") && table.contains("met"), "{table}");
        let earlier = report.json();
        assert!(report.table(Some(&earlier)).matches("0.75").count() == 2);
        let row = "<td>ratio<td>0.75<td>0.60<td>0.90<td>≤ 0.70<td class=\"MISSED\">MISSED";
        assert!(report.page().contains(row), "{}", report.page());
    }
}
