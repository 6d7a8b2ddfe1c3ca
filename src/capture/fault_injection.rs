//! The rules of capture that a test may have broken, so that it can see what they are for. Nothing of it is in a program
//! without the feature `fault-injection`.

/// Whether a test asked to confirm to the source what is not durable.
pub(super) fn confirm_early() -> bool {
    asked("TRAILCAST_TEST_CONFIRM_EARLY")
}

/// Whether a test asked to take every source for the one that the trail was written from.
pub(super) fn trusts_source() -> bool {
    asked("TRAILCAST_TEST_TRUST_SOURCE")
}

/// Whether a test asked to publish whatever harm that does to the source's application.
pub(super) fn publish_anyway() -> bool {
    asked("TRAILCAST_TEST_PUBLISH_ANYWAY")
}

/// Whether a test asked not to look whether all tables flow.
pub(super) fn coverage_is_off() -> bool {
    asked("TRAILCAST_TEST_NO_COVERAGE")
}

/// Whether a test asked to take a chunk of an initial load for newer than whatever lies before it in the log.
pub(super) fn loads_by_place() -> bool {
    asked("TRAILCAST_TEST_LOAD_BY_PLACE")
}

/// Whether a test asked to forget which columns of which tables were masked.
pub(super) fn forgets_masked_columns() -> bool {
    asked("TRAILCAST_TEST_FORGET_MASKED_COLUMNS")
}

#[cfg(feature = "fault-injection")]
fn asked(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| value == "1")
}

#[cfg(not(feature = "fault-injection"))]
const fn asked(_variable: &str) -> bool {
    false
}
