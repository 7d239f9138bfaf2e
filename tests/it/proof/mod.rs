//! The proof that nothing a crash, an error, a delay, a lie or a race does makes the gateway charge
//! twice, lose a payment or say what is not so (`design/correctness.md` 1).
//!
//! | module | what it does |
//! |---|---|
//! | `driver` | moves a world: calls that survive a dying replica, and settling |
//! | `crash_points` | every named point × crash, error, delay × operation |
//! | `byte_cut` | the pay answer cut after every byte |
//! | `histories` | seeded random operations, faults, restarts and clock moves |
//! | `races` | who writes first: answers, cancels, workers |
//! | `planted` | the harness catches defects that are planted on purpose |
//! | `kill_loop` | real processes under kill -9 |

mod byte_cut;
mod crash_points;
mod driver;
mod histories;
mod planted;
