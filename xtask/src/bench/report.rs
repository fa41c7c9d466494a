//! [`Results`] and how they are shown: a table on the terminal, Markdown and SVG in `docs/benchmarks`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};

use super::measure::median;
use super::rows::{Bar, Kind, ROWS, Row};
use super::svg::{self, Group};

/// Everything measured.
#[derive(Default)]
pub struct Results {
    /// By row, runner, and whether a CPU hog ran beside it.
    values: BTreeMap<(String, String, bool), Vec<f64>>,
    /// What did not work, by row and runner.
    pub failures: BTreeMap<(String, String), String>,
    /// Runners and their versions.
    pub runners: Vec<(&'static str, String)>,
    /// Runners that could not be used, with the reason.
    pub missing: Vec<(String, String)>,
    /// Rounds.
    pub rounds: usize,
}

impl Results {
    /// Adds one measured value.
    pub fn add(&mut self, row: &str, runner: &str, hog: bool, value: f64) {
        self.values.entry((row.into(), runner.into(), hog)).or_default().push(value);
    }

    /// Median.
    pub fn get(&self, row: &str, runner: &str, hog: bool) -> Option<f64> {
        let found = self.values.get(&(row.to_owned(), runner.to_owned(), hog));
        found.filter(|v| !v.is_empty()).map(|v| median(v))
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        ROWS.iter().filter(|r| {
            let measured = self.values.keys().any(|(row, _, _)| row == r.name);
            measured || self.failures.keys().any(|(row, _)| row == r.name)
        })
    }

    fn ratio(&self, row: &Row, runner: &str, hog: bool) -> Option<f64> {
        let native = self.get(row.name, "native", hog)?;
        (native > 0.0).then_some(self.get(row.name, runner, hog)? / native)
    }

    /// A value with its ratio, for a table.
    fn cell(&self, row: &Row, runner: &str, hog: bool) -> String {
        let Some(value) = self.get(row.name, runner, hog) else {
            let failed = self.failures.contains_key(&(row.name.to_owned(), runner.to_owned()));
            return if failed { "failed".into() } else { "–".into() };
        };
        let shown = row.unit().show(value);
        match self.ratio(row, runner, hog) {
            Some(r) if runner != "native" && compared(row) => format!("{shown} ({r:.2}×)"),
            _ => shown,
        }
    }

    fn verdict(&self, row: &Row) -> &'static str {
        let Some(value) = self.get(row.name, "chitin", false) else { return "" };
        let of = |runner: &str| self.get(row.name, runner, false);
        match (row.must.kept(value, of), row.aim.kept(value, of)) {
            (Some(false), _) => "**no**",
            (_, Some(true)) => "aim",
            (Some(true), _) => "must",
            _ => "?",
        }
    }

    /// The figures of Chitin with their bars.
    pub fn figures(&self) -> String {
        let mut s = String::from(
            "| figure | native | Chitin | with a CPU hog: native | Chitin | must | aim | kept |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in self.rows() {
            let cell = |runner, hog| self.cell(row, runner, hog);
            let (must, aim) = (row.must.text(row.unit()), row.aim.text(row.unit()));
            let _ = writeln!(
                s,
                "| {} | {} | {} | {} | {} | {must} | {aim} | {} |",
                row.title,
                cell("native", false),
                cell("chitin", false),
                cell("native", true),
                cell("chitin", true),
                self.verdict(row)
            );
        }
        s
    }

    /// All runners beside each other.
    fn comparison(&self, hog: bool) -> String {
        let names: Vec<&str> = self.runners.iter().map(|(n, _)| *n).collect();
        let mut s = format!(
            "| figure | {} |\n| --- |{}\n",
            names.join(" | "),
            " --- |".repeat(names.len())
        );
        for row in self.rows() {
            let cells: Vec<String> = names.iter().map(|n| self.cell(row, n, hog)).collect();
            let _ = writeln!(s, "| {} | {} |", row.title, cells.join(" | "));
        }
        s
    }

    /// For the terminal: the same columns without the Markdown.
    pub fn terminal(&self) -> String {
        let names: Vec<&str> = self.runners.iter().map(|(n, _)| *n).collect();
        let mut s = String::new();
        for hog in [false, true] {
            if !self.values.keys().any(|(_, _, h)| *h == hog) {
                continue;
            }
            let what = if hog { "with a CPU hog beside it" } else { "idle" };
            let _ = write!(s, "{:<34}", what);
            let _ = writeln!(s, "{}", names.iter().map(|n| format!("{n:>20}")).collect::<String>());
            for row in self.rows() {
                let _ = write!(s, "{:<34}", row.name);
                for name in &names {
                    let _ = write!(s, "{:>20}", self.cell(row, name, hog));
                }
                if !hog {
                    let (must, aim) = (row.must.text(row.unit()), row.aim.text(row.unit()));
                    let kept = self.verdict(row).replace('*', "");
                    let _ = write!(s, "   must {must:<12} aim {aim:<18} {kept}");
                }
                s.push('\n');
            }
            s.push('\n');
        }
        s
    }

    /// Writes `README.md` and the plots.
    pub fn write(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let series: Vec<&str> =
            self.runners.iter().map(|(n, _)| *n).filter(|n| *n != "native").collect();
        let plots = [
            ("calls", "System calls, ratio to native (less is better; dashed: must)", false),
            ("workloads", "Workloads, ratio to native (less is better; dashed: must)", true),
        ];
        for hog in [false, true] {
            if !self.values.keys().any(|(_, _, h)| *h == hog) {
                continue;
            }
            for (name, title, sessions) in plots {
                let wanted =
                    |r: &&Row| compared(r) && matches!(r.kind, Kind::Session(_)) == sessions;
                let groups: Vec<Group> =
                    self.rows().filter(wanted).map(|r| self.group(r, &series, hog)).collect();
                let suffix = if hog { "-hog" } else { "" };
                let title = if hog { format!("{title}; with a CPU hog") } else { title.to_owned() };
                std::fs::write(
                    dir.join(format!("{name}{suffix}.svg")),
                    svg::chart(&title, &series, &groups),
                )?;
            }
        }
        std::fs::write(dir.join("README.md"), self.markdown())?;
        Ok(())
    }

    fn group(&self, row: &Row, series: &[&str], hog: bool) -> Group {
        let ratios = series.iter().map(|n| self.ratio(row, n, hog)).collect();
        let must = if let Bar::Ratio(r) = row.must { Some(r) } else { None };
        Group { label: row.title.to_owned(), ratios, must }
    }

    fn markdown(&self) -> String {
        let mut s = format!(
            "# Benchmarks\n\nWritten by `cargo xtask bench`, which repeats all this with one command (as root, so that \
             the container\nruntimes can run; `apt-get install bubblewrap crun runc runsc` brings them). Medians of {} \
             rounds in which the\nrunners take turns. Times in brackets are ratios to native. `kept` is judged by the \
             idle figures.\n\n{}\n",
            self.rounds,
            machine()
        );
        for (name, version) in &self.runners {
            if !version.is_empty() {
                let _ = writeln!(s, "- {name}: {version}");
            }
        }
        for (name, why) in &self.missing {
            let _ = writeln!(s, "- {name}: not measured ({why})");
        }
        let _ = write!(s, "\n## Chitin\n\n{}", self.figures());
        s.push_str("\n![calls](calls.svg)\n\n![workloads](workloads.svg)\n");
        let _ = write!(s, "\n## All runners, idle\n\n{}", self.comparison(false));
        if self.values.keys().any(|(_, _, hog)| *hog) {
            let _ = write!(
                s,
                "\n## All runners, with a CPU hog beside them\n\n{}",
                self.comparison(true)
            );
            s.push_str("\n![calls](calls-hog.svg)\n\n![workloads](workloads-hog.svg)\n");
        }
        if !self.failures.is_empty() {
            s.push_str("\n## Failures\n\n");
            for ((row, runner), why) in &self.failures {
                let _ = writeln!(s, "- {row} under {runner}: {}", why.replace('\n', " "));
            }
        }
        s
    }
}

/// Whether a ratio to native says something.
fn compared(row: &Row) -> bool {
    !matches!(row.kind, Kind::Start | Kind::Memory | Kind::Idle)
}

/// CPU, number of CPUs and kernel.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown CPU", |(_, m)| m.trim());
    let cpus = std::thread::available_parallelism().map_or(0, |n| n.get());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = kernel.split('-').next().unwrap_or("").trim();
    let virt = if info.contains(" hypervisor") { "virtual machine" } else { "machine" };
    format!("Measured on a {virt} with {cpus} CPUs ({model}), Linux {version}.\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_and_prints() {
        let mut results = Results { rounds: 1, ..Results::default() };
        results.runners = vec![("native", String::new()), ("chitin", "1".into())];
        results.add("stat", "native", false, 100.0);
        results.add("stat", "chitin", false, 250.0);
        results.failures.insert(("fstat".into(), "chitin".into()), "hangs".into());
        let text = results.markdown();
        assert!(text.contains("| stat | 100 ns | 250 ns (2.50×) |"), "{text}");
        assert!(text.contains("| must |\n"), "{text}");
        assert!(text.contains("fstat under chitin: hangs"), "{text}");
        assert!(results.terminal().contains("failed"));
    }
}
