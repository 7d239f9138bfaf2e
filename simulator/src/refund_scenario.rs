//! The table of refunds: how the refunds of a payment go is chosen, like the payment itself, by the
//! last four digits of the code with which it was paid. Such a payment is paid at once.
//!
//! As with payments, only the first answer about a refund lies; a query or a repetition afterwards
//! tells the signed truth.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use crate::{
    book::{Plan, RefundScript},
    fault::Fault,
};

/// One ending, and how refunds go.
#[derive(Debug)]
pub(crate) struct RefundScenario {
    /// The last four digits of the code.
    pub(crate) ending: &'static str,
    /// How refunds go.
    pub(crate) script: RefundScript,
    lines: &'static [Line],
}

/// One line of the table.
#[derive(Debug)]
struct Line {
    mode: &'static str,
    what: &'static str,
    shows: &'static [Shows],
}

/// What the gateway's caller sees of a refund, one after the other.
#[derive(Clone, Copy, Debug)]
enum Shows {
    /// `pending`, for this `status_reason`.
    Pending(&'static str),
    Succeeded,
    /// `failed`, with Alipay's code.
    Failed(&'static str),
}

const UNTIL_QUERIED: &[Shows] = &[Shows::Pending("outcome_unknown"), Shows::Succeeded];
const IN_THE_NIGHT: &[Shows] = &[Shows::Pending("awaiting_batch"), Shows::Succeeded];

/// A refund in either mode whose first answer is spoilt.
const fn spoilt(ending: &'static str, fault: Fault, lines: &'static [Line]) -> RefundScenario {
    RefundScenario {
        ending,
        script: RefundScript {
            fault: Some(fault),
            plan: Plan::PLAIN,
        },
        lines,
    }
}

/// An asynchronous refund that takes its time.
const fn planned(ending: &'static str, plan: Plan, lines: &'static [Line]) -> RefundScenario {
    RefundScenario {
        ending,
        script: RefundScript { fault: None, plan },
        lines,
    }
}

const fn both(what: &'static str, shows: &'static [Shows]) -> Line {
    Line {
        mode: "both",
        what,
        shows,
    }
}

const fn sync(what: &'static str, shows: &'static [Shows]) -> Line {
    Line {
        mode: "sync",
        what,
        shows,
    }
}

const fn asynchronous(what: &'static str, shows: &'static [Shows]) -> Line {
    Line {
        mode: "async",
        what,
        shows,
    }
}

const fn fails_though_done(code: &'static str) -> Fault {
    Fault::ResultAfterEffect {
        code: Cow::Borrowed("FAIL"),
        error: Some(Cow::Borrowed(code)),
    }
}

const fn refused(code: &'static str) -> Fault {
    Fault::RefundRefuse {
        code: Cow::Borrowed(code),
    }
}

/// Every refund scenario. With any other ending a refund goes well.
pub(crate) static REFUND_SCENARIOS: &[RefundScenario] = &[
    spoilt(
        "4001",
        Fault::SystemErrorAfterEffect,
        &[both("SYSTEM_ERROR though done", UNTIL_QUERIED)],
    ),
    spoilt(
        "4002",
        Fault::DropAfterEffect,
        &[both("connection dropped though done", UNTIL_QUERIED)],
    ),
    spoilt(
        "4003",
        Fault::DropBeforeEffect,
        &[both(
            "connection dropped, nothing done; done when repeated",
            UNTIL_QUERIED,
        )],
    ),
    planned(
        "4004",
        Plan {
            short_nights: 2,
            ..Plan::PLAIN
        },
        &[
            sync(
                "refused: the merchant's balance is too low",
                &[Shows::Failed("MERCHANT_BALANCE_NOT_ENOUGH")],
            ),
            asynchronous(
                "accepted; the merchant's balance is too low at once and for two nights, done in the third",
                &[
                    Shows::Pending("awaiting_batch"),
                    Shows::Pending("insufficient_funds"),
                    Shows::Succeeded,
                ],
            ),
        ],
    ),
    planned(
        "4005",
        Plan {
            fails_with: Some(Cow::Borrowed("REASON_TRADE_BEEN_FREEZEN")),
            ..Plan::PLAIN
        },
        &[asynchronous(
            "accepted; fails in the night's batch without a notification",
            &[
                Shows::Pending("awaiting_batch"),
                Shows::Failed("REASON_TRADE_BEEN_FREEZEN"),
            ],
        )],
    ),
    spoilt(
        "4006",
        fails_though_done("REPEATED_REFUNDMENT_REQUEST"),
        &[both(
            "`REPEATED_REFUNDMENT_REQUEST` though done",
            UNTIL_QUERIED,
        )],
    ),
    spoilt(
        "4007",
        fails_though_done("DISCORDANT_REPEAT_REQUEST"),
        &[both(
            "`DISCORDANT_REPEAT_REQUEST` though done",
            UNTIL_QUERIED,
        )],
    ),
    spoilt(
        "4008",
        Fault::SystemErrorBeforeEffect,
        &[both(
            "SYSTEM_ERROR, nothing done; done when repeated",
            UNTIL_QUERIED,
        )],
    ),
    spoilt(
        "4009",
        Fault::WrongSignatureKey,
        &[both("done, signed with a wrong key", UNTIL_QUERIED)],
    ),
    spoilt(
        "4010",
        Fault::WrongId,
        &[both("done, answer names another refund", UNTIL_QUERIED)],
    ),
    spoilt(
        "4011",
        Fault::WrongAmount,
        &[both("done, answer shows another amount", UNTIL_QUERIED)],
    ),
    spoilt(
        "4012",
        refused("REASON_TRADE_BEEN_FREEZEN"),
        &[both(
            "refused: the payment is frozen",
            &[Shows::Failed("REASON_TRADE_BEEN_FREEZEN")],
        )],
    ),
    planned(
        "4013",
        Plan {
            batch_only: true,
            ..Plan::PLAIN
        },
        &[asynchronous(
            "accepted; done in the night's batch, whatever `same_day_immediate` says",
            IN_THE_NIGHT,
        )],
    ),
    planned(
        "4014",
        Plan {
            short_nights: u32::MAX,
            ..Plan::PLAIN
        },
        &[asynchronous(
            "accepted; the merchant's balance stays too low, Alipay gives up after 180 days",
            &[
                Shows::Pending("awaiting_batch"),
                Shows::Pending("insufficient_funds"),
                Shows::Failed("MERCHANT_BALANCE_NOT_ENOUGH"),
            ],
        )],
    ),
    spoilt(
        "4015",
        refused("WALLET_ON_HOLIDAY"),
        &[both(
            "FAIL with `WALLET_ON_HOLIDAY`, which no document lists, nothing done; done when repeated",
            UNTIL_QUERIED,
        )],
    ),
];

/// What a refund does whose ending is not in the table.
const OTHERS: &[Line] = &[
    sync("done at once", &[Shows::Succeeded]),
    asynchronous("accepted; done in the night's batch", IN_THE_NIGHT),
];

/// The scenario of the code with which a payment was paid.
pub(crate) fn find(ending: &str) -> Option<&'static RefundScenario> {
    REFUND_SCENARIOS
        .iter()
        .find(|scenario| scenario.ending == ending)
}

/// Writes the table in Markdown.
pub(crate) fn print(out: &mut impl Write) -> fmt::Result {
    let head = "| code of the payment ends in | refund | what happens | what the gateway shows |";
    writeln!(out, "{head}")?;
    writeln!(out, "|---|---|---|---|")?;
    let scenarios = REFUND_SCENARIOS
        .iter()
        .map(|scenario| (scenario.ending, scenario.lines));
    for (ending, lines) in scenarios.chain([("any other", OTHERS)]) {
        for Line { mode, what, shows } in lines {
            let shown: Vec<String> = shows.iter().map(|shown| shown.text()).collect();
            let shown = shown.join(", then ");
            writeln!(out, "| {ending} | {mode} | {what} | {shown} |")?;
        }
    }
    Ok(())
}

impl Shows {
    fn text(self) -> String {
        match self {
            Self::Pending(reason) => format!("`pending` / `{reason}`"),
            Self::Succeeded => "`succeeded`".to_owned(),
            Self::Failed(code) => format!("`failed`, `{code}`"),
        }
    }
}
