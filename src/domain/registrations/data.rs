//! What is registered of a store (`docs/protocol.md` 4.7): what everybody may know, and what names
//! people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The merchant category code of taxis, whose stores are cars and whose drivers are named.
pub const TAXI: &str = "4121";
/// Most drivers of a taxi.
pub const MAX_DRIVERS: usize = 10;
/// Longest id of a secondary merchant or a store, in characters.
const MAX_ID: usize = 64;

/// Whether a text is an id that Alipay takes: 1 to 64 letters, digits and underscores.
pub fn is_alipay_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether two spellings are one licence plate: `AB 1234` is `AB1234`, which alone can be an id.
pub fn is_same_plate(one: &str, other: &str) -> bool {
    let plain = |text: &str| -> String {
        let kept = text.chars().filter(char::is_ascii_alphanumeric);
        kept.map(|c| c.to_ascii_uppercase()).collect()
    };
    let one = plain(one);
    !one.is_empty() && one == plain(other)
}

/// What a merchant is in law; decides which person must be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum MerchantType {
    /// A company, with its main shareholder.
    Enterprise,
    /// A person, its own representative.
    Individual,
}

stored_names!(MerchantType {
    Enterprise = "ENTERPRISE",
    Individual = "INDIVIDUAL",
});

/// What everybody may know of a store. Texts are trimmed and as Alipay takes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFacts {
    /// The legal name; of an individual, the owner's full name. Buyers see it.
    pub secondary_merchant_name: String,
    /// What the merchant is in law.
    pub secondary_merchant_type: MerchantType,
    /// The store's name; a taxi's licence plate.
    pub store_name: String,
    /// Two capital letters (ISO 3166).
    pub store_country: String,
    /// Where the store is.
    pub store_address: String,
    /// Merchant category code, 4 digits.
    pub store_industry: String,
    /// URL of a picture of the inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_store_photo: Option<String>,
    /// URL of a picture of the front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_storefront_photo: Option<String>,
    /// Business registration number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration_no: Option<String>,
    /// Country of registration, two capital letters.
    pub register_country: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub register_address: Option<String>,
    /// Telephone for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cs_no: Option<String>,
    /// E-mail for customers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cs_email: Option<String>,
}

/// What names or reaches people, and where their money goes. Never logged; at rest it is sealed, and
/// only for as long as it may have to be sent again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonalData {
    /// The main shareholder's name, or the representative's.
    pub owner_name: String,
    /// The number of the owner's identity document.
    pub owner_id: String,
    /// The account that is settled to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settlement_no: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_no: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_email: Option<String>,
    /// The drivers of a taxi; empty for every other store.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drivers: Vec<Driver>,
}

/// Who drives a taxi.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Driver {
    pub operation_id: String,
    /// How to reach the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_way: Option<String>,
    pub contact_person: String,
}

impl PersonalData {
    /// The same with every text masked: what is kept and shown for good.
    #[must_use]
    pub fn masked(&self) -> Self {
        let optional = |text: &Option<String>| text.as_deref().map(mask);
        Self {
            owner_name: mask(&self.owner_name),
            owner_id: mask(&self.owner_id),
            settlement_no: optional(&self.settlement_no),
            contact_no: optional(&self.contact_no),
            contact_email: optional(&self.contact_email),
            drivers: self.drivers.iter().map(Driver::masked).collect(),
        }
    }
}

impl Driver {
    fn masked(&self) -> Self {
        Self {
            operation_id: mask(&self.operation_id),
            contact_way: self.contact_way.as_deref().map(mask),
            contact_person: mask(&self.contact_person),
        }
    }
}

/// The first and the last character of eight or more, of a shorter text nothing. An e-mail address
/// keeps its domain.
fn mask(text: &str) -> String {
    if let Some((local, domain)) = text.rsplit_once('@') {
        return format!("{}@{domain}", mask(local));
    }
    let mut characters = text.chars();
    match (characters.next(), characters.next_back()) {
        (Some(first), Some(last)) if characters.count() >= 6 => format!("{first}***{last}"),
        _ => "***".to_owned(),
    }
}

impl fmt::Debug for PersonalData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonalData")
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

/// What Alipay says is registered, as far as its answer says it. Nothing in it names people but the
/// merchant's own name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisteredData {
    pub secondary_merchant_name: Option<String>,
    pub secondary_merchant_type: Option<String>,
    pub store_name: Option<String>,
    pub store_country: Option<String>,
    pub store_address: Option<String>,
    pub store_industry: Option<String>,
    pub registration_no: Option<String>,
    pub register_country: Option<String>,
    pub register_address: Option<String>,
}

/// How what Alipay says is registered compares with what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// All that it says is what was sent.
    Agrees,
    /// It is another registration's.
    Differs,
    /// It says nothing.
    Silent,
}

impl RegisteredData {
    /// Compares with what was sent. Blanks and capitals are Alipay's to change.
    pub fn compare(&self, sent: &StoreFacts) -> Agreement {
        let registration_no = sent.registration_no.as_deref();
        let register_address = sent.register_address.as_deref();
        let pairs = [
            (
                &self.secondary_merchant_name,
                Some(sent.secondary_merchant_name.as_str()),
            ),
            (
                &self.secondary_merchant_type,
                Some(sent.secondary_merchant_type.as_str()),
            ),
            (&self.store_name, Some(sent.store_name.as_str())),
            (&self.store_country, Some(sent.store_country.as_str())),
            (&self.store_address, Some(sent.store_address.as_str())),
            (&self.store_industry, Some(sent.store_industry.as_str())),
            (&self.registration_no, registration_no),
            (&self.register_country, Some(sent.register_country.as_str())),
            (&self.register_address, register_address),
        ];
        let mut said = pairs
            .into_iter()
            .filter_map(|(theirs, ours)| Some((theirs.as_deref()?, ours)))
            .peekable();
        if said.peek().is_none() {
            return Agreement::Silent;
        }
        let same = |(theirs, ours): (&str, Option<&str>)| {
            ours.is_some_and(|ours| plain(theirs) == plain(ours))
        };
        if said.all(same) {
            Agreement::Agrees
        } else {
            Agreement::Differs
        }
    }
}

/// A text without what does not tell two registrations apart.
pub(super) fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_plates_are_recognised() {
        for good in ["SM001", "a_1", &"x".repeat(64)] {
            assert!(is_alipay_id(good), "{good}");
        }
        for bad in ["", "a-1", "a b", "é", &"x".repeat(65)] {
            assert!(!is_alipay_id(bad), "{bad}");
        }
        assert!(is_same_plate("AB1234", "ab 1234"));
        assert!(!is_same_plate("AB1234", "AB 1235"));
        assert!(!is_same_plate("__", "--"));
    }

    #[test]
    fn q14_people_are_masked_and_never_printed() {
        let driver = Driver {
            operation_id: "OP-7".to_owned(),
            contact_way: Some("+852-5555-1234".to_owned()),
            contact_person: "Chan Siu Ming".to_owned(),
        };
        let data = PersonalData {
            owner_name: "Wong Tai Man".to_owned(),
            owner_id: "A123456(7)".to_owned(),
            settlement_no: Some("012345678901".to_owned()),
            contact_no: None,
            contact_email: Some("tai.man.wong@example.com".to_owned()),
            drivers: vec![driver],
        };
        let masked = serde_json::to_value(data.masked()).expect("JSON");
        assert_eq!(
            masked,
            serde_json::json!({
                "owner_name": "W***n", "owner_id": "A***)", "settlement_no": "0***1",
                "contact_email": "t***g@example.com",
                "drivers": [{"operation_id": "***", "contact_way": "+***4", "contact_person": "C***g"}],
            })
        );
        assert_eq!(format!("{data:?}"), "PersonalData");
        assert_eq!(mask("陳大文"), "***", "of a short name nothing is left");
        assert_eq!(mask("a@b.hk"), "***@b.hk");
    }

    #[test]
    fn an_echo_agrees_differs_or_says_nothing() {
        let sent = super::super::tests::facts();
        let echo = |store_name: &str| RegisteredData {
            store_name: Some(store_name.to_owned()),
            ..RegisteredData::default()
        };
        assert_eq!(RegisteredData::default().compare(&sent), Agreement::Silent);
        let respelled = echo(" demo  Cafe central ");
        assert_eq!(respelled.compare(&sent), Agreement::Agrees);
        assert_eq!(echo("Other Cafe").compare(&sent), Agreement::Differs);
        let unsent = RegisteredData {
            registration_no: Some("BR1".to_owned()),
            ..echo("Demo Cafe Central")
        };
        assert_eq!(unsent.compare(&sent), Agreement::Differs);
    }
}
