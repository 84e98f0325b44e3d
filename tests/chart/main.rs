//! The Helm chart: rendered by a real helm with every combination of its main values, and held against itself, its
//! README, and the metrics that the server has. `tests/chart/run` says where helm is (`HELM`); without it, what needs it
//! is skipped. What a real API server says of the chart is tested end to end, by the scenario `chart`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod combinations;
mod helm;
mod metrics;
mod objects;
mod rendered;
mod upstream;
mod values;
