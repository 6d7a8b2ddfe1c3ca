//! The program under faults.

mod kill;
