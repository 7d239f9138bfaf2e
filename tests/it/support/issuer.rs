//! An issuer of access tokens: keys, tokens signed by hand, and a server that shows the keys.
//!
//! The tokens are put together from bytes and signed by aws-lc-rs, so that a mistake in how the gateway
//! reads tokens cannot hide in how the tests make them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use alipayhk_gateway::{
    domain::{
        access::{issuer::KeySource, principal::Scope, token::TokenRules},
        id::MerchantId,
    },
    oidc::IssuerSettings,
};
use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::task::TaskTracker;

/// What tokens for the gateway name as their audience.
pub(crate) const AUDIENCE: &str = "alipayhk-gateway";
/// What stands in the place of a merchant's id in tokens of the operator.
pub(crate) const OPERATOR: &str = "the-operator";

/// A pair of keys with a name.
pub(crate) struct SigningKey {
    id: String,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    pub(crate) fn rsa(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        Self::new(id, Pair::Rsa(pair))
    }

    pub(crate) fn ec(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        Self::new(id, Pair::Ec(pair))
    }

    pub(crate) fn ed(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("a key");
        Self::new(id, Pair::Ed(pair))
    }

    fn new(id: &str, pair: Pair) -> Self {
        let id = id.to_owned();
        Self { id, pair }
    }

    /// The public key as the issuer shows it.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let key = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": encoded(key.modulus().big_endian_without_leading_zero()),
                    "e": encoded(key.exponent().big_endian_without_leading_zero()),
                })
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                json!({
                    "kty": "EC", "crv": "P-256",
                    "x": encoded(&point[1..33]), "y": encoded(&point[33..]),
                })
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())})
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The bytes of the public key, such as somebody could take for a secret.
    pub(crate) fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The header of its tokens.
    pub(crate) fn header(&self) -> Value {
        let algorithm = match self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::Ec(_) => "ES256",
            Pair::Ed(_) => "EdDSA",
        };
        json!({"alg": algorithm, "kid": self.id, "typ": "at+jwt"})
    }

    /// A token as the issuer makes it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.token_under(&self.header(), claims)
    }

    /// A token under another header, signed as that says where the key can.
    pub(crate) fn token_under(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.sign(header["alg"] == "PS256", message.as_bytes());
        format!("{message}.{}", encoded(&signature))
    }

    fn sign(&self, is_pss: bool, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding = if is_pss {
                    &RSA_PSS_SHA256
                } else {
                    &RSA_PKCS1_SHA256
                };
                pair.sign(padding, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, message).expect("a signature");
                signature.as_ref().to_vec()
            }
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is signed of a token.
pub(crate) fn message(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| encoded(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// A token with a keyed hash in the place of a signature.
pub(crate) fn token_by_hmac(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let message = message(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encoded(tag.as_ref()))
}

/// An issuer that listens as long as the test runs.
pub(crate) struct Issuer {
    /// Its name: what its tokens say, and where it is.
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    keys: Vec<Value>,
    is_down: bool,
    asked: usize,
}

impl Issuer {
    /// Listens on a free port and shows these keys.
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let issuer = Self {
            url: url.clone(),
            state: Arc::default(),
        };
        issuer.publish(keys);
        let state = Arc::clone(&issuer.state);
        TaskTracker::new().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                TaskTracker::new().spawn(answer(stream, url.clone(), Arc::clone(&state)));
            }
        });
        issuer
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows these keys from now on.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        self.publish_as(keys.iter().map(|key| key.jwk()).collect());
    }

    /// The same as JSON.
    pub(crate) fn publish_as(&self, keys: Vec<Value>) {
        self.state().keys = keys;
    }

    /// Hangs up on everybody, or not any more.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// How often somebody asked for the keys, in vain too.
    pub(crate) fn asked(&self) -> usize {
        self.state().asked
    }

    /// How a gateway believes this issuer.
    pub(crate) fn settings(&self) -> IssuerSettings {
        IssuerSettings {
            issuer: self.url.clone(),
            audience: AUDIENCE.to_owned(),
            rules: TokenRules {
                scope_claim: "scope".to_owned(),
                merchant_claim: "merchant_id".to_owned(),
                operator_value: Some(OPERATOR.to_owned()),
                leeway: TimeDelta::seconds(60),
                max_lifetime: TimeDelta::hours(24),
            },
            keys: KeySource::Url(format!("{}/keys", self.url).parse().expect("a URL")),
            extra_root_certificates: vec![],
        }
    }

    /// Good claims for five minutes from `now`.
    pub(crate) fn claims(&self, now: DateTime<Utc>, whose: &str, scopes: &[Scope]) -> Value {
        let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
        json!({
            "iss": self.url,
            "aud": ["account", AUDIENCE],
            "sub": "till-service",
            "iat": now.timestamp(),
            "exp": now.timestamp() + 300,
            "merchant_id": whose,
            "scope": format!("openid {}", scopes.join(" ")),
        })
    }

    /// The same for a merchant.
    pub(crate) fn claims_of(
        &self,
        now: DateTime<Utc>,
        merchant_id: MerchantId,
        scopes: &[Scope],
    ) -> Value {
        self.claims(now, &merchant_id.to_string(), scopes)
    }
}

/// One request, one answer.
async fn answer(mut stream: TcpStream, url: String, state: Arc<Mutex<State>>) {
    let mut head = vec![];
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(read @ 1..) => head.extend_from_slice(&chunk[..read]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let body = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_for_keys = head.starts_with("GET /keys ");
        state.asked += usize::from(is_for_keys);
        if state.is_down {
            return;
        }
        if is_for_keys {
            json!({"keys": state.keys})
        } else if head.starts_with("GET /.well-known/openid-configuration ") {
            json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
        } else {
            Value::Null
        }
    }
    .to_string();
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    // Whoever hung up does not want it.
    let _ = stream.write_all(answer.as_bytes()).await;
}
