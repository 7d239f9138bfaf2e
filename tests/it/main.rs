//! Integration tests.
mod openapi;
