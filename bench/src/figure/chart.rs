//! A line chart as SVG: as much of one as the figures need.

use std::fmt::Write as _;

/// A chart with both axes from zero.
#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x: String,
    pub y: String,
    pub lines: Vec<Line>,
}

/// Points from left to right.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;
/// Height of a line's name.
const LEGEND: f64 = 18.0;
/// Colours that differ also for the colour-blind (Okabe and Ito).
const COLOURS: [&str; 4] = ["#d55e00", "#0072b2", "#999999", "#009e73"];

impl Chart {
    /// The picture.
    pub fn to_svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (most_x, most_y) = points().fold((1.0, 1.0), |(x, y): (f64, f64), (px, py)| (x.max(*px), y.max(*py)));
        let (step_x, step_y) = (step(most_x), step(most_y));
        let (end_x, end_y) = ((most_x / step_x).ceil() * step_x, (most_y / step_y).ceil() * step_y);
        let at_x = |x: f64| LEFT + x / end_x * (WIDTH - LEFT - RIGHT);
        // The names of the lines stand above them.
        let top = TOP + LEGEND * self.lines.len() as f64;
        let at_y = |y: f64| HEIGHT - BOTTOM - y / end_y * (HEIGHT - top - BOTTOM);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        let mut text = |x: f64, y: f64, anchor: &str, words: &str| {
            let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(words));
        };
        text(WIDTH / 2.0, 22.0, "middle", &self.title);
        text(WIDTH / 2.0, HEIGHT - 14.0, "middle", &self.x);
        text(8.0, TOP - 12.0, "start", &self.y);
        ticks(step_x, end_x).for_each(|x| text(at_x(x), HEIGHT - BOTTOM + 18.0, "middle", &x.to_string()));
        ticks(step_y, end_y).for_each(|y| text(LEFT - 8.0, at_y(y) + 4.0, "end", &y.to_string()));
        for y in ticks(step_y, end_y) {
            let (y, end) = (at_y(y), WIDTH - RIGHT);
            let _ = writeln!(svg, "<path d=\"M{LEFT} {y:.1}H{end}\" stroke=\"#dddddd\"/>");
        }
        for (number, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[number % COLOURS.len()];
            let path: Vec<String> =
                line.points.iter().map(|(x, y)| format!("{:.1} {:.1}", at_x(*x), at_y(*y))).collect();
            let _ =
                writeln!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join("L"));
            for (x, y) in &line.points {
                let _ =
                    writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>", at_x(*x), at_y(*y));
            }
            let y = TOP + 6.0 + LEGEND * number as f64;
            let (x, name) = (LEFT + 16.0, escaped(&line.name));
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" fill=\"{colour}\">{name}</text>");
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// One, two or five times a power of ten, so that there are four to ten ticks.
fn step(most: f64) -> f64 {
    let power = 10f64.powf((most / 4.0).log10().floor());
    [5.0, 2.0, 1.0].into_iter().map(|n| n * power).find(|step| most / step >= 4.0).unwrap_or(power)
}

fn ticks(step: f64, end: f64) -> impl Iterator<Item = f64> {
    (0..).map(move |n| f64::from(n) * step).take_while(move |tick| *tick <= end)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
