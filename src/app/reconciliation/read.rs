//! What was found, and who took note of it.

use crate::{
    app::{App, error::Error},
    db::reconciliation::Acknowledgement,
    domain::{
        audit::By,
        id::{DifferenceId, ReconciliationId},
        listing::Page,
        merchant::Reach,
        reconciliation::{
            Difference, DifferenceFilter, Reconciliation, ReconciliationFilter, ReconciliationItem,
        },
    },
};

impl App {
    /// Lists reconciliations, newest first.
    pub async fn list_reconciliations(
        &self,
        reach: Reach,
        filter: ReconciliationFilter<'_>,
        after: Option<ReconciliationId>,
        limit: u16,
    ) -> Result<Page<ReconciliationItem, ReconciliationId>, Error> {
        let mut books = self.db.books();
        let items = books
            .list_reconciliations(reach, filter, after, limit)
            .await?;
        let id = |item: &ReconciliationItem| item.id.unwrap_or_else(ReconciliationId::mint);
        Ok(Page::cut(items, limit, id))
    }

    /// Reads a reconciliation in reach.
    pub async fn reconciliation(
        &self,
        reach: Reach,
        id: ReconciliationId,
    ) -> Result<Option<Reconciliation>, Error> {
        Ok(self.db.books().reconciliation(reach, id).await?)
    }

    /// Lists a reconciliation's differences, by file and line.
    pub async fn list_differences(
        &self,
        reach: Reach,
        id: ReconciliationId,
        filter: DifferenceFilter<'_>,
        after: Option<DifferenceId>,
        limit: u16,
    ) -> Result<Page<Difference, DifferenceId>, Error> {
        let mut books = self.db.books();
        let items = books
            .list_differences(reach, id, filter, after, limit)
            .await?;
        Ok(Page::cut(items, limit, |difference| difference.id))
    }

    /// Notes that somebody took note of a difference, and why; the first note stays.
    pub async fn acknowledge_difference(
        &self,
        reach: Reach,
        reconciliation: ReconciliationId,
        id: DifferenceId,
        reason: &str,
        by: &By,
    ) -> Result<Option<Difference>, Error> {
        let mut books = self.db.books();
        let noted = books
            .acknowledge(reach, reconciliation, id, reason, by)
            .await?;
        Ok(match noted {
            Acknowledgement::Noted(difference) => Some(*difference),
            Acknowledgement::Missing => None,
        })
    }
}
