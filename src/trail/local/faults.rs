//! Switches that break the trail on purpose, so that tests can be seen to notice. All of them are off without the feature
//! `fault-injection`.

#[cfg(feature = "fault-injection")]
mod switches {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn asked(name: &str) -> Option<u64> {
        std::env::var(name).ok()?.parse().ok()
    }

    /// Whether files are cut before what was written to them is flushed, and seals are believed all the same.
    pub(in crate::trail) fn cuts_before_it_flushes() -> bool {
        static ASKED: LazyLock<bool> = LazyLock::new(|| asked("TRAILCAST_TEST_CUT_FIRST") == Some(1));
        *ASKED
    }

    /// Stops the process between the cut of a file and the flush behind it, the so-many-th time that it comes by.
    pub(in crate::trail) fn between_cut_and_flush() {
        static STOP_AT: LazyLock<Option<u64>> = LazyLock::new(|| asked("TRAILCAST_TEST_STOP_AT_CUT"));
        static CAME_BY: AtomicU64 = AtomicU64::new(0);
        if let Some(stop_at) = *STOP_AT
            && CAME_BY.fetch_add(1, Ordering::SeqCst) + 1 == stop_at
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP);
        }
    }
}

#[cfg(not(feature = "fault-injection"))]
mod switches {
    pub(in crate::trail) const fn cuts_before_it_flushes() -> bool {
        false
    }

    pub(in crate::trail) const fn between_cut_and_flush() {}
}

pub(in crate::trail) use switches::{between_cut_and_flush, cuts_before_it_flushes};
