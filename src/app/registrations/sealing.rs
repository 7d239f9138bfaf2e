//! People at rest: encrypted under a key that follows from the secret, and bound to the registration
//! they belong to.

use zeroize::Zeroizing;

use crate::{
    app::hashing::{SecretKey, UnsealError},
    domain::{
        id::RegistrationId,
        registrations::{Driver, Fingerprint, PersonalData, StoreFacts},
    },
};

/// What the key is derived for.
const PURPOSE: &str = "registration-people";

impl SecretKey {
    pub(super) fn seal_people(&self, id: RegistrationId, people: &PersonalData) -> Vec<u8> {
        let text = Zeroizing::new(
            serde_json::to_vec(people).expect("structs of strings always serialise"),
        );
        self.seal(PURPOSE, id.uuid().as_bytes(), &text)
    }

    /// Opens what was sealed for a registration.
    pub(super) fn unseal_people(
        &self,
        id: RegistrationId,
        sealed: &[u8],
    ) -> Result<PersonalData, UnsealError> {
        let text = self.unseal(PURPOSE, id.uuid().as_bytes(), sealed)?;
        serde_json::from_slice(&text).map_err(|_| UnsealError)
    }

    /// What makes two submissions the same.
    pub(super) fn submission_fingerprint(
        &self,
        facts: &StoreFacts,
        people: &PersonalData,
    ) -> Fingerprint {
        let text = Zeroizing::new(
            serde_json::to_string(&(facts, people)).expect("structs of strings always serialise"),
        );
        Fingerprint(self.keyed("registration", &text))
    }

    /// What tells two sets of drivers apart; `None` where there are none.
    pub(super) fn drivers_fingerprint(&self, drivers: &[Driver]) -> Option<Fingerprint> {
        let text = Zeroizing::new(
            serde_json::to_string(drivers).expect("structs of strings always serialise"),
        );
        (!drivers.is_empty()).then(|| Fingerprint(self.keyed("registration-drivers", &text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> PersonalData {
        PersonalData {
            owner_name: "Wong Tai Man".to_owned(),
            owner_id: "A123456(7)".to_owned(),
            settlement_no: None,
            contact_no: None,
            contact_email: None,
            drivers: vec![],
        }
    }

    fn secret(byte: u8) -> SecretKey {
        SecretKey::new(vec![byte; 32]).expect("long enough")
    }

    #[test]
    fn q14_people_are_sealed_for_one_registration_under_one_secret() {
        let (id, other) = (RegistrationId::mint(), RegistrationId::mint());
        let sealed = secret(1).seal_people(id, &people());
        let text = String::from_utf8_lossy(&sealed);
        assert!(!text.contains("Wong") && !text.contains("A123456"));
        assert_eq!(secret(1).unseal_people(id, &sealed), Ok(people()));
        assert_ne!(
            sealed,
            secret(1).seal_people(id, &people()),
            "never twice alike"
        );
        assert_eq!(secret(2).unseal_people(id, &sealed), Err(UnsealError));
        assert_eq!(secret(1).unseal_people(other, &sealed), Err(UnsealError));
        let mut changed = sealed.clone();
        *changed.last_mut().expect("bytes") ^= 1;
        assert_eq!(secret(1).unseal_people(id, &changed), Err(UnsealError));
        assert_eq!(secret(1).unseal_people(id, &sealed[..11]), Err(UnsealError));
    }
}
