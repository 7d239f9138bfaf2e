//! The body of a registration, read member by member (`docs/protocol.md` 4.7).

use serde::Serialize;
use url::Url;
use utoipa::ToSchema;

use crate::{
    app::registrations::{RegistrationWish, check_drivers},
    domain::{
        registrations::{
            Driver, MAX_DRIVERS, MerchantType, PersonalData, ShopFacts, TAXI, is_same_plate,
        },
        text::{fits_alipay, is_deceptive, longest},
    },
    http::{
        extract::{ObjectReader, fields::pointer_to, json::Json, read_fields},
        problem::Problem,
    },
};

// This type is the documentation; `read` does the reading.
/// A shop to be registered. Texts must not contain `"` or control characters, and the lengths are bytes
/// in UTF-8, where most Chinese characters have 3.
#[derive(Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it names people")]
pub struct RegisterStoreRequest {
    /// The merchant's legal name; of an individual, the owner's full name. Buyers see it.
    #[schema(example = "Demo Cafe Ltd", min_length = 1, max_length = 128)]
    pub secondary_merchant_name: String,
    /// `ENTERPRISE` (then name the shareholder) or `INDIVIDUAL` (then name the representative).
    #[schema(example = "ENTERPRISE", pattern = "^(ENTERPRISE|INDIVIDUAL)$")]
    pub secondary_merchant_type: String,
    /// The shop's name; a taxi's licence plate.
    #[schema(example = "Demo Cafe Central", min_length = 1, max_length = 256)]
    pub store_name: String,
    /// Country of the shop (ISO 3166).
    #[schema(example = "HK", pattern = "^[A-Z]{2}$")]
    pub store_country: String,
    /// Address of the shop.
    #[schema(
        example = "1 Queen's Road Central, Hong Kong",
        min_length = 1,
        max_length = 330
    )]
    pub store_address: String,
    /// Merchant category code; 4121 is a taxi.
    #[schema(example = "5812", pattern = "^[0-9]{4}$")]
    pub store_industry: String,
    /// Picture of the inside.
    #[schema(
        nullable = false,
        format = "uri",
        example = "https://example.com/inside.jpg",
        max_length = 256
    )]
    pub internal_store_photo: Option<String>,
    /// Picture of the front.
    #[schema(
        nullable = false,
        format = "uri",
        example = "https://example.com/front.jpg",
        max_length = 256
    )]
    pub external_storefront_photo: Option<String>,
    /// Business registration number.
    #[schema(
        nullable = false,
        example = "12345678-000",
        min_length = 1,
        max_length = 128
    )]
    pub registration_no: Option<String>,
    /// Country of registration (ISO 3166).
    #[schema(example = "HK", pattern = "^[A-Z]{2}$")]
    pub register_country: String,
    /// Address of registration.
    #[schema(
        nullable = false,
        example = "2 Queen's Road Central, Hong Kong",
        min_length = 1,
        max_length = 256
    )]
    pub register_address: Option<String>,
    /// The main shareholder of an `ENTERPRISE`.
    #[schema(
        nullable = false,
        example = "Wong Tai Man",
        min_length = 1,
        max_length = 64
    )]
    pub shareholder_name: Option<String>,
    /// The shareholder's identity document.
    #[schema(
        nullable = false,
        example = "A123456(7)",
        min_length = 1,
        max_length = 128
    )]
    pub shareholder_id: Option<String>,
    /// The representative of an `INDIVIDUAL`.
    #[schema(
        nullable = false,
        example = "Wong Tai Man",
        min_length = 1,
        max_length = 64
    )]
    pub representative_name: Option<String>,
    /// The representative's identity document.
    #[schema(
        nullable = false,
        example = "A123456(7)",
        min_length = 1,
        max_length = 128
    )]
    pub representative_id: Option<String>,
    /// The account that is settled to.
    #[schema(
        nullable = false,
        example = "012345678901",
        pattern = "^[A-Za-z0-9]{1,64}$"
    )]
    pub settlement_no: Option<String>,
    /// Telephone of a contact: digits and `+ - ( )`.
    #[schema(
        nullable = false,
        example = "+852-2345-6789",
        pattern = "^[0-9+()-]{1,64}$"
    )]
    pub contact_no: Option<String>,
    /// E-mail of a contact.
    #[schema(nullable = false, example = "owner@example.com", max_length = 128)]
    pub contact_email: Option<String>,
    /// Telephone for customers.
    #[schema(
        nullable = false,
        example = "+852-2345-6780",
        min_length = 1,
        max_length = 64
    )]
    pub cs_no: Option<String>,
    /// E-mail for customers.
    #[schema(nullable = false, example = "help@example.com", max_length = 128)]
    pub cs_email: Option<String>,
    /// The drivers of a taxi (industry 4121), and of nothing else. They cannot be changed once they
    /// are approved.
    #[schema(nullable = false, min_items = 1, max_items = 10)]
    pub drivers: Option<Vec<DriverRequest>>,
}

/// Who drives a taxi.
#[derive(Clone, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_debug_implementations, reason = "it names a person")]
pub struct DriverRequest {
    /// The driver's number.
    #[schema(example = "D-1001", min_length = 1, max_length = 64)]
    pub operation_id: String,
    /// How to reach the driver.
    #[schema(
        nullable = false,
        example = "+852-9123-4567",
        min_length = 1,
        max_length = 256
    )]
    pub contact_way: Option<String>,
    /// The driver's name.
    #[schema(example = "Chan Siu Ming", min_length = 1, max_length = 64)]
    pub contact_person: String,
}

/// Reads the body for a store. Every fault is named at once.
pub(super) fn read(body: &Json, store_id: &str) -> Result<RegistrationWish, Problem> {
    read_fields(body, |reader| {
        let merchant_type = merchant_type(reader);
        let facts = facts(reader, merchant_type, store_id);
        let personal = personal(reader, merchant_type, facts.industry.as_deref());
        Some(RegistrationWish {
            facts: facts.complete(merchant_type?)?,
            personal: personal?,
        })
    })
}

/// What could be read of the facts; what could not is among the faults.
struct Facts {
    merchant_name: Option<String>,
    store_name: Option<String>,
    store_country: Option<String>,
    store_address: Option<String>,
    industry: Option<String>,
    internal_store_photo: Option<String>,
    external_storefront_photo: Option<String>,
    registration_no: Option<String>,
    register_country: Option<String>,
    register_address: Option<String>,
    cs_no: Option<String>,
    cs_email: Option<String>,
}

impl Facts {
    fn complete(self, secondary_merchant_type: MerchantType) -> Option<ShopFacts> {
        Some(ShopFacts {
            secondary_merchant_name: self.merchant_name?,
            secondary_merchant_type,
            store_name: self.store_name?,
            store_country: self.store_country?,
            store_address: self.store_address?,
            store_industry: self.industry?,
            internal_store_photo: self.internal_store_photo,
            external_storefront_photo: self.external_storefront_photo,
            registration_no: self.registration_no,
            register_country: self.register_country?,
            register_address: self.register_address,
            cs_no: self.cs_no,
            cs_email: self.cs_email,
        })
    }
}

fn facts(reader: &mut ObjectReader, merchant_type: Option<MerchantType>, store_id: &str) -> Facts {
    // Of an individual it is the owner's full name, for which Alipay has no more room.
    let longest_name = match merchant_type {
        Some(MerchantType::Individual) => longest::PERSON,
        Some(MerchantType::Enterprise) | None => longest::MERCHANT_NAME,
    };
    let facts = Facts {
        merchant_name: required(reader, "secondary_merchant_name", |reader, name| {
            text(reader, name, longest_name)
        }),
        store_name: required(reader, "store_name", |reader, name| {
            text(reader, name, longest::STORE_NAME)
        }),
        store_country: required(reader, "store_country", country),
        store_address: required(reader, "store_address", |reader, name| {
            text(reader, name, longest::STORE_ADDRESS)
        }),
        industry: required(reader, "store_industry", industry),
        internal_store_photo: photo(reader, "internal_store_photo"),
        external_storefront_photo: photo(reader, "external_storefront_photo"),
        registration_no: text(reader, "registration_no", longest::DOCUMENT),
        register_country: required(reader, "register_country", country),
        register_address: text(reader, "register_address", longest::REGISTER_ADDRESS),
        cs_no: text(reader, "cs_no", longest::PERSON),
        cs_email: email(reader, "cs_email"),
    };
    let is_taxi = facts.industry.as_deref() == Some(TAXI);
    if let Some(name) = facts.store_name.as_deref().filter(|_| is_taxi)
        && !is_same_plate(store_id, name)
    {
        let detail = "must be the taxi's licence plate, and the store's id the same without blanks";
        reader.fault("store_name", "not_the_plate", detail);
    }
    facts
}

fn personal(
    reader: &mut ObjectReader,
    merchant_type: Option<MerchantType>,
    industry: Option<&str>,
) -> Option<PersonalData> {
    const SHAREHOLDER: [&str; 2] = ["shareholder_name", "shareholder_id"];
    const REPRESENTATIVE: [&str; 2] = ["representative_name", "representative_id"];
    let mut person = |[name, id]: [&'static str; 2], is_needed: bool, is_refused: bool| {
        let mut read = |member, most| {
            let value = text(reader, member, most);
            if is_needed {
                reader.require(member);
            } else if is_refused && reader.text(member).is_some() {
                let detail = "belongs to the other secondary_merchant_type";
                reader.fault(member, "not_together", detail);
            }
            value
        };
        (read(name, longest::PERSON), read(id, longest::DOCUMENT))
    };
    let is = |wanted| merchant_type == Some(wanted);
    let (enterprise, individual) = (is(MerchantType::Enterprise), is(MerchantType::Individual));
    let shareholder = person(SHAREHOLDER, enterprise, individual);
    let representative = person(REPRESENTATIVE, individual, enterprise);
    let (owner_name, owner_id) = if individual {
        representative
    } else {
        shareholder
    };
    let settlement_no = made_of(reader, "settlement_no", "letters and digits", |b| {
        b.is_ascii_alphanumeric()
    });
    let contact_no = made_of(reader, "contact_no", "digits and + - ( )", |b| {
        b.is_ascii_digit() || b"+-()".contains(&b)
    });
    let contact_email = email(reader, "contact_email");
    let drivers = drivers(reader, industry);
    Some(PersonalData {
        owner_name: owner_name?,
        owner_id: owner_id?,
        settlement_no,
        contact_no,
        contact_email,
        drivers: drivers?,
    })
}

/// A member that must be there.
fn required<T>(
    reader: &mut ObjectReader,
    name: &'static str,
    read: impl FnOnce(&mut ObjectReader, &'static str) -> Option<T>,
) -> Option<T> {
    reader.require(name);
    read(reader, name)
}

/// A text as Alipay takes it: at most `most` bytes in UTF-8, trimmed and not blank, without `"` and
/// control characters, and not the word `null`, which Alipay's own clients leave out.
fn text(reader: &mut ObjectReader, name: &'static str, most: usize) -> Option<String> {
    let text = reader.text(name)?.trim();
    let fault = if text.is_empty() {
        ("invalid_length", "must not be blank".to_owned())
    } else if let Err(too_long) = fits_alipay(text, most) {
        ("invalid_length", too_long.to_string())
    } else if text.contains('"') || text.chars().any(is_deceptive) {
        let detail = "must not contain \" or control characters";
        ("invalid_format", detail.to_owned())
    } else if text == "null" {
        let detail = "must not be the word null, which Alipay does not take";
        ("invalid_format", detail.to_owned())
    } else {
        return Some(text.to_owned());
    };
    reader.fault(name, fault.0, fault.1);
    None
}

fn merchant_type(reader: &mut ObjectReader) -> Option<MerchantType> {
    const NAME: &str = "secondary_merchant_type";
    reader.require(NAME);
    let found = MerchantType::from_name(reader.text(NAME)?);
    if found.is_none() {
        let detail = "must be ENTERPRISE or INDIVIDUAL";
        reader.fault(NAME, "invalid_value", detail);
    }
    found
}

/// Two capital letters.
fn country(reader: &mut ObjectReader, name: &'static str) -> Option<String> {
    let text = reader.text(name)?;
    if text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Some(text.to_owned());
    }
    let detail = "must be a country of two capital letters (ISO 3166), such as HK";
    reader.fault(name, "invalid_format", detail);
    None
}

fn industry(reader: &mut ObjectReader, name: &'static str) -> Option<String> {
    let text = reader.text(name)?;
    if text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit()) {
        return Some(text.to_owned());
    }
    let detail = "must be a merchant category code of 4 digits";
    reader.fault(name, "invalid_format", detail);
    None
}

/// The address of a picture.
fn photo(reader: &mut ObjectReader, name: &'static str) -> Option<String> {
    let given = text(reader, name, longest::PHOTO)?;
    let is_url = Url::parse(&given)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if is_url && !given.contains(char::is_whitespace) {
        return Some(given);
    }
    reader.fault(name, "invalid_format", "must be a URL of http or https");
    None
}

fn email(reader: &mut ObjectReader, name: &'static str) -> Option<String> {
    let given = text(reader, name, longest::DOCUMENT)?;
    let is_address = given.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && domain.contains('.') && !domain.contains('@')
    });
    if is_address && !given.contains(char::is_whitespace) {
        return Some(given);
    }
    reader.fault(name, "invalid_format", "must be an e-mail address");
    None
}

/// 1 to 64 of certain characters.
fn made_of(
    reader: &mut ObjectReader,
    name: &'static str,
    what: &str,
    is_allowed: impl Fn(u8) -> bool,
) -> Option<String> {
    let text = reader.text(name)?;
    if (1..=64).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Some(text.to_owned());
    }
    reader.fault(name, "invalid_format", format!("must be 1 to 64 {what}"));
    None
}

/// The drivers; none of anything but a taxi. `None` where they are faulty.
fn drivers(reader: &mut ObjectReader, industry: Option<&str>) -> Option<Vec<Driver>> {
    const NAME: &str = "drivers";
    let is_taxi = industry == Some(TAXI);
    let Some(items) = reader.array(NAME) else {
        if is_taxi {
            reader.require(NAME);
        }
        // A faulty one was reported.
        return (!is_taxi).then(Vec::new);
    };
    if !is_taxi && industry.is_some() {
        let detail = "only a taxi (store_industry 4121) has drivers";
        reader.fault(NAME, "not_together", detail);
        return None;
    }
    if !(1..=MAX_DRIVERS).contains(&items.len()) {
        let detail = format!("must have 1 to {MAX_DRIVERS} items");
        reader.fault(NAME, "out_of_range", detail);
        return None;
    }
    let read: Vec<Option<Driver>> = items
        .iter()
        .enumerate()
        .map(|(index, item)| driver(reader, index, item))
        .collect();
    let drivers: Vec<Driver> = read.into_iter().collect::<Option<_>>()?;
    if let Err(too_long) = check_drivers(&drivers) {
        let detail = format!("as JSON for Alipay, {too_long}");
        reader.fault(NAME, "invalid_length", detail);
        return None;
    }
    Some(drivers)
}

fn driver(reader: &mut ObjectReader, index: usize, item: &Json) -> Option<Driver> {
    let pointer = format!("{}/{index}", pointer_to("", "drivers"));
    let Some(members) = item.members() else {
        let faults = reader.faults();
        faults.add(pointer, "wrong_type", "must be an object");
        return None;
    };
    let mut inner = ObjectReader::new(members, pointer, reader.faults());
    let operation_id = required(&mut inner, "operation_id", |inner, name| {
        text(inner, name, longest::PERSON)
    });
    let contact_way = text(&mut inner, "contact_way", longest::CONTACT_WAY);
    let contact_person = required(&mut inner, "contact_person", |inner, name| {
        text(inner, name, longest::PERSON)
    });
    inner.finish();
    Some(Driver {
        operation_id: operation_id?,
        contact_way,
        contact_person: contact_person?,
    })
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
