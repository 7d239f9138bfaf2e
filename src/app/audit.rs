//! The audit log: read by administrators, checked by whoever doubts it.

use super::{App, error::Error};
use crate::{
    db::{self, Db},
    domain::{
        access::principal::{Identity, TenantScope},
        audit::{AuditActor, AuditFilter, AuditItem, Break, Chain, Look},
        follow_ups::schedule::Subject,
        id::MerchantId,
        listing::Page,
    },
};

impl App {
    /// Whose a payment or a refund is that somebody names. The operator's look is written down before
    /// anything is read. `None`: the operator names nothing.
    pub async fn look_at(
        &self,
        identity: &Identity,
        by: &AuditActor,
        look: Look,
        subject: Subject,
    ) -> Result<Option<MerchantId>, Error> {
        let owner = self.merchant_of(identity.tenant_scope, subject).await?;
        if let (TenantScope::Operator, Some(_)) = (identity.tenant_scope, owner) {
            self.db.note_look(look, owner, Some(subject), by).await?;
        }
        Ok(owner)
    }

    /// Writes down that the operator looks at a list: of one merchant, or of all.
    pub async fn look_over(
        &self,
        identity: &Identity,
        by: &AuditActor,
        look: Look,
        of: Option<MerchantId>,
    ) -> Result<(), Error> {
        match identity.tenant_scope {
            TenantScope::Operator => Ok(self.db.note_look(look, of, None, by).await?),
            TenantScope::Merchant(_) => Ok(()),
        }
    }

    /// Lists entries, newest first, before number `before`.
    pub async fn list_audit_log(
        &self,
        tenant_scope: TenantScope,
        filter: &AuditFilter,
        before: Option<i64>,
        limit: u16,
    ) -> Result<Page<AuditItem, i64>, Error> {
        let items = self
            .db
            .list_audit_log(tenant_scope, filter, before, limit)
            .await?;
        Ok(Page::cut(items, limit, |item| item.entry_no))
    }
}

/// What a check of the whole chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// How many entries are as they were written.
    pub entries: i64,
    /// The hash of the last one of them: noted elsewhere, it proves later that none of them changed.
    pub hash: Vec<u8>,
    /// The first one that is not.
    pub broken: Option<Break>,
}

/// Follows the chain from its beginning to its end, a thousand entries at a time. Entries that are
/// written meanwhile belong to it.
pub async fn check(db: &Db) -> Result<Checked, db::error::Error> {
    let mut chain = Chain::default();
    let broken = 'pages: loop {
        let page = db.sealed_entries(chain.end().entries).await?;
        if page.is_empty() {
            let head = db.audit_head().await?;
            // An act may have been written between the last page and the look at the end.
            if head.entries > chain.end().entries
                && !db.sealed_entries(chain.end().entries).await?.is_empty()
            {
                continue;
            }
            break chain.ends_at(&head).err();
        }
        for entry in &page {
            if let Err(found) = chain.follow(entry) {
                break 'pages Some(found);
            }
        }
    };
    let end = chain.end();
    Ok(Checked {
        entries: end.entries,
        hash: end.hash.clone(),
        broken,
    })
}
