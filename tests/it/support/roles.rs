//! Every gateway of the tests uses the database as a deployed one does: as a role that may do what
//! `migrate` grants and no more. What a test looks at or breaks, it does as the owner.

use alipayhk_gateway::db::Db;
use sqlx::{PgPool, postgres::PgConnectOptions};

/// The role of the gateways under test, shared by every database of the server.
pub(crate) const SERVICE_ROLE: &str = "it_gateway_service";
/// Its password; hunted for in what programs leave behind.
const PASSWORD: &str = "it-service-hunter2-5e1f";

/// Databases of many tests are made at once on one server.
const MAKE_ROLE: &str = "do $$ begin
    if not exists (select from pg_roles where rolname = 'it_gateway_service') then
        create role it_gateway_service login password 'it-service-hunter2-5e1f';
    end if;
exception when duplicate_object or unique_violation then null;
end $$";

/// The test's database as the service's role, with the rights that `migrate` gives it.
pub(crate) async fn as_service(pool: &PgPool) -> PgConnectOptions {
    sqlx::raw_sql(MAKE_ROLE)
        .execute(pool)
        .await
        .expect("the role of DATABASE_URL may create roles");
    let owner = as_owner(pool);
    let granted = owner.grant_to_service(SERVICE_ROLE).await;
    granted.expect("the owner grants");
    owner.close().await;
    let options = (*pool.connect_options()).clone();
    options.username(SERVICE_ROLE).password(PASSWORD)
}

/// The test's database as the owner of its tables, for what `migrate` does.
pub(crate) fn as_owner(pool: &PgPool) -> Db {
    Db::with_options((*pool.connect_options()).clone(), 1)
}
