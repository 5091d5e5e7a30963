//! Medians and ratios as a markdown table, from lines of
//! `work<TAB>metric<TAB>server<TAB>value`, one for each run.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::Context;

pub(crate) fn print(files: &[PathBuf]) -> anyhow::Result<()> {
    let mut results = Results::default();
    for file in files {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        results
            .read(&text)
            .with_context(|| file.display().to_string())?;
    }
    print!("{}", results.markdown());
    Ok(())
}

/// The results, in the order of their first lines.
#[derive(Debug, Default)]
struct Results {
    servers: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    work: String,
    metric: String,
    /// Runs of each server, by its place in `Results::servers`.
    runs: Vec<Vec<f64>>,
}

/// A run: its work, metric and server, and its value.
pub(crate) fn parse(line: &str) -> anyhow::Result<([&str; 3], f64)> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [what, metric, server, value] = fields[..] else {
        anyhow::bail!("not four fields: {line:?}");
    };
    let value = value
        .parse()
        .with_context(|| format!("no number: {line:?}"))?;
    Ok(([what, metric, server], value))
}

impl Results {
    fn read(&mut self, text: &str) -> anyhow::Result<()> {
        for line in text.lines() {
            let ([work, metric, server], value) = parse(line)?;
            let server = self.server(server);
            let runs = &mut self.row(work, metric).runs;
            runs.resize(runs.len().max(server + 1), Vec::new());
            runs[server].push(value);
        }
        Ok(())
    }

    fn server(&mut self, name: &str) -> usize {
        let known = self.servers.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.servers.push(name.to_owned());
            self.servers.len() - 1
        })
    }

    fn row(&mut self, work: &str, metric: &str) -> &mut Row {
        let known = self
            .rows
            .iter()
            .position(|row| row.work == work && row.metric == metric);
        let place = known.unwrap_or_else(|| {
            self.rows.push(Row {
                work: work.to_owned(),
                metric: metric.to_owned(),
                runs: Vec::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[place]
    }

    /// One line for each work and metric: every server's median, the first
    /// server's ratio to each other one, and the spread of the runs. A ratio is the median
    /// of the ratios of single rounds, because a slow minute affects all servers of a round.
    /// From four rounds on it also has the middle half of them, or a little more.
    fn markdown(&self) -> String {
        let mut head = vec!["work".to_owned(), "metric".to_owned()];
        head.extend_from_slice(&self.servers);
        if let Some((first, peers)) = self.servers.split_first() {
            head.extend(peers.iter().map(|peer| format!("{first} ÷ {peer}")));
        }
        head.extend(["runs".to_owned(), "spread".to_owned()]);

        let mut lines = line(&head);
        lines += &line(&vec!["---".to_owned(); head.len()]);
        for row in &self.rows {
            lines += &line(&self.cells(row));
        }
        lines
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let medians: Vec<Option<f64>> = (0..self.servers.len())
            .map(|server| median(row.runs.get(server)?))
            .collect();
        let mut cells = vec![row.work.clone(), row.metric.clone()];
        cells.extend(
            medians
                .iter()
                .map(|median| median.map_or(NONE.into(), number)),
        );
        let ours = row.runs.first().map_or(&[][..], Vec::as_slice);
        for peer in 1..self.servers.len() {
            let theirs = row.runs.get(peer).map_or(&[][..], Vec::as_slice);
            cells.push(ratio(ours, theirs));
        }
        let counts = row.runs.iter().map(Vec::len).filter(|count| *count > 0);
        cells.push(counts.min().unwrap_or(0).to_string());
        let widest = row
            .runs
            .iter()
            .filter_map(|runs| spread(runs))
            .fold(0.0, f64::max);
        cells.push(format!("{:.0} %", widest * 100.0));
        cells
    }
}

fn line(cells: &[String]) -> String {
    let mut line = String::from("|");
    for cell in cells {
        write!(line, " {cell} |").expect("writing to a string cannot fail");
    }
    line.push('\n');
    line
}

pub(crate) fn median(runs: &[f64]) -> Option<f64> {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        count if count % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Returns the ratio of `ours` to `theirs`, round by round.
fn ratio(ours: &[f64], theirs: &[f64]) -> String {
    let rounds = ours.iter().zip(theirs);
    let mut ratios: Vec<f64> = rounds.map(|(ours, theirs)| ours / theirs).collect();
    ratios.sort_by(f64::total_cmp);
    let Some(middle) = median(&ratios) else {
        return NONE.into();
    };
    match ratios.len() / 4 {
        0 => format!("{middle:.2}"),
        left_out => {
            let (low, high) = (ratios[left_out], ratios[ratios.len() - 1 - left_out]);
            format!("{middle:.2} ({low:.2}–{high:.2})")
        }
    }
}

/// Returns the distance from the least to the most, as a share of the median.
fn spread(runs: &[f64]) -> Option<f64> {
    let most = runs.iter().copied().reduce(f64::max)?;
    let least = runs.iter().copied().reduce(f64::min)?;
    Some((most - least) / median(runs)?.abs().max(f64::MIN_POSITIVE))
}

/// Formats a number with three or more digits.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

const NONE: &str = "–";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios_of_alternating_runs() {
        let mut results = Results::default();
        let text = "w\tm\ta\t1\nw\tm\tb\t8\nw\tm\tb\t10\nw\tm\ta\t3\nw\tm\ta\t2\nw\tm\tb\t9\nw\tn\tb\t0.5\n";
        results.read(text).expect("the lines are whole");
        assert_eq!(
            results.markdown(),
            "| work | metric | a | b | a ÷ b | runs | spread |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n\
             | w | m | 2.00 | 9.00 | 0.22 | 3 | 100 % |\n\
             | w | n | – | 0.500 | – | 1 | 0 % |\n"
        );
    }

    #[test]
    fn a_ratio_is_of_rounds_and_not_of_medians() {
        // The third round was slow for both.
        assert_eq!(ratio(&[2.0, 2.2, 6.0], &[1.0, 1.0, 3.0]), "2.00");
        let ours = [1.0, 4.0, 2.0, 3.0];
        assert_eq!(ratio(&ours, &[1.0; 4]), "2.50 (2.00–3.00)");
        assert_eq!(ratio(&[], &[1.0]), NONE);
    }

    #[test]
    fn an_even_count_takes_the_middle_of_two() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_broken_line_is_refused() {
        assert!(Results::default().read("w\tm\ta").is_err());
        assert!(Results::default().read("w\tm\ta\tmuch").is_err());
    }
}
