//! `/v1/admin`: merchants, their stores, and the Alipay accounts that are paid. Scope `admin`.

pub mod body;
pub mod disable;
pub mod merchant;
pub mod partners;
pub mod stores;
pub mod view;
