//! Making key files: `alipayhk-gateway keys generate`.
//!
//! The contract: a set of keys is written as a whole into one directory or not at all, private files are readable by
//! their owner only, and no file that exists is ever overwritten: a lost merchant key means that Alipay
//! refuses every payment until the new public key has been registered. Nothing here prints a private key.
//!
//! | file | content |
//! |---|---|
//! | `merchant_private_key.pem` | PKCS#8, RSA 2048: signs what we send (`ALIPAY_PRIVATE_KEY_FILE`) |
//! | `merchant_public_key.pem` | SPKI: what is registered at Alipay |
//! | `secret.key` | base64 of 32 random bytes, for keyed hashes (`SECRET_KEY_FILE`) |
//! | `alipay_private_key.pem`, `alipay_public_key.pem` | a stand-in for Alipay's own pair: for the simulator only |

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use rand::rngs::OsRng;
use rsa::pkcs8::{DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// Signs what the gateway sends to Alipay; PKCS#8 PEM.
pub const MERCHANT_PRIVATE_KEY: &str = "merchant_private_key.pem";
/// Verifies what the gateway sends; SPKI PEM, to be registered at Alipay.
pub const MERCHANT_PUBLIC_KEY: &str = "merchant_public_key.pem";
/// Base64 of 32 random bytes.
pub const SECRET_KEY: &str = "secret.key";
/// Signs what the simulator answers; PKCS#8 PEM. Alipay's real private key is nobody else's.
pub const ALIPAY_PRIVATE_KEY: &str = "alipay_private_key.pem";
/// Verifies what the simulator answers; SPKI PEM.
pub const ALIPAY_PUBLIC_KEY: &str = "alipay_public_key.pem";

/// RSA2 asks for at least this many bits.
const RSA_BITS: usize = 2048;
const SECRET_KEY_BYTES: usize = 32;

/// `alipayhk-gateway keys ...`
#[derive(Debug, clap::Subcommand)]
pub enum KeysCommand {
    /// Make a merchant key pair and a secret key, each in its own file of one directory, and print what
    /// to register at Alipay
    Generate(GenerateArgs),
}

/// What to generate, and where.
#[derive(Debug, clap::Args)]
pub struct GenerateArgs {
    /// Directory for the key files; made (readable by its owner only) if missing
    #[arg(long)]
    pub dir: PathBuf,
    /// Also make a throw-away stand-in for Alipay's pair, for the simulator
    #[arg(long)]
    pub with_alipay: bool,
    /// Succeed, changing nothing, where every file exists already
    #[arg(long)]
    pub keep_existing: bool,
}

/// What [`generate`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generated {
    /// All files were written.
    Written,
    /// All files existed and were kept as they are.
    Kept,
}

/// Why no keys were made.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file would have to be overwritten; the names of all such files.
    #[error(
        "key files exist and are never overwritten (choose another directory, or move them away): {0}"
    )]
    Exists(String),
    /// The directory or a file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file or directory in question.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The RSA pair could not be made or encoded.
    #[error("cannot make an RSA key: {0}")]
    Rsa(String),
}

/// Runs the command and tells on standard output which files there are now.
pub fn run(command: &KeysCommand) -> Result<(), KeysError> {
    let KeysCommand::Generate(args) = command;
    let verb = match generate(args)? {
        Generated::Written => "wrote",
        Generated::Kept => "kept",
    };
    let mut out = io::stdout().lock();
    for name in names(args.with_alipay) {
        // A reader that went away (`| head -1`) does not undo the keys.
        let _ = writeln!(out, "{verb} {}", args.dir.join(name).display());
    }
    let _ = out.write_all(to_register(&args.dir)?.as_bytes());
    Ok(())
}

/// What to register at Alipay: the public key as the portal takes it, and what to compare.
fn to_register(dir: &Path) -> Result<String, KeysError> {
    let path = dir.join(MERCHANT_PUBLIC_KEY);
    let unusable = |error: String| KeysError::Rsa(format!("{}: {error}", path.display()));
    let pem = fs::read_to_string(&path).map_err(|error| unusable(error.to_string()))?;
    let key =
        RsaPublicKey::from_public_key_pem(&pem).map_err(|error| unusable(error.to_string()))?;
    let info = key
        .to_public_key_der()
        .map_err(|error| unusable(error.to_string()))?;
    let fingerprint = hex::encode(Sha256::digest(info.as_bytes()));
    Ok(format!(
        "\nRegister this public key at Alipay's merchant portal as the RSA2 (SHA256) key, as one line:\n\n{}\n\n\
         Its SHA-256 is {fingerprint}; `keys check` shows the same.\n\
         Then fetch Alipay's own public key there, and check all of it with `keys check`.\n",
        STANDARD.encode(info.as_bytes())
    ))
}

/// Writes a set of keys into `args.dir`, or keeps the complete set that is there.
pub fn generate(args: &GenerateArgs) -> Result<Generated, KeysError> {
    let names = names(args.with_alipay);
    let existing: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| args.dir.join(name).exists())
        .collect();
    if args.keep_existing && existing.len() == names.len() {
        return Ok(Generated::Kept);
    }
    if !existing.is_empty() {
        let paths: Vec<String> = existing
            .iter()
            .map(|name| args.dir.join(name).display().to_string())
            .collect();
        return Err(KeysError::Exists(paths.join(", ")));
    }

    // Everything is made before the first byte is written, so that a failure leaves no half set behind.
    let merchant = Pair::new()?;
    let alipay = if args.with_alipay {
        Some(Pair::new()?)
    } else {
        None
    };
    make_private_dir(&args.dir)?;
    merchant.write(&args.dir, MERCHANT_PRIVATE_KEY, MERCHANT_PUBLIC_KEY)?;
    if let Some(alipay) = alipay {
        alipay.write(&args.dir, ALIPAY_PRIVATE_KEY, ALIPAY_PUBLIC_KEY)?;
    }
    write_new(
        &args.dir.join(SECRET_KEY),
        PRIVATE,
        new_secret_key().as_bytes(),
    )?;
    Ok(Generated::Written)
}

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;

fn names(with_alipay: bool) -> Vec<&'static str> {
    let mut names = vec![MERCHANT_PRIVATE_KEY, MERCHANT_PUBLIC_KEY, SECRET_KEY];
    if with_alipay {
        names.extend([ALIPAY_PRIVATE_KEY, ALIPAY_PUBLIC_KEY]);
    }
    names
}

/// A key pair in the encodings it is written in.
struct Pair {
    private_pem: Zeroizing<String>,
    public_pem: String,
}

impl Pair {
    fn new() -> Result<Self, KeysError> {
        let key = RsaPrivateKey::new(&mut OsRng, RSA_BITS)
            .map_err(|error| KeysError::Rsa(error.to_string()))?;
        let private_pem = key
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| KeysError::Rsa(error.to_string()))?;
        let public_pem = key
            .to_public_key()
            .to_public_key_pem(LineEnding::LF)
            .map_err(|error| KeysError::Rsa(error.to_string()))?;
        Ok(Self {
            private_pem,
            public_pem,
        })
    }

    fn write(&self, dir: &Path, private: &str, public: &str) -> Result<(), KeysError> {
        write_new(&dir.join(private), PRIVATE, self.private_pem.as_bytes())?;
        write_new(&dir.join(public), PUBLIC, self.public_pem.as_bytes())
    }
}

fn new_secret_key() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0_u8; SECRET_KEY_BYTES]);
    OsRng.fill_bytes(bytes.as_mut());
    Zeroizing::new(STANDARD.encode(bytes.as_ref()) + "\n")
}

fn make_private_dir(dir: &Path) -> Result<(), KeysError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| KeysError::Write {
            path: dir.to_path_buf(),
            source,
        })
}

/// `create_new` keeps the promise not to overwrite even against a second program at the same moment.
fn write_new(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), KeysError> {
    let failed = |source| KeysError::Write {
        path: path.to_path_buf(),
        source,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .map_err(failed)?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|source| {
            // Half a key must not be taken for a key at the next start.
            let _ = fs::remove_file(path);
            failed(source)
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rsa::pkcs8::DecodePrivateKey as _;

    use super::*;

    /// A directory of this test process, removed at the end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("keys-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            Self(dir)
        }

        fn args(&self, with_alipay: bool, keep_existing: bool) -> GenerateArgs {
            GenerateArgs {
                dir: self.0.clone(),
                with_alipay,
                keep_existing,
            }
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_set_is_written_once_kept_afterwards_and_never_overwritten() {
        let scratch = Scratch::new("set");
        assert_eq!(
            generate(&scratch.args(true, false)).unwrap(),
            Generated::Written
        );

        for (private, public) in [
            (MERCHANT_PRIVATE_KEY, MERCHANT_PUBLIC_KEY),
            (ALIPAY_PRIVATE_KEY, ALIPAY_PUBLIC_KEY),
        ] {
            let private = RsaPrivateKey::read_pkcs8_pem_file(scratch.0.join(private)).unwrap();
            let public = RsaPublicKey::read_public_key_pem_file(scratch.0.join(public)).unwrap();
            assert_eq!(private.to_public_key(), public);
        }
        let secret = fs::read_to_string(scratch.0.join(SECRET_KEY)).unwrap();
        assert_eq!(
            STANDARD.decode(secret.trim()).unwrap().len(),
            SECRET_KEY_BYTES
        );
        for private in [MERCHANT_PRIVATE_KEY, ALIPAY_PRIVATE_KEY, SECRET_KEY] {
            let mode = fs::metadata(scratch.0.join(private))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{private}");
        }

        assert_eq!(
            generate(&scratch.args(true, true)).unwrap(),
            Generated::Kept
        );
        assert!(matches!(
            generate(&scratch.args(true, false)),
            Err(KeysError::Exists(_))
        ));
        assert_eq!(
            fs::read_to_string(scratch.0.join(SECRET_KEY)).unwrap(),
            secret
        );
    }

    #[test]
    fn an_incomplete_set_is_refused_and_the_files_in_the_way_are_named() {
        let scratch = Scratch::new("half");
        fs::create_dir(&scratch.0).unwrap();
        fs::write(scratch.0.join(SECRET_KEY), "mine").unwrap();

        let error = generate(&scratch.args(false, true)).unwrap_err();

        assert!(error.to_string().contains(SECRET_KEY), "{error}");
        assert_eq!(
            fs::read_to_string(scratch.0.join(SECRET_KEY)).unwrap(),
            "mine"
        );
        assert!(!scratch.0.join(MERCHANT_PRIVATE_KEY).exists());
    }
}
