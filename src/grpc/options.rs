//! NodeGroupGetOptions: the answer that harms no client.
//!
//! Every client takes an empty answer for "use your defaults". An options message is another matter: clients <= 1.33
//! crash if a duration is missing, clients <= 1.28 cannot be told the provision time at all and take it for zero,
//! later ones take each missing value for zero. So there is one only where the user overrides something, it starts as
//! a copy of the client's own defaults, and it carries every duration in both forms.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::pb::{MetaDuration, NodeGroupAutoscalingOptions as Options};
use crate::domain::spec::AutoscalingOverrides;

/// One warning is enough: old clients ask several times for each node and loop.
static WARNED: AtomicBool = AtomicBool::new(false);

/// The options for a group, or none.
pub(super) fn answer(group: &str, overrides: &AutoscalingOverrides, defaults: Option<Options>) -> Option<Options> {
    if overrides.is_empty() {
        return None;
    }
    let mut options = defaults.unwrap_or_default();
    let unneeded = either(options.scale_down_unneeded_time, options.scale_down_unneeded_duration);
    let unready = either(options.scale_down_unready_time, options.scale_down_unready_duration);
    let provision = either(options.max_node_provision_time, options.max_node_provision_duration);
    let (Some(unneeded), Some(unready), Some(provision)) = (unneeded, unready, provision) else {
        if !WARNED.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                group,
                "the cluster-autoscaler is 1.28 or older: it cannot take this group's autoscaling overrides, which are \
                 left out"
            );
        }
        return None;
    };
    if let Some(threshold) = overrides.scale_down_utilization_threshold {
        options.scale_down_utilization_threshold = threshold;
    }
    if let Some(threshold) = overrides.scale_down_gpu_utilization_threshold {
        options.scale_down_gpu_utilization_threshold = threshold;
    }
    if let Some(ignore) = overrides.ignore_daemonsets_utilization {
        options.ignore_daemon_sets_utilization = ignore;
    }
    let unneeded = overrides.scale_down_unneeded_time.map_or(unneeded, nanoseconds);
    options.scale_down_unneeded_time = Some(MetaDuration { duration: unneeded });
    options.scale_down_unneeded_duration = Some(duration(unneeded));
    let unready = overrides.scale_down_unready_time.map_or(unready, nanoseconds);
    options.scale_down_unready_time = Some(MetaDuration { duration: unready });
    options.scale_down_unready_duration = Some(duration(unready));
    let provision = overrides.max_node_provision_time.map_or(provision, nanoseconds);
    options.max_node_provision_time = Some(MetaDuration { duration: provision });
    options.max_node_provision_duration = Some(duration(provision));
    Some(options)
}

/// A duration in whichever form the client sent it, in nanoseconds; the newer form counts.
fn either(old: Option<MetaDuration>, new: Option<prost_types::Duration>) -> Option<i64> {
    let of_new = |new: prost_types::Duration| {
        new.seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(new.nanos.into())
    };
    new.map(of_new).or(old.map(|old| old.duration))
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

fn duration(nanoseconds: i64) -> prost_types::Duration {
    prost_types::Duration {
        seconds: nanoseconds / 1_000_000_000,
        // The remainder of a division by 10^9 fits.
        nanos: i32::try_from(nanoseconds % 1_000_000_000).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn meta(nanoseconds: i64) -> Option<MetaDuration> {
        Some(MetaDuration { duration: nanoseconds })
    }

    fn with_threshold() -> AutoscalingOverrides {
        AutoscalingOverrides {
            scale_down_utilization_threshold: Some(0.7),
            ..AutoscalingOverrides::default()
        }
    }

    #[test]
    fn without_overrides_the_answer_is_empty() {
        assert_eq!(
            answer("g", &AutoscalingOverrides::default(), Some(Options::default())),
            None
        );
    }

    #[test]
    fn one_override_leaves_every_other_value_as_the_client_has_it() {
        let defaults = Options {
            scale_down_utilization_threshold: 0.5,
            scale_down_gpu_utilization_threshold: 0.4,
            scale_down_unneeded_duration: Some(duration(10 * MINUTE)),
            scale_down_unready_duration: Some(duration(20 * MINUTE)),
            max_node_provision_duration: Some(duration(15 * MINUTE + 5)),
            zero_or_max_node_scaling: true,
            ..Options::default()
        };
        let options = answer("g", &with_threshold(), Some(defaults)).unwrap();
        assert_eq!(options.scale_down_utilization_threshold, 0.7);
        assert_eq!(options.scale_down_gpu_utilization_threshold, 0.4);
        assert!(options.zero_or_max_node_scaling);
        assert_eq!(options.scale_down_unneeded_time, meta(10 * MINUTE));
        assert_eq!(options.scale_down_unready_time, meta(20 * MINUTE));
        assert_eq!(options.max_node_provision_time, meta(15 * MINUTE + 5));
        assert_eq!(options.max_node_provision_duration, Some(duration(15 * MINUTE + 5)));
    }

    #[test]
    fn a_client_from_1_29_to_1_33_gets_both_forms() {
        let defaults = Options {
            scale_down_unneeded_time: meta(10 * MINUTE),
            scale_down_unready_time: meta(20 * MINUTE),
            max_node_provision_time: meta(15 * MINUTE),
            ..Options::default()
        };
        let overrides = AutoscalingOverrides {
            scale_down_unneeded_time: Some(Duration::from_secs(90)),
            ..AutoscalingOverrides::default()
        };
        let options = answer("g", &overrides, Some(defaults)).unwrap();
        assert_eq!(options.scale_down_unneeded_time, meta(90_000_000_000));
        assert_eq!(options.scale_down_unneeded_duration.unwrap().seconds, 90);
        assert_eq!(options.scale_down_unready_duration.unwrap().seconds, 1200);
    }

    #[test]
    fn a_client_up_to_1_28_gets_no_options() {
        let defaults = Options {
            scale_down_unneeded_time: meta(10 * MINUTE),
            scale_down_unready_time: meta(20 * MINUTE),
            ..Options::default()
        };
        assert_eq!(answer("g", &with_threshold(), Some(defaults)), None);
        assert_eq!(answer("g", &with_threshold(), None), None);
    }
}
