//! The program under faults.

mod disk_full;
mod kill;
mod power_cut;
