//! The bodies of `/v1/admin/merchants`, read member by member.

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
        ObjectReader,
        members::{ascii_name, text_for_alipay},
    },
};

/// Most patterns of tills.
const MAX_TERMINALS: usize = 100;
/// Most wallets.
const MAX_WALLETS: usize = 20;
/// The largest limit of a day: what JSON numbers hold exactly.
const MAX_DAY: i64 = 9_007_199_254_740_991;

/// A new merchant; `None` where something is missing or faulty.
pub(super) fn new_merchant(
    reader: &mut ObjectReader,
    has_account: impl Fn(&str) -> bool,
) -> Option<NewMerchant> {
    let external_id = external_id(reader);
    reader.require("external_id");
    let partner = partner(reader, has_account);
    reader.require("partner");
    let name = text_for_alipay(reader, "name", longest::MERCHANT_NAME);
    reader.require("name");
    let secondary_merchant_id = secondary_merchant_id(reader, "secondary_merchant_id");
    reader.require("secondary_merchant_id");
    let secondary_merchant_name =
        text_for_alipay(reader, "secondary_merchant_name", longest::MERCHANT_NAME);
    reader.require("secondary_merchant_name");
    let industry = industry(reader, "secondary_merchant_industry");
    reader.require("secondary_merchant_industry");
    let store = default_store(reader);
    reader.require("default_store");
    let patch = rules(reader);
    let (default_store_id, default_store_name) = store?;
    let profile = Profile {
        name: name?,
        secondary_merchant_id: secondary_merchant_id?,
        secondary_merchant_name: secondary_merchant_name?,
        secondary_merchant_industry: industry?,
        default_store_id,
        terminals: TerminalRules::default(),
        limits: Limits::default(),
        allowed_wallets: None,
    };
    Some(NewMerchant {
        external_id: external_id?,
        partner: partner?,
        profile: patch.over(&profile),
        default_store_name,
    })
}

/// Changes of a merchant.
pub(super) fn merchant_patch(reader: &mut ObjectReader) -> ProfilePatch {
    let name =
        |reader: &mut ObjectReader, name| text_for_alipay(reader, name, longest::MERCHANT_NAME);
    ProfilePatch {
        name: reader.change("name", name),
        secondary_merchant_id: reader.change("secondary_merchant_id", secondary_merchant_id),
        secondary_merchant_name: reader.change("secondary_merchant_name", name),
        secondary_merchant_industry: reader.change("secondary_merchant_industry", industry),
        default_store_id: reader.change("default_store_id", ascii_name),
        ..rules(reader)
    }
}

/// What both a new merchant and changes may say.
fn rules(reader: &mut ObjectReader) -> ProfilePatch {
    let mut patch = ProfilePatch::default();
    match reader.nullable("terminals", ObjectReader::object) {
        Some(None) => {
            patch.terminal_required = Some(false);
            patch.allowed_terminals = Some(None);
        }
        Some(Some((members, pointer))) => {
            let mut inner = ObjectReader::new(members, pointer, reader.faults());
            patch.terminal_required = inner.change("required", ObjectReader::boolean);
            patch.allowed_terminals = inner.nullable("allowed", |reader, name| {
                let detail =
                    "must be 1 to 64 printable ASCII characters without \", * at the end only";
                reader.list(name, MAX_TERMINALS, detail, TerminalPattern::parse)
            });
            inner.finish();
        }
        None => {}
    }
    match reader.nullable("limits", ObjectReader::object) {
        Some(None) => {
            patch.max_payment_minor = Some(None);
            patch.max_refund_minor = Some(None);
            patch.max_refunded_per_day_minor = Some(None);
        }
        Some(Some((members, pointer))) => {
            let mut inner = ObjectReader::new(members, pointer, reader.faults());
            patch.max_payment_minor = inner.nullable("max_payment_minor", |reader, name| {
                reader.integer(name, 1, Money::MAX_PAYMENT_MINOR)
            });
            patch.max_refund_minor = inner.nullable("max_refund_minor", |reader, name| {
                reader.integer(name, 0, Money::MAX_PAYMENT_MINOR)
            });
            patch.max_refunded_per_day_minor = inner
                .nullable("max_refunded_per_day_minor", |reader, name| {
                    reader.integer(name, 0, MAX_DAY)
                });
            inner.finish();
        }
        None => {}
    }
    patch.allowed_wallets = reader.nullable("allowed_wallets", |reader, name| {
        let detail = "must be a wallet as Alipay names it, such as ALIPAYHK";
        reader.list(name, MAX_WALLETS, detail, wallet)
    });
    patch
}

/// A new store: its id and the rest.
pub(super) fn new_store(reader: &mut ObjectReader) -> Option<(String, StoreProfile)> {
    let store_id = ascii_name(reader, "store_id");
    reader.require("store_id");
    let name = text_for_alipay(reader, "name", longest::STORE_NAME);
    reader.require("name");
    let industry = industry(reader, "industry");
    let is_disabled = reader.boolean("disabled").unwrap_or(false);
    let profile = StoreProfile {
        name: name?,
        industry,
        is_disabled,
    };
    Some((store_id?, profile))
}

/// Changes of a store.
pub(super) fn store_patch(reader: &mut ObjectReader) -> StorePatch {
    StorePatch {
        name: reader.change("name", |reader, name| {
            text_for_alipay(reader, name, longest::STORE_NAME)
        }),
        industry: reader.nullable("industry", industry),
        is_disabled: reader.change("disabled", ObjectReader::boolean),
    }
}

fn external_id(reader: &mut ObjectReader) -> Option<MerchantReference> {
    let id = reader.text("external_id")?.parse().ok();
    if id.is_none() {
        let detail = "must be 1 to 64 of A-Z a-z 0-9 . _ -";
        reader.fault("external_id", "invalid_format", detail);
    }
    id
}

fn partner(reader: &mut ObjectReader, has_account: impl Fn(&str) -> bool) -> Option<String> {
    let partner = reader.text("partner")?;
    if !has_account(partner) {
        let detail = "is no Alipay account of the configuration; see GET /v1/admin/partners";
        reader.fault("partner", "unknown_partner", detail);
        return None;
    }
    Some(partner.to_owned())
}

fn secondary_merchant_id(reader: &mut ObjectReader, name: &'static str) -> Option<String> {
    let text = reader.text(name)?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if !(1..=64).contains(&text.len()) || !text.bytes().all(allowed) {
        let detail = "must be 1 to 64 letters, digits and underscores";
        reader.fault(name, "invalid_format", detail);
        return None;
    }
    Some(text.to_owned())
}

/// A merchant category code.
fn industry(reader: &mut ObjectReader, name: &'static str) -> Option<String> {
    let text = reader.text(name)?;
    if text.len() != 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
        reader.fault(name, "invalid_format", "must be 4 digits");
        return None;
    }
    Some(text.to_owned())
}

fn default_store(reader: &mut ObjectReader) -> Option<(String, String)> {
    let (members, pointer) = reader.object("default_store")?;
    let mut inner = ObjectReader::new(members, pointer, reader.faults());
    let store_id = ascii_name(&mut inner, "store_id");
    inner.require("store_id");
    let name = text_for_alipay(&mut inner, "name", longest::STORE_NAME);
    inner.require("name");
    inner.finish();
    Some((store_id?, name?))
}

fn wallet(text: &str) -> Option<String> {
    let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    ((1..=32).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
}
