//! The bodies of `/v1/admin/merchants`.

use serde_json::json;

use crate::{
    domain::{
        id::MerchantReference,
        merchants::{
            limits::Limits,
            merchant::{NewMerchant, Profile, ProfilePatch, StorePatch, StoreProfile},
            rules::{TerminalPattern, TerminalRules},
        },
        money::Money,
        text::longest,
    },
    http::extract::{
        Faults,
        members::{ASCII_NAME, INDUSTRY, MAX_REASON, MAX_TICKET, MERCHANT_REFERENCE},
        request,
        request::object,
        rules::{AlipayText, Boolean, Form, Integer, Note, Texts},
    },
};

/// The largest limit of a day: what JSON numbers hold exactly.
const MAX_DAY: i64 = 9_007_199_254_740_991;

request! {
    /// A merchant to be made, with its default store.
    struct CreateMerchantRequest {
        /// Your own name for it, unique for ever: a repeat of the request finds the merchant again by it.
        required external_id: MerchantReference = MERCHANT_REFERENCE, example "TEAM-7";
        /// What people call it.
        required name: String = MERCHANT_NAME, example "Harbour Tea";
        /// The Alipay account that is paid: one of `GET /v1/admin/partners`. It never changes.
        required partner: String = PARTNER, example "2088000000000001";
        /// The merchant's id at Alipay.
        required secondary_merchant_id: String = SECONDARY_MERCHANT_ID, example "SM007";
        /// The merchant's legal name.
        required secondary_merchant_name: String = MERCHANT_NAME, example "Harbour Tea Ltd";
        /// The merchant category code.
        required secondary_merchant_industry: String = INDUSTRY, example "5812";
        /// The store of payments that name none.
        required default_store: DefaultStoreRequest = object::<DefaultStoreRequest>();
        /// Which tills may take payments; any where it is left out.
        nullable terminals: UpdateTerminalsRequest = object::<UpdateTerminalsRequest>();
        /// Limits; those of the Alipay account where they are left out.
        nullable limits: UpdateLimitsRequest = object::<UpdateLimitsRequest>();
        /// Which wallets it wants to be paid with; any where it is left out.
        nullable allowed_wallets: Vec<String> = WALLETS, example json!(["ALIPAYHK"]);
    }
}

request! {
    /// The store of payments that name none.
    struct DefaultStoreRequest {
        /// Unique within the merchant.
        required store_id: String = ASCII_NAME, example "ST01";
        /// The store's name, also at Alipay.
        required name: String = STORE_NAME, example "Harbour Tea Central";
    }
}

request! {
    /// Changes of a merchant (JSON merge patch, RFC 7396): what is left out stays, `null` takes a limit or
    /// a list away. Of the merchant that the configuration makes, its name, its data at Alipay and its
    /// default store come from there and are refused here.
    struct UpdateMerchantRequest {
        /// What people call it.
        change name: String = MERCHANT_NAME, example "Harbour Tea";
        /// The merchant's id at Alipay.
        change secondary_merchant_id: String = SECONDARY_MERCHANT_ID, example "SM007";
        /// The merchant's legal name.
        change secondary_merchant_name: String = MERCHANT_NAME, example "Harbour Tea Ltd";
        /// The merchant category code.
        change secondary_merchant_industry: String = INDUSTRY, example "5812";
        /// The store of payments that name none: one of the merchant's.
        change default_store_id: String = ASCII_NAME, example "ST02";
        /// Which tills may take payments; each member may be left out, `null` lets any.
        nullable terminals: UpdateTerminalsRequest = object::<UpdateTerminalsRequest>();
        /// Limits; each member may be left out, `null` gives those of the Alipay account.
        nullable limits: UpdateLimitsRequest = object::<UpdateLimitsRequest>();
        /// Which wallets it wants to be paid with; `null`: any.
        nullable allowed_wallets: Vec<String> = WALLETS, example json!(["ALIPAYHK"]);
    }
}

request! {
    /// Which tills may take payments.
    struct UpdateTerminalsRequest {
        /// Whether a payment must name its till.
        change required: bool = Boolean, example false;
        /// The names, or with `*` at the end their beginnings; `null`: any.
        nullable allowed: Vec<TerminalPattern> = TERMINALS, example json!(["T1", "KIOSK-*"]);
    }
}

request! {
    /// Limits in minor units; `null` does not limit.
    #[expect(clippy::struct_field_names, reason = "they are the names in JSON")]
    struct UpdateLimitsRequest {
        /// Most of one payment.
        nullable max_payment_minor: i64 = Integer { min: 1, max: Money::MAX_PAYMENT_MINOR },
            example 500_000;
        /// Most of one refund.
        nullable max_refund_minor: i64 = Integer { min: 0, max: Money::MAX_PAYMENT_MINOR },
            example 500_000;
        /// Most that refunds of one day in Hong Kong may come to.
        nullable max_refunded_per_day_minor: i64 = Integer { min: 0, max: MAX_DAY },
            example 5_000_000;
    }
}

request! {
    /// Why a merchant is disabled.
    struct DisableMerchantRequest {
        /// Why. Kept in the audit log.
        required reason: String = Note { max: MAX_REASON }, example "contract ended";
        /// Where the case is documented.
        optional ticket: String = Note { max: MAX_TICKET }, example "OPS-12";
    }
}

request! {
    /// Why a merchant is enabled.
    struct EnableMerchantRequest {
        /// Why. Kept in the audit log.
        required reason: String = Note { max: MAX_REASON }, example "contract renewed";
        /// Where the case is documented.
        optional ticket: String = Note { max: MAX_TICKET }, example "OPS-13";
    }
}

request! {
    /// A store to be made.
    struct CreateStoreRequest {
        /// Unique within the merchant: printable ASCII without `"`.
        required store_id: String = ASCII_NAME, example "ST02";
        /// The store's name, also at Alipay.
        required name: String = STORE_NAME, example "Harbour Tea Mong Kok";
        /// The merchant category code where it is another one than the merchant's.
        optional industry: String = INDUSTRY, example "5814";
        /// Whether it takes no payments.
        optional disabled: bool = Boolean, example false;
    }
}

request! {
    /// Changes of a store (JSON merge patch, RFC 7396): what is left out stays.
    struct UpdateStoreRequest {
        /// The store's name, also at Alipay.
        change name: String = STORE_NAME, example "Harbour Tea Mong Kok";
        /// The merchant category code; `null`: the merchant's.
        nullable industry: String = INDUSTRY, example "5814";
        /// Whether it takes no payments.
        change disabled: bool = Boolean, example true;
    }
}

const MERCHANT_NAME: AlipayText = AlipayText {
    max: longest::MERCHANT_NAME,
};

const STORE_NAME: AlipayText = AlipayText {
    max: longest::STORE_NAME,
};

/// Which accounts there are, the configuration says.
const PARTNER: Form<String> = Form {
    code: "unknown_partner",
    detail: "is not a configured Alipay account; see GET /v1/admin/partners",
    parse: |text| Some(text.to_owned()),
    schema: || json!({"pattern": "^[0-9]{16}$"}),
};

const SECONDARY_MERCHANT_ID: Form<String> = Form {
    code: "invalid_format",
    detail: "must be 1 to 64 letters, digits and underscores",
    parse: |text| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
    },
    schema: || json!({"pattern": "^[A-Za-z0-9_]{1,64}$"}),
};

const TERMINALS: Texts<TerminalPattern> = Texts {
    max: 100,
    detail: "must be 1 to 64 printable ASCII characters without \", * at the end only",
    parse: TerminalPattern::parse,
    item: || json!({}),
};

const WALLETS: Texts<String> = Texts {
    max: 20,
    detail: "must be a wallet as Alipay names it, such as ALIPAYHK",
    parse: |text| {
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        ((1..=32).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
    },
    item: || json!({}),
};

impl CreateMerchantRequest {
    /// The new merchant, whose Alipay account must be one of the configuration.
    pub(super) fn complete(
        self,
        has_account: impl Fn(&str) -> bool,
        faults: &mut Faults,
    ) -> Option<NewMerchant> {
        if let Some(partner) = &self.partner
            && !has_account(partner)
        {
            faults.member("partner", PARTNER.code, PARTNER.detail);
        }
        let patch = patch_of_rules(self.terminals, self.limits, self.allowed_wallets);
        let store = self.default_store?;
        let profile = Profile {
            name: self.name?,
            secondary_merchant_id: self.secondary_merchant_id?,
            secondary_merchant_name: self.secondary_merchant_name?,
            secondary_merchant_industry: self.secondary_merchant_industry?,
            default_store_id: store.store_id?,
            terminals: TerminalRules::default(),
            limits: Limits::default(),
            allowed_wallets: None,
        };
        Some(NewMerchant {
            external_id: self.external_id?,
            partner: self.partner?,
            profile: patch.over(&profile),
            default_store_name: store.name?,
        })
    }
}

impl UpdateMerchantRequest {
    pub(super) fn patch(self) -> ProfilePatch {
        ProfilePatch {
            name: self.name,
            secondary_merchant_id: self.secondary_merchant_id,
            secondary_merchant_name: self.secondary_merchant_name,
            secondary_merchant_industry: self.secondary_merchant_industry,
            default_store_id: self.default_store_id,
            ..patch_of_rules(self.terminals, self.limits, self.allowed_wallets)
        }
    }
}

/// What both a new merchant and changes may say: `null` takes each part of a group away.
#[expect(
    clippy::option_option,
    reason = "left out and taken away are two things"
)]
fn patch_of_rules(
    terminals: Option<Option<UpdateTerminalsRequest>>,
    limits: Option<Option<UpdateLimitsRequest>>,
    allowed_wallets: Option<Option<Vec<String>>>,
) -> ProfilePatch {
    let (terminal_required, allowed_terminals) = match terminals {
        None => (None, None),
        Some(None) => (Some(false), Some(None)),
        Some(Some(terminals)) => (terminals.required, terminals.allowed),
    };
    let all = |limit| UpdateLimitsRequest {
        max_payment_minor: limit,
        max_refund_minor: limit,
        max_refunded_per_day_minor: limit,
    };
    let limits = limits.map_or_else(
        || all(None),
        |limits| limits.unwrap_or_else(|| all(Some(None))),
    );
    ProfilePatch {
        terminal_required,
        allowed_terminals,
        max_payment_minor: limits.max_payment_minor,
        max_refund_minor: limits.max_refund_minor,
        max_refunded_per_day_minor: limits.max_refunded_per_day_minor,
        allowed_wallets,
        ..ProfilePatch::default()
    }
}

impl CreateStoreRequest {
    /// The new store: its id and the rest.
    pub(super) fn complete(self) -> Option<(String, StoreProfile)> {
        let profile = StoreProfile {
            name: self.name?,
            industry: self.industry,
            is_disabled: self.disabled.unwrap_or(false),
        };
        Some((self.store_id?, profile))
    }
}

impl UpdateStoreRequest {
    pub(super) fn patch(self) -> StorePatch {
        StorePatch {
            name: self.name,
            industry: self.industry,
            is_disabled: self.disabled,
        }
    }
}
