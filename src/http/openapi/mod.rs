//! The OpenAPI document.
//!
//! Operations, schemas, growing names and refusals come from the handlers and their views. What is the
//! same for all operations of a shape is added in `complete`.

mod complete;
pub mod document;
pub mod head;
pub mod serve;
