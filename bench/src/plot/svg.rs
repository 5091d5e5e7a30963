//! The picture. A server has a colour and a marker, a metric has a dash, so that
//! it can be read in grey; title and description are for screen readers.

use std::fmt::Write;

use super::Plan;
use super::axis::{Axis, Scale, label};
use super::curves::Curves;

pub(super) fn draw(plan: &Plan, curves: &Curves, scale: Scale) -> String {
    let across = Axis::around(
        curves.points().map(|(x, _)| x),
        Scale::Linear,
        (LEFT, RIGHT),
    );
    let up = Axis::around(curves.points().map(|(_, y)| y), scale, (BOTTOM, TOP));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-labelledby=\"title description\" font-family=\"sans-serif\" font-size=\"14\">\n\
         <title id=\"title\">{}</title>\n<desc id=\"description\">{}</desc>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n",
        escape(&plan.title),
        escape(&describe(plan, curves)),
    );
    out += &text(
        LEFT,
        28.0,
        "start",
        &format!("<tspan font-size=\"17\">{}</tspan>", escape(&plan.title)),
    );
    out += &axes(plan, &across, &up);
    let servers = curves.names(|curve| &curve.server);
    let metrics = curves.names(|curve| &curve.metric);
    for (place, curve) in curves.curves.iter().enumerate() {
        let server = servers.iter().position(|name| **name == curve.server);
        let metric = metrics.iter().position(|name| **name == curve.metric);
        let style = Style::of(server.unwrap_or(0), metric.unwrap_or(0));
        let points = curve.points().into_iter();
        let points: Vec<_> = points
            .map(|(x, y)| (across.place(x), up.place(y)))
            .collect();
        out += &style.line(&points);
        let y = TOP + 10.0 + place as f64 * 24.0;
        out += &style.line(&[(RIGHT + 20.0, y), (RIGHT + 45.0, y), (RIGHT + 70.0, y)]);
        let name = match metrics.len() {
            1 => curve.server.clone(),
            _ => format!("{}, {}", curve.server, curve.metric),
        };
        out += &text(RIGHT + 80.0, y + 5.0, "start", &escape(&name));
    }
    out + "</svg>\n"
}

/// Draws the ticks with lines across, and the labels of the axes.
fn axes(plan: &Plan, across: &Axis, up: &Axis) -> String {
    let mut out = String::new();
    for tick in up.ticks() {
        let y = up.place(tick);
        out += &stroke((LEFT, y), (RIGHT, y), "#ddd");
        out += &text(LEFT - 8.0, y + 5.0, "end", &label(tick));
    }
    for tick in across.ticks() {
        let x = across.place(tick);
        out += &stroke((x, BOTTOM), (x, BOTTOM + 6.0), "#333");
        out += &text(x, BOTTOM + 24.0, "middle", &label(tick));
    }
    out += &stroke((LEFT, BOTTOM), (RIGHT, BOTTOM), "#333");
    out += &stroke((LEFT, TOP), (LEFT, BOTTOM), "#333");
    out += &text(
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 50.0,
        "middle",
        &escape(&plan.x),
    );
    let y = text(0.0, 0.0, "middle", &escape(&plan.y));
    let middle = (TOP + BOTTOM) / 2.0;
    out + &format!(
        "<g transform=\"translate(20 {middle}) rotate(-90)\">{}</g>\n",
        y.trim_end()
    )
}

/// Returns the values of the curves as text.
fn describe(plan: &Plan, curves: &Curves) -> String {
    let mut words = format!("{} against {}.", plan.y, plan.x);
    for curve in &curves.curves {
        let points = curve.points().into_iter();
        let points: Vec<_> = points
            .map(|(x, y)| format!("{} at {}", label(y), label(x)))
            .collect();
        let (server, metric) = (&curve.server, &curve.metric);
        write!(words, " {server}, {metric}: {}.", points.join(", "))
            .expect("writing to a string cannot fail");
    }
    words
}

struct Style {
    colour: &'static str,
    dash: &'static str,
    /// Returns the marker's outline around 0, 0.
    marker: &'static str,
}

impl Style {
    fn of(server: usize, metric: usize) -> Self {
        let (colour, marker) = SERVERS[server % SERVERS.len()];
        let dash = DASHES[metric % DASHES.len()];
        Self {
            colour,
            dash,
            marker,
        }
    }

    fn line(&self, points: &[(f64, f64)]) -> String {
        let Self {
            colour,
            dash,
            marker,
        } = self;
        let mut list = String::new();
        let mut markers = String::new();
        for (x, y) in points {
            write!(list, " {x:.1},{y:.1}").expect("writing to a string cannot fail");
            writeln!(
                markers,
                "<path d=\"{marker}\" transform=\"translate({x:.1} {y:.1})\" fill=\"{colour}\"/>"
            )
            .expect("writing to a string cannot fail");
        }
        let list = list.trim_start();
        format!(
            "<polyline points=\"{list}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" \
             stroke-dasharray=\"{dash}\"/>\n{markers}"
        )
    }
}

fn stroke(from: (f64, f64), to: (f64, f64), colour: &str) -> String {
    format!(
        "<path d=\"M{:.1} {:.1}L{:.1} {:.1}\" stroke=\"{colour}\"/>\n",
        from.0, from.1, to.0, to.1
    )
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> String {
    format!(
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{content}</text>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 660.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 410.0;

/// Colours that differ for most eyes and in grey, with circle, square, triangle,
/// diamond and cross.
const SERVERS: [(&str, &str); 5] = [
    ("#0050a0", "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0z"),
    ("#d55e00", "M-5 -5h10v10h-10z"),
    ("#007f5f", "M0 -6l6 11h-12z"),
    ("#aa3377", "M0 -7l6 7l-6 7l-6 -7z"),
    ("#555555", "M-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z"),
];
const DASHES: [&str; 3] = ["none", "7 5", "2 4"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_tells_its_figures_in_words_too() {
        let curves = Curves::read("500\tmemory\tedge\t7\n1000\tmemory\tedge\t14\n");
        let plan = Plan {
            file: "memory.tsv".into(),
            title: "Memory & sessions".into(),
            x: "sessions".into(),
            y: "MiB".into(),
            logarithmic: false,
        };
        let picture = draw(&plan, &curves.expect("the lines are whole"), Scale::Linear);
        assert!(picture.contains("<title id=\"title\">Memory &amp; sessions</title>"));
        assert!(
            picture.contains("MiB against sessions. edge, memory: 7 at 500, 14 at 1\u{202f}000.")
        );
        assert_eq!(picture.matches("<polyline").count(), 2);
    }
}
