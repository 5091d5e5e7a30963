//! Quality values: the weights in `Accept` and its relatives (RFC 9110 §12.4.2).

/// Returns the weight in thousandths that the parameters of one offer give it: 1000 without a
/// `q`, and 0 for an invalid one.
pub(crate) fn parse_weight<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u32 {
    let quality =
        parameters.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    match quality.map(str::parse::<f32>) {
        None => 1000,
        Some(Ok(q)) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u32,
        Some(_) => 0,
    }
}
