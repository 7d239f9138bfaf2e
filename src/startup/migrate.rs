//! `migrate`: the schema, the rights of the service's role, and the default merchant.

use anyhow::{Context, ensure};

use super::app::connect;
use crate::{
    config::{self, MigrateConfig},
    db::{self, Db, merchants::default::DefaultMerchant},
};

/// Brings the schema up to date as its owner, gives the service's role what it needs, and brings the
/// default merchant with its default store to what the configuration says.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    let service = &config.owner.service;
    let db = match &config.owner.url {
        Some(url) => Db::connect_lazily(url, service.max_connections)
            .context("MIGRATE_DATABASE_URL cannot be read")?,
        None => connect(service)?,
    };
    db.migrate()
        .await
        .context("the database could not be brought up to date")?;
    restrict(&db, service).await?;
    let merchant = &config.merchant;
    let id = db
        .upsert_default_merchant(&DefaultMerchant {
            name: merchant.name.clone(),
            store: merchant.store.clone(),
        })
        .await
        .context("the default merchant could not be made")?;
    tracing::info!(merchant.id = %id, store.id = %merchant.store.store_id, "the database is up to date");
    db.close().await;
    Ok(())
}

/// Grants the service's role exactly what it needs, and warns where it can do more: that is how the
/// database was set up, and no grant changes it.
async fn restrict(db: &Db, service: &config::Database) -> anyhow::Result<()> {
    let role = db::role_of(&service.url).context("DATABASE_URL cannot be read")?;
    let what = "the rights of the service's role could not be set";
    let standing = db.standing(&role).await.context(what)?;
    let standing = standing.with_context(|| {
        format!("there is no role {role:?}: make the role of DATABASE_URL first")
    })?;
    if standing.owns {
        tracing::warn!(
            role,
            "the service's role owns the tables and can change or truncate them: give migrate a role of its own \
             by MIGRATE_DATABASE_URL"
        );
        return Ok(());
    }
    db.grant_to_service(&role).await.context(what)?;
    let standing = db.standing(&role).await.context(what)?;
    if standing.is_some_and(|standing| standing.creates) {
        tracing::warn!(
            role,
            "the service's role may make tables, schemas or temporary tables: the owner of the database \
             must revoke create on the schema public, and create and temporary on the database"
        );
    }
    // Migrating another database than the service uses is found out now.
    let as_service = connect(service)?;
    let migrated = as_service.is_migrated().await;
    as_service.close().await;
    ensure!(
        migrated.context("the role of DATABASE_URL cannot use the database")?,
        "MIGRATE_DATABASE_URL and DATABASE_URL are two databases"
    );
    Ok(())
}
