//! The proof that nothing a crash, an error, a delay, a lie or a race does makes the gateway charge
//! twice, lose a payment or say what is not so (`docs/invariants.md`). Needs the cargo feature
//! `failpoints`; `./dev test proof` runs it and prints what was done.
//!
//! | module | what it does |
//! |---|---|
//! | `driver` | moves a world: calls that survive a dying replica, and settling |
//! | `crash_points` | every named point × crash, error, delay, rival × operation |
//! | `histories` | seeded random operations, faults, restarts and clock moves |
//! | `byte_cut` | the answers of pay, query and cancel cut after every byte |
//! | `races` | twins, rivals, cancels, tombstones, lost leases and late answers on three replicas |
//! | `overload` | ten times the load that two replicas take |
//! | `kill_loop` | kill -9 of real programs under load |
//! | `imports` | the import of a daily file, killed at every point |
//! | `scenes` | the smallest worlds in which the faults of `tests/mutants` would show (`./dev mutants` puts them in) |
//! | `report` | the figures that the others left |

mod byte_cut;
mod crash_points;
mod driver;
mod histories;
mod imports;
mod kill_loop;
mod overload;
mod races;
mod report;
mod scenes;
