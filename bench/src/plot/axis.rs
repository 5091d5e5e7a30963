//! An axis: the position of a value, and its ticks.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    Logarithmic,
}

/// An axis from `least` to `most` in values, and from `start` to `end` in the picture.
#[derive(Debug)]
pub(super) struct Axis {
    scale: Scale,
    least: f64,
    most: f64,
    step: f64,
    start: f64,
    end: f64,
}

impl Axis {
    /// Creates an axis for all `values`, between round numbers.
    pub(super) fn around(
        values: impl Iterator<Item = f64>,
        scale: Scale,
        (start, end): (f64, f64),
    ) -> Self {
        let (mut least, mut most) = (f64::MAX, f64::MIN_POSITIVE);
        for value in values {
            (least, most) = (least.min(value), most.max(value));
        }
        let (least, most, step) = match scale {
            Scale::Linear => {
                let step = round_step(most);
                (0.0, (most / step).ceil() * step, step)
            }
            Scale::Logarithmic => {
                let least = least.max(f64::MIN_POSITIVE).log10().floor();
                let most = most.log10().ceil().max(least + 1.0);
                (10f64.powf(least), 10f64.powf(most), 10.0)
            }
        };
        Self {
            scale,
            least,
            most,
            step,
            start,
            end,
        }
    }

    pub(super) fn place(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear => (value - self.least) / (self.most - self.least),
            Scale::Logarithmic => (value / self.least).log10() / (self.most / self.least).log10(),
        };
        self.start + part * (self.end - self.start)
    }

    pub(super) fn ticks(&self) -> Vec<f64> {
        let next = |last: &f64| match self.scale {
            Scale::Linear => Some(last + self.step),
            Scale::Logarithmic => Some(last * self.step),
        };
        // A little beyond: sums and products are not exact.
        std::iter::successors(Some(self.least), next)
            .take_while(|tick| *tick <= self.most * 1.001)
            .collect()
    }
}

/// Returns the distance of ticks: 1, 2 or 5 times a power of ten, for four to nine ticks.
fn round_step(most: f64) -> f64 {
    let size = 10f64.powf(most.log10().floor());
    match most / size {
        times if times < 2.0 => size / 4.0,
        times if times < 4.0 => size / 2.0,
        _ => size,
    }
}

/// Returns the label of a tick: `10 000`, `0.25`.
pub(super) fn label(value: f64) -> String {
    if value != 0.0 && value < 10.0 {
        let text = format!("{value:.2}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut label = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            label.push('\u{202f}');
        }
        label.push(digit);
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_nothing_and_ends_round() {
        let axis = Axis::around([30.0, 470.0].into_iter(), Scale::Linear, (100.0, 0.0));
        assert_eq!(axis.ticks(), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        assert_eq!((axis.place(0.0), axis.place(500.0)), (100.0, 0.0));
    }

    #[test]
    fn a_logarithmic_axis_goes_by_tens() {
        let axis = Axis::around([0.3, 42.0].into_iter(), Scale::Logarithmic, (0.0, 3.0));
        let labels: Vec<_> = axis.ticks().into_iter().map(label).collect();
        assert_eq!(labels, ["0.1", "1", "10", "100"]);
        assert!((axis.place(10.0) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(label(10_000.0), "10\u{202f}000");
        assert_eq!(label(500.0), "500");
        assert_eq!(label(0.25), "0.25");
    }
}
