//! A client of the admin address.

use std::time::Duration;

use serde_json::Value;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// The value of a series in the OpenMetrics text, without the common prefix.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        let lines = self.text.lines();
        let mut ours = lines.filter_map(|line| line.strip_prefix("slicer_cloud_provider_"));
        ours.find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }
}

/// GET of `http://address/path`.
pub(crate) async fn get(address: &str, path: &str) -> Page {
    try_get(address, path).await.unwrap()
}

/// The same where an answer is not certain.
pub(crate) async fn try_get(address: &str, path: &str) -> reqwest::Result<Page> {
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .tls_certs_only([])
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?;
    let answer = http.get(format!("http://{address}{path}")).send().await?;
    let content_type = answer.headers().get("content-type");
    Ok(Page {
        status: answer.status().as_u16(),
        content_type: content_type.map_or_else(String::new, |value| value.to_str().unwrap().to_owned()),
        text: answer.text().await?,
    })
}
