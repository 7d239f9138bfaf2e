//! The body of a registration (`docs/protocol.md` 4.7).

use serde_json::{Value, json};
use url::Url;

use crate::{
    app::registrations::{RegistrationWish, check_drivers},
    domain::{
        registrations::{
            Driver, MAX_DRIVERS, MerchantType, PersonalData, StoreFacts, TAXI, is_same_plate,
        },
        text::{fits_alipay, is_deceptive, longest},
    },
    http::{
        extract::{
            Faults, ObjectReader,
            json::Json,
            members::INDUSTRY,
            read_request, request,
            request::objects,
            rules::{Choice, Form, Rule},
        },
        problem::Problem,
    },
};

request! {
    /// A store to be registered. Texts must not contain `"` or control characters, and the lengths are bytes
    /// in UTF-8, where most Chinese characters have 3.
    struct RegisterStoreRequest {
        /// The merchant's legal name; of an individual, the owner's full name. Buyers see it.
        required secondary_merchant_name: String = Text { max: longest::MERCHANT_NAME }, example "Demo Cafe Ltd";
        /// `ENTERPRISE` (then name the shareholder) or `INDIVIDUAL` (then name the representative).
        required secondary_merchant_type: MerchantType = MERCHANT_TYPE, example "ENTERPRISE";
        /// The store's name; a taxi's licence plate.
        required store_name: String = Text { max: longest::STORE_NAME }, example "Demo Cafe Central";
        /// Country of the store (ISO 3166).
        required store_country: String = COUNTRY, example "HK";
        /// Address of the store.
        required store_address: String = Text { max: longest::STORE_ADDRESS }, example "1 Queen's Road Central, Hong Kong";
        /// Merchant category code; 4121 is a taxi.
        required store_industry: String = INDUSTRY, example "5812";
        /// Picture of the inside.
        optional internal_store_photo: String = Photo, example "https://example.com/inside.jpg";
        /// Picture of the front.
        optional external_storefront_photo: String = Photo, example "https://example.com/front.jpg";
        /// Business registration number.
        optional registration_no: String = Text { max: longest::DOCUMENT }, example "12345678-000";
        /// Country of registration (ISO 3166).
        required register_country: String = COUNTRY, example "HK";
        /// Address of registration.
        optional register_address: String = Text { max: longest::REGISTER_ADDRESS }, example "2 Queen's Road Central, Hong Kong";
        /// The main shareholder of an `ENTERPRISE`.
        optional shareholder_name: String = Text { max: longest::PERSON }, example "Wong Tai Man";
        /// The shareholder's identity document.
        optional shareholder_id: String = Text { max: longest::DOCUMENT }, example "A123456(7)";
        /// The representative of an `INDIVIDUAL`.
        optional representative_name: String = Text { max: longest::PERSON }, example "Wong Tai Man";
        /// The representative's identity document.
        optional representative_id: String = Text { max: longest::DOCUMENT }, example "A123456(7)";
        /// The account that is settled to.
        optional settlement_no: String = SETTLEMENT_NO, example "012345678901";
        /// Telephone of a contact: digits and `+ - ( )`.
        optional contact_no: String = CONTACT_NO, example "+852-2345-6789";
        /// E-mail of a contact.
        optional contact_email: String = Email, example "owner@example.com";
        /// Telephone for customers.
        optional cs_no: String = Text { max: longest::PERSON }, example "+852-2345-6780";
        /// E-mail for customers.
        optional cs_email: String = Email, example "help@example.com";
        /// The drivers of a taxi (industry 4121), and of nothing else. They cannot be changed once they
        /// are approved.
        optional drivers: Vec<DriverRequest> = objects::<DriverRequest>(MAX_DRIVERS);
    }
}

request! {
    /// Who drives a taxi.
    struct DriverRequest {
        /// The driver's number.
        required operation_id: String = Text { max: longest::PERSON }, example "D-1001";
        /// How to reach the driver.
        optional contact_way: String = Text { max: longest::CONTACT_WAY }, example "+852-9123-4567";
        /// The driver's name.
        required contact_person: String = Text { max: longest::PERSON }, example "Chan Siu Ming";
    }
}

/// Reads the body for a store. Every fault is named at once.
pub(super) fn read(body: &Json, store_id: &str) -> Result<RegistrationWish, Problem> {
    read_request(body, |request: RegisterStoreRequest, faults| {
        request.check(store_id, faults);
        request.complete()
    })
}

impl RegisterStoreRequest {
    /// What one member says against another.
    fn check(&self, store_id: &str, faults: &mut Faults) {
        let is_taxi = self.store_industry.as_deref() == Some(TAXI);
        if let Some(name) = self.store_name.as_deref().filter(|_| is_taxi)
            && !is_same_plate(store_id, name)
        {
            let detail =
                "must be the taxi's licence plate, and the store's id the same without blanks";
            faults.member("store_name", "not_the_plate", detail);
        }
        if let Some(merchant_type) = self.secondary_merchant_type {
            self.check_owner(merchant_type, faults);
        }
        self.check_drivers(is_taxi, faults);
    }

    /// The owner is a shareholder or a representative, by the merchant's type.
    fn check_owner(&self, merchant_type: MerchantType, faults: &mut Faults) {
        let shareholder = [
            ("shareholder_name", &self.shareholder_name),
            ("shareholder_id", &self.shareholder_id),
        ];
        let representative = [
            ("representative_name", &self.representative_name),
            ("representative_id", &self.representative_id),
        ];
        let (needed, refused) = match merchant_type {
            MerchantType::Enterprise => (shareholder, representative),
            MerchantType::Individual => (representative, shareholder),
        };
        for (name, value) in needed {
            if value.is_none() {
                faults.require(name);
            }
        }
        for (name, value) in refused {
            if value.is_some() {
                let detail = "belongs to the other secondary_merchant_type";
                faults.member(name, "not_together", detail);
            }
        }
        // Of an individual it is the owner's full name, for which Alipay has less room.
        if merchant_type == MerchantType::Individual
            && let Some(name) = &self.secondary_merchant_name
            && let Err(too_long) = fits_alipay(name, longest::PERSON)
        {
            let detail = too_long.to_string();
            faults.member("secondary_merchant_name", "invalid_length", detail);
        }
    }

    /// A taxi has drivers, and nothing else has.
    fn check_drivers(&self, is_taxi: bool, faults: &mut Faults) {
        const NAME: &str = "drivers";
        match &self.drivers {
            None if is_taxi => faults.require(NAME),
            None => {}
            Some(_) if !is_taxi && self.store_industry.is_some() => {
                let detail = "only a taxi (store_industry 4121) has drivers";
                faults.member(NAME, "not_together", detail);
            }
            Some(drivers) => {
                let drivers: Option<Vec<Driver>> =
                    drivers.iter().map(DriverRequest::driver).collect();
                if let Some(Err(too_long)) = drivers.map(|drivers| check_drivers(&drivers)) {
                    let detail = format!("as JSON for Alipay, {too_long}");
                    faults.member(NAME, "invalid_length", detail);
                }
            }
        }
    }

    /// What is registered, if nothing is missing.
    fn complete(self) -> Option<RegistrationWish> {
        let merchant_type = self.secondary_merchant_type?;
        let (owner_name, owner_id) = match merchant_type {
            MerchantType::Enterprise => (self.shareholder_name, self.shareholder_id),
            MerchantType::Individual => (self.representative_name, self.representative_id),
        };
        let drivers = self.drivers.unwrap_or_default();
        Some(RegistrationWish {
            facts: StoreFacts {
                secondary_merchant_name: self.secondary_merchant_name?,
                secondary_merchant_type: merchant_type,
                store_name: self.store_name?,
                store_country: self.store_country?,
                store_address: self.store_address?,
                store_industry: self.store_industry?,
                internal_store_photo: self.internal_store_photo,
                external_storefront_photo: self.external_storefront_photo,
                registration_no: self.registration_no,
                register_country: self.register_country?,
                register_address: self.register_address,
                cs_no: self.cs_no,
                cs_email: self.cs_email,
            },
            personal: PersonalData {
                owner_name: owner_name?,
                owner_id: owner_id?,
                settlement_no: self.settlement_no,
                contact_no: self.contact_no,
                contact_email: self.contact_email,
                drivers: drivers
                    .iter()
                    .map(DriverRequest::driver)
                    .collect::<Option<_>>()?,
            },
        })
    }
}

impl DriverRequest {
    fn driver(&self) -> Option<Driver> {
        Some(Driver {
            operation_id: self.operation_id.clone()?,
            contact_way: self.contact_way.clone(),
            contact_person: self.contact_person.clone()?,
        })
    }
}

/// A text as Alipay takes it: at most `max` bytes in UTF-8, trimmed and not blank, without `"` and
/// control characters, and not the word `null`, which Alipay's own clients leave out.
struct Text {
    max: usize,
}

impl Rule for Text {
    type Value = String;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<String> {
        let text = reader.text(name)?.trim();
        let fault = if text.is_empty() {
            ("invalid_length", "must not be blank".to_owned())
        } else if let Err(too_long) = fits_alipay(text, self.max) {
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

    fn schema(&self) -> Value {
        json!({"type": "string", "minLength": 1, "maxLength": self.max})
    }
}

const MERCHANT_TYPE: Choice<MerchantType> = Choice {
    code: "invalid_value",
    values: MerchantType::ALL,
    name: MerchantType::as_str,
};

/// Two capital letters.
const COUNTRY: Form<String> = Form {
    code: "invalid_format",
    detail: "must be a country of two capital letters (ISO 3166), such as HK",
    parse: |text| {
        let is_code = text.len() == 2 && text.bytes().all(|b| b.is_ascii_uppercase());
        is_code.then(|| text.to_owned())
    },
    schema: || json!({"pattern": "^[A-Z]{2}$"}),
};

const SETTLEMENT_NO: Form<String> = Form {
    code: "invalid_format",
    detail: "must be 1 to 64 letters and digits",
    parse: |text| made_of(text, |b| b.is_ascii_alphanumeric()),
    schema: || json!({"pattern": "^[A-Za-z0-9]{1,64}$"}),
};

const CONTACT_NO: Form<String> = Form {
    code: "invalid_format",
    detail: "must be 1 to 64 digits and + - ( )",
    parse: |text| made_of(text, |b| b.is_ascii_digit() || b"+-()".contains(&b)),
    schema: || json!({"pattern": "^[0-9+()-]{1,64}$"}),
};

/// 1 to 64 of certain characters.
fn made_of(text: &str, is_allowed: impl Fn(u8) -> bool) -> Option<String> {
    let fits = (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
    fits.then(|| text.to_owned())
}

/// The address of a picture.
struct Photo;

impl Rule for Photo {
    type Value = String;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<String> {
        let given = Text {
            max: longest::PHOTO,
        }
        .read(reader, name)?;
        let is_url = Url::parse(&given)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if is_url && !given.contains(char::is_whitespace) {
            return Some(given);
        }
        reader.fault(name, "invalid_format", "must be a URL of http or https");
        None
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "format": "uri", "maxLength": longest::PHOTO})
    }
}

struct Email;

impl Rule for Email {
    type Value = String;

    fn read(&self, reader: &mut ObjectReader, name: &'static str) -> Option<String> {
        let given = Text {
            max: longest::DOCUMENT,
        }
        .read(reader, name)?;
        let is_address = given.split_once('@').is_some_and(|(local, domain)| {
            !local.is_empty() && domain.contains('.') && !domain.contains('@')
        });
        if is_address && !given.contains(char::is_whitespace) {
            return Some(given);
        }
        reader.fault(name, "invalid_format", "must be an e-mail address");
        None
    }

    fn schema(&self) -> Value {
        json!({"type": "string", "maxLength": longest::DOCUMENT})
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
