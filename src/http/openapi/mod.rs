//! The OpenAPI document.
//!
//! Operations, schemas, growing names and refusals come from the handlers and their views. What is the
//! same for all operations of a shape is added in `complete`; what generators of clients need besides, in
//! `schemas` and `filters`; whole examples, in `examples`. `shared` puts what is the same in one place, and
//! `twin` says all of it as OpenAPI 3.0.

mod complete;
pub mod document;
mod examples;
pub mod filters;
pub mod head;
mod operations;
mod schemas;
pub mod serve;
mod shared;
mod twin;
