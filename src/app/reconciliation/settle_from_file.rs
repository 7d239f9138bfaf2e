//! What a file proves goes into the books. What it contradicts stays as it is, is a difference, and is
//! asked about.

use super::ReconcileError;
use crate::{
    app::{
        App,
        error::RecordError,
        payments::{outcome::Told, record::Update},
        policy::RECORD_FROM_FILE,
        refunds::RefundUpdate,
    },
    db::{
        contradictions::Opened,
        error::Error as DbError,
        reconciliation::{Candidate, FileRef, Pass, ReconciliationStore},
        recorded::Recorded,
        refunds::PortalRefund,
    },
    domain::{
        id::RefundId,
        payments::payment::Payment,
        reconciliation::{
            Verdict, daily_file::FileKind, judge_portal_refund, judge_refund, tells_of_another,
        },
        transition::{Actor, FileLine},
    },
    failpoint::crashpoint,
};

impl App {
    /// Settles what a file's rows prove: payments first, then refunds. The file is believed at once, with
    /// no further question to Alipay: it is Alipay's own book of a day that is over. A worker that asks at
    /// the same moment meets the version's guard, and one of the two truths finds itself known.
    pub(super) async fn settle_from_file(
        &self,
        books: &mut ReconciliationStore,
        at: FileRef<'_>,
        kind: FileKind,
    ) -> Result<(), ReconcileError> {
        for pass in [Pass::Payments, Pass::Refunds] {
            let mut after = 0;
            loop {
                let page = books.candidates(at, kind, pass, after).await?;
                let Some(last) = page.last() else { break };
                after = line_of(last);
                for candidate in &page {
                    let line = FileLine {
                        file_id: at.file,
                        line: line_of(candidate),
                    };
                    self.settle(candidate, line, pass)
                        .await
                        .map_err(|error| ReconcileError::Record(Box::new(error)))?;
                    crashpoint!(self.db.failpoints, "import.settled");
                }
            }
        }
        Ok(())
    }

    async fn settle(
        &self,
        candidate: &Candidate,
        line: FileLine,
        pass: Pass,
    ) -> Result<(), RecordError> {
        match (pass, candidate.subject.refund_id) {
            (Pass::Payments, _) => self.settle_payment(candidate, line).await,
            (Pass::Refunds, Some(refund_id)) => {
                self.settle_refund(candidate, refund_id, line).await
            }
            (Pass::Refunds, None) => self.take_portal_refund(candidate, line).await,
        }
    }

    async fn settle_payment(
        &self,
        candidate: &Candidate,
        line: FileLine,
    ) -> Result<(), RecordError> {
        let subject = candidate.subject;
        let payment = self
            .db
            .payment(subject.merchant_id, subject.payment_id)
            .await?;
        let payment = payment.ok_or(RecordError::Missing)?;
        let update = Update {
            told: Some(Told::File(
                Box::new(candidate.row.clone()),
                line.file_id,
                candidate.sibling_rows,
            )),
            ..Update::none(Actor::File(line), self.db.now().await?)
        };
        let was_settled = payment.is_settled();
        let after = self.record(payment, &update, RECORD_FROM_FILE).await?;
        if !was_settled && after.is_settled() {
            note("payment");
        }
        Ok(())
    }

    async fn settle_refund(
        &self,
        candidate: &Candidate,
        refund_id: RefundId,
        line: FileLine,
    ) -> Result<(), RecordError> {
        let refund = self
            .db
            .refund(candidate.subject.merchant_id, refund_id)
            .await?;
        let refund = refund.ok_or(RecordError::Missing)?;
        let payment = self
            .db
            .payment(refund.merchant_id, refund.payment_id)
            .await?;
        let payment = payment.ok_or(RecordError::Missing)?;
        if tells_of_another(&candidate.row, &payment, candidate.sibling_rows) {
            return Ok(());
        }
        let (Verdict::Settles(event) | Verdict::Claims(event)) =
            judge_refund(&candidate.row, &refund)
        else {
            return Ok(());
        };
        let was_open = !refund.state.is_final();
        let now = self.db.now().await?;
        let update = RefundUpdate {
            event: Some(event),
            // Alipay's book of a day that is over: no answer before it is later.
            asked_at: Some(now),
            ..RefundUpdate::none(Actor::File(line), now)
        };
        let after = self.record(refund, &update, RECORD_FROM_FILE).await?;
        if was_open && after.state.is_final() {
            note("refund");
        }
        Ok(())
    }

    /// Tries again to book the refunds of the portal for which a payment had no room.
    pub(in crate::app) async fn book_waiting_refunds(
        &self,
        payment: &Payment,
    ) -> Result<(), RecordError> {
        for (candidate, line) in self.db.waiting_portal_refunds(payment).await? {
            self.take_portal_refund(&candidate, line).await?;
        }
        Ok(())
    }

    /// Takes a refund that we did not make into the books of its payment. What is more than is left of it
    /// waits until it fits.
    async fn take_portal_refund(
        &self,
        candidate: &Candidate,
        line: FileLine,
    ) -> Result<(), RecordError> {
        let subject = candidate.subject;
        let Some(partner_refund_id) = candidate.row.partner_trans_id.as_deref() else {
            return Ok(());
        };
        loop {
            let payment = self
                .db
                .payment(subject.merchant_id, subject.payment_id)
                .await?;
            let payment = payment.ok_or(RecordError::Missing)?;
            match judge_portal_refund(&candidate.row, &payment, candidate.sibling_rows) {
                Verdict::Settles(()) => {}
                Verdict::Claims(()) => {
                    let minor = candidate.row.amount.minor();
                    let opened = self
                        .contradict_by_portal_refund(&payment, partner_refund_id, minor, line)
                        .await?;
                    match opened {
                        // The payment has changed meanwhile.
                        Opened::Stale => continue,
                        Opened::New | Opened::Known => return Ok(()),
                    }
                }
                Verdict::Agrees | Verdict::Contradicts => return Ok(()),
            }
            let written = self
                .db
                .record_portal_refund(&PortalRefund {
                    payment: &payment,
                    refund_id: RefundId::mint(),
                    partner_refund_id,
                    row: &candidate.row,
                    line,
                    gateway_at: self.clock.now(),
                })
                .await;
            match written {
                Ok(Recorded::Written(_)) => {
                    note("portal_refund");
                    return Ok(());
                }
                // The payment has changed meanwhile.
                Ok(Recorded::Stale | Recorded::LeaseLost) => {}
                // The same row again, or an id that another refund of the merchant has.
                Err(DbError::Constraint(name)) if name == "refund_partner_refund_id_key" => {
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn line_of(candidate: &Candidate) -> i64 {
    i64::try_from(candidate.row.line).unwrap_or(i64::MAX)
}

fn note(of: &'static str) {
    metrics::counter!("reconciliation_settled_total", "of" => of).increment(1);
}
