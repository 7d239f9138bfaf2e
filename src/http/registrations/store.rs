//! Which store a path means.

use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    app::registrations::StoreRef,
    domain::{id::MerchantId, registrations::is_alipay_id},
    http::{extract::query::RawPairs, problem::Problem},
};

/// The ids of a path. What cannot be an id at Alipay names nothing.
#[derive(Clone, Debug)]
pub struct StorePath {
    secondary_merchant_id: String,
    store_id: String,
}

impl<S: Send + Sync> FromRequestParts<S> for StorePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<(String, String)>::from_request_parts(parts, state).await;
        let (secondary_merchant_id, store_id) = path
            .map(|path| path.0)
            .map_err(|_| Problem::registration_not_found())?;
        if is_alipay_id(&secondary_merchant_id) && is_alipay_id(&store_id) {
            Ok(Self {
                secondary_merchant_id,
                store_id,
            })
        } else {
            Err(Problem::registration_not_found())
        }
    }
}

impl StorePath {
    /// The store, with the merchant that the query says.
    pub(super) fn store(&self, query: &RawPairs) -> Result<StoreRef<'_>, Problem> {
        let mut reader = query.reader();
        let merchant_id = reader.parse("merchant_id", "must be a merchant's id", |text| {
            text.parse::<MerchantId>().ok()
        });
        reader.finish()?;
        Ok(StoreRef {
            secondary_merchant_id: &self.secondary_merchant_id,
            store_id: &self.store_id,
            merchant_id,
        })
    }

    /// The store's id, by which the body of a taxi is judged.
    pub(super) fn store_id(&self) -> &str {
        &self.store_id
    }
}
