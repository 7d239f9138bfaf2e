//! Whether this replica lives, and whether it should get requests.
//!
//! Readiness is the database, its schema and the follow-up workers. Alipay is deliberately not part
//! of it: its outage must not evict replicas that still answer from the database. Nor is the issuer
//! of access tokens, without whom API keys work, nor a database that can be read and not written: no other replica could write there, and reads go on. The answer
//! says so.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    HttpState,
    problem::{Kind, Problem},
};
use crate::{app::Availability, http::refusals::refusals};

/// No keys of the token issuer are known.
const ACCESS_TOKENS: &str = "access_tokens";

/// The database takes no writes.
const DATABASE_WRITES: &str = "database_writes";

/// All that may be degraded.
const DEGRADED: [&str; 2] = [ACCESS_TOKENS, DATABASE_WRITES];

/// A health answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`; anything else is a problem document.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// What does not work while the rest does: `access_tokens`, while the keys of the token issuer are not
    /// known; `database_writes`, while the database answers and takes no writes (they wait for a standby
    /// that is silent, or the server is a standby itself), so that reads go on and new work is refused.
    /// Absent where all works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["access_tokens"]), extensions(("x-extensible-enum" = json!(DEGRADED))))]
    pub degraded: Vec<&'static str>,
}

/// Liveness
///
/// Answers as long as the program can answer at all. Restart it when this fails.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "service",
    operation_id = "get_liveness",
    responses((status = 200, description = "The program runs.", body = Health)),
)]
pub async fn live() -> Json<Health> {
    Json(Health {
        status: "ok",
        degraded: Vec::new(),
    })
}

refusals! {
    ReadyRefusals:
        [Problem::new(Kind::NotReady, "not ready: database")],
}

/// Readiness
///
/// Whether the database answers, its schema is current, and the follow-up workers run; false from
/// the moment the program is told to stop. Send no requests here while this fails. A database that
/// answers and takes no writes at present is named in `degraded`.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "service",
    operation_id = "get_readiness",
    responses(ReadyRefusals, (status = 200, description = "This replica can serve.", body = Health)),
)]
pub async fn ready(State(state): State<HttpState>) -> Result<Json<Health>, Problem> {
    if state.draining.is_on() {
        return Err(not_ready("the program is stopping"));
    }
    let readiness = state.app.readiness().await;
    let failing: Vec<&str> = [
        (readiness.database != Availability::Away, "database"),
        (readiness.migrations, "migrations"),
        (readiness.follow_up_workers, "follow-up workers"),
    ]
    .into_iter()
    .filter_map(|(ok, name)| (!ok).then_some(name))
    .collect();
    if failing.is_empty() {
        let degraded = [
            (!state.app.knows_issuer_keys(), ACCESS_TOKENS),
            (
                readiness.database == Availability::ReadOnly,
                DATABASE_WRITES,
            ),
        ];
        Ok(Json(Health {
            status: "ok",
            degraded: degraded
                .into_iter()
                .filter_map(|(is_missing, name)| is_missing.then_some(name))
                .collect(),
        }))
    } else {
        Err(not_ready(&format!("not ready: {}", failing.join(", "))))
    }
}

fn not_ready(detail: &str) -> Problem {
    Problem::new(Kind::NotReady, detail)
}
