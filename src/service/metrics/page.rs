//! The page of figures in the text format of Prometheus (exposition format 0.0.4).

use std::fmt::Write as _;

use super::table::Metric;

/// Samples gathered by metric; [`Page::text`] puts each under its help.
#[derive(Debug)]
pub struct Page(Vec<String>);

impl Page {
    pub(in crate::service) fn new() -> Self {
        Self(Metric::ALL.iter().map(|_| String::new()).collect())
    }

    /// One sample. `values` are those of the metric's labels, in their order.
    pub fn add(&mut self, metric: Metric, values: &[&str], value: f64) {
        self.sample(metric, "", values, None, value);
    }

    /// A histogram: counts by bucket, the last beyond every bound, and the sum of what was measured.
    pub(super) fn histogram(&mut self, metric: Metric, values: &[&str], bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        for (at, count) in counts.iter().enumerate() {
            total += count;
            let bound = bounds.get(at).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.sample(metric, "_bucket", values, Some(&bound), total as f64);
        }
        self.sample(metric, "_sum", values, None, sum);
        self.sample(metric, "_count", values, None, total as f64);
    }

    fn sample(&mut self, metric: Metric, suffix: &str, values: &[&str], bound: Option<&str>, value: f64) {
        let row = metric.row();
        debug_assert_eq!(row.labels.len(), values.len(), "{}", row.name);
        let Some(out) = self.0.get_mut(metric as usize) else { return };
        out.push_str(row.name);
        out.push_str(suffix);
        let labels = row.labels.iter().copied().zip(values.iter().copied()).chain(bound.map(|bound| ("le", bound)));
        let mut opened = false;
        for (label, text) in labels {
            out.push(if std::mem::replace(&mut opened, true) { ',' } else { '{' });
            out.push_str(label);
            out.push_str("=\"");
            push_escaped(out, text);
            out.push('"');
        }
        out.push_str(if opened { "} " } else { " " });
        let _ = writeln!(out, "{value}");
    }

    /// All of it.
    pub fn text(self) -> String {
        let mut text = String::with_capacity(self.0.iter().map(|samples| samples.len() + 256).sum());
        for (metric, samples) in Metric::ALL.iter().zip(self.0) {
            let row = metric.row();
            let (name, kind) = (row.name, row.kind.name());
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", row.help);
            text.push_str(&samples);
        }
        text
    }
}

fn push_escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stand_under_their_help() {
        let mut page = Page::new();
        page.add(Metric::DiskFree, &[], 7.0);
        page.add(Metric::TrailBytes, &["a\"1\\"], 5.0);
        let text = page.text();
        assert!(
            text.contains("# TYPE trailcast_trail_bytes gauge\ntrailcast_trail_bytes{trail=\"a\\\"1\\\\\"} 5\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE trailcast_disk_free_bytes gauge\ntrailcast_disk_free_bytes 7\n"), "{text}");
    }

    #[test]
    fn buckets_of_a_histogram_add_up() {
        let mut page = Page::new();
        page.histogram(Metric::TrailFlush, &["a1"], &[0.005, 1.0], &[2, 1, 4], 9.5);
        let text = page.text();
        let name = "trailcast_trail_flush_seconds";
        let expected = format!(
            "{name}_bucket{{trail=\"a1\",le=\"0.005\"}} 2\n{name}_bucket{{trail=\"a1\",le=\"1\"}} 3\n\
             {name}_bucket{{trail=\"a1\",le=\"+Inf\"}} 7\n{name}_sum{{trail=\"a1\"}} 9.5\n{name}_count{{trail=\"a1\"}} 7\n"
        );
        assert!(text.contains(&expected), "{text}");
    }
}
