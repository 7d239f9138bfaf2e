//! `/v1/reconciliations`: Alipay's daily files against the books. Scope `reconciliation`: the operator
//! imports and sees all; a merchant's key sees what is its own.

pub mod csv;
pub mod differences;
pub mod import;
pub mod read;
pub mod statement;
pub mod view;
