use super::*;
use crate::{alipay::vectors, domain::accounts::signing::KeyState};

struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("alipay-keys-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the temporary directory can be written");
        Self(directory)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("the temporary directory can be written");
        path
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn always(path: &Path) -> KeyFile {
    KeyFile {
        path: path.to_owned(),
        validity: Validity::default(),
    }
}

fn at(hour: u32) -> DateTime<Utc> {
    format!("2026-12-31T{hour:02}:00:00Z")
        .parse()
        .expect("an instant")
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_its_file() {
    let files = Files::new("faults");
    let private = files.write("private.pem", vectors::V5_PRIVATE_KEY);
    let own_public = files.write("own-public.pem", vectors::V5_PUBLIC_KEY);
    let public = files.write("public.pem", vectors::V3_PUBLIC_KEY);
    let empty = files.write("empty.pem", "\n");
    let absent = files.0.join("absent.pem");
    let files_of = |path: Option<&PathBuf>| -> Vec<KeyFile> {
        path.map(|path| always(path)).into_iter().collect()
    };
    let load = |private: Option<&PathBuf>, public: Option<&PathBuf>| {
        Keyring::load(SignType::Rsa2, &files_of(private), &files_of(public))
    };
    assert!(load(Some(&private), Some(&public)).is_ok());
    for (private, public, expected) in [
        (
            None,
            Some(&public),
            "sign type RSA2 needs our private key, but no file is named for it",
        ),
        (Some(&absent), Some(&public), "absent.pem"),
        (Some(&empty), Some(&public), "empty.pem"),
        (Some(&public), Some(&public), "our private key in "),
        (Some(&private), Some(&private), "Alipay's public key in "),
        (
            Some(&private),
            Some(&own_public),
            "own-public.pem holds our own public key",
        ),
        (Some(&private), None, "needs Alipay's public key"),
    ] {
        let faults = load(private, public).expect_err("the keys cannot be used");
        let error = faults[0].to_string();
        assert!(error.contains(expected), "{error} / {expected}");
    }
}

#[test]
fn an_md5_key_is_read_from_its_file_and_checked() {
    let files = Files::new("md5");
    let load = |text: &str| {
        let path = files.write("md5.txt", text);
        Keyring::load(SignType::Md5, &[always(&path)], &[]).map(|keys| keys.sign_type())
    };
    assert_eq!(
        load(&format!("{}\n", vectors::V5_MD5_KEY)).expect("a usable key"),
        SignType::Md5
    );
    for text in [
        "",
        "short",
        "with spaces inside it, 32 chars",
        "-----BEGIN PRIVATE KEY-----",
    ] {
        let faults = load(text).expect_err(text);
        assert_eq!(faults.len(), 1, "{text}: reported once");
    }
}

/// Several faults are several lines, not one start after another.
#[test]
fn every_key_that_cannot_be_used_is_reported_at_once() {
    let files = Files::new("all");
    let empty = files.write("empty.pem", "");
    let private = files.write("private.pem", vectors::V5_PRIVATE_KEY);
    let faults = Keyring::load(
        SignType::Rsa2,
        &[always(&empty), always(&files.0.join("absent.pem"))],
        &[always(&private)],
    )
    .expect_err("three faults");
    assert_eq!(faults.len(), 3, "{faults:?}");
}

/// Old and new keys change over at their times, without a gap, and both of Alipay's are believed while
/// they overlap.
#[tokio::test]
async fn keys_change_over_when_their_time_comes() {
    let files = Files::new("change");
    let old = files.write("old.txt", "0123456789abcdefOLD");
    let new = files.write("new.txt", "0123456789abcdefNEW");
    let dated = |path: &Path, not_before, not_after| KeyFile {
        path: path.to_owned(),
        validity: Validity {
            not_before,
            not_after,
        },
    };
    let keys = Keyring::load(
        SignType::Md5,
        &[
            dated(&old, None, Some(at(12))),
            dated(&new, Some(at(10)), Some(at(14))),
        ],
        &[],
    )
    .expect("two keys");
    let signed_by = async |now| {
        let credentials = keys.at(now);
        if !credentials.can_sign() {
            return "none";
        }
        let signature = credentials.sign(b"text").await.expect("a signature");
        let by = |key: &[u8]| {
            let key = Credentials::md5(key).expect("a key");
            key.verify(b"text", Some(&signature), Some("MD5")).is_ok()
        };
        if by(b"0123456789abcdefOLD") {
            "old"
        } else {
            "new"
        }
    };
    assert_eq!(signed_by(at(9)).await, "old");
    assert_eq!(
        signed_by(at(10)).await,
        "new",
        "the one that became valid last"
    );
    assert_eq!(signed_by(at(12)).await, "new");
    assert_eq!(signed_by(at(14)).await, "none", "its time is over");
    let believed = async |now, key: &[u8]| {
        let signature = Credentials::md5(key)
            .expect("a key")
            .sign(b"text")
            .await
            .expect("a signature");
        let credentials = keys.at(now);
        credentials
            .verify(b"text", Some(&signature), Some("MD5"))
            .is_ok()
    };
    let (old, new) = (b"0123456789abcdefOLD", b"0123456789abcdefNEW");
    assert!(believed(at(11), old).await && believed(at(11), new).await);
    assert!(!believed(at(9), new).await);
    // An answer may come from the other side of a change.
    assert!(believed(at(10) - TimeDelta::seconds(59), new).await);
    assert!(believed(at(12) + TimeDelta::seconds(59), old).await);
    assert!(!believed(at(12) + TimeDelta::seconds(61), old).await);
    let states: Vec<_> = keys
        .entries()
        .iter()
        .map(|key| key.validity.state(at(9)))
        .collect();
    assert_eq!(states, [KeyState::Valid, KeyState::Next]);
    assert_eq!(format!("{keys:?}").matches("abcdef").count(), 0);
}
