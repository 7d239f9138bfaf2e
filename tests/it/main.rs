//! Integration tests.
mod config;
mod openapi;
