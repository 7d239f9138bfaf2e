//! The request after the gateway has accepted it: every documented rule about a parameter
//! (`docs/protocol.md` 4) is checked here, strictly, because a fault that the simulator forgives is
//! found in production. A parameter that no document lists is refused too. What real clients are known to
//! send and to be paid with is taken, even where a page is stricter.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sha2::{Digest as _, Sha256};

use crate::{
    charset::Charset,
    clock,
    params::{Message, Refusal, Service},
};

/// A validated request.
pub(crate) enum Request {
    /// spot.pay.
    Pay(Pay),
    /// overseas.query.
    Query {
        /// Our id.
        partner_trans_id: String,
        /// Alipay's id, which is looked up first.
        alipay_trans_id: Option<String>,
    },
    /// cancel.
    Cancel {
        /// The `partner_trans_id` of the payment.
        out_trade_no: String,
        /// Alipay's id, which wins.
        trade_no: Option<String>,
    },
    /// spot.refund.
    Refund(Refund),
    /// refund.query.
    RefundQuery {
        /// The `partner_trans_id` of the payment.
        out_trade_no: String,
        /// The `partner_refund_id`.
        out_return_no: String,
    },
    /// secmerchant.offline.maintain.
    Maintain {
        /// Identifies the merchant.
        secondary_merchant_id: String,
        /// Identifies the store within the merchant.
        store_id: String,
        /// The registered data, to be echoed by queryStatus.
        data: Vec<(&'static str, String)>,
        /// `extend_params`: the drivers of a taxi.
        drivers: Option<String>,
    },
    /// secmerchant.maintain.queryStatus.
    QueryStatus {
        /// Identifies the merchant.
        secondary_merchant_id: String,
        /// Identifies the store within the merchant.
        store_id: String,
    },
}

/// A payment request.
#[derive(Clone)]
pub(crate) struct Pay {
    /// The idempotency key.
    pub(crate) partner_trans_id: String,
    /// In cents.
    pub(crate) amount_minor: i64,
    /// `HKD`.
    pub(crate) currency: String,
    /// Who showed the code: `2088` and twelve digits, derived from the code, which is not kept.
    pub(crate) buyer_user_id: String,
    /// The last four digits of the code: the scenario.
    pub(crate) ending: String,
    /// Where it is paid.
    pub(crate) place: Place,
}

/// Where a payment is made, by `extend_info`; empty where that says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// `secondary_merchant_industry`, an MCC.
    pub(crate) industry: String,
    /// `secondary_merchant_name`.
    pub(crate) merchant_name: String,
    /// `secondary_merchant_id`.
    pub(crate) merchant_id: String,
    pub(crate) store_id: String,
    pub(crate) store_name: String,
}

/// A refund request.
#[derive(Clone)]
pub(crate) struct Refund {
    /// The payment.
    pub(crate) partner_trans_id: String,
    /// Alipay's id of the payment.
    pub(crate) alipay_trans_id: Option<String>,
    /// The idempotency key.
    pub(crate) partner_refund_id: String,
    /// In cents.
    pub(crate) amount_minor: i64,
    /// `HKD`.
    pub(crate) currency: String,
    /// `refund_reason`, or as one document spells it `refund_reson`; empty if there is none.
    pub(crate) reason: String,
    /// `is_sync=Y`.
    pub(crate) sync: bool,
    /// Where its success is to be reported.
    pub(crate) notify_to: Option<NotifyTo>,
}

/// Where and in which character set the merchant wants to be notified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotifyTo {
    pub(crate) url: String,
    /// The request's.
    pub(crate) charset: Charset,
}

/// A parameter of a service: name, greatest length in bytes of the request's character set, required.
type Rule = (&'static str, usize, bool);

const COMMON: &[Rule] = &[
    ("service", 100, true),
    ("partner", 16, true),
    ("_input_charset", 10, false),
    ("sign_type", 4, true),
    ("sign", 1024, true),
];

const PAY: &[Rule] = &[
    ("alipay_seller_id", 16, true),
    ("quantity", 10, false),
    ("price", 12, false),
    ("notify_url", 200, false),
    ("trans_name", 256, true),
    ("partner_trans_id", 64, true),
    ("currency", 8, true),
    ("trans_amount", 12, true),
    ("buyer_identity_code", 32, true),
    ("identity_code_type", 16, true),
    ("trans_create_time", 16, true),
    ("memo", 256, false),
    ("biz_product", 40, true),
    ("extend_info", 2048, true),
    ("trade_information", 2048, false),
];

const QUERY: &[Rule] = &[
    ("partner_trans_id", 64, true),
    ("alipay_trans_id", 64, false),
];

const CANCEL: &[Rule] = &[
    // Required by its page, and left out by tills that are in use.
    ("timestamp", 19, false),
    ("terminal_timestamp", 19, false),
    ("out_trade_no", 64, true),
    ("trade_no", 64, false),
];

const REFUND: &[Rule] = &[
    ("notify_url", 200, false),
    ("partner_trans_id", 64, true),
    ("alipay_trans_id", 64, false),
    ("partner_refund_id", 64, true),
    ("refund_amount", 12, true),
    ("currency", 10, true),
    ("refund_reson", 128, false),
    ("refund_reason", 128, false),
    ("is_sync", 1, false),
];

const REFUND_QUERY: &[Rule] = &[("out_trade_no", 64, true), ("out_return_no", 128, true)];

const MAINTAIN: &[Rule] = &[
    ("timestamp", 19, true),
    ("secondary_merchant_name", 128, true),
    ("secondary_merchant_id", 64, true),
    ("store_id", 64, true),
    ("store_name", 256, true),
    ("store_country", 2, true),
    ("store_address", 330, true),
    ("store_industry", 4, true),
    ("internal_store_photo", 256, false),
    ("external_storefront_photo", 256, false),
    ("extend_params", 1024, false),
    ("secondary_merchant_type", 10, true),
    ("registration_no", 128, false),
    ("register_country", 2, true),
    ("register_address", 256, false),
    ("shareholder_name", 64, false),
    ("shareholder_id", 128, false),
    ("representative_name", 64, false),
    ("representative_id", 128, false),
    ("settlement_no", 64, false),
    ("contact_no", 64, false),
    ("contact_email", 128, false),
    ("cs_no", 64, false),
    ("cs_email", 128, false),
];

const QUERY_STATUS: &[Rule] = &[
    ("timestamp", 19, true),
    ("secondary_merchant_id", 64, true),
    ("store_id", 64, true),
    ("payment_method", 32, true),
];

/// `refund_amount` is a Number(9,2), in cents.
const LARGEST_REFUND: i64 = 999_999_999;

/// Free texts, which clients send as somebody typed them, and what an encoder breaks into lines.
const AS_TYPED: [&str; 5] = [
    "trans_name",
    "memo",
    "refund_reson",
    "refund_reason",
    "sign",
];

/// How long a `timestamp` of the secmerchant services is good for.
const TIMESTAMP_LIFE: TimeDelta = TimeDelta::minutes(30);

impl Request {
    /// Checks every parameter of `service`.
    pub(crate) fn validate(
        service: Service,
        message: &Message,
        now: DateTime<Utc>,
    ) -> Result<Self, Refusal> {
        let check = Check {
            message,
            code: parameter_fault_code(service),
        };
        check.parameters(rules(service))?;
        check.charset_is_named(service)?;
        match service {
            Service::Pay => check.pay().map(Self::Pay),
            Service::Query => Ok(Self::Query {
                partner_trans_id: check.required("partner_trans_id")?,
                alipay_trans_id: check.optional("alipay_trans_id"),
            }),
            Service::Cancel => check.cancel(),
            Service::Refund => check.refund().map(Self::Refund),
            Service::RefundQuery => Ok(Self::RefundQuery {
                out_trade_no: check.required("out_trade_no")?,
                out_return_no: check.required("out_return_no")?,
            }),
            Service::Maintain => check.maintain(now),
            Service::QueryStatus => check.query_status(now),
        }
    }
}

fn rules(service: Service) -> &'static [Rule] {
    match service {
        Service::Pay => PAY,
        Service::Query => QUERY,
        Service::Cancel => CANCEL,
        Service::Refund => REFUND,
        Service::RefundQuery => REFUND_QUERY,
        Service::Maintain => MAINTAIN,
        Service::QueryStatus => QUERY_STATUS,
    }
}

fn parameter_fault_code(service: Service) -> &'static str {
    match service {
        Service::Maintain | Service::QueryStatus => "PARAM_ILLEGAL",
        _ => "INVALID_PARAMETER",
    }
}

/// A message under examination.
struct Check<'a> {
    message: &'a Message,
    code: &'static str,
}

impl Check<'_> {
    fn fault(&self, reason: impl Into<String>) -> Refusal {
        Refusal::new(self.code, reason)
    }

    /// Lengths are bytes as they were sent: of a Chinese character two in GBK, three in UTF-8.
    fn fits(&self, text: &str, longest: usize, name: &str) -> Result<(), Refusal> {
        let bytes = self.message.charset.encode(text).len();
        self.ensure(
            bytes <= longest,
            &format!("too long: {name} has {bytes} bytes of at most {longest}"),
        )
    }

    fn ensure(&self, holds: bool, reason: &str) -> Result<(), Refusal> {
        if holds {
            Ok(())
        } else {
            Err(self.fault(reason))
        }
    }

    fn parameters(&self, rules: &[Rule]) -> Result<(), Refusal> {
        for param in self.message.params() {
            let rule = COMMON
                .iter()
                .chain(rules)
                .find(|(name, ..)| *name == param.name);
            let Some((name, longest, _)) = rule else {
                return Err(self.fault(format!("no such parameter: {}", param.name)));
            };
            self.fits(&param.value, *longest, name)?;
            self.ensure(
                AS_TYPED.contains(name) || param.value == param.value.trim(),
                &format!("not trimmed: {name}"),
            )?;
            self.ensure(param.value != "null", &format!("the text null: {name}"))?;
        }
        for (name, ..) in COMMON
            .iter()
            .chain(rules)
            .filter(|(.., required)| *required)
        {
            self.required(name)?;
        }
        Ok(())
    }

    /// `_input_charset` is required for these services. Their pages want it in the URL; a client that posts it in
    /// the body is answered all the same, in GBK.
    fn charset_is_named(&self, service: Service) -> Result<(), Refusal> {
        match service {
            Service::Pay | Service::Query | Service::Refund => Ok(()),
            Service::Cancel | Service::RefundQuery | Service::Maintain | Service::QueryStatus => {
                self.required("_input_charset").map(|_| ())
            }
        }
    }

    fn optional(&self, name: &str) -> Option<String> {
        self.message.get(name).map(str::to_owned)
    }

    fn required(&self, name: &str) -> Result<String, Refusal> {
        self.optional(name)
            .ok_or_else(|| self.fault(format!("missing: {name}")))
    }

    fn constant(&self, name: &str, wanted: &str) -> Result<(), Refusal> {
        self.ensure(
            self.message.get(name) == Some(wanted),
            &format!("must be {wanted}: {name}"),
        )
    }

    /// Text that people read must not contain a half-width double quote.
    fn no_quote(&self, name: &str) -> Result<(), Refusal> {
        let quoted = self
            .message
            .get(name)
            .is_some_and(|value| value.contains('"'));
        self.ensure(!quoted, &format!("contains a double quote: {name}"))
    }

    fn amount(&self, name: &str) -> Result<i64, Refusal> {
        let minor = amount_minor(&self.required(name)?);
        minor.ok_or_else(|| self.fault(format!("not an amount: {name}")))
    }

    fn hkd(&self) -> Result<String, Refusal> {
        self.constant("currency", "HKD")?;
        Ok("HKD".to_owned())
    }

    fn pay(&self) -> Result<Pay, Refusal> {
        self.constant(
            "alipay_seller_id",
            self.message.get("partner").unwrap_or_default(),
        )?;
        self.constant("identity_code_type", "barcode")?;
        self.constant("biz_product", "OVERSEAS_MBARCODE_PAY")?;
        self.no_quote("trans_name")?;
        self.no_quote("memo")?;
        let amount_minor = self.amount("trans_amount")?;
        self.quantity(amount_minor)?;
        self.http_url("notify_url")?;
        let created = self.required("trans_create_time")?;
        let created_ok = all_digits(&created)
            && created.len() == 14
            && NaiveDateTime::parse_from_str(&created, "%Y%m%d%H%M%S").is_ok();
        self.ensure(created_ok, "not yyyyMMddHHmmss: trans_create_time")?;
        let place = self.extend_info()?;
        if let Some(goods) = self.message.get("trade_information") {
            let json = serde_json::from_str::<serde_json::Value>(goods).is_ok();
            self.ensure(json, "not JSON: trade_information")?;
        }
        let code = self.required("buyer_identity_code")?;
        self.ensure(
            is_identity_code(&code),
            "not a wallet's code: buyer_identity_code",
        )?;
        Ok(Pay {
            partner_trans_id: self.required("partner_trans_id")?,
            amount_minor,
            currency: self.hkd()?,
            buyer_user_id: buyer_user_id(&code),
            ending: code[code.len() - 4..].to_owned(),
            place,
        })
    }

    /// How many goods are sold, which is 1 unless it is said, and what one of them costs, where that is said.
    fn quantity(&self, amount_minor: i64) -> Result<(), Refusal> {
        let quantity = match self.message.get("quantity") {
            None => 1,
            Some(text) => text
                .parse::<i64>()
                .ok()
                .filter(|quantity| *quantity > 0 && all_digits(text))
                .ok_or_else(|| self.fault("not a number of goods: quantity"))?,
        };
        if self.message.get("price").is_none() {
            return Ok(());
        }
        let price = self.amount("price")?;
        self.ensure(
            price.checked_mul(quantity) == Some(amount_minor),
            "price times quantity is not trans_amount",
        )
    }

    /// The URL, where it is given.
    fn http_url(&self, name: &str) -> Result<Option<String>, Refusal> {
        let url = self.optional(name);
        let http = url
            .as_ref()
            .is_none_or(|url| url.starts_with("http://") || url.starts_with("https://"));
        self.ensure(http, &format!("no URL: {name}"))?;
        Ok(url)
    }

    fn extend_info(&self) -> Result<Place, Refusal> {
        let text = self.required("extend_info")?;
        let info: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).map_err(|_| self.fault("no JSON object: extend_info"))?;
        let field = |name: &str| info.get(name).and_then(serde_json::Value::as_str);
        for (name, value) in &info {
            let text = value.as_str();
            let is = if value.is_null() { "null" } else { "not text" };
            self.ensure(text.is_some(), &format!("{is} in extend_info: {name}"))?;
            let quoted = text.is_some_and(|value| value.contains('"'));
            self.ensure(
                !quoted,
                &format!("contains a double quote in extend_info: {name}"),
            )?;
        }
        for name in ["secondary_merchant_id", "store_id"] {
            let value = field(name).unwrap_or_default();
            self.ensure(
                !value.is_empty(),
                &format!("missing in extend_info: {name}"),
            )?;
        }
        for (name, longest) in [
            ("secondary_merchant_id", 64),
            ("secondary_merchant_name", 128),
            ("store_id", 64),
            ("store_name", 256),
        ] {
            let value = field(name).unwrap_or_default();
            self.fits(value, longest, &format!("{name} in extend_info"))?;
        }
        let industry = field("secondary_merchant_industry");
        let mcc = industry.is_none_or(|mcc| mcc.len() == 4 && all_digits(mcc));
        self.ensure(
            mcc,
            "not four digits in extend_info: secondary_merchant_industry",
        )?;
        let text = |name: &str| field(name).unwrap_or_default().to_owned();
        Ok(Place {
            industry: text("secondary_merchant_industry"),
            merchant_name: text("secondary_merchant_name"),
            merchant_id: text("secondary_merchant_id"),
            store_id: text("store_id"),
            store_name: text("store_name"),
        })
    }

    fn cancel(&self) -> Result<Request, Refusal> {
        for name in ["timestamp", "terminal_timestamp"] {
            if let Some(text) = self.message.get(name) {
                let known = (text.len() == 13 && all_digits(text)) || spaced_time(text).is_some();
                self.ensure(
                    known,
                    &format!("neither epoch milliseconds nor a time: {name}"),
                )?;
            }
        }
        Ok(Request::Cancel {
            out_trade_no: self.required("out_trade_no")?,
            trade_no: self.optional("trade_no"),
        })
    }

    fn refund(&self) -> Result<Refund, Refusal> {
        self.no_quote("refund_reson")?;
        self.no_quote("refund_reason")?;
        let sync = match self.message.get("is_sync") {
            Some("Y") => true,
            None | Some("N") => false,
            Some(_) => return Err(self.fault("neither Y nor N: is_sync")),
        };
        let amount_minor = self.amount("refund_amount")?;
        self.ensure(
            amount_minor <= LARGEST_REFUND,
            "more than 9999999.99: refund_amount",
        )?;
        let notify_url = self.http_url("notify_url")?;
        Ok(Refund {
            partner_trans_id: self.required("partner_trans_id")?,
            alipay_trans_id: self.optional("alipay_trans_id"),
            partner_refund_id: self.required("partner_refund_id")?,
            amount_minor,
            currency: self.hkd()?,
            reason: self
                .optional("refund_reason")
                .or_else(|| self.optional("refund_reson"))
                .unwrap_or_default(),
            sync,
            notify_to: notify_url.map(|url| NotifyTo {
                url,
                charset: self.message.charset,
            }),
        })
    }

    fn maintain(&self, now: DateTime<Utc>) -> Result<Request, Refusal> {
        self.fresh(now)?;
        let kind = self.required("secondary_merchant_type")?;
        let persons = match kind.as_str() {
            "ENTERPRISE" => ["shareholder_name", "shareholder_id"],
            "INDIVIDUAL" => ["representative_name", "representative_id"],
            _ => return Err(self.fault("unknown: secondary_merchant_type")),
        };
        for name in persons {
            self.required(name)?;
        }
        for name in ["store_country", "register_country"] {
            let country = self.required(name)?;
            let iso = country.len() == 2 && country.bytes().all(|b| b.is_ascii_uppercase());
            self.ensure(iso, &format!("not ISO 3166: {name}"))?;
        }
        let industry = self.required("store_industry")?;
        self.ensure(
            industry.len() == 4 && all_digits(&industry),
            "no MCC: store_industry",
        )?;
        // Only `extend_params` is JSON.
        for (name, ..) in MAINTAIN
            .iter()
            .filter(|(name, ..)| *name != "extend_params")
        {
            self.no_quote(name)?;
        }
        self.contacts()?;
        let secondary_merchant_id = self.identifier("secondary_merchant_id")?;
        let store_id = self.identifier("store_id")?;
        let drivers = self.optional("extend_params");
        if industry == "4121" {
            self.taxi(&store_id)?;
        } else {
            self.ensure(drivers.is_none(), "drivers of no taxi: extend_params")?;
        }
        let data = MAINTAIN
            .iter()
            .filter(|(name, ..)| !["timestamp", "extend_params"].contains(name))
            .filter_map(|(name, ..)| Some((*name, self.optional(name)?)))
            .collect();
        Ok(Request::Maintain {
            secondary_merchant_id,
            store_id,
            data,
            drivers,
        })
    }

    /// Numbers and addresses, where they are given.
    fn contacts(&self) -> Result<(), Refusal> {
        let made_of = |name: &str, allowed: fn(char) -> bool| {
            let text = self.message.get(name).unwrap_or_default();
            self.ensure(
                text.chars().all(allowed),
                &format!("wrong characters: {name}"),
            )
        };
        made_of("contact_no", |c| c.is_ascii_digit() || "+-()".contains(c))?;
        made_of("settlement_no", |c| c.is_ascii_alphanumeric())?;
        for name in ["internal_store_photo", "external_storefront_photo"] {
            self.http_url(name)?;
        }
        for name in ["contact_email", "cs_email"] {
            let mail = self.message.get(name).is_none_or(|mail| mail.contains('@'));
            self.ensure(mail, &format!("no e-mail address: {name}"))?;
        }
        Ok(())
    }

    /// A taxi: its plate is its id and its name, and its drivers are named.
    fn taxi(&self, store_id: &str) -> Result<(), Refusal> {
        let plate = |text: &str| -> String {
            let kept = text.chars().filter(char::is_ascii_alphanumeric);
            kept.map(|c| c.to_ascii_uppercase()).collect()
        };
        let name = self.required("store_name")?;
        self.ensure(plate(store_id) == plate(&name), "not the plate: store_name")?;
        let text = self.required("extend_params")?;
        let drivers: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(&text)
            .map_err(|_| self.fault("no JSON array of objects: extend_params"))?;
        self.ensure(
            (1..=10).contains(&drivers.len()),
            "not 1 to 10 drivers: extend_params",
        )?;
        let limits = [
            ("operation_id", 64),
            ("contact_way", 256),
            ("contact_person", 64),
        ];
        for driver in &drivers {
            for (name, value) in driver {
                let limit = limits.iter().find(|(known, _)| known == name);
                let text = value.as_str().filter(|text| !text.is_empty());
                let (Some((_, longest)), Some(text)) = (limit, text) else {
                    return Err(self.fault("a wrong field of a driver: extend_params"));
                };
                self.fits(text, *longest, &format!("{name} in extend_params"))?;
            }
            let named =
                driver.contains_key("operation_id") && driver.contains_key("contact_person");
            self.ensure(named, "a driver without number or name: extend_params")?;
        }
        Ok(())
    }

    fn query_status(&self, now: DateTime<Utc>) -> Result<Request, Refusal> {
        self.fresh(now)?;
        self.constant("payment_method", "INSTORE_PAYMENT")?;
        Ok(Request::QueryStatus {
            secondary_merchant_id: self.identifier("secondary_merchant_id")?,
            store_id: self.identifier("store_id")?,
        })
    }

    fn identifier(&self, name: &str) -> Result<String, Refusal> {
        let id = self.required(name)?;
        let plain = id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        self.ensure(
            plain,
            &format!("only letters, digits and underscores: {name}"),
        )?;
        Ok(id)
    }

    fn fresh(&self, now: DateTime<Utc>) -> Result<(), Refusal> {
        let sent = spaced_time(&self.required("timestamp")?)
            .ok_or_else(|| self.fault("not yyyy-MM-dd HH:mm:ss: timestamp"))?;
        self.ensure((now - sent).abs() <= TIMESTAMP_LIFE, "expired: timestamp")
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn spaced_time(text: &str) -> Option<DateTime<Utc>> {
    let local = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").ok()?;
    (text.len() == 19).then(|| clock::from_beijing(local))
}

/// `^(2[5-9]|30)\d{14,22}$`
fn is_identity_code(code: &str) -> bool {
    let prefix = ["25", "26", "27", "28", "29", "30"]
        .iter()
        .any(|prefix| code.starts_with(prefix));
    prefix && (16..=24).contains(&code.len()) && all_digits(code)
}

/// At most two decimals, 0.01 to 100000000.00, without leading zeros.
fn amount_minor(text: &str) -> Option<i64> {
    let (whole, cents) = match text.split_once('.') {
        None => (text, "00".to_owned()),
        Some((_, "")) => return None,
        Some((whole, cents)) => (whole, format!("{cents:0<2}")),
    };
    let canonical = whole == "0" || !(whole.is_empty() || whole.starts_with('0'));
    if !canonical
        || cents.len() != 2
        || whole.len() > 9
        || !all_digits(whole)
        || !all_digits(&cents)
    {
        return None;
    }
    let minor = whole.parse::<i64>().ok()? * 100 + cents.parse::<i64>().ok()?;
    (1..=10_000_000_000).contains(&minor).then_some(minor)
}

/// The same digits are the same buyer.
fn buyer_user_id(code: &str) -> String {
    let digest = Sha256::digest(code.as_bytes());
    let number = digest
        .iter()
        .take(8)
        .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("2088{:012}", number % 1_000_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_at_most_two_decimals() {
        for (text, minor) in [
            ("0.01", 1),
            ("12", 1200),
            ("12.5", 1250),
            ("39.25", 3925),
            ("100000000.00", 10_000_000_000),
        ] {
            assert_eq!(amount_minor(text), Some(minor), "{text}");
        }
        for text in [
            "0.00",
            "0",
            "1.",
            "1.500",
            "01.00",
            ".50",
            "-1.00",
            "100000000.01",
            "1,00",
        ] {
            assert_eq!(amount_minor(text), None, "{text}");
        }
    }

    #[test]
    fn codes_are_recognised_by_prefix_and_length() {
        for code in [
            "2512345678901234",
            "281234567890123456",
            "301234567890123456789012",
        ] {
            assert!(is_identity_code(code), "{code}");
        }
        for code in [
            "241234567890123456",
            "311234567890123456",
            "281234567890123",
            "28123456789012345a",
        ] {
            assert!(!is_identity_code(code), "{code}");
        }
    }

    #[test]
    fn the_buyer_depends_on_all_digits() {
        assert_eq!(
            buyer_user_id("281234567890120001"),
            buyer_user_id("281234567890120001")
        );
        assert_ne!(
            buyer_user_id("281234567890120001"),
            buyer_user_id("281234567890130001")
        );
        assert_eq!(buyer_user_id("281234567890120001").len(), 16);
    }

    #[test]
    fn texts_are_measured_in_the_bytes_of_their_character_set() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let extend_info = |name: &str, store: &str| {
            format!(
                r#"{{"secondary_merchant_id":"SM1","secondary_merchant_name":"{name}","store_id":"ST1","store_name":"{store}"}}"#
            )
        };
        let pay = |charset: Charset, trans_name: &str, extend_info: &str| {
            let escaped = |text: &str| -> String {
                form_urlencoded::byte_serialize(&charset.encode(text)).collect()
            };
            let body = format!(
                "service=s&partner=2088000000000001&sign=s&sign_type=MD5&alipay_seller_id=2088000000000001\
                 &trans_name={}&partner_trans_id=A&currency=HKD&trans_amount=1.00\
                 &buyer_identity_code=281234567890123456&identity_code_type=barcode\
                 &trans_create_time=20260101080000&biz_product=OVERSEAS_MBARCODE_PAY&extend_info={}",
                escaped(trans_name),
                escaped(extend_info),
            );
            let query = format!("_input_charset={}", charset.label());
            let message = Message::parse(query.as_bytes(), body.as_bytes()).unwrap();
            let read = Request::validate(Service::Pay, &message, now);
            read.map(|_| ()).map_err(|refusal| refusal.reason)
        };
        let tea = |count: usize| "茶".repeat(count);
        let here = extend_info("Cafe", "Central");
        for (charset, name, place, fault) in [
            (Charset::Utf8, tea(85), here.clone(), None),
            (
                Charset::Utf8,
                tea(86),
                here.clone(),
                Some("trans_name has 258 bytes"),
            ),
            (Charset::Gbk, tea(128), here.clone(), None),
            (
                Charset::Gbk,
                tea(129),
                here.clone(),
                Some("trans_name has 258 bytes"),
            ),
            (Charset::Utf8, tea(1), extend_info(&tea(42), &tea(85)), None),
            (
                Charset::Utf8,
                tea(1),
                extend_info(&tea(43), &tea(85)),
                Some("secondary_merchant_name in extend_info"),
            ),
            (
                Charset::Utf8,
                tea(1),
                extend_info(&tea(42), &tea(86)),
                Some("store_name in extend_info"),
            ),
        ] {
            let refused = pay(charset, &name, &place).err();
            match fault {
                None => assert_eq!(refused, None, "{charset:?} {name}"),
                Some(fault) => {
                    let reason = refused.unwrap_or_default();
                    assert!(reason.contains(fault), "{charset:?} {name}: {reason}");
                }
            }
        }
    }

    #[test]
    fn a_cancel_takes_no_time_or_one_in_either_form_and_wants_the_charset() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let body =
            |time: &str| format!("service=s&partner=p&sign=s&sign_type=MD5&out_trade_no=A{time}");
        let cancel = |query: &str, time: &str| {
            let message = Message::parse(query.as_bytes(), body(time).as_bytes()).unwrap();
            Request::validate(Service::Cancel, &message, now).map(|_| ())
        };
        let charset = "_input_charset=UTF-8";
        for time in [
            "",
            "&timestamp=1456507704121",
            "&timestamp=2026-01-01+08:00:00",
        ] {
            assert_eq!(cancel(charset, time), Ok(()), "{time}");
            assert!(cancel("", time).is_err(), "no charset, {time}");
            let in_the_body = format!("{time}&{charset}");
            assert_eq!(cancel("", &in_the_body), Ok(()), "{time}");
        }
        assert!(cancel(charset, "&timestamp=20260101080000").is_err());
    }
}
