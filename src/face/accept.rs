//! Which media type a client likes best (`Accept`; RFC 9110, section 12.5.1).

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

/// Media ranges of a request, each with its quality in thousandths.
#[derive(Debug, Clone)]
pub struct Accepted(Vec<(String, u16)>);

impl Accepted {
    /// Those that the headers name.
    pub fn of(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        Self(accepted.flat_map(|value| value.split(',')).filter_map(range).collect())
    }

    /// The quality of a media type: that of the range that names it most exactly. Where nothing is asked for, any type is as good
    /// as another.
    pub fn quality(&self, media_type: &str) -> u16 {
        if self.0.is_empty() {
            return 1_000;
        }
        let kind = media_type.split('/').next().unwrap_or_default();
        let of = |wanted: &str| self.0.iter().find(|(range, _)| range == wanted).map(|(_, quality)| *quality);
        of(media_type).or_else(|| of(&format!("{kind}/*"))).or_else(|| of("*/*")).unwrap_or(0)
    }
}

fn range(text: &str) -> Option<(String, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    // One that is no number asks for nothing in particular.
    let quality = quality.and_then(|text| text.parse::<f32>().ok()).filter(|quality| (0.0..=1.0).contains(quality));
    Some((range, quality.map_or(1_000, |quality| (quality * 1_000.0) as u16)))
}
