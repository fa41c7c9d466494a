//! Bar charts of ratios to native on a logarithmic scale, as SVG.

use std::fmt::Write;

/// One group of bars.
pub struct Group {
    /// What it is.
    pub label: String,
    /// Ratios, one for each series, where there is one.
    pub ratios: Vec<Option<f64>>,
    /// The bar that must be kept, as a ratio, if it is one.
    pub must: Option<f64>,
}

const LEFT: f64 = 270.0;
const WIDTH: f64 = 560.0;
const BAR: f64 = 7.0;
const TOP: f64 = 58.0;
const COLOURS: [&str; 7] =
    ["#8c8c8c", "#7aa6c2", "#5b8a72", "#c2a14d", "#b5656b", "#7d5ba6", "#e4572e"];

/// Draws groups; `series` names the bars of each group.
pub fn chart(title: &str, series: &[&str], groups: &[Group]) -> String {
    let all = || groups.iter().flat_map(|g| g.ratios.iter().flatten().copied().chain(g.must));
    let positive = |v: f64| v.max(1e-3);
    let low = all().map(positive).fold(0.5, f64::min).log10().floor();
    let high = all().map(positive).fold(2.0, f64::max).log10().ceil();
    let x = |v: f64| LEFT + WIDTH * (positive(v).log10() - low) / (high - low);
    let group_height = BAR * series.len() as f64 + 8.0;
    let bottom = TOP + group_height * groups.len() as f64;
    let mut s = String::new();
    let mut put = |text: std::fmt::Arguments<'_>| {
        let _ = s.write_fmt(text);
        s.push('\n');
    };
    put(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{:.0}" height="{:.0}" font-family="sans-serif" font-size="11">"#,
        LEFT + WIDTH + 70.0,
        bottom + 26.0
    ));
    put(format_args!(r#"<rect width="100%" height="100%" fill="white"/>"#));
    put(format_args!(r#"<text x="10" y="18" font-size="14">{}</text>"#, escape(title)));
    for (i, name) in series.iter().enumerate() {
        let at = 10.0 + 100.0 * i as f64;
        let colour = COLOURS[i % COLOURS.len()];
        put(format_args!(r#"<rect x="{at}" y="28" width="10" height="10" fill="{colour}"/>"#));
        put(format_args!(r#"<text x="{}" y="37">{}</text>"#, at + 14.0, escape(name)));
    }
    let mut power = low;
    while power <= high {
        let (v, at) = (10_f64.powf(power), x(10_f64.powf(power)));
        let colour = if power == 0.0 { "#000" } else { "#ddd" };
        put(format_args!(
            r#"<line x1="{at:.1}" x2="{at:.1}" y1="{TOP}" y2="{bottom:.1}" stroke="{colour}"/>"#
        ));
        put(format_args!(
            r#"<text x="{at:.1}" y="{:.1}" text-anchor="middle">{v}×</text>"#,
            bottom + 14.0
        ));
        power += 1.0;
    }
    for (n, group) in groups.iter().enumerate() {
        let top = TOP + group_height * n as f64 + 4.0;
        put(format_args!(
            r#"<text x="{}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 8.0,
            top + (group_height - 8.0) / 2.0 + 4.0,
            escape(&group.label)
        ));
        for (i, ratio) in group.ratios.iter().enumerate() {
            let Some(ratio) = *ratio else { continue };
            let (from, to) = (x(1.0).min(x(ratio)), x(1.0).max(x(ratio)));
            let y = top + BAR * i as f64;
            put(format_args!(
                r#"<rect x="{from:.1}" y="{y:.1}" width="{:.1}" height="{:.1}" fill="{}"><title>{} {ratio:.2}×</title></rect>"#,
                (to - from).max(1.0),
                BAR - 1.0,
                COLOURS[i % COLOURS.len()],
                escape(series[i])
            ));
        }
        if let Some(must) = group.must {
            let at = x(must);
            put(format_args!(
                r##"<line x1="{at:.1}" x2="{at:.1}" y1="{top:.1}" y2="{:.1}" stroke="#c00" stroke-dasharray="2,2"/>"##,
                top + group_height - 8.0
            ));
        }
    }
    put(format_args!("</svg>"));
    s
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_every_bar() {
        let group = |label: &str, ratios| Group { label: label.into(), ratios, must: Some(2.0) };
        let groups = [group("a<b", vec![Some(0.5), None]), group("c", vec![Some(10.0), Some(0.0)])];
        let svg = chart("t", &["x", "y"], &groups);
        assert_eq!(svg.matches("<title>").count(), 3);
        assert!(svg.contains("a&lt;b") && !svg.contains("NaN"), "{svg}");
    }
}
