//! The points of each curve: medians of the runs.

use anyhow::Context;

use crate::table::{median, parse};

/// The curves, in the order of their first lines.
#[derive(Debug, Default)]
pub(super) struct Curves {
    pub(super) curves: Vec<Curve>,
}

#[derive(Debug)]
pub(super) struct Curve {
    pub(super) server: String,
    pub(super) metric: String,
    runs: Vec<(f64, Vec<f64>)>,
}

impl Curves {
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for line in text.lines() {
            let ([x, metric, server], value) = parse(line)?;
            let x = x.parse().with_context(|| format!("no number: {line:?}"))?;
            all.curve(server, metric).add(x, value);
        }
        anyhow::ensure!(!all.curves.is_empty(), "there is nothing to draw");
        Ok(all)
    }

    fn curve(&mut self, server: &str, metric: &str) -> &mut Curve {
        let known = |curve: &Curve| curve.server == server && curve.metric == metric;
        let place = self.curves.iter().position(known).unwrap_or_else(|| {
            self.curves.push(Curve {
                server: server.to_owned(),
                metric: metric.to_owned(),
                runs: Vec::new(),
            });
            self.curves.len() - 1
        });
        &mut self.curves[place]
    }

    /// Returns each name once, in order.
    pub(super) fn names(&self, name: impl Fn(&Curve) -> &String) -> Vec<&String> {
        let mut names = Vec::new();
        for curve in &self.curves {
            let name = name(curve);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.curves.iter().flat_map(Curve::points)
    }
}

impl Curve {
    fn add(&mut self, x: f64, value: f64) {
        match self.runs.iter_mut().find(|(known, _)| *known == x) {
            Some((_, runs)) => runs.push(value),
            None => self.runs.push((x, vec![value])),
        }
        self.runs.sort_by(|one, other| one.0.total_cmp(&other.0));
    }

    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        let medians = self.runs.iter();
        medians
            .filter_map(|(x, runs)| Some((*x, median(runs)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_median_of_its_runs() {
        let text = "2\tm\ta\t9\n1\tm\ta\t3\n1\tm\ta\t1\n1\tm\ta\t2\n1\tm\tb\t5\n";
        let all = Curves::read(text).expect("the lines are whole");
        assert_eq!(all.curves[0].points(), [(1.0, 2.0), (2.0, 9.0)]);
        assert_eq!(all.names(|curve| &curve.server), ["a", "b"]);
        assert!(Curves::read("").is_err());
        assert!(Curves::read("a\tm\ta\t1").is_err());
    }
}
