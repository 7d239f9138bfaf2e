//! `/v1/secondary-merchants`: stores registered with Alipay, and where their reviews stand.

pub mod body;
pub mod read;
pub mod refresh;
pub mod register;
pub mod store;
pub mod view;

use axum::http::StatusCode;

use crate::{
    app::App,
    domain::registrations::Registration,
    http::{answer::Resource, problem::Problem},
};
use view::StoreRegistrationView;

/// After how many seconds an open registration is worth reading again, at most.
const READ_AGAIN_AFTER_AT_MOST: i64 = 3600;

/// A registration with its history, `200` where nothing is owed any more and `202` while it is.
async fn represent(
    app: &App,
    registration: &Registration,
) -> Result<(StatusCode, Resource<StoreRegistrationView>), Problem> {
    let history = app.registration_history(registration).await?;
    let view = StoreRegistrationView::new(app, registration, Some(&history));
    let is_settled = registration.status.is_settled();
    let status = if is_settled {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    let retry_after = registration.next_check_at.map(|at| {
        let seconds = (at - registration.updated_at).num_seconds();
        u32::try_from(seconds.clamp(1, READ_AGAIN_AFTER_AT_MOST)).unwrap_or(1)
    });
    let resource = Resource::new(registration.version, view)
        .located(&location(registration))
        .retry_after(retry_after.filter(|_| !is_settled));
    Ok((status, resource))
}

fn location(registration: &Registration) -> String {
    format!(
        "/v1/secondary-merchants/{}/stores/{}",
        registration.secondary_merchant_id, registration.store_id
    )
}
