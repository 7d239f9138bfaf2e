//! What was found, and who took note of it.

use crate::{
    app::{App, error::Error},
    db::{error::Error as DbError, reconciliation::ReconciliationStore},
    domain::{
        access::principal::TenantScope,
        audit::AuditActor,
        id::{DifferenceId, ReconciliationId},
        listing::Page,
        reconciliation::{
            Difference, DifferenceFilter, Reconciliation, ReconciliationFilter, ReconciliationItem,
            csv, statement,
        },
    },
};

/// How many differences one statement reads for a whole list.
const PAGE: u16 = 5_000;

/// Hands over the differences of a reconciliation, by file and line, for as long as `take` takes them; says
/// whether it took all.
pub(super) async fn each_difference(
    books: &mut ReconciliationStore,
    tenant_scope: TenantScope,
    id: ReconciliationId,
    filter: DifferenceFilter<'_>,
    mut take: impl FnMut(Difference) -> bool,
) -> Result<bool, DbError> {
    let mut after = None;
    loop {
        let items = books
            .list_differences(tenant_scope, id, filter, after, PAGE)
            .await?;
        let page = Page::cut(items, PAGE, |difference| difference.id);
        for difference in page.items {
            if !take(difference) {
                return Ok(false);
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(true);
        }
    }
}

impl App {
    /// Lists reconciliations, newest first.
    pub async fn list_reconciliations(
        &self,
        tenant_scope: TenantScope,
        filter: ReconciliationFilter<'_>,
        after: Option<ReconciliationId>,
        limit: u16,
    ) -> Result<Page<ReconciliationItem, ReconciliationId>, Error> {
        let mut books = self.db.books();
        let items = books
            .list_reconciliations(tenant_scope, filter, after, limit)
            .await?;
        let id = |item: &ReconciliationItem| item.id.unwrap_or_else(ReconciliationId::mint);
        Ok(Page::cut(items, limit, id))
    }

    /// Reads a reconciliation in reach.
    pub async fn reconciliation(
        &self,
        tenant_scope: TenantScope,
        id: ReconciliationId,
    ) -> Result<Option<Reconciliation>, Error> {
        Ok(self.db.books().reconciliation(tenant_scope, id).await?)
    }

    /// Lists a reconciliation's differences, by file and line. `None`: no such reconciliation in reach.
    pub async fn list_differences(
        &self,
        tenant_scope: TenantScope,
        id: ReconciliationId,
        filter: DifferenceFilter<'_>,
        after: Option<DifferenceId>,
        limit: u16,
    ) -> Result<Option<Page<Difference, DifferenceId>>, Error> {
        let mut books = self.db.books();
        if !books.has_reconciliation(tenant_scope, id).await? {
            return Ok(None);
        }
        let items = books
            .list_differences(tenant_scope, id, filter, after, limit)
            .await?;
        Ok(Some(Page::cut(items, limit, |difference| difference.id)))
    }

    /// All differences of a reconciliation as CSV. `None`: no such reconciliation in reach.
    pub async fn differences_as_csv(
        &self,
        tenant_scope: TenantScope,
        id: ReconciliationId,
        filter: DifferenceFilter<'_>,
    ) -> Result<Option<String>, Error> {
        let mut books = self.db.books();
        if !books.has_reconciliation(tenant_scope, id).await? {
            return Ok(None);
        }
        let mut text = csv::HEAD.to_owned();
        each_difference(&mut books, tenant_scope, id, filter, |difference| {
            csv::line(&mut text, &difference);
            true
        })
        .await?;
        Ok(Some(text))
    }

    /// A reconciliation as a page to print. `None`: no such reconciliation in reach.
    pub async fn statement(
        &self,
        tenant_scope: TenantScope,
        id: ReconciliationId,
    ) -> Result<Option<String>, Error> {
        let mut books = self.db.books();
        let Some(report) = books.reconciliation(tenant_scope, id).await? else {
            return Ok(None);
        };
        let most = statement::MOST_DIFFERENCES;
        let items = books
            .list_differences(tenant_scope, id, DifferenceFilter::default(), None, most)
            .await?;
        let page = Page::cut(items, most, |difference| difference.id);
        let are_all = page.next.is_none();
        Ok(Some(statement::page(&report, &page.items, are_all)))
    }

    /// Notes that somebody took note of a difference, and why; the first note stays.
    pub async fn acknowledge_difference(
        &self,
        tenant_scope: TenantScope,
        reconciliation: ReconciliationId,
        id: DifferenceId,
        reason: &str,
        by: &AuditActor,
    ) -> Result<Option<Difference>, Error> {
        let mut books = self.db.books();
        Ok(books
            .acknowledge(tenant_scope, reconciliation, id, reason, by)
            .await?)
    }
}
