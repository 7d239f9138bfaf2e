//! The audit log, read: for administrators page by page, for the checker as it was hashed.

use sqlx::types::Json;

use super::{
    Db,
    error::Error,
    run::{Command as _, Statement as _},
};
use crate::domain::{
    access::principal::TenantScope,
    audit::{AuditActor, AuditFilter, AuditItem, Head, Look, Sealed},
    follow_ups::schedule::Subject,
    id::MerchantId,
};

impl Db {
    /// Lists entries, newest first, before number `before`; one more than `limit` where there are
    /// more.
    #[tracing::instrument(name = "db.audit.list", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn list_audit_log(
        &self,
        tenant_scope: TenantScope,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Vec<AuditItem>, Error> {
        let rows = sqlx::query!(
            r#"select entry_no, at, merchant_id, action, subject_kind, subject_id,
                by as "by: Json<serde_json::Value>",
                before as "before: Json<serde_json::Value>",
                after as "after: Json<serde_json::Value>", hash
            from audit_log
            where ($1::uuid is null or merchant_id = $1)
                and ($2::uuid is null or merchant_id = $2)
                and ($3::text is null or subject_id = $3)
                and ($4::text is null or by ->> 'id' = $4)
                and ($5::text is null or action = $5)
                and ($6::timestamptz is null or at >= $6)
                and ($7::timestamptz is null or at < $7)
                and ($8::bigint is null or entry_no < $8)
            order by entry_no desc
            limit $9"#,
            tenant_scope.merchant_id().map(MerchantId::uuid),
            filter.merchant_id.map(MerchantId::uuid),
            filter.subject,
            filter.by,
            filter.action,
            filter.from,
            filter.to,
            before,
            i64::from(limit) + 1,
        )
        .all(&self.reads)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| AuditItem {
                entry_no: row.entry_no,
                at: row.at,
                merchant_id: row.merchant_id.map(MerchantId::from),
                action: row.action,
                subject_kind: row.subject_kind,
                subject_id: row.subject_id,
                by: row.by.0,
                before: row.before.map(|json| json.0),
                after: row.after.map(|json| json.0),
                hash: row.hash,
            })
            .collect())
    }

    /// Writes down that the operator looks at something of a merchant's, or of all.
    #[tracing::instrument(name = "db.audit.look", skip_all, fields(otel.kind = "client", db.system = "postgresql"))]
    pub async fn note_look(
        &self,
        look: Look,
        merchant_id: Option<MerchantId>,
        subject: Option<Subject>,
        by: &AuditActor,
    ) -> Result<(), Error> {
        let whose = || merchant_id.map_or_else(|| "all".to_owned(), |id| id.to_string());
        sqlx::query!(
            "insert into audit_log (merchant_id, action, subject_kind, subject_id, by)
            values ($1, $2, $3, $4, $5)",
            merchant_id.map(MerchantId::uuid),
            look.as_str(),
            subject.map_or("merchant", Subject::kind),
            subject.map_or_else(whose, |subject| subject.to_string()),
            Json(by) as _,
        )
        .run(&self.writes)
        .await?;
        Ok(())
    }

    /// The next entries in the order of the chain, as they were hashed; at most 1,000.
    pub async fn sealed_entries(&self, after: i64) -> Result<Vec<Sealed>, Error> {
        let rows = sqlx::query_as!(
            Sealed,
            r#"select entry_no, at, merchant_id, action, subject_kind, subject_id,
                by::text as "by!", before::text as before, after::text as after, previous_hash,
                hash
            from audit_log
            where entry_no > $1
            order by entry_no
            limit 1000"#,
            after,
        )
        .all(&self.reads)
        .await?;
        Ok(rows)
    }

    /// Where the chain ends, as the database remembers it.
    pub async fn audit_head(&self) -> Result<Head, Error> {
        let row = sqlx::query_as!(Head, "select entries, hash from audit_head")
            .one(&self.reads)
            .await?;
        Ok(row)
    }
}
