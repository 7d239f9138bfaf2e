//! API keys: found by their hash, made, replaced and revoked, each act with its audit entry.

use chrono::{DateTime, Utc};
use sqlx::types::Json;
use uuid::Uuid;

use crate::db::{
    Db,
    error::Error,
    run::{Command as _, Statement as _},
};
use crate::domain::{
    access::{
        api_key::{ApiKey, ApiKeyFilter, ApiKeyStatus, NewApiKey, Rotated, Rotation, TokenSubject},
        principal::{Credential, Identity, Scope, TenantScope},
        token::{Bearer, Recorded},
    },
    audit::AuditActor,
    id::{ApiKeyId, MerchantId},
};
use crate::failpoint::failpoint;

/// What is stored of a new key's secret.
#[derive(Clone, Copy, Debug)]
pub struct StoredSecret<'a> {
    /// The keyed hash.
    pub hash: &'a [u8],
    /// The first characters, to show.
    pub prefix: &'a str,
}

/// The columns of an [`ApiKey`].
struct ApiKeyRow {
    merchant_id: Option<Uuid>,
    api_key_id: Uuid,
    name: String,
    key_prefix: Option<String>,
    issuer: Option<String>,
    subject: Option<String>,
    scopes: Vec<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    replaces: Option<Uuid>,
    now: DateTime<Utc>,
}

impl From<ApiKeyRow> for ApiKey {
    fn from(row: ApiKeyRow) -> Self {
        let status = if row.revoked_at.is_some() {
            ApiKeyStatus::Revoked
        } else if row.expires_at.is_some_and(|at| at <= row.now) {
            ApiKeyStatus::Expired
        } else {
            ApiKeyStatus::Active
        };
        Self {
            id: row.api_key_id.into(),
            tenant_scope: tenant_scope(row.merchant_id),
            name: row.name,
            prefix: row.key_prefix,
            subject: row
                .issuer
                .zip(row.subject)
                .map(|(issuer, subject)| TokenSubject { issuer, subject }),
            scopes: scopes(&row.scopes),
            created_at: row.created_at,
            expires_at: row.expires_at,
            revoked_at: row.revoked_at,
            last_used_at: row.last_used_at,
            replaces: row.replaces.map(ApiKeyId::from),
            status,
        }
    }
}

fn tenant_scope(merchant_id: Option<Uuid>) -> TenantScope {
    merchant_id.map_or(TenantScope::Operator, |id| TenantScope::Merchant(id.into()))
}

/// A name that this program does not know gives no right.
fn scopes(names: &[String]) -> Vec<Scope> {
    names
        .iter()
        .filter_map(|name| Scope::from_name(name))
        .collect()
}

fn names(scopes: &[Scope]) -> Vec<String> {
    scopes
        .iter()
        .map(|scope| scope.as_str().to_owned())
        .collect()
}

impl Db {
    /// Finds the live API key with this hash.
    #[tracing::instrument(name = "db.api_key.find", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn find_api_key(&self, key_hash: &[u8]) -> Result<Option<Identity>, Error> {
        failpoint!(self.failpoints, "db.api_key.before");
        let row = sqlx::query!(
            "select merchant_id, api_key_id, name, scopes
            from api_key
            where key_hash = $1 and revoked_at is null
                and (expires_at is null or expires_at > db_now())",
            key_hash
        )
        .optional(&self.reads)
        .await?;
        failpoint!(self.failpoints, "db.api_key.after");
        Ok(row.map(|row| Identity {
            credential: Credential::ApiKey,
            api_key_id: row.api_key_id.into(),
            name: row.name,
            tenant_scope: tenant_scope(row.merchant_id),
            scopes: scopes(&row.scopes),
        }))
    }

    /// Stores a new API key by its hash. A constraint error means that there is no such merchant.
    #[tracing::instrument(name = "db.api_key.insert", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn insert_api_key(
        &self,
        id: ApiKeyId,
        new: &NewApiKey,
        secret: StoredSecret<'_>,
        by: &AuditActor,
    ) -> Result<ApiKey, Error> {
        let row = sqlx::query_as!(
            ApiKeyRow,
            r#"with made as (
                insert into api_key (merchant_id, api_key_id, name, key_hash, key_prefix, scopes,
                    expires_at)
                values ($1, $2, $3, $4, $5, $6, $7)
                returning api_key as key, api_key.*
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, after)
                select merchant_id, 'api_key.created', 'api_key', public_id('key_', api_key_id),
                    $8, api_key_facts(key)
                from made
            )
            select merchant_id, api_key_id, name, key_prefix, issuer, subject, scopes, created_at,
                expires_at, revoked_at, last_used_at, replaces, db_now() as "now!"
            from made"#,
            new.tenant_scope.merchant_id().map(MerchantId::uuid),
            id.uuid(),
            new.name,
            secret.hash,
            secret.prefix,
            &names(&new.scopes),
            new.expires_at,
            Json(by) as _,
        )
        .one(&self.writes)
        .await?;
        Ok(row.into())
    }

    /// Lists API keys, newest first, after `after`; one more than `limit` where there are more.
    #[tracing::instrument(name = "db.api_key.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_api_keys(
        &self,
        tenant_scope: TenantScope,
        filter: ApiKeyFilter,
        after: Option<ApiKeyId>,
        limit: u16,
    ) -> Result<Vec<ApiKey>, Error> {
        let rows = sqlx::query_as!(
            ApiKeyRow,
            r#"select merchant_id, api_key_id, name, key_prefix, issuer, subject, scopes, created_at,
                expires_at, revoked_at, last_used_at, replaces, db_now() as "now!"
            from api_key
            where ($1::uuid is null or merchant_id = $1)
                and ($2::uuid is null or merchant_id = $2)
                and ($3::boolean is null or $3 = (
                    revoked_at is null and (expires_at is null or expires_at > db_now())))
                and ($4::uuid is null or api_key_id < $4)
            order by api_key_id desc
            limit $5"#,
            tenant_scope.merchant_id().map(MerchantId::uuid),
            filter.merchant_id.map(MerchantId::uuid),
            filter.active,
            after.map(ApiKeyId::uuid),
            i64::from(limit) + 1,
        )
        .all(&self.reads)
        .await?;
        Ok(rows.into_iter().map(ApiKey::from).collect())
    }

    #[tracing::instrument(name = "db.api_key.read", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn api_key(
        &self,
        tenant_scope: TenantScope,
        id: ApiKeyId,
    ) -> Result<Option<ApiKey>, Error> {
        let row = sqlx::query_as!(
            ApiKeyRow,
            r#"select merchant_id, api_key_id, name, key_prefix, issuer, subject, scopes, created_at,
                expires_at, revoked_at, last_used_at, replaces, db_now() as "now!"
            from api_key
            where ($1::uuid is null or merchant_id = $1) and api_key_id = $2"#,
            tenant_scope.merchant_id().map(MerchantId::uuid),
            id.uuid(),
        )
        .optional(&self.reads)
        .await?;
        Ok(row.map(ApiKey::from))
    }

    /// Revokes an API key; one that is revoked stays as it is. `None`: no such key.
    #[tracing::instrument(name = "db.api_key.revoke", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn revoke_api_key(
        &self,
        tenant_scope: TenantScope,
        id: ApiKeyId,
        by: &AuditActor,
    ) -> Result<Option<ApiKey>, Error> {
        let row = sqlx::query_as!(
            ApiKeyRow,
            r#"with old as materialized (
                select api_key as key, api_key.*
                from api_key
                where ($1::uuid is null or merchant_id = $1) and api_key_id = $2
                for update
            ), revoked as (
                update api_key
                set revoked_at = db_now()
                from old
                where api_key.api_key_id = old.api_key_id and old.revoked_at is null
                returning api_key as key, api_key.revoked_at
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select old.merchant_id, 'api_key.revoked', 'api_key',
                    public_id('key_', old.api_key_id), $3, api_key_facts(old.key),
                    api_key_facts(revoked.key)
                from old, revoked
            )
            select merchant_id, api_key_id, name, key_prefix, issuer, subject, scopes, created_at, expires_at,
                coalesce(revoked_at, (select revoked_at from revoked)) as "revoked_at?",
                last_used_at, replaces, db_now() as "now!"
            from old"#,
            tenant_scope.merchant_id().map(MerchantId::uuid),
            id.uuid(),
            Json(by) as _,
        )
        .optional(&self.writes)
        .await?;
        Ok(row.map(ApiKey::from))
    }

    /// Makes a key with the name, the scopes and the reach of another, which is refused after
    /// `overlap_seconds` at the latest. Two rotations of one key at once both take effect.
    #[tracing::instrument(name = "db.api_key.rotate", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn rotate_api_key(
        &self,
        tenant_scope: TenantScope,
        old: ApiKeyId,
        new: ApiKeyId,
        secret: StoredSecret<'_>,
        rotation: Rotation,
        by: &AuditActor,
    ) -> Result<Rotated<ApiKey>, Error> {
        let row = sqlx::query_as!(
            ApiKeyRow,
            r#"with old as materialized (
                select api_key as key, api_key.*
                from api_key
                where ($1::uuid is null or merchant_id = $1) and api_key_id = $2
                    and subject is null and revoked_at is null and (expires_at is null or expires_at > db_now())
                for update
            ), made as (
                insert into api_key (merchant_id, api_key_id, name, key_hash, key_prefix, scopes,
                    expires_at, replaces)
                select merchant_id, $3, name, $4, $5, scopes, $6, api_key_id from old
                returning api_key as key, api_key.*
            ), ending as (
                update api_key
                set expires_at = least(api_key.expires_at,
                    db_now() + $7::bigint * interval '1 second')
                from old
                where api_key.api_key_id = old.api_key_id
                returning api_key as key
            ), audited as (
                insert into audit_log (merchant_id, action, subject_kind, subject_id, by, before,
                    after)
                select old.merchant_id, 'api_key.rotated', 'api_key',
                    public_id('key_', old.api_key_id), $8, api_key_facts(old.key),
                    api_key_facts(ending.key)
                        || jsonb_build_object('replaced_by', public_id('key_', made.api_key_id))
                from old, ending, made
            )
            select merchant_id, api_key_id, name, key_prefix, issuer, subject, scopes, created_at,
                expires_at, revoked_at, last_used_at, replaces, db_now() as "now!"
            from made"#,
            tenant_scope.merchant_id().map(MerchantId::uuid),
            old.uuid(),
            new.uuid(),
            secret.hash,
            secret.prefix,
            rotation.expires_at,
            rotation.overlap_seconds,
            Json(by) as _,
        )
        .optional(&self.writes)
        .await?;
        Ok(match row {
            Some(row) => Rotated::Made(row.into()),
            None if self.api_key(tenant_scope, old).await?.is_some() => Rotated::NotActive,
            None => Rotated::Missing,
        })
    }

    /// Finds whoever a token was issued for, and records it where it is new.
    #[tracing::instrument(name = "db.api_key.subject", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn record_subject(&self, new: ApiKeyId, bearer: &Bearer) -> Result<Recorded, Error> {
        // Who loses the race to record it reads what the winner recorded.
        for _ in 0..2 {
            let row = sqlx::query!(
                r#"with known as (
                    select api_key_id, name, revoked_at is not null as is_revoked
                    from api_key
                    where subject = $3 and issuer = $2
                        and (merchant_id = $1 or ($1::uuid is null and merchant_id is null))
                ), made as (
                    insert into api_key (merchant_id, api_key_id, name, scopes, issuer, subject)
                    select $1, $4, $5, '{}', $2, $3
                    where not exists (select from known)
                        and ($1::uuid is null
                            or exists (select from merchant where merchant_id = $1))
                    on conflict (subject, issuer, merchant_id) where subject is not null do nothing
                    returning api_key_id, name
                )
                select api_key_id as "api_key_id!", name as "name!", is_revoked as "is_revoked!"
                from known
                union all
                select api_key_id, name, false from made"#,
                bearer.tenant_scope.merchant_id().map(MerchantId::uuid),
                bearer.issuer,
                bearer.subject,
                new.uuid(),
                bearer.name(),
            )
            .optional(&self.writes)
            .await?;
            match row {
                Some(row) if row.is_revoked => return Ok(Recorded::Revoked),
                Some(row) => {
                    return Ok(Recorded::Known(Identity {
                        credential: Credential::Token,
                        api_key_id: row.api_key_id.into(),
                        name: row.name,
                        tenant_scope: bearer.tenant_scope,
                        scopes: Vec::new(),
                    }));
                }
                None => {}
            }
        }
        Ok(Recorded::NoMerchant)
    }

    /// Notes when keys were last presented. A later time is kept.
    #[tracing::instrument(name = "db.api_key.touch", level = "debug", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn note_use_of_api_keys(&self, ids: &[Uuid]) -> Result<(), Error> {
        sqlx::query!(
            "update api_key
            set last_used_at = date_trunc('minute', db_now())
            where api_key_id = any($1)
                and (last_used_at is null or last_used_at < date_trunc('minute', db_now()))",
            ids,
        )
        .run(&self.writes)
        .await?;
        Ok(())
    }
}
